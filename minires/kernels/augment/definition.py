"""Batches of images: choosing and standardising them; crops and flips, pixel by pixel."""

import numpy as np


def take_images(pixels, index, mean=None, std=None):
    """(pixels[index] − mean)/std, per channel; just pixels[index] if mean is None.

    pixels (M, C, H, W), index (N), mean and std: C numbers each -> (N, C, H, W).
    """
    if mean is None:
        return pixels[index]
    dtype = pixels.dtype if pixels.dtype.kind == "f" else np.dtype(np.float32)
    mean, std = (np.array(a, dtype)[:, None, None] for a in (mean, std))
    return np.stack([(pixels[i].astype(dtype) - mean) / std for i in index])


def crop_flip(images, top, left, mirrored, padding):
    """Pad each image with zeros, crop it to its old size from (top, left), and mirror it if so drawn.

    images (N, C, H, W); top, left, mirrored (N) -> (N, C, H, W).
    """
    out = np.zeros_like(images)
    for n, c, h, w in np.ndindex(images.shape):
        row, column = h + top[n] - padding, (images.shape[3] - 1 - w if mirrored[n] else w) + left[n] - padding
        if 0 <= row < images.shape[2] and 0 <= column < images.shape[3]:
            out[n, c, h, w] = images[n, c, row, column]
    return out
