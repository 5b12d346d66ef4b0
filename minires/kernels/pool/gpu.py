"""Pooling: launches for pool.cu; the definitions are in `definition`."""

import math

import numpy as np

from ..launch import BLOCK, batch_last, blocks, c_name
from ..layout import batch_first, out_sizes
from ..load import TYPES, Source

POOL = Source(
    "pool/pool.cu",
    [
        *((f"max_pool2d{way}", t, tap) for way in ("", "_backward") for tap in ("unsigned char", "int") for t in TYPES),
        *((f"avg_pool2d{way}", t) for way in ("", "_backward") for t in TYPES),
        *((f"adaptive_avg_pool2d{way}", t) for way in ("", "_backward") for t in TYPES),
    ],
)


def max_pool2d(on, x, kernel_size, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
    """`definition.max_pool2d`. x (N, C, H, W) -> y (N, C, H′, W′), tap (N, C, H′, W′), uint8 or int32."""
    x = batch_last(x)
    y = on.empty(_out_shape(x, kernel_size, stride, padding, dilation, ceil_mode), x.dtype)
    taps = on.empty(y.shape, np.uint8 if math.prod(kernel_size) <= 256 else np.int32)
    window = *kernel_size, *stride, *padding, *dilation
    _launch(on, "max_pool2d", x.dtype, (x, y, taps), y.size, x.shape, y.shape, window, taps.dtype)
    return batch_first(y), batch_first(taps)


def max_pool2d_backward(on, grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0), dilation=(1, 1)):
    """`definition.max_pool2d_backward`. Returns dx (N, C, H, W)."""
    g, taps = batch_last(grad_y), batch_last(tap)
    grad_x = on.empty((*x_shape[1:], x_shape[0]), g.dtype)
    window = *kernel_size, *stride, *padding, *dilation
    arrays = g, taps, grad_x
    _launch(on, "max_pool2d_backward", g.dtype, arrays, grad_x.size, grad_x.shape, g.shape, window, taps.dtype)
    return batch_first(grad_x)


def avg_pool2d(
    on, x, kernel_size, stride, padding=(0, 0), count_include_pad=True, ceil_mode=False, divisor_override=None
):
    """`definition.avg_pool2d`. x (N, C, H, W) -> y (N, C, H′, W′)."""
    x = batch_last(x)
    y = on.empty(_out_shape(x, kernel_size, stride, padding, (1, 1), ceil_mode), x.dtype)
    window = *kernel_size, *stride, *padding, bool(count_include_pad), int(divisor_override or 0)
    _launch(on, "avg_pool2d", x.dtype, (x, y), y.size, x.shape, y.shape, window)
    return batch_first(y)


def avg_pool2d_backward(
    on, grad_y, x_shape, kernel_size, stride, padding=(0, 0), count_include_pad=True, ceil_mode=False,
    divisor_override=None,
):  # fmt: skip
    """`definition.avg_pool2d_backward`. Returns dx (N, C, H, W)."""
    g = batch_last(grad_y)
    grad_x = on.empty((*x_shape[1:], x_shape[0]), g.dtype)
    window = *kernel_size, *stride, *padding, bool(count_include_pad), int(divisor_override or 0)
    _launch(on, "avg_pool2d_backward", g.dtype, (g, grad_x), grad_x.size, grad_x.shape, g.shape, window)
    return batch_first(grad_x)


def adaptive_avg_pool2d(on, x, output_size):
    """`definition.adaptive_avg_pool2d`. x (N, C, H, W) -> y (N, C, *output_size)."""
    x = batch_last(x)
    y = on.empty((len(x), *output_size, x.shape[3]), x.dtype)
    _launch(on, "adaptive_avg_pool2d", x.dtype, (x, y), y.size, x.shape, y.shape, ())
    return batch_first(y)


def adaptive_avg_pool2d_backward(on, grad_y, x_shape):
    """`definition.adaptive_avg_pool2d_backward`. Returns dx (N, C, H, W)."""
    g = batch_last(grad_y)
    grad_x = on.empty((*x_shape[1:], x_shape[0]), g.dtype)
    _launch(on, "adaptive_avg_pool2d_backward", g.dtype, (g, grad_x), grad_x.size, grad_x.shape, g.shape, ())
    return batch_first(grad_x)


def _launch(on, kernel, dtype, arrays, size, x_shape, y_shape, window, *more_types):
    """Launch one thread for each of ``size`` results. x_shape (C, H, W, N), y_shape (C, H′, W′, N)."""
    template = tuple(c_name(t) for t in (dtype, *more_types))
    numbers = size, x_shape[3], *x_shape[1:3], *y_shape[1:3], *window
    on.launch(POOL, kernel, template, blocks(size), BLOCK, *arrays, numbers=numbers)


def _out_shape(x, *window):
    return len(x), *out_sizes(x.shape[1:3], *window), x.shape[3]
