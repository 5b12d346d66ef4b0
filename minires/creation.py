"""Functions that make tensors or join them. Names, arguments and defaults are PyTorch's."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import kernels
from .ops import elementwise, shape
from .random import generator
from .tensor import Tensor, _binary, _plain, _plain_array, _promoted, _sizes, apply

FLOAT = np.float32  # the default dtype


def device(name: str) -> str:
    """The name that tensors have for a device, to compare with ``x.device``: "cpu"; "gpu", also for "cuda".

    Raises ValueError for an unknown name; whether there is a GPU is another question: `minires.cuda.is_available`.
    """
    if not kernels.is_device(name):
        raise ValueError(f"device: got {name!r}; minires computes on {', '.join(kernels.DEVICES)}")
    return name if name in kernels.DEVICES else "gpu"


def _placed(array: Any, device: str | None, requires_grad: bool) -> Tensor:
    """The array as a leaf tensor on a device, None being the CPU."""
    return Tensor(kernels.to_device(array, device or "cpu"), requires_grad)


def tensor(data: Any, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new leaf tensor holding a *copy* of ``data``; Python floats become float32, arrays keep their dtype."""
    if isinstance(data, Tensor):
        data = data.array
    given = hasattr(data, "dtype") or dtype is not None  # else Python floats become float32, too few digits for float64
    if given and hasattr(data, "dtype") and not kernels.device_of(data).is_cpu:
        array = data.copy("K")
    else:
        array = np.array(data) if given else _plain_array(data)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"tensor: got {type(data).__name__} data of dtype {array.dtype}; expected numbers")
    return _placed(array if dtype is None else array.astype(dtype), device, requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares its memory with the array."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: got a {type(array).__name__}, expected a NumPy array; tensor(x) takes lists")
    return Tensor(array)


def zeros(*sizes: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _placed(np.zeros(_sizes(sizes), dtype or FLOAT), device, requires_grad)


def ones(*sizes: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return _placed(np.ones(_sizes(sizes), dtype or FLOAT), device, requires_grad)


def full(
    size: Sequence[int], fill_value: Any, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor in which every value is ``fill_value``."""
    return _placed(np.full(size, fill_value, dtype or Tensor(fill_value).dtype), device, requires_grad)


def zeros_like(input: Tensor, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape of ``input``, and its dtype and device if none is given."""
    return _placed(np.zeros_like(input.array, dtype), device or input.device, requires_grad)


def ones_like(input: Tensor, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape of ``input``, and its dtype and device if none is given."""
    return _placed(np.ones_like(input.array, dtype), device or input.device, requires_grad)


def arange(
    start: Any = None,
    end: Any = None,
    step: Any = 1,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """``arange(end)``, ``arange(start, end)`` or ``arange(start, end, step)``: start + i·step, up to but without end.

    Whole numbers give int64. A whole ``dtype`` rounds the three towards 0.
    Raises ValueError for a step of 0, one that leads away from the end, and an infinite start or end.
    """
    start, end = (0, start) if end is None else (0 if start is None else start, end)
    given = [x.item() if isinstance(x, Tensor) else _plain(x) for x in (start, end, step)]
    if not all(isinstance(x, int | float) for x in given):
        raise TypeError(f"arange: got start={start!r}, end={end!r}, step={step!r}; expected numbers")
    dtype = np.dtype(dtype or (np.int64 if all(isinstance(x, int) for x in given) else FLOAT))
    if not all(map(math.isfinite, given)):
        raise ValueError(f"arange: got start={start}, end={end}, step={step}; expected finite numbers")
    first, last, by = given if dtype.kind == "f" else map(int, given)
    if by == 0 or (last - first) * by < 0:
        raise ValueError(f"arange: got step={step} from {start} to {end}; expected one that leads there")
    if dtype != np.int64:  # PyTorch counts with the rounded numbers only there
        count = math.ceil((given[1] - given[0]) / given[2])
    else:
        count = -((first - last) // by)
    return _placed((first + by * np.arange(count)).astype(dtype), device, requires_grad)


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """``steps`` evenly spaced numbers from ``start`` to ``end``, both included."""
    if not isinstance(steps, int | np.integer) or steps < 0:
        raise ValueError(f"linspace: got steps={steps!r}; expected a whole number of at least 0")
    dtype = np.dtype(dtype or FLOAT)
    start, end = (start, end) if dtype.kind == "f" else (int(start), int(end))
    return _placed(np.linspace(start, end, steps).astype(dtype), device, requires_grad)


def randn(*sizes: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Normal random numbers, mean 0 and variance 1, from the generator that `manual_seed` seeds."""
    return _placed(generator().standard_normal(_sizes(sizes), dtype or FLOAT), device, requires_grad)


def rand(*sizes: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in [0, 1), from the generator that `manual_seed` seeds."""
    return _placed(generator().random(_sizes(sizes), dtype or FLOAT), device, requires_grad)


def randint(
    low: int = 0,
    high: Any = None,
    size: Any = None,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """``randint(high, size)`` or ``randint(low, high, size)``: random whole numbers from low, or 0, to high − 1."""
    low, high, size = (0, low, high) if size is None else (low, high, size)
    if size is None or not low < high:
        raise ValueError(f"randint: got low={low}, high={high}, size={size}; expected low < high, and a size")
    return _placed(generator().integers(low, high, size).astype(dtype or np.int64), device, requires_grad)


def randperm(n: int, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """The numbers from 0 to n − 1 in random order."""
    return _placed(generator().permutation(n).astype(dtype or np.int64), device, requires_grad)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an existing dimension."""
    return apply(shape.Cat, *_promoted("cat", *_all_tensors("cat", tensors)), axis=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of equal shape along a new dimension."""
    return apply(shape.Stack, *_promoted("stack", *_all_tensors("stack", tensors)), axis=dim)


def _all_tensors(function: str, tensors: Any) -> Sequence[Any]:
    """Raise TypeError unless these are tensors or arrays, in a list or tuple."""
    if not isinstance(tensors, list | tuple):
        raise TypeError(f"{function}: got a {type(tensors).__name__}; expected a list of tensors")
    for i, x in enumerate(tensors):
        if not hasattr(x, "dtype"):
            raise TypeError(f"{function}: got a {type(x).__name__} as tensor {i}; expected a list of tensors")
    return tensors


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where ``condition`` holds, else b; numbers broadcast."""
    condition = condition if isinstance(condition, Tensor) else Tensor(condition)
    return apply(elementwise.Where, Tensor(condition.array.astype(bool)), *_promoted("where", a, b))


def maximum(a: Tensor, b: Any) -> Tensor:
    """The larger of a and b, elementwise; NaN if either is, and then the gradient goes to both."""
    return _binary(elementwise.Maximum, a, b)


def minimum(a: Tensor, b: Any) -> Tensor:
    """The smaller of a and b, elementwise; NaN if either is, and then the gradient goes to both."""
    return _binary(elementwise.Minimum, a, b)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dimensions from ``start_dim`` to ``end_dim`` into one."""
    return x.flatten(start_dim, end_dim)
