"""Normalisation: a function of each kind, and the module that calls it. Names, arguments and defaults are PyTorch's.

All compute x̂ = (x − μ)/√(σ² + ε), then γ·x̂ + β, with σ² the biased variance. They differ in what μ and σ² are taken
over: of (N, C, H, W), batch norm takes them over N, H, W; layer norm over C, H, W (or the last axes that it is given);
instance norm over H, W; group norm over H, W and the channels of a group.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..arguments import described, flag, number, sizes
from ..kernels.batchnorm.definition import Running
from ..ops import batchnorm
from ..ops.op import wide
from ..state import current
from ..tensor import Tensor, apply
from .arguments import check_counts, check_input
from .module import Module, Parameter, _array


def batch_norm(
    input: Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation of input (N, C, …) per channel; Ioffe & Szegedy 2015.

    Training uses the batch's mean and biased variance, and updates the running arrays (C), or Tensors, in place:
    running = (1 − momentum)·running + momentum·batch, with the *unbiased* variance. Evaluation uses the running arrays.
    Inside `minires.parallel(…, batch_norm="sync")`, the batch is that of all ranks together.
    """
    return _batch_norm(input, running_mean, running_var, None, weight, bias, training, momentum, eps)


def _batch_norm(
    input: Tensor,
    running_mean: Any,
    running_var: Any,
    batches: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """`batch_norm`, which also counts the batches in an array of shape (), if one is given."""
    check_input("batch_norm", input)
    training, momentum, eps = _options("batch_norm", training, momentum, eps)
    running_mean, running_var = _arrays("batch_norm", running_mean, running_var)
    if not training:
        if running_mean is None:
            raise ValueError("batch_norm: got no running statistics in evaluation; use training=True or keep them")
        if not running_mean.dtype == running_var.dtype == input.dtype:
            running_mean, running_var = running_mean.astype(input.dtype), running_var.astype(input.dtype)
        return apply(batchnorm.BatchNormEval, input, weight, bias, mean=running_mean, var=running_var, eps=eps)
    batchnorm.check_batch_norm(input.array, weight, bias, running_mean, running_var)
    running, now = None, current()
    if running_mean is not None and not now.recomputing:
        running = Running(running_mean, running_var, batches, momentum)
    if now.ranks is not None and now.ranks.batch_norm == "sync":
        return apply(batchnorm.SyncBatchNorm, input, weight, bias, eps=eps, running=running, ranks=now.ranks)
    if now.fusion is not None:
        return now.fusion.batch_norm(input, weight, bias, eps, running)
    return apply(batchnorm.BatchNorm, input, weight, bias, eps=eps, running=running)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Group normalisation of input (N, C, …), of each sample's C/num_groups neighbouring channels; Wu & He 2018.

    weight and bias (C). Raises ValueError unless num_groups divides C, and for a single value in each group.
    """
    check_input("group_norm", input)
    eps = number("group_norm", "eps", eps)
    if (
        input.ndim < 2
        or not (type(num_groups) is int or isinstance(num_groups, np.integer))
        or num_groups < 1
        or input.shape[1] % num_groups
    ):
        raise ValueError(
            f"group_norm: got num_groups={num_groups} for input {input.shape}; expected (N, C, …) with C a multiple "
            "of num_groups"
        )
    if input.numel() == num_groups:
        raise ValueError(f"group_norm: got one value per group, input shape {input.shape}; its variance is 0")
    groups = input.reshape(input.shape[0], num_groups, math.prod(input.shape[1:]) // num_groups)
    x = _standardised(groups, (2,), eps).reshape(input.shape)
    channels = input.shape[1:2]
    y = _affine("group_norm", x, weight, bias, channels, (*channels, *(1,) * (input.ndim - 2)))
    return y if y.dtype == input.dtype else y.to(input.dtype)


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalisation over the last axes, which have the shape normalized_shape; Ba, Kiros & Hinton 2016.

    weight and bias have that shape too. Raises ValueError unless the input's shape ends in it.
    """
    check_input("layer_norm", input)
    eps = number("layer_norm", "eps", eps)
    shape = sizes("layer_norm", normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: got normalized_shape {shape} for input {input.shape}; expected its last sizes")
    x = _standardised(input, tuple(range(-len(shape), 0)), eps)
    y = _affine("layer_norm", x, weight, bias, shape, shape)
    return y if y.dtype == input.dtype else y.to(input.dtype)


def instance_norm(
    input: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalisation of each channel of each sample: input (N, C, …); Ulyanov, Vedaldi & Lempitsky 2016.

    With ``use_input_stats``, the running arrays (C), where given, are updated with the mean of the samples' statistics;
    without it, they are used instead. Raises ValueError for a single value per channel.
    """
    check_input("instance_norm", input)
    use_input_stats, momentum, eps = _options("instance_norm", use_input_stats, momentum, eps)
    running_mean, running_var = _arrays("instance_norm", running_mean, running_var)
    if not use_input_stats:
        if running_mean is None:
            raise ValueError(
                "instance_norm: got use_input_stats=False and no running statistics; give both, or use True"
            )
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    values = math.prod(input.shape[2:])
    if input.ndim < 3 or (values == 1 and input.numel()):
        raise ValueError(
            f"instance_norm: got an input of shape {input.shape}; expected (N, C, …) with more than one value per "
            "channel of a sample, or its variance is 0"
        )
    per_channel = input.shape[1:2]
    if running_mean is not None and not running_mean.shape == running_var.shape == per_channel:
        raise ValueError(
            f"instance_norm: got running_mean and running_var of shapes {running_mean.shape} and {running_var.shape} "
            f"for input {input.shape}; expected {per_channel}, one value per channel"
        )
    samples = input.reshape(*input.shape[:2], values)
    x = _standardised(samples, (2,), eps).reshape(input.shape)
    y = _affine("instance_norm", x, weight, bias, per_channel, (*per_channel, *(1,) * (input.ndim - 2)))
    if running_mean is not None and input.numel() and not current().recomputing:
        wide_samples = wide(samples.array)
        mean, var = wide_samples.mean(2).mean(0), wide_samples.var(2).mean(0)
        kernels.of(running_mean).running_update(running_mean, running_var, mean, var, momentum, values)
    return y.to(input.dtype)


def _standardised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """(x − μ)/√(σ² + ε), with μ and σ² over the axes; of float16 in float32, in which squares do not overflow."""
    x = x.float() if x.dtype == np.float16 else x
    centred = x - x.mean(axes, keepdim=True)
    return centred / ((centred * centred).mean(axes, keepdim=True) + eps).sqrt()


def _affine(
    function: str, x: Tensor, weight: Any, bias: Any, expected: tuple[int, ...], stretched: tuple[int, ...]
) -> Tensor:
    """weight·x + bias, where given: of the shape expected, and reshaped for broadcasting."""
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None and (not isinstance(given, Tensor) or given.shape != expected):
            raise ValueError(
                f"{function}: got {type(given).__name__} {name} of shape {np.shape(given)} for input {x.shape}; "
                f"expected a Tensor of shape {expected}"
            )
    x = x if weight is None else x * _widened(weight, x).reshape(stretched)
    return x if bias is None else x + _widened(bias, x).reshape(stretched)


def _widened(weight: Tensor, x: Tensor) -> Tensor:
    """A float16 weight in the float32 of x; any other as it is, so that types which do not belong together meet."""
    return weight.to(x.dtype) if weight.dtype == np.float16 else weight


def _options(function: str, training: Any, momentum: Any, eps: Any) -> tuple[bool, float, float]:
    """The options of batch and instance norm, if they are what they must be."""
    return flag(function, "training", training), number(function, "momentum", momentum), number(function, "eps", eps)


def _arrays(function: str, running_mean: Any, running_var: Any) -> tuple[Any, Any]:
    """The arrays of the running statistics, which may be Tensors. Raises ValueError for one without the other."""
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{function}: got only one of running_mean and running_var; give both or neither")
    for given in (running_mean, running_var):
        if given is not None and not isinstance(getattr(given, "dtype", None), np.dtype):
            raise TypeError(f"{function}: got {described(given)} as running statistics; expected Tensors or arrays")
    return _array(running_mean), _array(running_var)


class _RunningNorm(Module):
    """Base of batch and instance norm: scale weight (C) and shift bias (C), and the running statistics as buffers.

    These are running_mean, running_var (C) and num_batches_tracked (). ``momentum`` is the weight of the *new* value.
    """

    optional = ("num_batches_tracked",)
    weight: Any  # Parameter, or None without ``affine``
    bias: Any

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
    ):
        super().__init__()
        check_counts(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine and bias else None
        self.register_buffer("running_mean", np.zeros(num_features, np.float32) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(num_features, np.float32) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Reset the running statistics, where tracked, to their start: mean 0, variance 1, no batches."""
        for name, start in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            buffer = getattr(self, name)
            if self.track_running_stats:
                _array(buffer)[...] = start

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
    """Base of BatchNorm1d and BatchNorm2d, which differ in the number of axes they accept.

    With a ``momentum`` of None, the running statistics are the mean over all batches. Switching
    ``track_running_stats`` off later leaves the statistics as they are, and evaluation uses them.
    """

    axes: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.axes:
            raise ValueError(
                f"{type(self).__name__}: got an input of shape {input.shape}; expected "
                f"{' or '.join(str(n) for n in self.axes)} dimensions with {self.num_features} channels on axis 1"
            )
        mean, var, count = self.running_mean, self.running_var, self.num_batches_tracked
        if self.training and not self.track_running_stats:
            mean = var = count = None
        use_batch, momentum = self.training or mean is None, self.momentum
        if use_batch and not self.training and input.numel() == input.size(1):
            raise ValueError(
                f"{type(self).__name__}: got one value per channel, input shape {input.shape}, in evaluation without "
                "running statistics to normalise it with; use track_running_stats=True, or a larger batch"
            )
        if momentum is None:
            momentum = 0.0 if count is None else 1 / (int(count) + 1)
        count = _array(count) if self.training else None
        return _batch_norm(input, mean, var, count, self.weight, self.bias, use_batch, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L)."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W), per channel."""

    axes = (4,)


class InstanceNorm2d(_RunningNorm):
    """Instance normalisation of (N, C, H, W), or of one sample (C, H, W): per channel and sample."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4) or input.shape[-3] != self.num_features:
            raise ValueError(
                f"InstanceNorm2d: got an input of shape {input.shape}; expected (N, C, H, W) or (C, H, W) with "
                f"C = {self.num_features}"
            )
        use_input_stats, momentum = self.training or not self.track_running_stats, self.momentum or 0.0
        samples = input if input.ndim == 4 else input.unsqueeze(0)
        y = instance_norm(
            samples, self.running_mean, self.running_var, self.weight, self.bias, use_input_stats, momentum, self.eps
        )
        return y if input.ndim == 4 else y.squeeze(0)


class GroupNorm(Module):
    """Group normalisation of (N, C, …), see `functional.group_norm`; scale weight (C) and shift bias (C)."""

    weight: Any  # Parameter, or None without ``affine``
    bias: Any

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, bias: bool = True
    ):
        super().__init__()
        check_counts("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: got {num_groups} groups of {num_channels} channels; they must divide them")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight = Parameter(np.ones(num_channels, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_channels, np.float32)) if affine and bias else None

    def forward(self, input: Tensor) -> Tensor:
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LayerNorm(Module):
    """Layer normalisation over the last axes, see `functional.layer_norm`; weight and bias have their shape."""

    weight: Any  # Parameter, or None without ``elementwise_affine``
    bias: Any

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ):
        super().__init__()
        sizes = (normalized_shape,) if isinstance(normalized_shape, int | np.integer) else tuple(normalized_shape)
        check_counts("LayerNorm", **{f"normalized_shape[{i}]": n for i, n in enumerate(sizes)})
        self.normalized_shape, self.eps, self.elementwise_affine = sizes, eps, elementwise_affine
        self.weight = Parameter(np.ones(sizes, np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(sizes, np.float32)) if elementwise_affine and bias else None

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )
