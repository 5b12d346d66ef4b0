"""Pooling tap by tap: one pass over the image for each offset in the window. Twins of the pools in `textbook`.

With the batch last in memory (see `layout`), the entries of all windows at one offset are runs of N numbers.
"""

import math

import numpy as np

from ..textbook import regions
from .layout import batch_first, batch_last, every, inside


def max_pool2d(x, kernel_size, stride, padding=(0, 0)):
    """Twin of `textbook.max_pool2d`. x (N, C, H, W) -> y (N, C, H′, W′), tap (N, C, H′, W′), unsigned."""
    x = batch_last(x)
    out_hw = _out_hw(x.shape[1:3], kernel_size, stride, padding)
    y = np.full((len(x), *out_hw, x.shape[3]), -np.inf, x.dtype)
    for _, out, source in _taps(x.shape[1:3], out_hw, kernel_size, stride, padding):
        np.maximum(y[:, *out], x[:, *source], out=y[:, *out])
    # The first tap that attains the maximum, in small integers, which is several times cheaper than masked copies.
    has_nan = np.isnan(y).any()
    none = math.prod(kernel_size)
    tap = np.full(y.shape, none, np.min_scalar_type(none))
    for k, out, source in _taps(x.shape[1:3], out_hw, kernel_size, stride, padding):
        missed = x[:, *source] != y[:, *out]
        if has_nan:
            missed &= ~np.isnan(x[:, *source])
        np.minimum(tap[:, *out], missed * tap.dtype.type(none - k) + tap.dtype.type(k), out=tap[:, *out])
    return batch_first(y), batch_first(tap)


def max_pool2d_backward(grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0)):
    """Twin of `textbook.max_pool2d_backward`. Returns dx (N, C, H, W)."""
    g, tap = batch_last(grad_y), batch_last(tap)
    grad_x = np.zeros((*x_shape[1:], x_shape[0]), g.dtype)
    for k, out, source in _taps(x_shape[2:], g.shape[1:3], kernel_size, stride, padding):
        grad_x[:, *source] += g[:, *out] * (tap[:, *out] == k)
    return batch_first(grad_x)


def avg_pool2d(x, kernel_size, stride, padding=(0, 0), count_include_pad=True):
    """Twin of `textbook.avg_pool2d`. x (N, C, H, W) -> y (N, C, H′, W′)."""
    x = batch_last(x)
    out_hw = _out_hw(x.shape[1:3], kernel_size, stride, padding)
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


def _out_hw(in_hw, kernel_size, stride, padding):
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(in_hw, kernel_size, stride, padding))


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
