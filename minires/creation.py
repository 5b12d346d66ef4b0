"""Functions that make tensors or join them. Names, arguments and defaults are PyTorch's."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import kernels
from .arguments import check_no_foreign, described, new_sizes, number, whole
from .dtypes import check_holds, check_real, real_dtype
from .ops import elementwise, shape
from .random import generator
from .tensor import Tensor, _both, _plain, _plain_array, _promoted, apply, check_broadcast, check_fits
from .tensor_names import checked_format

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


def _dtype(function: str, dtype: Any) -> np.dtype:
    """The dtype given, or float32."""
    return np.dtype(FLOAT) if dtype is None else real_dtype(function, dtype)


def tensor(data: Any, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new leaf tensor holding a *copy* of ``data``; Python floats become float32, arrays keep dtype and device."""
    if isinstance(data, Tensor):
        data = data.array
    dtype = dtype if dtype is None else real_dtype("tensor", dtype)
    given = hasattr(data, "dtype") or dtype is not None  # else Python floats become float32, too few digits for float64
    if given and hasattr(data, "dtype") and not kernels.device_of(data, "tensor").is_cpu:
        array = data.copy("K")
    else:
        try:
            array = np.array(data) if given else _plain_array(data)
        except ValueError as error:
            raise ValueError(f"tensor: got {data!r:.60}, of which NumPy makes no array of numbers: {error}") from None
    check_real("tensor", data, array)
    if not array.dtype.isnative:  # as in files of MNIST
        array = array.astype(array.dtype.newbyteorder("="))
    if dtype is not None and dtype.kind in "iu" and not hasattr(data, "dtype") and array.size:
        for extreme in (array.min(), array.max()):
            check_holds("tensor", extreme.item(), dtype)
    array = array if dtype is None else array.astype(dtype)
    return _placed(array, device or kernels.device_of(array, "tensor").name, requires_grad)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares its memory with the array."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: got {described(array)}, expected a NumPy array; tensor(x) takes lists")
    check_real("from_numpy", array, array)
    if not array.dtype.isnative:
        raise ValueError(f"from_numpy: got {array.dtype}, the other byte order; tensor(x) makes a copy in this one")
    return Tensor(array)


def as_tensor(data: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """``data`` as a tensor: a tensor itself, or one that shares an array's memory, if dtype and device allow."""
    shared = hasattr(data, "dtype") and getattr(data.dtype, "isnative", False)
    made = data if isinstance(data, Tensor) else Tensor(data) if shared else tensor(data, dtype)
    check_real("as_tensor", data, made.array)
    made = made if dtype is None else made.to(_dtype("as_tensor", dtype))
    return made if device is None else made.to(device)


def zeros(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _placed(
        np.zeros(new_sizes("zeros", sizes if size is None else size), _dtype("zeros", dtype)), device, requires_grad
    )


def ones(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return _placed(
        np.ones(new_sizes("ones", sizes if size is None else size), _dtype("ones", dtype)), device, requires_grad
    )


def empty(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor to be written: its values are 0, for what lies in memory would change from run to run."""
    return zeros(
        size=new_sizes("empty", sizes if size is None else size),
        dtype=_dtype("empty", dtype),
        device=device,
        requires_grad=requires_grad,
    )


def full(
    size: Sequence[int], fill_value: Any, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor in which every value is ``fill_value``."""
    value = number("full", "fill_value", fill_value)
    dtype = Tensor(value).dtype if dtype is None else _dtype("full", dtype)
    check_holds("full", value, dtype)
    return _placed(np.full(new_sizes("full", size), value).astype(dtype), device, requires_grad)


def eye(
    n: int, m: int | None = None, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """The identity matrix (n, n), or (n, m)."""
    rows, columns = new_sizes("eye", (n, n if m is None else m))
    return _placed(np.eye(rows, columns, dtype=_dtype("eye", dtype)), device, requires_grad)


def _like(function: str, input: Any, value: Any, dtype: Any, device: str | None, requires_grad: bool) -> Tensor:
    """A tensor with the shape of ``input``, and its dtype and device if none is given."""
    check_no_foreign(function, input)
    if not hasattr(input, "dtype"):
        raise TypeError(f"{function}: got {described(input)}; expected a Tensor, made with tensor(x)")
    like = input if isinstance(input, Tensor) else Tensor(input)
    dtype = like.dtype if dtype is None else _dtype(function, dtype)
    check_holds(function, value, dtype)
    filled = np.full_like(like.array, np.asarray(value).astype(dtype), dtype)
    return _placed(filled, device or like.device, requires_grad)


def zeros_like(
    input: Tensor,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Zeros with the shape of ``input``, and its dtype and device if none is given."""
    checked_format("zeros_like", memory_format)
    return _like("zeros_like", input, 0, dtype, device, requires_grad)


def ones_like(
    input: Tensor,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Ones with the shape of ``input``, and its dtype and device if none is given."""
    checked_format("ones_like", memory_format)
    return _like("ones_like", input, 1, dtype, device, requires_grad)


def full_like(
    input: Tensor,
    fill_value: Any,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """``fill_value`` with the shape of ``input``, and its dtype and device if none is given."""
    checked_format("full_like", memory_format)
    return _like("full_like", input, number("full_like", "fill_value", fill_value), dtype, device, requires_grad)


def empty_like(
    input: Tensor,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """A tensor to be written, as `empty`, with the shape of ``input``, and its dtype and device if none is given."""
    checked_format("empty_like", memory_format)
    return _like("empty_like", input, 0, dtype, device, requires_grad)


def rand_like(input: Tensor, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """`rand` with the shape of ``input``, and its dtype and device if none is given."""
    like = _like("rand_like", input, 0, dtype, device, False)
    return rand(like.shape, dtype=like.dtype, device=like.device, requires_grad=requires_grad)


def randn_like(input: Tensor, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """`randn` with the shape of ``input``, and its dtype and device if none is given."""
    like = _like("randn_like", input, 0, dtype, device, False)
    return randn(like.shape, dtype=like.dtype, device=like.device, requires_grad=requires_grad)


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
    given = [number("arange", name, x) for name, x in (("start", start), ("end", end), ("step", step))]
    whole_numbers = all(isinstance(x, int) for x in given)
    dtype = np.dtype(np.int64) if dtype is None and whole_numbers else _dtype("arange", dtype)
    if not all(map(math.isfinite, given)):
        raise ValueError(f"arange: got start={start}, end={end}, step={step}; expected finite numbers")
    first, last, by = given if dtype.kind == "f" else map(int, given)
    if given[2] == 0 or by == 0 or (last - first) * by < 0:
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
    steps, dtype = whole("linspace", steps), _dtype("linspace", dtype)
    if steps < 0:
        raise ValueError(f"linspace: got steps={steps}; expected a whole number of at least 0")
    start, end = number("linspace", "start", start), number("linspace", "end", end)
    start, end = (start, end) if dtype.kind == "f" else (int(start), int(end))
    return _placed(np.linspace(start, end, steps).astype(dtype), device, requires_grad)


def randn(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal random numbers, mean 0 and variance 1, from the generator that `manual_seed` seeds."""
    return _drawn(
        "randn",
        generator().standard_normal,
        new_sizes("randn", sizes if size is None else size),
        dtype,
        device,
        requires_grad,
    )


def rand(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform random numbers in [0, 1), from the generator that `manual_seed` seeds."""
    return _drawn(
        "rand", generator().random, new_sizes("rand", sizes if size is None else size), dtype, device, requires_grad
    )


def _drawn(function: str, draw: Any, size: Any, dtype: Any, device: str | None, requires_grad: bool) -> Tensor:
    """Random numbers, drawn in float32 or float64. Raises TypeError for a type that is not floating point."""
    dtype = _dtype(function, dtype)
    if dtype.kind != "f":
        raise TypeError(f"{function}: got dtype={dtype}; expected floating point. randint draws whole numbers")
    drawn = draw(size, FLOAT if dtype == np.float16 else dtype)
    return _placed(np.asarray(drawn, dtype), device, requires_grad)


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
    low, high, sizes = whole("randint", low), whole("randint", high), new_sizes("randint", size)
    if not low < high:
        raise ValueError(f"randint: got low={low}, high={high}; expected low < high, and then a size")
    dtype = np.dtype(np.int64) if dtype is None else _dtype("randint", dtype)
    for extreme in (low, high - 1):
        check_holds("randint", extreme, dtype)
    return _placed(np.asarray(generator().integers(low, high, sizes)).astype(dtype), device, requires_grad)


def randperm(n: int, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """The numbers from 0 to n − 1 in random order."""
    (count,) = new_sizes("randperm", [whole("randperm", n)])
    dtype = np.dtype(np.int64) if dtype is None else _dtype("randperm", dtype)
    check_holds("randperm", max(count - 1, 0), dtype)
    return _placed(generator().permutation(count).astype(dtype), device, requires_grad)


def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Join tensors along an existing dimension; ``axis`` is NumPy's name for it."""
    tensors = _promoted("cat", *_all_tensors("cat", tensors))
    return apply(shape.Cat, *tensors, axis=dim if axis is None else axis)


concat = cat


def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Join tensors of equal shape along a new dimension; ``axis`` is NumPy's name for it."""
    tensors = _promoted("stack", *_all_tensors("stack", tensors))
    return apply(shape.Stack, *tensors, axis=dim if axis is None else axis)


def _all_tensors(function: str, tensors: Any) -> Sequence[Any]:
    """Raise TypeError unless these are tensors or arrays, in a list or tuple."""
    if not isinstance(tensors, list | tuple):
        raise TypeError(f"{function}: got {described(tensors)}; expected a list of tensors")
    for i, x in enumerate(tensors):
        if not hasattr(x, "dtype"):
            raise TypeError(f"{function}: got {described(x)} as tensor {i}; expected a list of tensors")
    return tensors


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """input where ``condition`` holds, else other; numbers broadcast. Alone, the indices of what is not 0."""
    check_no_foreign("where", condition)
    if not hasattr(condition, "dtype"):
        raise TypeError(f"where: got {described(condition)} as condition; expected a tensor, such as x > 0")
    condition, a, b = Tensor(condition), _plain(input), _plain(other)
    if a is None and b is None:
        return tuple([Tensor(index) for index in condition.array.nonzero()])
    for value in (a, b):
        if not isinstance(value, Tensor | int | float):
            raise TypeError(f"where: got {described(value)} as value; expected tensors and numbers")
    check_broadcast("where", condition, a, b)
    a, b = _promoted("where", a, b)
    check_fits("where", a, b)
    return apply(elementwise.Where, Tensor(condition.array.astype(bool)), a, b)


def maximum(input: Tensor, other: Any) -> Tensor:
    """The larger of the two, elementwise; NaN if either is, and then the gradient goes to both."""
    return _both(elementwise.Maximum, input, other)


def minimum(input: Tensor, other: Any) -> Tensor:
    """The smaller of the two, elementwise; NaN if either is, and then the gradient goes to both."""
    return _both(elementwise.Minimum, input, other)
