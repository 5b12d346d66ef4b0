"""Batches from a data set on the device: launches for augment.cu; the definitions are in `definition`."""

import numpy as np

from ..launch import BLOCK, batch_last, blocks, c_name, contiguous
from ..layout import batch_first
from ..load import TYPES, Source

AUGMENT = Source(
    "augment/augment.cu",
    [
        *(("take_images", t, t) for t in TYPES),
        ("take_images", "unsigned char", "float"),
        *(("crop_flip", t) for t in TYPES),
    ],
)


def take_images(on, pixels, index, mean=None, std=None):
    """`definition.take_images`. pixels (M, C, H, W), index (N) on the host -> (N, C, H, W), batch last."""
    dtype = pixels.dtype if pixels.dtype.kind == "f" else np.dtype(np.float32)
    _, channels, height, width = pixels.shape
    out = on.empty((channels, height, width, len(index)), dtype)
    index, standardise = on.upload(np.ascontiguousarray(index, np.int64)), mean is not None
    mean, std = (on.upload(np.array(a, dtype)) if standardise else out for a in (mean, std))
    arrays, template = (contiguous(pixels), index, mean, std, out), (c_name(pixels.dtype), c_name(dtype))
    numbers = out.size, out.shape[3], channels, height * width, standardise
    on.launch(AUGMENT, "take_images", template, blocks(out.size), BLOCK, *arrays, numbers=numbers)
    return batch_first(out)


def crop_flip(on, images, top, left, mirrored, padding):
    """`definition.crop_flip`. images (N, C, H, W); top, left, mirrored (N) on the host -> (N, C, H, W)."""
    x = batch_last(images)
    out = on.empty(x.shape, x.dtype)
    draws = (on.upload(np.ascontiguousarray(draw, np.int32)) for draw in (top, left, mirrored))
    numbers = out.size, x.shape[3], *x.shape[1:3], padding
    on.launch(AUGMENT, "crop_flip", (c_name(x.dtype),), blocks(out.size), BLOCK, x, *draws, out, numbers=numbers)
    return batch_first(out)
