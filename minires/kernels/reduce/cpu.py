"""Sums and extrema in NumPy; the definitions are in `definition`.

NumPy adds pairwise along the innermost axis in memory, so that the rounding error of a float32 sum hardly grows with
its length. Along the other axes it adds one by one: the sum of 50,000 rows is off by 3·10⁻⁶, that of four million equal
rows by 4 %. Here BLAS adds runs of `RUN` entries, as a product with ones, and the sums of the runs are added in
float64: the error is 10⁻⁷, whatever the length. Where rows are long, this takes as long as NumPy does; where they are
short, an eighth of that.
"""

import functools
import itertools
import math

import numpy as np

from ...blas import ALONE, one_blas_thread
from .definition import argmax, argmin, reduce_max, reduce_min

__all__ = ["argmax", "argmin", "reduce_max", "reduce_min", "reduce_sum", "row_products", "row_sums"]

FEW = 8  # summands that may be added one by one

# Of values that round little enough, those found fastest by `python -m benchmarks tune`.
SMALL = 4096  # entries up to which adding in float64 takes less time than the calls below
RUN = 32  # entries that BLAS adds in float32; longer runs round more
PRODUCTS = 128  # the same for products, which BLAS adds in some 64 sums side by side


def reduce_sum(x, axes, keepdims=False):
    """`definition.reduce_sum`: Σ x over the axes. The axes of the result keep the order that x's have in memory."""
    if math.prod([x.shape[axis] for axis in axes]) <= FEW or x.dtype.kind != "f":
        return np.add.reduce(x, tuple(axes), keepdims=keepdims)
    if x.dtype == np.float16:  # whose partial sums would overflow
        return reduce_sum(x.astype(np.float32), axes, keepdims).astype(x.dtype)
    if x.size <= SMALL:
        return np.add.reduce(x, tuple(axes), np.float64, keepdims=keepdims).astype(x.dtype)
    order = sorted(range(x.ndim), key=lambda axis: (x.shape[axis] > 1, -abs(x.strides[axis])))
    lying, summed = x.transpose(order), [axis in axes for axis in order]
    if lying.flags.c_contiguous and summed == sorted(summed):  # the innermost axes, and no others
        return np.add.reduce(x, tuple(axes), keepdims=keepdims)
    lying = np.ascontiguousarray(lying)
    start, stop = _longest_run(summed, lying.shape)
    sums = _middle_sums(lying.reshape(math.prod(lying.shape[:start]), -1, math.prod(lying.shape[stop:])))
    left, shape = order[:start] + order[stop:], lying.shape[:start] + lying.shape[stop:]
    sums = np.add.reduce(sums.reshape(shape), tuple(i for i, axis in enumerate(left) if axis in axes))
    kept = [axis for axis in left if axis not in axes]
    sums = sums.astype(x.dtype).transpose(sorted(range(len(kept)), key=kept.__getitem__))
    return sums.reshape([1 if axis in axes else n for axis, n in enumerate(x.shape) if keepdims or axis not in axes])


def row_sums(rows):
    """Σ of each row of (C, M): (C), in float64."""
    channels, count = rows.shape
    if count % RUN:
        whole = count // RUN * RUN
        rest = np.add.reduce(rows[:, whole:], 1, np.float64)
        return row_sums(rows[:, :whole]) + rest if whole else rest
    # (C, runs, RUN) @ (RUN) -> (C, runs)
    return np.add.reduce(rows.reshape(channels, count // RUN, RUN) @ _ones(RUN, rows.dtype), 1, np.float64)


def row_products(a, b):
    """Σ a·b of each row of two (C, M): (C), in float64. (All at once, `np.vecdot` would hold the interpreter lock.)"""
    channels, count = a.shape
    if count % PRODUCTS:
        whole = count // PRODUCTS * PRODUCTS
        rest = np.vecdot(a[:, whole:], b[:, whole:]).astype(np.float64)
        return row_products(a[:, :whole], b[:, :whole]) + rest if whole else rest
    runs = channels, count // PRODUCTS, PRODUCTS
    return np.add.reduce(np.vecdot(a.reshape(runs), b.reshape(runs)), 1, np.float64)


def _middle_sums(x):
    """Σ over the middle axis of a contiguous (A, R, K): (A, K), in float64."""
    if x.shape[2] == 1:
        return np.add.reduce(x, 1).astype(np.float64)
    whole = x.shape[1] // RUN * RUN
    in_runs, rest = x[:, :whole].reshape(len(x), -1, RUN, x.shape[2]), x[:, whole:]

    def sums():
        # (RUN) @ (A, runs, RUN, K) -> (A, runs, K)
        return _ones(RUN, x.dtype) @ in_runs, _ones(rest.shape[1], x.dtype) @ rest

    of_runs, of_rest = one_blas_thread(sums) if x.size > ALONE else sums()
    return np.add.reduce(of_runs, 1, np.float64) + of_rest


def _longest_run(summed, shape):
    """Where in ``shape`` the most entries lie in neighbouring axes that are all summed: (start, stop)."""
    runs = [list(run) for yes, run in itertools.groupby(range(len(shape)), key=summed.__getitem__) if yes]
    longest = max(runs, key=lambda run: math.prod(shape[i] for i in run))
    return longest[0], longest[-1] + 1


@functools.lru_cache
def _ones(count, dtype):
    return np.ones(count, dtype)
