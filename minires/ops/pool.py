"""Pooling, as ops. The arithmetic is in `minires.kernels`."""

from .. import kernels
from ..kernels.layout import out_size
from .op import Op


class MaxPool2d(Op):
    """The largest value of each window; its gradient goes to the first entry that attains it.

    x (N, C, H, W) -> y (N, C, H′, W′). Padding is −∞.
    """

    def forward(self, x, kernel_size, stride, padding=(0, 0)):
        check_pool2d("max_pool2d", x, kernel_size, stride, padding)
        self.in_shape = x.shape
        self.geometry = kernel_size, stride, padding
        y, self.tap = kernels.of(x).max_pool2d(x, *self.geometry)
        return y

    def backward(self, grad_output):
        return kernels.of(grad_output).max_pool2d_backward(grad_output, self.tap, self.in_shape, *self.geometry)


class AvgPool2d(Op):
    """The mean of each window; padding counts as zeros, or not at all (``count_include_pad=False``).

    x (N, C, H, W) -> y (N, C, H′, W′).
    """

    def forward(self, x, kernel_size, stride, padding=(0, 0), count_include_pad=True):
        check_pool2d("avg_pool2d", x, kernel_size, stride, padding)
        self.in_shape = x.shape
        self.geometry = kernel_size, stride, padding, count_include_pad
        return kernels.of(x).avg_pool2d(x, *self.geometry)

    def backward(self, grad_output):
        return kernels.of(grad_output).avg_pool2d_backward(grad_output, self.in_shape, *self.geometry)


class AdaptiveAvgPool2d(Op):
    """The mean of each of H′×W′ regions that together cover the input; (1, 1) is global average pooling.

    x (N, C, H, W) -> y (N, C, H′, W′). Region i runs from ⌊i·H/H′⌋ to ⌈(i+1)·H/H′⌉.
    """

    def forward(self, x, output_size):
        if x.ndim != 4 or x.size == 0 or x.dtype.kind != "f" or min(output_size) < 1:
            raise ValueError(
                f"adaptive_avg_pool2d: got {x.dtype} input of shape {x.shape} and output size {output_size}; "
                "expected a non-empty floating-point (N, C, H, W) and sizes of at least 1"
            )
        self.in_shape = x.shape
        return kernels.of(x).adaptive_avg_pool2d(x, output_size)

    def backward(self, grad_output):
        return kernels.of(grad_output).adaptive_avg_pool2d_backward(grad_output, self.in_shape)


def check_pool2d(name, x, kernel_size, stride, padding):
    """Raise ValueError or TypeError if a pooling window does not fit its input."""
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: got an input of dtype {x.dtype}, expected floating point; convert it first")
    if x.ndim != 4 or x.size == 0:
        raise ValueError(f"{name}: got an input of shape {x.shape}, expected a non-empty (N, C, H, W)")
    if min(kernel_size) < 1 or min(stride) < 1 or min(padding) < 0:
        raise ValueError(
            f"{name}: got kernel_size {kernel_size}, stride {stride}, padding {padding}; kernel size and stride must "
            "be at least 1, padding at least 0"
        )
    for axis, size, k, s, p in zip("HW", x.shape[2:], kernel_size, stride, padding):
        if 2 * p > k:
            raise ValueError(f"{name}: got padding {p} for a window of {k} along {axis}; it may be half of it at most")
        if out_size(size, k, s, p) < 1:
            raise ValueError(
                f"{name}: the window {k} is larger than the padded input {size} + 2·{p} along {axis}; "
                "use a smaller window, or check how far the network has already shrunk the image"
            )
