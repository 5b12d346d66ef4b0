"""Pooling tap by tap: one pass over the image for each offset in the window. Twins of the pools in `textbook`.

With the batch last in memory (see `layout`), the entries of all windows at one offset are runs of N numbers.
"""

import math

import numpy as np

from ..textbook import regions
from .layout import batch_first, batch_last, copy_pixels, every, inside, out_sizes
from .threads import over_channels


def max_pool2d(x, kernel_size, stride, padding=(0, 0)):
    """Twin of `textbook.max_pool2d`. x (N, C, H, W) -> y (N, C, H′, W′), tap (N, C, H′, W′), unsigned.

    First the largest of each window's columns, then the largest of those: 3 + 3 comparisons for a 3×3 window, and the
    first three of whole rows. For the others, columns that are a stride apart are put side by side (see `_apart`).
    """
    x = batch_last(x)
    rows, columns = zip(out_sizes(x.shape[1:3], kernel_size, stride, padding), kernel_size, stride, padding)
    y = np.empty((len(x), rows[0], columns[0], x.shape[3]), x.dtype)
    tap = np.empty(y.shape, np.min_scalar_type(math.prod(kernel_size)))

    def work(blocks):
        for c in blocks:
            largest, i = _max_along(1, x[c], np.zeros((1, 1, 1, 1), tap.dtype), *rows)
            y[c], tap[c] = _max_along(2, largest, i * tap.dtype.type(kernel_size[1]), *columns)

    over_channels(work, x)
    return batch_first(y), batch_first(tap)


def max_pool2d_backward(grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0)):
    """Twin of `textbook.max_pool2d_backward`. Returns dx (N, C, H, W)."""
    g, tap = batch_last(grad_y), batch_last(tap)
    grad_x = np.empty((*x_shape[1:], x_shape[0]), g.dtype)
    taps = list(_taps(x_shape[2:], g.shape[1:3], kernel_size, stride, padding))
    step = stride[1]

    def work(blocks):
        for c in blocks:
            apart = [np.zeros_like(grad_x[c, :, i::step]) for i in range(step)]
            for k, out, (rows, columns) in taps:
                part, columns = _place(columns, step)
                apart[part][:, rows, columns] += g[c, *out] * (tap[c, *out] == k)
            for i, part in enumerate(apart):
                copy_pixels(grad_x[c, :, i::step], part)

    over_channels(work, grad_x)
    return batch_first(grad_x)


def _apart(x, step):
    """Every step-th column of (C, H, W, N) from the first, from the second, …, side by side in memory.

    A row of them is one long run then. As they lie in x, NumPy would take N numbers at a time, which is slow for few.
    """
    if step == 1:
        return [x]
    columns = [x[:, :, i::step] for i in range(min(step, x.shape[2]))]
    parts = [np.empty(part.shape, x.dtype) for part in columns]
    for part, source in zip(parts, columns):
        copy_pixels(part, source)
    return parts


def _place(columns, step):
    """Where a slice of columns, every step-th, has gone in `_apart`: (which part, slice of its columns)."""
    if columns.start == columns.stop:
        return 0, columns
    part, first = columns.start % step, columns.start // step
    return part, slice(first, first + len(range(columns.start, columns.stop, step)))


def _max_along(axis, x, base, out_size, kernel_size, stride, padding):
    """The largest entry of each window along one axis, and base + k for the first entry k that attains it.

    base: small integers that broadcast to x; the smallest sum counts. Such integers are several times cheaper than
    masked copies. (A window that contains a NaN gives NaN, and the first NaN's number.)
    """
    shape = [*x.shape[:axis], out_size, *x.shape[axis + 1 :]]
    none = base.dtype.type(np.iinfo(base.dtype).max)
    largest, number = np.full(shape, -np.inf, x.dtype), np.full(shape, none)
    before, base = (slice(None),) * axis, np.broadcast_to(base, x.shape)
    xs, bases = (_apart(x, stride), _apart(base, stride)) if axis == 2 else ([x], [base])
    taps = []
    for k, (out,), (source,) in _taps((x.shape[axis],), (out_size,), (kernel_size,), (stride,), (padding,)):
        part, source = _place(source, stride) if axis == 2 else (0, source)
        source = *before, source
        taps.append((base.dtype.type(k), (*before, out), xs[part][source], bases[part][source]))
    for _, out, entries, _ in taps:
        np.maximum(largest[out], entries, out=largest[out])
    has_nan = np.isnan(largest).any()
    for k, out, entries, numbers in taps:
        missed = entries != largest[out]
        if has_nan:
            missed &= ~np.isnan(entries)
        np.minimum(number[out], np.maximum(missed * none, numbers + k), out=number[out])
    return largest, number


def avg_pool2d(x, kernel_size, stride, padding=(0, 0), count_include_pad=True):
    """Twin of `textbook.avg_pool2d`. x (N, C, H, W) -> y (N, C, H′, W′)."""
    x = batch_last(x)
    out_hw = out_sizes(x.shape[1:3], kernel_size, stride, padding)
    y = np.zeros((len(x), *out_hw, x.shape[3]), x.dtype)
    for _, out, source in _taps(x.shape[1:3], out_hw, kernel_size, stride, padding):
        y[:, *out] += x[:, *source]
    y *= _shares(x.shape[1:3], out_hw, kernel_size, stride, padding, count_include_pad, x.dtype)
    return batch_first(y)


def avg_pool2d_backward(grad_y, x_shape, kernel_size, stride, padding=(0, 0), count_include_pad=True):
    """Twin of `textbook.avg_pool2d_backward`. Returns dx (N, C, H, W)."""
    g = batch_last(grad_y)
    g = g * _shares(x_shape[2:], g.shape[1:3], kernel_size, stride, padding, count_include_pad, g.dtype)
    grad_x = np.zeros((*x_shape[1:], x_shape[0]), g.dtype)
    for _, out, source in _taps(x_shape[2:], g.shape[1:3], kernel_size, stride, padding):
        grad_x[:, *source] += g[:, *out]
    return batch_first(grad_x)


def adaptive_avg_pool2d(x, output_size):
    """Twin of `textbook.adaptive_avg_pool2d`. x (N, C, H, W) -> y (N, C, *output_size)."""
    x = batch_last(x)
    y = np.empty((len(x), *output_size, x.shape[3]), x.dtype)
    for h, rows in enumerate(regions(x.shape[1], output_size[0])):
        for w, columns in enumerate(regions(x.shape[2], output_size[1])):
            y[:, h, w] = x[:, rows, columns].mean((1, 2))
    return batch_first(y)


def adaptive_avg_pool2d_backward(grad_y, x_shape):
    """Twin of `textbook.adaptive_avg_pool2d_backward`. Returns dx (N, C, H, W)."""
    g = batch_last(grad_y)
    grad_x = np.zeros((*x_shape[1:], x_shape[0]), g.dtype)
    for h, rows in enumerate(regions(x_shape[2], g.shape[1])):
        for w, columns in enumerate(regions(x_shape[3], g.shape[2])):
            region = grad_x[:, rows, columns]
            region += g[:, h, w, None, None] / (region.shape[1] * region.shape[2])
    return batch_first(grad_x)


def _taps(in_hw, out_hw, kernel_size, stride, padding):
    """Yield, for each offset k = i·kw + j in the window, the outputs whose entry lies in the image, and those entries.

    Both as a pair of slices (rows, columns).
    """
    for k, offset in enumerate(np.ndindex(*kernel_size)):
        out, source = [], []
        for o, s, p, n_out, n_in in zip(offset, stride, padding, out_hw, in_hw):
            lo, hi = inside(o - p, s, n_out, n_in)
            out.append(slice(lo, hi))
            source.append(every(o - p + lo * s, s, hi - lo) if lo < hi else slice(0, 0))
        yield k, out, source


def _shares(in_hw, out_hw, kernel_size, stride, padding, count_include_pad, dtype):
    """1 / number of entries averaged, for each output position: (H′, W′, 1)."""
    count = np.full((*out_hw, 1), math.prod(kernel_size) if count_include_pad else 0, dtype)
    if not count_include_pad:
        for _, out, _ in _taps(in_hw, out_hw, kernel_size, stride, padding):
            count[*out] += 1
    return 1 / count
