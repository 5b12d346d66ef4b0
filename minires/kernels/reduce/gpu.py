"""Reductions: launches for reduce.cu. Floating-point arrays go to our own kernels, others to the array library."""

import math

import numpy as np

from ..launch import BLOCK, MOST_LAYERS, blocks, c_name, contiguous, cut, runs
from ..load import TYPES, Source

REDUCE = Source(
    "reduce/reduce.cu",
    [
        *((f"reduce_{lines}", t, how) for lines in ("rows", "columns") for how in ("Sum", "Max", "Min") for t in TYPES),
        *(("first_in_rows", t) for t in TYPES),
    ],
)

LINES = 256  # that one thread of reduce_columns joins, if there are not too many for the grid


def reduce_sum(on, x, axes, keepdims=False):
    """`definition.reduce_sum`: Σ over the axes."""
    if not _ours(x):
        y = x.sum(axis=axes, keepdims=keepdims)
        return y if y.shape == () or y.flags.c_contiguous else y.copy()
    return _reduce(on, "Sum", x, axes, keepdims)


def reduce_max(on, x, axes, keepdims=False):
    """`definition.reduce_max`: the largest over the axes."""
    return _reduce(on, "Max", x, axes, keepdims) if _ours(x) else x.max(axis=axes, keepdims=keepdims)


def reduce_min(on, x, axes, keepdims=False):
    """`definition.reduce_min`: the smallest over the axes."""
    return _reduce(on, "Min", x, axes, keepdims) if _ours(x) else x.min(axis=axes, keepdims=keepdims)


def argmax(on, x, axis=None, keepdims=False):
    """`definition.argmax`: the first index of the largest value along an axis, or of all."""
    return _first(on, "Max", x, axis, keepdims) if _ours(x) else x.argmax(axis=axis, keepdims=keepdims)


def argmin(on, x, axis=None, keepdims=False):
    """`definition.argmin`: the first index of the smallest value along an axis, or of all."""
    return _first(on, "Min", x, axis, keepdims) if _ours(x) else x.argmin(axis=axis, keepdims=keepdims)


def reduce_rows(on, how, x):
    """Contiguous (rows, length) -> (rows): each row joined by "Sum", "Max" or "Min"."""
    rows, length = x.shape
    number, per_run = runs(on.multiprocessors, rows, length)
    parts = on.empty((rows, number), x.dtype)
    template, numbers = (c_name(x.dtype), how), (length, per_run)
    on.launch(REDUCE, "reduce_rows", template, (rows, number), BLOCK, x, parts, numbers=numbers)
    return parts.reshape(rows) if number == 1 else reduce_rows(on, how, parts)


def reduce_columns(on, how, x, axes):
    """Contiguous x -> its first ``axes`` axes joined by "Sum", "Max" or "Min"."""
    length, shape = math.prod(x.shape[:axes]), x.shape[axes:]
    per_run = max(cut(length, MOST_LAYERS), LINES)
    parts = on.empty((cut(length, per_run), *shape), x.dtype)
    grid = *blocks(math.prod(shape)), len(parts)
    numbers = math.prod(shape), length, per_run
    on.launch(REDUCE, "reduce_columns", (c_name(x.dtype), how), grid, BLOCK, x, parts, numbers=numbers)
    return parts.reshape(shape) if len(parts) == 1 else reduce_columns(on, how, parts, 1)


def _ours(x):
    return x.size > 0 and x.dtype in (np.float32, np.float64)


def _reduce(on, how, x, axes, keepdims):
    if not axes:
        return x.copy()
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    if kept == tuple(range(len(axes), x.ndim)) and kept:  # the leading axes go: columns are joined in place
        y = reduce_columns(on, how, contiguous(x), len(axes))
    else:
        order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis]) if not kept else (*kept, *axes)
        rows = contiguous(x.transpose(order)).reshape(math.prod(x.shape[axis] for axis in kept), -1)
        y = reduce_rows(on, how, rows)
    return y.reshape([1 if axis in axes else n for axis, n in enumerate(x.shape) if keepdims or axis in kept])


def _first(on, how, x, axis, keepdims):
    if axis is None:
        rows, shape = contiguous(x).reshape(1, -1), (1,) * x.ndim if keepdims else ()
    else:
        axis %= x.ndim
        rest = [a for a in range(x.ndim) if a != axis]
        rows = contiguous(x.transpose(*rest, axis)).reshape(-1, x.shape[axis])
        shape = [1 if a == axis else n for a, n in enumerate(x.shape) if keepdims or a != axis]
    y = on.empty(len(rows), np.int64)
    arrays, numbers = (rows, reduce_rows(on, how, rows), y), (rows.shape[1],)
    on.launch(REDUCE, "first_in_rows", (c_name(x.dtype),), (len(rows),), BLOCK, *arrays, numbers=numbers)
    return y.reshape(shape)
