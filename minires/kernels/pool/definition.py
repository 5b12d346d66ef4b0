"""Pooling, window by window."""

import itertools
import math

import numpy as np

from ..layout import out_sizes


def windows(x_shape, kernel_size, stride, padding, dilation=(1, 1), ceil_mode=False):
    """Yield (h, w, rows, columns): an output position and the input slices its window covers, clipped to the image."""
    in_hw = x_shape[2:]
    Ho, Wo = out_sizes(in_hw, kernel_size, stride, padding, dilation, ceil_mode)
    for h, w in itertools.product(range(Ho), range(Wo)):
        starts = h * stride[0] - padding[0], w * stride[1] - padding[1]
        yield h, w, *(covered(*axis) for axis in zip(starts, kernel_size, dilation, in_hw))


def covered(start, kernel_size, dilation, size):
    """Those of the positions start, start + d, …, start + (k − 1)·d that are inside the image, as a slice."""
    inside = [i for i in range(start, start + kernel_size * dilation, dilation) if 0 <= i < size]
    return slice(inside[0], inside[-1] + 1, dilation)


def max_pool2d(x, kernel_size, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
    """y = the largest entry of each window, with padding −∞; tap = i·kw + j of the first entry that attains it.

    x (N, C, H, W) -> y (N, C, H′, W′), tap (N, C, H′, W′), counted from the window's corner, padding included.
    """
    geometry = kernel_size, stride, padding, dilation, ceil_mode
    out_shape = *x.shape[:2], *out_sizes(x.shape[2:], *geometry)
    y, tap = np.empty(out_shape, x.dtype), np.empty(out_shape, np.int64)
    for n, c in np.ndindex(x.shape[:2]):
        for h, w, rows, columns in windows(x.shape, *geometry):
            window = x[n, c, rows, columns]
            y[n, c, h, w] = window.max()
            i, j = np.unravel_index(window.argmax(), window.shape)  # inside the image, even if all entries are −∞
            i += (rows.start - (h * stride[0] - padding[0])) // dilation[0]
            j += (columns.start - (w * stride[1] - padding[1])) // dilation[1]
            tap[n, c, h, w] = i * kernel_size[1] + j
    return y, tap


def max_pool2d_backward(grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0), dilation=(1, 1)):
    """Each output's gradient goes to the entry that the output was taken from. Returns dx (N, C, H, W)."""
    grad_x = at_least_float32(np.zeros(x_shape, grad_y.dtype))
    for n, c, h, w in np.ndindex(grad_y.shape):
        i, j = divmod(int(tap[n, c, h, w]), kernel_size[1])
        row, column = h * stride[0] + i * dilation[0] - padding[0], w * stride[1] + j * dilation[1] - padding[1]
        grad_x[n, c, row, column] += grad_y[n, c, h, w]
    return grad_x.astype(grad_y.dtype)


def avg_pool2d(x, kernel_size, stride, padding=(0, 0), count_include_pad=True, ceil_mode=False, divisor_override=None):
    """y = the sum of each window, divided by the number of its entries in the padded image.

    Or by that in the image if not count_include_pad, or by divisor_override. x (N, C, H, W) -> y (N, C, H′, W′).
    """
    window, options = (kernel_size, stride, padding), (count_include_pad, divisor_override)
    y = np.empty((*x.shape[:2], *out_sizes(x.shape[2:], *window, ceil_mode=ceil_mode)), x.dtype)
    for h, w, rows, columns in windows(x.shape, *window, ceil_mode=ceil_mode):
        total = at_least_float32(x[:, :, rows, columns]).sum((2, 3))
        y[:, :, h, w] = total / divisor(x.shape, h, w, rows, columns, *window, *options)
    return y


def avg_pool2d_backward(
    grad_y, x_shape, kernel_size, stride, padding=(0, 0), count_include_pad=True, ceil_mode=False, divisor_override=None
):
    """Every entry of a window gets the same share of its output's gradient. Returns dx (N, C, H, W)."""
    window, options = (kernel_size, stride, padding), (count_include_pad, divisor_override)
    grad_x, g = (at_least_float32(a) for a in (np.zeros(x_shape, grad_y.dtype), grad_y))
    for h, w, rows, columns in windows(x_shape, *window, ceil_mode=ceil_mode):
        share = g[:, :, h, w, None, None] / divisor(x_shape, h, w, rows, columns, *window, *options)
        grad_x[:, :, rows, columns] += share
    return grad_x.astype(grad_y.dtype)


def divisor(x_shape, h, w, rows, columns, kernel_size, stride, padding, count_include_pad=True, divisor_override=None):
    """What the sum of window (h, w) is divided by. rows, columns: the part of it in the image."""
    if divisor_override is not None:
        return divisor_override
    if not count_include_pad:
        return (rows.stop - rows.start) * (columns.stop - columns.start)
    in_padded = [  # with ceil_mode, the last window may overhang the padding
        min(o * s + k, n + 2 * p) - o * s for o, n, k, s, p in zip((h, w), x_shape[2:], kernel_size, stride, padding)
    ]
    return math.prod(in_padded)


def at_least_float32(x):
    """float16 as float32, to add up in; any other array as it is."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def regions(size, parts):
    """Cut ``size`` into ``parts`` regions, from ⌊i·size/parts⌋ to ⌈(i+1)·size/parts⌉; neighbours may share entries."""
    return [slice(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]


def adaptive_avg_pool2d(x, output_size):
    """y[…, h, w] = the mean of region (h, w). x (N, C, H, W) -> y (N, C, *output_size)."""
    y = np.empty((*x.shape[:2], *output_size), x.dtype)
    for h, rows in enumerate(regions(x.shape[2], output_size[0])):
        for w, columns in enumerate(regions(x.shape[3], output_size[1])):
            y[:, :, h, w] = at_least_float32(x[:, :, rows, columns]).mean((2, 3))
    return y


def adaptive_avg_pool2d_backward(grad_y, x_shape):
    """Every entry of a region gets the same share of its output's gradient. Returns dx (N, C, H, W)."""
    grad_x, g = (at_least_float32(a) for a in (np.zeros(x_shape, grad_y.dtype), grad_y))
    for h, rows in enumerate(regions(x_shape[2], grad_y.shape[2])):
        for w, columns in enumerate(regions(x_shape[3], grad_y.shape[3])):
            region = grad_x[:, :, rows, columns]
            region += g[:, :, h, w, None, None] / math.prod(region.shape[2:])
    return grad_x.astype(grad_y.dtype)
