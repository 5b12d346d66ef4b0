"""Convolution in two dimensions: the definition, NumPy's fast version with its three arrangements, and CUDA C."""

from . import cpu, definition, gpu

__all__ = ["cpu", "definition", "gpu"]
