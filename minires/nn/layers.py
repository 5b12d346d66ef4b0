"""Layers: modules that hold parameters and call one function. Names, arguments and defaults are PyTorch's."""

import math
from typing import Any

import numpy as np

from ..state import state
from ..tensor import Tensor
from . import functional as F, init
from .functional import Size, pair
from .module import Module, Parameter


def _empty(*shape: int) -> Parameter:
    return Parameter(np.empty(shape, np.float32))


def _counts(layer: str, **counts: int) -> None:
    for name, n in counts.items():
        if not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"{layer}: got {name}={n!r}; expected a whole number of at least 1")


class Identity(Module):
    """Returns its input: the identity shortcut."""

    def forward(self, x: Any) -> Any:
        return x


class Conv2d(Module):
    """Convolution layer: weight (out, in/groups, kh, kw), bias (out).

    Weights start as PyTorch's do, uniform within ±1/√fan_in. Residual networks draw them again with
    `init.kaiming_normal_`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        _counts("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        self.kernel_size = pair(kernel_size, "kernel_size", "Conv2d")
        self.stride, self.dilation = pair(stride, "stride", "Conv2d"), pair(dilation, "dilation", "Conv2d")
        self.padding = padding if padding in ("same", "valid") else pair(padding, "padding", "Conv2d")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: got groups={groups} for {in_channels} input and {out_channels} output channels; groups must "
                "divide both"
            )
        least_padding = 0 if isinstance(self.padding, str) else min(self.padding)
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1 or least_padding < 0:
            raise ValueError(
                f"Conv2d: got kernel_size {self.kernel_size}, stride {self.stride}, dilation {self.dilation}, padding "
                f"{self.padding}; padding must be at least 0, the others at least 1"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.weight = _empty(out_channels, in_channels // groups, *self.kernel_size)
        self.bias = _empty(out_channels) if bias else None
        bound = 1 / math.sqrt(init.fans(self.weight.shape)[0])
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding not in ((0, 0), 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + ("" if self.bias is not None else ", bias=False")


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share; they differ in the number of axes they accept.

    Scale weight (C) and shift bias (C); running_mean, running_var (C) and num_batches_tracked () are buffers.
    ``momentum`` is the weight of the *new* value in the running statistics; with None they are the mean over all
    batches. Switching ``track_running_stats`` off later leaves the statistics as they are, and evaluation uses them.
    """

    axes: tuple[int, ...]
    optional = ("num_batches_tracked",)
    weight: Any  # Parameter, or None without ``affine``
    bias: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__()
        _counts(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        self.register_buffer("running_mean", np.zeros(num_features, np.float32) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(num_features, np.float32) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track_running_stats else None)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self.axes:
            raise ValueError(
                f"{type(self).__name__}: got an input of shape {x.shape}; expected "
                f"{' or '.join(str(n) for n in self.axes)} dimensions with {self.num_features} channels on axis 1"
            )
        mean, var, count = self.running_mean, self.running_var, self.num_batches_tracked
        if self.training and not self.track_running_stats:
            mean = var = count = None
        use_batch, momentum = self.training or mean is None, self.momentum
        if use_batch and not self.training and x.numel() == x.size(1):
            raise ValueError(
                f"{type(self).__name__}: got one value per channel, input shape {x.shape}, in evaluation without "
                "running statistics to normalise it with; use track_running_stats=True, or a larger batch"
            )
        if momentum is None:
            momentum = 0.0 if count is None else 1 / (int(count) + 1)
        y = F.batch_norm(x, mean, var, self.weight, self.bias, use_batch, momentum, self.eps)
        if self.training and count is not None and not state.get().recomputing:
            self.num_batches_tracked += 1
        return y

    def extra_repr(self) -> str:
        text = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
        text += "" if self.affine else ", affine=False"
        return text + ("" if self.track_running_stats else ", track_running_stats=False")


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L)."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W), per channel."""

    axes = (4,)


class Linear(Module):
    """Fully connected layer: weight (out, in), bias (out); starts as PyTorch's, uniform within ±1/√in."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        _counts("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features)
        self.weight = init.uniform_(_empty(out_features, in_features), -bound, bound)
        self.bias = init.uniform_(_empty(out_features), -bound, bound) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class ReLU(Module):
    """max(x, 0). ``inplace`` is accepted and has no effect."""

    def __init__(self, inplace: bool = False):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class LeakyReLU(Module):
    """x for x > 0, else negative_slope·x. ``inplace`` is accepted and has no effect."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope}"


class Sigmoid(Module):
    """1/(1 + e⁻ˣ)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """tanh x."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x)


class Flatten(Module):
    """Merge the axes from ``start_dim`` to ``end_dim``: (N, C, H, W) -> (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_dim, self.end_dim)


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
        return f"{self.output_size}"


class Dropout(Module):
    """Zero each value with probability p in training, and scale the rest by 1/(1 − p). ``inplace`` has no effect."""

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: got p={p}; expected a probability between 0 and 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class CrossEntropyLoss(Module):
    """Softmax and negative log-likelihood of logits (N, K, …), see `functional.cross_entropy`."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(Module):
    """Negative log-likelihood of log-probabilities (N, K, …), see `functional.nll_loss`."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(Module):
    """Mean squared error."""

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, self.reduction)
