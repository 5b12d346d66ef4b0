"""Functions that make tensors or join them. Names, arguments and defaults are PyTorch's."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import kernels
from .ops import elementwise, shape
from .random import generator
from .tensor import Tensor, _binary, _promoted, _sizes, apply

FLOAT = np.float32  # the default dtype


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, device: str = "cpu") -> Tensor:
    """A new leaf tensor holding a *copy* of ``data``; Python floats become float32, arrays keep their dtype."""
    if isinstance(data, Tensor):
        data = data.data
    given = hasattr(data, "dtype") or dtype is not None  # if not, they become float32, where float64 would lose digits
    if given and hasattr(data, "dtype") and not kernels.device_of(data).is_cpu:
        array = data.copy("K")
    else:
        array = np.array(data) if given else Tensor(data).data
    if array.dtype.kind not in "biuf":
        raise TypeError(f"tensor: got {type(data).__name__} data of dtype {array.dtype}; expected numbers")
    return Tensor(kernels.to_device(array if dtype is None else array.astype(dtype), device), requires_grad)


def zeros(*sizes: Any, dtype: Any = FLOAT, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return Tensor(np.zeros(_sizes(sizes), dtype), requires_grad)


def ones(*sizes: Any, dtype: Any = FLOAT, requires_grad: bool = False) -> Tensor:
    """A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return Tensor(np.ones(_sizes(sizes), dtype), requires_grad)


def full(size: Sequence[int], fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor in which every value is ``fill_value``."""
    return Tensor(np.full(size, fill_value, dtype or Tensor(fill_value).dtype), requires_grad)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros with the shape, dtype and device of ``x``."""
    return Tensor(np.zeros_like(x.data))


def ones_like(x: Tensor) -> Tensor:
    """Ones with the shape, dtype and device of ``x``."""
    return Tensor(np.ones_like(x.data))


def arange(*range_: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """``arange(end)``, ``arange(start, end)`` or ``arange(start, end, step)``; whole numbers give int64."""
    values = np.arange(*range_)
    default = np.int64 if values.dtype.kind == "i" else FLOAT
    return Tensor(values.astype(dtype or default), requires_grad)


def randn(*sizes: Any, dtype: Any = FLOAT, requires_grad: bool = False) -> Tensor:
    """Normal random numbers, mean 0 and variance 1, from the generator that `manual_seed` seeds."""
    return Tensor(generator().standard_normal(_sizes(sizes), dtype), requires_grad)


def rand(*sizes: Any, dtype: Any = FLOAT, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1), from the generator that `manual_seed` seeds."""
    return Tensor(generator().random(_sizes(sizes), dtype), requires_grad)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an existing dimension."""
    return apply(shape.Cat, *_promoted("cat", *tensors), axis=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of equal shape along a new dimension."""
    return apply(shape.Stack, *_promoted("stack", *tensors), axis=dim)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where ``condition`` holds, else b; numbers broadcast."""
    condition = condition if isinstance(condition, Tensor) else Tensor(condition)
    return apply(elementwise.Where, Tensor(condition.data.astype(bool)), *_promoted("where", a, b))


def maximum(a: Tensor, b: Any) -> Tensor:
    """The larger of a and b, elementwise; NaN if either is, and then the gradient goes to both."""
    return _binary(elementwise.Maximum, a, b)


def minimum(a: Tensor, b: Any) -> Tensor:
    """The smaller of a and b, elementwise; NaN if either is, and then the gradient goes to both."""
    return _binary(elementwise.Minimum, a, b)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dimensions from ``start_dim`` to ``end_dim`` into one."""
    return x.flatten(start_dim, end_dim)
