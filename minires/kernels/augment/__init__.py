"""Batches of images, standardised, cropped and flipped: the definition, the fast version in NumPy, and CUDA C."""

from . import cpu, definition, gpu

__all__ = ["cpu", "definition", "gpu"]
