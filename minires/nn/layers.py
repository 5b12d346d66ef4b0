"""Layers: modules that hold parameters and call one function. Names, arguments and defaults are PyTorch's."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops.reduce import axis_of
from ..tensor import Tensor
from . import functional as F, init
from .arguments import Size, check_counts, pair, single
from .module import Module, Parameter


def _empty(*shape: int) -> Parameter:
    return Parameter(np.empty(shape, np.float32))


class Identity(Module):
    """Returns its input: the identity shortcut."""

    def forward(self, input: Tensor) -> Tensor:
        return input


class _Conv(Module):
    """Base of Conv1d and Conv2d: weight (out, in/groups, *kernel_size) and bias (out).

    Weights start as PyTorch's do, uniform within ±1/√fan_in. Residual networks draw them again with
    `init.kaiming_normal_`.
    """

    axes: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        name = type(self).__name__
        check_counts(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        self.kernel_size = self._sizes(kernel_size, "kernel_size")
        self.stride, self.dilation = self._sizes(stride, "stride"), self._sizes(dilation, "dilation")
        self.padding = padding if padding in ("same", "valid") else self._sizes(padding, "padding")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: got groups={groups} for {in_channels} input and {out_channels} output channels; groups must "
                "divide both"
            )
        least_padding = 0 if isinstance(self.padding, str) else min(self.padding)
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1 or least_padding < 0:
            raise ValueError(
                f"{name}: got kernel_size {self.kernel_size}, stride {self.stride}, dilation {self.dilation}, padding "
                f"{self.padding}; padding must be at least 0, the others at least 1"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.weight = _empty(out_channels, in_channels // groups, *self.kernel_size)
        self.bias = _empty(out_channels) if bias else None
        bound = 1 / math.sqrt(init.fans(self.weight.shape)[0])
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def _sizes(self, value: Any, name: str) -> Any:
        function = type(self).__name__
        return pair(value, name, function) if self.axes == 2 else (single(value, name, function),)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0,) * self.axes else ""
        text += f", dilation={self.dilation}" if self.dilation != (1,) * self.axes else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + ("" if self.bias is not None else ", bias=False")


class Conv1d(_Conv):
    """Convolution of sequences (N, C, L), see `functional.conv1d`."""

    axes = 1

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """Convolution of images (N, C, H, W), see `functional.conv2d`."""

    axes = 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Linear(Module):
    """Fully connected layer: weight (out, in), bias (out); starts as PyTorch's, uniform within ±1/√in."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        check_counts("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features)
        self.weight = init.uniform_(_empty(out_features, in_features), -bound, bound)
        self.bias = init.uniform_(_empty(out_features), -bound, bound) if bias else None

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Merge the axes from ``start_dim`` to ``end_dim``: (N, C, H, W) -> (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split the axis ``dim`` into axes of these sizes, one of which may be −1: (N, C·H·W) -> (N, C, H, W)."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        dim = axis_of("unflatten", input.ndim, self.dim)
        return input.reshape(*input.shape[:dim], *self.unflattened_size, *input.shape[dim + 1 :])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class MaxPool2d(Module):
    """Largest value of each window."""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride or self.kernel_size}, padding={self.padding}"


class AvgPool2d(Module):
    """Mean of each window."""

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, count_include_pad: bool = True
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, count_include_pad=self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride or self.kernel_size}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Mean over ``output_size`` regions; AdaptiveAvgPool2d(1) is global average pooling."""

    def __init__(self, output_size: Size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """Largest value of each of ``output_size`` regions, see `functional.adaptive_max_pool2d`."""

    def __init__(self, output_size: Size, return_indices: bool = False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(x, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class Upsample(Module):
    """Resize the axes after (N, C) by repeating values, see `functional.interpolate`; only mode "nearest"."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        super().__init__()
        each = isinstance(scale_factor, tuple | list)
        self.size: Any = size
        self.scale_factor: Any = tuple(map(float, scale_factor)) if each else scale_factor and float(scale_factor)
        self.mode, self.align_corners, self.recompute_scale_factor = mode, align_corners, recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(
            x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        given = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{given}, mode={self.mode!r}"


class ZeroPad2d(Module):
    """Surround (…, H, W) with zeros: one width, or (left, right, top, bottom); negative numbers crop."""

    def __init__(self, padding: int | tuple[int, int, int, int]):
        super().__init__()
        widths = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        if len(widths) != 4 or not all(isinstance(n, int | np.integer) for n in widths):
            raise ValueError(f"ZeroPad2d: got padding={padding!r}; expected a whole number or four of them")
        self.padding = widths

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _Dropout(Module):
    """Base of Dropout and Dropout2d."""

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: got p={p}; expected a probability between 0 and 1")
        self.p, self.inplace = p, inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero each value with probability p in training, and scale the rest by 1/(1 − p). ``inplace`` has no effect."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)


class Dropout2d(_Dropout):
    """Zero each channel of (N, C, H, W) with probability p in training, and scale the rest by 1/(1 − p)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training)


class CrossEntropyLoss(Module):
    """Softmax and negative log-likelihood of logits (N, K, …) or (K), see `functional.cross_entropy`."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        self.register_buffer("weight", weight)
        self.reduction = F._reduction("CrossEntropyLoss", reduction, size_average, reduce)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        options: Any = dict(ignore_index=self.ignore_index, reduction=self.reduction)
        return F.cross_entropy(input, target, self.weight, label_smoothing=self.label_smoothing, **options)


class NLLLoss(Module):
    """Negative log-likelihood of log-probabilities (N, K, …) or (K), see `functional.nll_loss`."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__()
        self.register_buffer("weight", weight)
        self.reduction = F._reduction("NLLLoss", reduction, size_average, reduce)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(Module):
    """Mean squared error."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"):
        super().__init__()
        self.reduction = F._reduction("MSELoss", reduction, size_average, reduce)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)
