"""Batches of images: standardising, cropping and flipping, by definition, in NumPy, and in CUDA C."""

from . import cpu, definition, gpu

__all__ = ["cpu", "definition", "gpu"]
