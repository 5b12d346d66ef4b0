"""Reductions, as kernels so that other devices can bring their own. NumPy's own are both definition and fast kernel."""

from ..textbook import argmax, argmin, reduce_max, reduce_min, reduce_sum

__all__ = ["argmax", "argmin", "reduce_max", "reduce_min", "reduce_sum", "running_update"]


def running_update(running_mean, running_var, mean, var, momentum, count):
    """Twin of `textbook.running_update`: changes the running statistics (C) in place."""
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)
