"""Sums and extrema over axes, which are kernels because other devices need their own. NumPy's are fast already."""

from .definition import argmax, argmin, reduce_max, reduce_min, reduce_sum

__all__ = ["argmax", "argmin", "reduce_max", "reduce_min", "reduce_sum"]
