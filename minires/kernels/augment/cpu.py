"""Batches of images in NumPy: choosing and standardising them, and cropping and flipping a whole batch."""

import numpy as np


def take_images(pixels, index, mean=None, std=None):
    """`definition.take_images`. pixels (M, C, H, W), index (N) -> (N, C, H, W)."""
    if mean is None:
        return pixels[index]
    dtype = pixels.dtype if pixels.dtype.kind == "f" else np.dtype(np.float32)
    images = pixels[index].astype(dtype)
    images -= np.array(mean, dtype)[:, None, None]
    images /= np.array(std, dtype)[:, None, None]
    return images


def crop_flip(images, top, left, mirrored, padding):
    """`definition.crop_flip`. images (N, C, H, W); top, left, mirrored (N) -> (N, C, H, W)."""
    n, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    # (N, C, 2p+1, 2p+1, H, W): every crop of every image, as a view; only the one drawn for each is copied.
    crops = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    out = crops[np.arange(n), :, top, left]
    out[mirrored] = out[mirrored, :, :, ::-1]
    return out
