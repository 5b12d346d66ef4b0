"""Convolution in two dimensions, as an op: checks, forward, backward. The arithmetic is in `minires.kernels`.

    y[n, o, h, w] = b[o] + Σ_{c, i, j}  w[o, c, i, j] · x[n, c, h·s + i·d − p, w·s + j·d − p]

(stride s, padding p, dilation d; x is 0 outside). Deep learning's convolution does not flip the kernel.
Both gradients are convolutions again: see `minires.kernels.textbook.conv2d_backward`.
"""

from .. import kernels
from ..kernels.layout import out_size
from .op import Op


class Conv2d(Op):
    """x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) or None -> y (N, O, H′, W′)."""

    kinds = "f"

    def forward(self, x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        check_conv2d(x, weight, bias, stride, padding, dilation, groups)
        self.geometry = stride, padding, dilation, groups
        self.x, self.weight = x, weight
        return kernels.of(x).conv2d(x, weight, bias, *self.geometry)

    def backward(self, grad_output):
        return kernels.of(grad_output).conv2d_backward(
            grad_output, self.x, self.weight, *self.geometry, needs=tuple(self.needs[:3])
        )


def check_conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Raise ValueError or TypeError, before anything is computed, if the arguments do not go together."""
    if x.dtype.kind != "f":
        raise TypeError(
            f"conv2d: got an input of dtype {x.dtype}, expected floating point; convert the images first, "
            "for example x = images.to(float32) / 255"
        )
    if x.ndim != 4:
        raise ValueError(f"conv2d: got an input of shape {x.shape}, expected (N, C, H, W); add a batch axis: x[None]")
    if weight.ndim != 4:
        raise ValueError(f"conv2d: got a weight of shape {weight.shape}, expected (out, in/groups, kh, kw)")
    (batch, channels, height, width), (out, in_per_group, kh, kw) = x.shape, weight.shape
    if 0 in (channels, out, in_per_group):
        raise ValueError(f"conv2d: got input {x.shape} and weight {weight.shape}; it needs at least one channel each")
    if batch == 0:
        raise ValueError(f"conv2d: got an empty batch, shape {x.shape}; it needs at least one image")
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ValueError(
            f"conv2d: got stride {stride}, padding {padding}, dilation {dilation}; "
            "stride and dilation must be at least 1, padding at least 0"
        )
    if groups < 1 or channels % groups or out % groups:
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
