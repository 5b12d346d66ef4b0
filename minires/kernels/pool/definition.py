"""Pooling, window by window."""

import itertools
import math

import numpy as np

from ..layout import out_sizes


def windows(x_shape, kernel_size, stride, padding):
    """Yield (h, w, rows, columns): an output position and the input slices its window covers, clipped to the image."""
    H, W = x_shape[2:]
    Ho, Wo = out_sizes((H, W), kernel_size, stride, padding)
    for h, w in itertools.product(range(Ho), range(Wo)):
        top, left = h * stride[0] - padding[0], w * stride[1] - padding[1]
        yield h, w, slice(max(top, 0), min(top + kernel_size[0], H)), slice(max(left, 0), min(left + kernel_size[1], W))


def max_pool2d(x, kernel_size, stride, padding=(0, 0)):
    """y = the largest entry of each window, with padding −∞; tap = i·kw + j of the first entry that attains it.

    x (N, C, H, W) -> y (N, C, H′, W′), tap (N, C, H′, W′), counted from the window's corner, padding included.
    """
    out_shape = *x.shape[:2], *out_sizes(x.shape[2:], kernel_size, stride, padding)
    y, tap = np.empty(out_shape, x.dtype), np.empty(out_shape, np.int64)
    for n, c in np.ndindex(x.shape[:2]):
        for h, w, rows, columns in windows(x.shape, kernel_size, stride, padding):
            window = x[n, c, rows, columns]
            y[n, c, h, w] = window.max()
            i, j = np.unravel_index(window.argmax(), window.shape)  # inside the image, even if all entries are −∞
            i, j = i + rows.start - (h * stride[0] - padding[0]), j + columns.start - (w * stride[1] - padding[1])
            tap[n, c, h, w] = i * kernel_size[1] + j
    return y, tap


def max_pool2d_backward(grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0)):
    """Each output's gradient goes to the entry that the output was taken from. Returns dx (N, C, H, W)."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for n, c, h, w in np.ndindex(grad_y.shape):
        i, j = divmod(tap[n, c, h, w], kernel_size[1])
        grad_x[n, c, h * stride[0] + i - padding[0], w * stride[1] + j - padding[1]] += grad_y[n, c, h, w]
    return grad_x


def avg_pool2d(x, kernel_size, stride, padding=(0, 0), count_include_pad=True):
    """y = each window's sum divided by kh·kw, or by its number of entries in the image if not count_include_pad.

    x (N, C, H, W) -> y (N, C, H′, W′).
    """
    y = np.empty((*x.shape[:2], *out_sizes(x.shape[2:], kernel_size, stride, padding)), x.dtype)
    for h, w, rows, columns in windows(x.shape, kernel_size, stride, padding):
        window = x[:, :, rows, columns]
        count = math.prod(kernel_size) if count_include_pad else window[0, 0].size
        y[:, :, h, w] = window.sum((2, 3)) / count
    return y


def avg_pool2d_backward(grad_y, x_shape, kernel_size, stride, padding=(0, 0), count_include_pad=True):
    """Every entry of a window gets the same share of its output's gradient. Returns dx (N, C, H, W)."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for h, w, rows, columns in windows(x_shape, kernel_size, stride, padding):
        window = grad_x[:, :, rows, columns]
        count = math.prod(kernel_size) if count_include_pad else window[0, 0].size
        window += grad_y[:, :, h, w, None, None] / count
    return grad_x


def regions(size, parts):
    """Cut ``size`` into ``parts`` regions, from ⌊i·size/parts⌋ to ⌈(i+1)·size/parts⌉; neighbours may share entries."""
    return [slice(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]


def adaptive_avg_pool2d(x, output_size):
    """y[…, h, w] = the mean of region (h, w). x (N, C, H, W) -> y (N, C, *output_size)."""
    y = np.empty((*x.shape[:2], *output_size), x.dtype)
    for h, rows in enumerate(regions(x.shape[2], output_size[0])):
        for w, columns in enumerate(regions(x.shape[3], output_size[1])):
            y[:, :, h, w] = x[:, :, rows, columns].mean((2, 3))
    return y


def adaptive_avg_pool2d_backward(grad_y, x_shape):
    """Every entry of a region gets the same share of its output's gradient. Returns dx (N, C, H, W)."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for h, rows in enumerate(regions(x_shape[2], grad_y.shape[2])):
        for w, columns in enumerate(regions(x_shape[3], grad_y.shape[3])):
            region = grad_x[:, :, rows, columns]
            region += grad_y[:, :, h, w, None, None] / region[0, 0].size
    return grad_x
