"""Activations: a function of each, and the module that calls it. Names, arguments and defaults are PyTorch's.

``inplace`` is accepted everywhere and has no effect.
"""

import math
from typing import Any

import numpy as np

from ..arguments import check_tensor, number
from ..creation import where
from ..ops import activation
from ..tensor import Tensor, apply
from .arguments import check_counts, check_input
from .module import Module, Parameter


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), with derivative 0 at 0 and 1 at NaN. ``inplace`` is accepted and has no effect."""
    check_input("relu", input, whole=True)
    return input.relu()


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x for x > 0, else negative_slope·x."""
    check_input("leaky_relu", input)
    return apply(activation.LeakyReLU, input, slope=number("leaky_relu", "negative_slope", negative_slope))


def sigmoid(input: Tensor) -> Tensor:
    """1/(1 + e⁻ˣ)."""
    check_tensor("sigmoid", input)
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """tanh x."""
    check_tensor("tanh", input)
    return input.tanh()


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6), with derivative 0 at 0 and at 6, and 1 at NaN; Krizhevsky 2010."""
    check_input("relu6", input, whole=True)
    return where((input <= 0) | (input >= 6), input.detach().clamp(0, 6), input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x for x > 0, else α(eˣ − 1); Clevert, Unterthiner & Hochreiter 2016 (arXiv 1511.07289)."""
    check_input("elu", input)
    return apply(activation.ELU, input, alpha=number("elu", "alpha", alpha))


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), where Φ is the normal distribution function; Hendrycks & Gimpel 2016 (arXiv 1606.08415).

    ``approximate="tanh"`` replaces Φ(x) by (1 + tanh(√(2/π)·(x + 0.044715·x³)))/2, which is within 5e-4 of it.
    """
    check_input("gelu", input)
    if not isinstance(approximate, str):
        raise TypeError(f'gelu: got approximate={approximate!r:.60}; expected "none" or "tanh"')
    if approximate == "none":
        return apply(activation.GELU, input)
    if approximate != "tanh":
        raise ValueError(f'gelu: got approximate={approximate!r}; expected "none" or "tanh"')
    x = input.float() if input.dtype == np.float16 else input  # in which x³ would be infinite
    y = x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh()) / 2
    return y if x is input else y.to(input.dtype)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·σ(x), also called swish; Ramachandran, Zoph & Le 2017 (arXiv 1710.05941)."""
    check_input("silu", input)
    return input * input.sigmoid()


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·relu6(x + 3)/6, a swish of straight lines; Howard et al. 2019 (arXiv 1905.02244), section 5.2."""
    check_input("hardswish", input)
    return apply(activation.Hardswish, input)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x for x > 0, else a·x: input (N, C, …), weight (C) or (1); He et al. 2015 (arXiv 1502.01852)."""
    check_input("prelu", input)
    channels = input.shape[1] if input.ndim > 1 else 1
    if not isinstance(weight, Tensor) or weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ValueError(
            f"prelu: got {type(weight).__name__} weight of shape {np.shape(weight)} for input {input.shape}; expected "
            f"a Tensor of 1 slope for all channels, or of {channels}, one for each"
        )
    slopes = weight.reshape((-1, *(1,) * (input.ndim - 2)) if input.ndim > 1 else (1,) * input.ndim)
    return where(input > 0, input, slopes * where(input > 0, 0.0, input))  # not slopes · input: 0 · ∞ is NaN


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """eˣ / Σeˣ along ``dim``, which must be given; in another ``dtype``, if it is. ``_stacklevel`` has no effect."""
    check_input("softmax", input, whole=dtype is not None)
    return input.softmax(dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """x − log Σeˣ along ``dim``, without overflow; arguments as `softmax`."""
    check_input("log_softmax", input, whole=dtype is not None)
    return input.log_softmax(dim, dtype)


class _InPlace(Module):
    """Base of the activations that take ``inplace``."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """max(x, 0)."""

    def forward(self, input: Tensor) -> Tensor:
        return relu(input)


class ReLU6(_InPlace):
    """min(max(x, 0), 6)."""

    def forward(self, input: Tensor) -> Tensor:
        return relu6(input)


class LeakyReLU(_InPlace):
    """x for x > 0, else negative_slope·x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class Sigmoid(Module):
    """1/(1 + e⁻ˣ)."""

    def forward(self, input: Tensor) -> Tensor:
        return sigmoid(input)


class Tanh(Module):
    """tanh x."""

    def forward(self, input: Tensor) -> Tensor:
        return tanh(input)


class ELU(_InPlace):
    """x for x > 0, else α(eˣ − 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class GELU(Module):
    """x·Φ(x), see `functional.gelu`."""

    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(_InPlace):
    """x·σ(x), also called swish."""

    def forward(self, input: Tensor) -> Tensor:
        return silu(input)


class Hardswish(_InPlace):
    """x·relu6(x + 3)/6."""

    def forward(self, input: Tensor) -> Tensor:
        return hardswish(input)

    def extra_repr(self) -> str:
        return ""  # as PyTorch's


class PReLU(Module):
    """x for x > 0, else a·x with learned slopes: weight (num_parameters), one for all channels or one for each."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25):
        super().__init__()
        check_counts("PReLU", num_parameters=num_parameters)
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, input: Tensor) -> Tensor:
        return prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class _AlongDim(Module):
    """Base of Softmax and LogSoftmax. A dim of None is refused when they are called."""

    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim: Any = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """eˣ / Σeˣ along ``dim``."""

    def forward(self, input: Tensor) -> Tensor:
        return softmax(input, self.dim)


class LogSoftmax(_AlongDim):
    """x − log Σeˣ along ``dim``."""

    def forward(self, input: Tensor) -> Tensor:
        return log_softmax(input, self.dim)
