"""Sums and extrema over axes: NumPy's own functions, and CUDA C."""

from . import cpu, definition, gpu

__all__ = ["cpu", "definition", "gpu"]
