"""Initialisation: fill a parameter in place with random numbers of the right size. Names as in ``torch.nn.init``.

For a weight (out, in, …), fan_in = in·(kernel size) counts the inputs of one output, fan_out = out·(kernel size).
"""

import math
from typing import Any

import numpy as np

from .. import kernels
from ..arguments import one_of
from ..missing import NotOfferedError, not_offered
from ..random import generator
from ..tensor import Tensor
from ..writes import wrote


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape. Raises ValueError for fewer than two dimensions."""
    if len(shape) < 2:
        raise ValueError(f"fans: got a weight of shape {shape}; fan-in and fan-out need at least (out, in)")
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights must be larger to make up for what the nonlinearity removes.

    ``param`` is the negative slope of "leaky_relu", 0.01 if not given.
    """
    slope = 0.01 if param is None else param
    gains = {
        "linear": 1.0,
        "conv2d": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
    }
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: got {nonlinearity!r}; {one_of(nonlinearity, gains)}")
    return gains[nonlinearity]


def normal_(t: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with normal random numbers of this mean and standard deviation."""
    return _fill(t, mean + std * generator().standard_normal(t.shape, np.float64))


def uniform_(t: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with uniform random numbers in [a, b)."""
    return _fill(t, a + (b - a) * generator().random(t.shape, np.float64))


def constant_(t: Tensor, value: float) -> Tensor:
    """Fill with one value."""
    t.array[...] = value
    wrote(t.array)
    return t


def zeros_(t: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(t, 0.0)


def ones_(t: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(t, 1.0)


def kaiming_normal_(t: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Normal with variance gain²/fan, which keeps the variance through ReLU layers. He et al. 2015, arXiv 1502.01852.

    ``a`` is the negative slope if the nonlinearity is "leaky_relu"; its default, 0, makes that a ReLU.
    """
    return normal_(t, std=calculate_gain(nonlinearity, a) / math.sqrt(_fan("kaiming_normal_", t, mode)))


def kaiming_uniform_(t: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform with variance gain²/fan, arguments as for `kaiming_normal_`. He et al. 2015, arXiv 1502.01852."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan("kaiming_uniform_", t, mode))
    return uniform_(t, -bound, bound)


def xavier_normal_(t: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with variance 2·gain²/(fan_in + fan_out). Glorot & Bengio 2010."""
    return normal_(t, std=gain * math.sqrt(2 / sum(fans(t.shape))))


def xavier_uniform_(t: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with variance 2·gain²/(fan_in + fan_out). Glorot & Bengio 2010."""
    bound = gain * math.sqrt(6 / sum(fans(t.shape)))
    return uniform_(t, -bound, bound)


def trunc_normal_(t: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Normal, with what lies outside [a, b] drawn again."""
    if not mean - 5 * std < b or not mean + 5 * std > a or a >= b:
        raise ValueError(f"trunc_normal_: got a={a}, b={b} for mean={mean}, std={std}; nothing would be drawn there")
    values = mean + std * generator().standard_normal(t.shape, np.float64)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = mean + std * generator().standard_normal(int(outside.sum()), np.float64)
    return _fill(t, values)


def orthogonal_(t: Tensor, gain: float = 1.0) -> Tensor:
    """A random matrix with orthogonal rows or columns, whichever are fewer; of (out, in, …), out rows.

    Saxe et al. 2013, arXiv 1312.6120.
    """
    fans(t.shape)  # raises for fewer than two dimensions
    rows, columns = len(t), t.numel() // len(t)
    q, r = np.linalg.qr(generator().standard_normal((max(rows, columns), min(rows, columns)), np.float64))
    q = q * np.sign(np.diag(r))  # so that every such matrix is equally likely
    return _fill(t, gain * (q if rows >= columns else q.T).reshape(t.shape))


def _fill(t: Tensor, values: np.ndarray) -> Tensor:
    t.array[...] = kernels.to_device(values, t.device)
    wrote(t.array)
    return t


def _fan(function: str, t: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'{function}: got mode={mode!r}; expected "fan_in" or "fan_out"')
    return fans(t.shape)[mode == "fan_out"]


def __getattr__(name: str) -> Any:
    if f"{name}_" in globals():
        raise NotOfferedError(f"init.{name}: it fills in place, and is called init.{name}_")
    raise not_offered("minires.nn.init", name)
