"""Sums and extrema over axes, as kernels so that other devices can bring their own. NumPy's own are fast already."""

from .definition import argmax, argmin, reduce_max, reduce_min, reduce_sum

__all__ = ["argmax", "argmin", "reduce_max", "reduce_min", "reduce_sum"]
