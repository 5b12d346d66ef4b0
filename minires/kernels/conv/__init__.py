"""Convolution in two dimensions: the definition, the fast version in NumPy (three arrangements), and CUDA C."""

from . import cpu, definition, gpu

__all__ = ["cpu", "definition", "gpu"]
