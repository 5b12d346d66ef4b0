"""Convolution in two dimensions, as an op: checks, forward, backward. The arithmetic is in `minires.kernels`.

    y[n, o, h, w] = b[o] + Σ_{c, i, j}  w[o, c, i, j] · x[n, c, h·s + i·d − p, w·s + j·d − p]

(stride s, padding p, dilation d; x is 0 outside). Deep learning's convolution does not flip the kernel.
Both gradients are convolutions again: see `minires.kernels.textbook.conv2d_backward`.
"""

import numpy as np

from .. import kernels
from ..kernels.layout import out_size, out_sizes
from .op import Op


class Conv2d(Op):
    """x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) or None -> y (N, O, H′, W′)."""

    kinds = "f"

    def forward(self, x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        check_conv2d(x, weight, bias, stride, padding, dilation, groups)
        self.geometry = stride, padding, dilation, int(groups)
        self.x, self.weight = x, weight
        if not len(x):
            sides = out_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
            return np.zeros_like(x, shape=(0, len(weight), *sides))
        return self.convolved(x, weight, bias)

    def convolved(self, x, weight, bias):
        """y, by the kernel of this device."""
        return kernels.of(x).conv2d(x, weight, bias, *self.geometry)

    def backward(self, grad_output):
        if not len(grad_output):
            return _sums_of_nothing(self.x, self.weight, grad_output)
        return kernels.of(grad_output).conv2d_backward(
            grad_output, self.x, self.weight, *self.geometry, needs=tuple(self.needs[:3])
        )


class ConvTranspose2d(Op):
    """The convolution that takes y to the gradient of its x, of `Conv2d` with the same weight.

    x (N, C, H, W), weight (C, O/groups, kh, kw), bias (O) or None -> y (N, O, H′, W′). Its own gradient is a `Conv2d`.
    """

    kinds = "f"

    def forward(
        self,
        x,
        weight,
        bias=None,
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
        output_padding=(0, 0),
    ):
        y_shape = check_conv_transpose2d(x, weight, bias, stride, padding, dilation, groups, output_padding)
        self.geometry, self.output_padding = (stride, padding, dilation, int(groups)), output_padding
        self.x, self.weight = x, weight
        y = np.zeros_like(x, shape=y_shape)
        if len(x):
            y = kernels.of(x).conv2d_backward(x, y, weight, *self.geometry, needs=(True, False, False))[0]
        return y if bias is None else y + bias[:, None, None]

    def backward(self, grad_output):
        if not len(grad_output):
            return _sums_of_nothing(self.x, self.weight, grad_output)
        of, grads = kernels.of(grad_output), [None, None, None]
        if self.needs[0]:
            dx = of.conv2d(grad_output, self.weight, None, *self.geometry)
            grads[0] = dx[:, :, : self.x.shape[2], : self.x.shape[3]]  # output_padding may make room for one more
        if self.needs[1]:
            grads[1] = of.conv2d_backward(self.x, grad_output, self.weight, *self.geometry, needs=(False, True, False))[
                1
            ]
        if self.needs[2]:
            grads[2] = of.reduce_sum(grad_output, (0, 2, 3))
        return tuple(grads)


def _sums_of_nothing(x, weight, grad_y):
    """The gradients of x, weight and bias for an empty batch."""
    return np.zeros_like(x), np.zeros_like(weight), np.zeros_like(weight, shape=grad_y.shape[1])


def check_conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Raise ValueError or TypeError, before anything is computed, if the arguments do not go together."""
    if x.dtype.kind != "f":
        raise TypeError(
            f"conv2d: got an input of dtype {x.dtype}, expected floating point; convert the images first, "
            "for example x = images.to(float32) / 255"
        )
    if x.ndim != 4:
        raise ValueError(f"conv2d: got an input of shape {x.shape}; expected (N, C, H, W) or (C, H, W)")
    if weight.ndim != 4:
        raise ValueError(f"conv2d: got a weight of shape {weight.shape}, expected (out, in/groups, kh, kw)")
    (_, channels, height, width), (out, in_per_group, kh, kw) = x.shape, weight.shape
    if 0 in (channels, *weight.shape):
        raise ValueError(
            f"conv2d: got input {x.shape} and weight {weight.shape}; it needs at least one channel each, and one tap"
        )
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ValueError(
            f"conv2d: got stride {stride}, padding {padding}, dilation {dilation}; "
            "stride and dilation must be at least 1, padding at least 0"
        )
    if not isinstance(groups, int | np.integer) or groups < 1 or channels % groups or out % groups:
        raise ValueError(
            f"conv2d: got groups={groups} for {channels} input and {out} output channels; groups must divide both"
        )
    if channels != in_per_group * groups:
        raise ValueError(
            f"conv2d: got input {x.shape} with {channels} channels, but weight {weight.shape} with groups={groups} "
            f"expects {in_per_group * groups}; the layer's in_channels must equal the channels of its input"
        )
    if bias is not None and bias.shape != (out,):
        raise ValueError(f"conv2d: got bias of shape {bias.shape} for weight {weight.shape}; expected ({out},)")
    for axis, size, k, s, p, d in zip("HW", (height, width), (kh, kw), stride, padding, dilation):
        if out_size(size, k, s, p, d) < 1:
            raise ValueError(
                f"conv2d: the kernel is larger than the padded input along {axis}: kernel {k} with dilation {d} covers "
                f"{d * (k - 1) + 1}, the input {size} + 2·{p} has {size + 2 * p}; use a smaller kernel or more padding"
            )


def check_conv_transpose2d(x, weight, bias, stride, padding, dilation, groups, output_padding):
    """The shape of y. Raises ValueError if the arguments do not go together."""
    name = "conv_transpose2d"
    if x.ndim != 4 or weight.ndim != 4 or 0 in (*x.shape[1:], *weight.shape):
        raise ValueError(
            f"{name}: got input {x.shape} and weight {weight.shape}; expected (N, C, H, W) or (C, H, W) and "
            "(C, out/groups, kh, kw), none of them empty"
        )
    if min(*stride, *dilation) < 1 or min(*padding, *output_padding) < 0:
        raise ValueError(
            f"{name}: got stride {stride}, padding {padding}, dilation {dilation}, output_padding {output_padding}; "
            "stride and dilation must be at least 1, padding at least 0"
        )
    if x.shape[1] != len(weight) or not isinstance(groups, int | np.integer) or groups < 1 or len(weight) % groups:
        raise ValueError(
            f"{name}: got input {x.shape} with {x.shape[1]} channels, weight {weight.shape} and groups={groups}; the "
            "first axis of the weight must have as many channels as the input, and groups must divide them"
        )
    out = weight.shape[1] * groups
    if bias is not None and bias.shape != (out,):
        raise ValueError(f"{name}: got bias of shape {bias.shape} for weight {weight.shape}; expected ({out},)")
    if any(extra >= max(s, d) for extra, s, d in zip(output_padding, stride, dilation)):
        raise ValueError(
            f"{name}: got output_padding {output_padding} for stride {stride} and dilation {dilation}; it must be "
            "smaller than one of them"
        )
    sizes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, output_padding)
    sides = [(n - 1) * s - 2 * p + d * (k - 1) + 1 + extra for n, k, s, p, d, extra in sizes]
    if min(sides) < 1:
        raise ValueError(f"{name}: got padding {padding}, which leaves an output of {sides}; use less padding")
    return len(x), out, *sides
