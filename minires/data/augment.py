"""Whole batches of images in, whole batches out: random crops, flips and average pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..arguments import at_least, described


def random_crop_flip(images: Any, rng: np.random.Generator, padding: int = 4, flip: bool = True) -> Any:
    """Pad each image with zeros, crop it to its size at a random place, and mirror it left to right half the time.

    `images` (N, C, H, W), any dtype; the result has the same shape and dtype and shares no memory with them. Images on
    a GPU stay there, and the same `rng` gives the same result as on the CPU. On standardised images a zero is the mean
    colour. Digits are not symmetric: for them use `padding=1, flip=False`.
    To use other settings in `batches(…, augment=…)`, bind them: `functools.partial(random_crop_flip, padding=1)`.

    Raises ValueError for any other shape or a negative padding, TypeError for what is no array or no whole number.
    Source: He, Zhang, Ren, Sun 2015 (arXiv 1512.03385), section 4.2: 4 pixels on each side, crop 32×32, flip.
    """
    _check_images("random_crop_flip", images)
    padding = at_least("random_crop_flip", "padding", padding, 0)  # 0 only flips
    top, left = rng.integers(0, 2 * padding + 1, size=(2, len(images)))
    mirrored = rng.random(len(images)) < 0.5 if flip else np.zeros(len(images), bool)
    return kernels.of(images).crop_flip(images, top, left, mirrored, padding)


def average_pool(images: np.ndarray, factor: int) -> np.ndarray:
    """The mean of each `factor` × `factor` square: (N, C, H, W) to (N, C, H / factor, W / factor).

    Integer images become float32, floating-point ones keep their dtype. CIFAR-10 at 8×8, for small machines:
    `dataclasses.replace(train, pixels=average_pool(train.pixels, 4))`.

    Raises ValueError for any other shape, or a factor that is not positive or does not divide H and W.
    """
    _check_images("average_pool", images)
    n, channels, height, width = images.shape
    factor = at_least("average_pool", "factor", factor, 1)
    if height % factor or width % factor:
        raise ValueError(
            f"average_pool: factor must divide height and width, got factor = {factor} for images of {height}×{width}"
        )
    dtype = images.dtype if images.dtype.kind == "f" else np.float32
    squares = images.reshape(n, channels, height // factor, factor, width // factor, factor)
    pooled: np.ndarray = squares.mean(axis=(3, 5), dtype=np.result_type(dtype, np.float32))  # no sums in float16
    return pooled.astype(dtype, copy=False)


def _check_images(function: str, images: Any) -> None:
    if not hasattr(images, "ndim"):
        raise TypeError(f"{function}: got {described(images)}; expected an array of images (N, C, H, W)")
    if images.ndim != 4:
        raise ValueError(f"{function}: images must be (N, C, H, W), got shape {images.shape}; one image is image[None]")
