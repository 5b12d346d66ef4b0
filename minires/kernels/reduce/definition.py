"""Sums, extrema, and the places of extrema, by NumPy's own functions."""

import numpy as np


def reduce_sum(x, axes, keepdims=False):
    """Σ x over the axes."""
    return x.sum(axis=axes, keepdims=keepdims)


def reduce_max(x, axes, keepdims=False):
    """The largest x over the axes; NaN if there is a NaN."""
    return x.max(axis=axes, keepdims=keepdims)


def reduce_min(x, axes, keepdims=False):
    """The smallest x over the axes; NaN if there is a NaN."""
    return x.min(axis=axes, keepdims=keepdims)


def argmax(x, axis=None, keepdims=False):
    """The first index along an axis (or in all of x, row by row) at which x is largest, or NaN."""
    return x.argmax(axis=axis, keepdims=keepdims).astype(np.int64, copy=False)


def argmin(x, axis=None, keepdims=False):
    """The first index along an axis (or in all of x, row by row) at which x is smallest, or NaN."""
    return x.argmin(axis=axis, keepdims=keepdims).astype(np.int64, copy=False)
