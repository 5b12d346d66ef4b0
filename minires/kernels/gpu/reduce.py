"""Sums: launches of reduce.cu."""

import math

from .launch import BLOCK, blocks, c_name, contiguous, runs


def reduce_sum(on, x, axes, keepdims=False):
    """Twin of `textbook.reduce_sum`: Σ over the axes."""
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    if not x.size or not axes:
        y = x.sum(axis=axes, keepdims=keepdims)
        return y if y.shape == () or y.flags.c_contiguous else y.copy()
    if kept == tuple(range(len(axes), x.ndim)) and kept:  # the leading axes go: columns are summed where they lie
        y = sum_columns(on, contiguous(x), len(axes))
    else:
        order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis]) if not kept else (*kept, *axes)
        y = sum_rows(on, contiguous(x.transpose(order)).reshape(math.prod(x.shape[axis] for axis in kept), -1))
    return y.reshape(shape if keepdims else tuple(x.shape[axis] for axis in kept))


def sum_rows(on, x):
    """Contiguous (rows, length) -> (rows): Σ over each row."""
    rows, length = x.shape
    number, per_run = runs(on, rows, length)
    parts = on.empty((rows, number), x.dtype)
    on.launch("reduce", "sum_rows", (c_name(x.dtype),), (number, rows), BLOCK, x, parts, length, per_run)
    return parts.reshape(rows) if number == 1 else sum_rows(on, parts)


def sum_columns(on, x, axes):
    """Contiguous x -> Σ over its first ``axes`` axes."""
    y = on.empty(x.shape[axes:], x.dtype)
    length = math.prod(x.shape[:axes])
    on.launch("reduce", "sum_columns", (c_name(x.dtype),), blocks(y.size), BLOCK, x, y, y.size, length, y.size)
    return y
