"""Pooling in NumPy, tap by tap: one pass over the image for each offset in the window.

With the batch last in memory (see `layout`), the entries of all windows at one offset are runs of N numbers.
"""

import itertools
import math

import numpy as np

from ...threads import over_channels
from ..elementwise.cpu import bits_of
from ..layout import batch_first, batch_last, copy_pixels, every, inside, out_sizes
from ..reduce.cpu import reduce_sum
from .definition import at_least_float32, regions


def max_pool2d(x, kernel_size, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
    """`definition.max_pool2d`. x (N, C, H, W) -> y (N, C, H′, W′), tap (N, C, H′, W′), unsigned.

    It first finds the largest entry in each column of a window, then the largest of those: 3 + 3 comparisons for a 3×3
    window, the first three on whole image rows. Which entry it was is computed with small integers, which is several
    times cheaper than masked copies.
    """
    x = batch_last(x)
    out_hw = out_sizes(x.shape[1:3], kernel_size, stride, padding, dilation, ceil_mode)
    axes = zip((1, 2), x.shape[1:3], out_hw, kernel_size, stride, padding, dilation)
    rows, columns = (_Windows(*axis) for axis in axes)
    y = np.empty((len(x), *out_hw, x.shape[3]), x.dtype)
    tap = np.empty(y.shape, np.min_scalar_type(math.prod(kernel_size)))

    def work(blocks):
        for c in blocks:
            # (C, H, W, N) -> largest, first (C, H′, W, N) -> y, tap (C, H′, W′, N)
            largest = np.empty((len(x[c]), out_hw[0], *x.shape[2:]), x.dtype)
            first = rows.first(rows.largest(x[c], largest), largest.shape, tap.dtype)
            misses = columns.largest(largest, y[c])
            columns.least(misses, first * tap.dtype.type(kernel_size[1]), tap[c])

    over_channels(work, x)
    return batch_first(y), batch_first(tap)


def max_pool2d_backward(grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0), dilation=(1, 1)):
    """`definition.max_pool2d_backward`. Returns dx (N, C, H, W)."""
    g, tap = batch_last(at_least_float32(grad_y)), batch_last(tap)
    bits = bits_of(g)
    grad_x = np.empty((*x_shape[1:], x_shape[0]), g.dtype)
    taps = list(_taps(x_shape[2:], g.shape[1:3], kernel_size, stride, padding, dilation))
    step = stride[1]

    def work(blocks):
        for c in blocks:
            apart = [np.zeros_like(grad_x[c, :, i::step]) for i in range(step)]
            for k, out, (rows, columns) in taps:
                part, columns = _place(columns, step)
                shares = bits[c, *out] * (tap[c, *out] == k)
                apart[part][:, rows, columns] += shares.view(g.dtype)
            for i, part in enumerate(apart):
                copy_pixels(grad_x[c, :, i::step], part)

    over_channels(work, grad_x)
    return batch_first(grad_x).astype(grad_y.dtype, copy=False)


def _apart(x, step):
    """The columns of x (C, H, W, N) in ``step`` parts: every step-th from the first on, from the second on, ….

    In a part, a row of columns is one long run. In x, NumPy would take N numbers at a time, which is slow for small N.
    """
    if step == 1:
        return [x]
    columns = [x[:, :, i::step] for i in range(min(step, x.shape[2]))]
    parts = [np.empty(part.shape, x.dtype) for part in columns]
    for part, source in zip(parts, columns):
        copy_pixels(part, source)
    return parts


def _place(columns, step):
    """Where `_apart` has put a slice of every step-th column: (which part, slice of that part's columns)."""
    if columns.start == columns.stop:
        return 0, columns
    part, first = columns.start % step, columns.start // step
    return part, slice(first, first + len(range(columns.start, columns.stop, step)))


class _Windows:
    """Windows along one axis of images (C, H, W, N)."""

    def __init__(self, axis, size, out_size, kernel_size, stride, padding, dilation):
        self.kernel_size = kernel_size
        self.step = stride if axis == 2 else 1  # of the columns that `_apart` puts side by side
        before, self.taps = (slice(None),) * axis, []
        along = (size,), (out_size,), (kernel_size,), (stride,), (padding,), (dilation,)
        for _, (out,), (source,) in _taps(*along):
            part, source = _place(source, stride) if axis == 2 else (0, source)
            self.taps.append(((*before, out), part, (*before, source)))

    def largest(self, x, largest):
        """Fill ``largest`` with each window's largest entry; a NaN counts as the largest.

        Returns an iterator that gives for each tap (the outputs it reaches, a mask of those whose largest it is not).
        """
        parts = _apart(x, self.step)
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        largest[...] = lowest
        for out, part, source in self.taps:
            np.maximum(largest[out], parts[part][source], out=largest[out])
        has_nan = np.isnan(largest.max(initial=lowest))

        def misses():
            for out, part, source in self.taps:
                entries = parts[part][source]
                miss = entries != largest[out]
                yield out, miss & ~np.isnan(entries) if has_nan else miss

        return misses()

    def first(self, misses, shape, dtype):
        """The number, from 0, of each window's first tap that is not a miss: the count of misses before it."""
        number, none_yet = np.zeros(shape, dtype), np.ones(shape, bool)
        for out, miss in itertools.islice(misses, self.kernel_size - 1):
            none_yet[out] &= miss
            number += none_yet
        return number

    def least(self, misses, base, number):
        """Set ``number`` to the smallest base + k over the taps k that are not misses; base: small ints, x's shape."""
        none, bases = number.dtype.type(np.iinfo(number.dtype).max), _apart(base, self.step)
        number[...] = none
        for k, ((out, miss), (_, part, source)) in enumerate(zip(misses, self.taps)):
            sums = bases[part][source] + number.dtype.type(k)
            np.minimum(number[out], np.maximum(miss * none, sums), out=number[out])
        return number


def avg_pool2d(x, kernel_size, stride, padding=(0, 0), count_include_pad=True, ceil_mode=False, divisor_override=None):
    """`definition.avg_pool2d`. x (N, C, H, W) -> y (N, C, H′, W′)."""
    dtype, x = x.dtype, batch_last(at_least_float32(x))
    window = kernel_size, stride, padding
    out_hw = out_sizes(x.shape[1:3], *window, (1, 1), ceil_mode)
    y = np.zeros((len(x), *out_hw, x.shape[3]), x.dtype)
    for _, out, source in _taps(x.shape[1:3], out_hw, *window):
        y[:, *out] += x[:, *source]
    y *= _shares(x.shape[1:3], out_hw, *window, count_include_pad, ceil_mode, divisor_override, x.dtype)
    return batch_first(y).astype(dtype, copy=False)


def avg_pool2d_backward(
    grad_y, x_shape, kernel_size, stride, padding=(0, 0), count_include_pad=True, ceil_mode=False, divisor_override=None
):
    """`definition.avg_pool2d_backward`. Returns dx (N, C, H, W)."""
    g, window = batch_last(at_least_float32(grad_y)), (kernel_size, stride, padding)
    g = g * _shares(x_shape[2:], g.shape[1:3], *window, count_include_pad, ceil_mode, divisor_override, g.dtype)
    grad_x = np.zeros((*x_shape[1:], x_shape[0]), g.dtype)
    for _, out, source in _taps(x_shape[2:], g.shape[1:3], *window):
        grad_x[:, *source] += g[:, *out]
    return batch_first(grad_x).astype(grad_y.dtype, copy=False)


def adaptive_avg_pool2d(x, output_size):
    """`definition.adaptive_avg_pool2d`. x (N, C, H, W) -> y (N, C, *output_size)."""
    dtype, x = x.dtype, batch_last(at_least_float32(x))
    y = np.empty((len(x), *output_size, x.shape[3]), x.dtype)
    for h, rows in enumerate(regions(x.shape[1], output_size[0])):
        for w, columns in enumerate(regions(x.shape[2], output_size[1])):
            region = x[:, rows, columns]
            y[:, h, w] = reduce_sum(region, (1, 2)) / (region.shape[1] * region.shape[2])
    return batch_first(y).astype(dtype, copy=False)


def adaptive_avg_pool2d_backward(grad_y, x_shape):
    """`definition.adaptive_avg_pool2d_backward`. Returns dx (N, C, H, W)."""
    g = batch_last(at_least_float32(grad_y))
    grad_x = np.zeros((*x_shape[1:], x_shape[0]), g.dtype)
    for h, rows in enumerate(regions(x_shape[2], g.shape[1])):
        for w, columns in enumerate(regions(x_shape[3], g.shape[2])):
            region = grad_x[:, rows, columns]
            region += g[:, h, w, None, None] / (region.shape[1] * region.shape[2])
    return batch_first(grad_x).astype(grad_y.dtype, copy=False)


def _taps(in_hw, out_hw, kernel_size, stride, padding, dilation=(1, 1)):
    """For each offset k = i·kw + j in the window, yield k, the outputs whose entry is in the image, and those entries.

    Outputs and entries are pairs of slices (rows, columns).
    """
    for k, offset in enumerate(np.ndindex(*kernel_size)):
        out, source = [], []
        for o, s, p, d, n_out, n_in in zip(offset, stride, padding, dilation, out_hw, in_hw):
            first = o * d - p
            lo, hi = inside(first, s, n_out, n_in)
            out.append(slice(lo, hi))
            source.append(every(first + lo * s, s, hi - lo) if lo < hi else slice(0, 0))
        yield k, out, source


def _shares(in_hw, out_hw, kernel_size, stride, padding, count_include_pad, ceil_mode, divisor_override, dtype):
    """1 / (what the sum of each window is divided by): (H′, W′, 1)."""
    whole = math.prod(kernel_size) if divisor_override is None else divisor_override
    if divisor_override is not None or (count_include_pad and not ceil_mode):
        return 1 / np.full((*out_hw, 1), whole, dtype)
    if count_include_pad:  # the padded image, in which only windows at its end are cut off
        in_hw, padding = [n + 2 * p for n, p in zip(in_hw, padding)], (0, 0)
    count = np.zeros((*out_hw, 1), dtype)
    for _, out, _ in _taps(in_hw, out_hw, kernel_size, stride, padding):
        count[*out] += 1
    return 1 / count
