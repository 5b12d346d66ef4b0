"""Pooling, as ops. The arithmetic is in `minires.kernels`.

Options are passed on to the kernels only where they are not the default, so that a learner's kernel may do without.
"""

import numpy as np

from .. import kernels
from ..kernels.layout import out_size
from ..kernels.pool.definition import regions  # noqa: F401
from .op import Op


class MaxPool2d(Op):
    """The largest value of each window; its gradient goes to the first entry that attains it.

    x (N, C, H, W) -> y (N, C, H′, W′). Padding is −∞.
    """

    def forward(self, x, kernel_size, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
        check_pool2d("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode, kinds="fui")
        self.in_shape = x.shape
        unusual = (dilation, ceil_mode) if dilation != (1, 1) or ceil_mode else ()
        self.geometry = kernel_size, stride, padding, *unusual
        y, self.tap = kernels.of(x).max_pool2d(x, *self.geometry)
        return y

    def backward(self, grad_output):
        return kernels.of(grad_output).max_pool2d_backward(grad_output, self.tap, self.in_shape, *self.geometry[:4])


class AvgPool2d(Op):
    """The mean of each window; padding counts as zeros, or not at all (``count_include_pad=False``).

    x (N, C, H, W) -> y (N, C, H′, W′).
    """

    def forward(
        self,
        x,
        kernel_size,
        stride,
        padding=(0, 0),
        count_include_pad=True,
        ceil_mode=False,
        divisor_override=None,
    ):
        check_pool2d("avg_pool2d", x, kernel_size, stride, padding, (1, 1), ceil_mode)
        self.in_shape = x.shape
        unusual = (ceil_mode, divisor_override) if ceil_mode or divisor_override is not None else ()
        self.geometry = kernel_size, stride, padding, count_include_pad, *unusual
        return kernels.of(x).avg_pool2d(x, *self.geometry)

    def backward(self, grad_output):
        return kernels.of(grad_output).avg_pool2d_backward(grad_output, self.in_shape, *self.geometry)


class AdaptiveAvgPool2d(Op):
    """The mean of each of H′×W′ regions that together cover the input; (1, 1) is global average pooling.

    x (N, C, H, W) -> y (N, C, H′, W′). Region i runs from ⌊i·H/H′⌋ to ⌈(i+1)·H/H′⌉.
    """

    def forward(self, x, output_size):
        check_regions("adaptive_avg_pool2d", x, output_size)
        self.in_shape = x.shape
        return kernels.of(x).adaptive_avg_pool2d(x, output_size)

    def backward(self, grad_output):
        return kernels.of(grad_output).adaptive_avg_pool2d_backward(grad_output, self.in_shape)


def check_regions(name, x, output_size):
    """Raise ValueError if images cannot be cut into regions."""
    if x.ndim != 4 or 0 in x.shape[1:] or min(output_size) < 1:
        raise ValueError(
            f"{name}: got an input of shape {x.shape} and output size {output_size}; expected (N, C, H, W) or "
            "(C, H, W), with a channel and a pixel at least, and sizes of at least 1"
        )


def check_pool2d(name, x, kernel_size, stride, padding, dilation, ceil_mode, kinds="f"):
    """Raise ValueError or TypeError if a pooling window does not fit its input."""
    if x.dtype.kind not in kinds:
        wanted = "floating point" if kinds == "f" else "numbers, not truth values"
        raise TypeError(f"{name}: got an input of dtype {x.dtype}, expected {wanted}; convert it first")
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(
            f"{name}: got an input of shape {x.shape}; expected (N, C, H, W) or (C, H, W), with a channel and a pixel "
            "at least"
        )
    if min(*kernel_size, *stride, *dilation) < 1 or min(padding) < 0:
        raise ValueError(
            f"{name}: got kernel_size {kernel_size}, stride {stride}, padding {padding}, dilation {dilation}; padding "
            "must be at least 0, the others at least 1"
        )
    for axis, size, k, s, p, d in zip("HW", x.shape[2:], kernel_size, stride, padding, dilation):
        if 2 * p > k:
            raise ValueError(f"{name}: got padding {p} for a window of {k} along {axis}; it may be half of it at most")
        count = out_size(size, k, s, p, d, ceil_mode)
        if count < 1:
            raise ValueError(
                f"{name}: the window {k} is larger than the padded input {size} + 2·{p} along {axis}, at dilation {d}; "
                "use a smaller window, or check how far the network has already shrunk the image"
            )
        if d > 1 and p and not _all_reach_the_image(size, range(-p, min(count * s - p, 0), s), k, d):
            raise ValueError(
                f"{name}: got dilation {d} for a window of {k} and an input of {size} + 2·{p} along {axis}, so that a "
                "window holds nothing but padding; use less padding"
            )


def _all_reach_the_image(size, starts, kernel_size, dilation):
    """Whether each of the windows that begin in the padding has an entry of the image."""
    return all(any(0 <= start + i * dilation < size for i in range(kernel_size)) for start in starts)


def indices_of(tap, width, kernel_size, stride, padding, dilation):
    """h·W + w of the entry that each window was pooled from, int64, for taps (N, C, H′, W′) of images of this width."""
    device = kernels.device_of(tap).name
    starts = (kernels.to_device(np.arange(n) * s - p, device) for n, s, p in zip(tap.shape[2:], stride, padding))
    (top, left), tap = starts, tap.astype(np.int64)
    rows, columns = tap // kernel_size[1] * dilation[0], tap % kernel_size[1] * dilation[1]
    return (top[:, None] + rows) * width + left + columns
