"""PyTorch's functions that are also methods of a Tensor: ``mr.sum(x)`` is ``x.sum()``.

The other methods have no function here, and `minires.__getattr__` says so.
"""

from collections.abc import Sequence
from typing import Any

from .ops import arithmetic
from .tensor import Tensor, _promoted, apply


def is_tensor(obj: Any) -> bool:
    """Whether this is a Tensor."""
    return isinstance(obj, Tensor)


def _tensor(function: str, x: Any) -> Tensor:
    """x itself, or a tensor of an array, such as ``y.data``. Raises TypeError in the name of ``function``."""
    if isinstance(x, Tensor):
        return x
    if type(x).__name__ != "ndarray":  # NumPy's or CuPy's
        raise TypeError(f"{function}: got a {type(x).__name__}; expected a Tensor, made with tensor(x)")
    return Tensor(x)


def add(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha·other."""
    return _tensor("add", input).add(other, alpha=alpha)


def sub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """input − alpha·other."""
    return _tensor("sub", input).sub(other, alpha=alpha)


def mul(input: Tensor, other: Any) -> Tensor:
    """input · other, elementwise."""
    return _tensor("mul", input).mul(other)


def div(input: Tensor, other: Any, *, rounding_mode: Any = None) -> Tensor:
    """input / other."""
    return _tensor("div", input).div(other, rounding_mode=rounding_mode)


def matmul(input: Tensor, other: Any) -> Tensor:
    """input @ other."""
    return _tensor("matmul", input).matmul(other)


def eq(input: Tensor, other: Any) -> Tensor:
    """Where the two are equal."""
    return _tensor("eq", input).eq(other)


def exp(input: Tensor) -> Tensor:
    """eˣ."""
    return _tensor("exp", input).exp()


def log(input: Tensor) -> Tensor:
    """The natural logarithm."""
    return _tensor("log", input).log()


def sqrt(input: Tensor) -> Tensor:
    """√x."""
    return _tensor("sqrt", input).sqrt()


def abs(input: Tensor) -> Tensor:
    """|x|."""
    return _tensor("abs", input).abs()


def sum(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Σx, of all values or along dimensions."""
    return _tensor("sum", input).sum(dim, keepdim)


def mean(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Σx/n, of all values or along dimensions."""
    return _tensor("mean", input).mean(dim, keepdim)


def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Tensor:
    """√Σx², or Σ|x| for p=1, or the largest |x| for p=inf."""
    return _tensor("norm", input).norm(p, dim, keepdim)


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest value; along a dimension, with its index; of two tensors, elementwise."""
    return _tensor("max", input).max(dim, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest value; along a dimension, with its index; of two tensors, elementwise."""
    return _tensor("min", input).min(dim, keepdim)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the (first) largest value, among all or along a dimension."""
    return _tensor("argmax", input).argmax(dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the (first) smallest value, among all or along a dimension."""
    return _tensor("argmin", input).argmin(dim, keepdim)


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) values along a dimension, in order, and where they are."""
    return _tensor("topk", input).topk(k, dim, largest, sorted)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts, all of one size except perhaps the last."""
    return _tensor("chunk", input).chunk(chunks, dim)


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of this size, the last one perhaps smaller, or of these sizes."""
    return _tensor("split", tensor).split(split_size_or_sections, dim)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products: ``einsum("ij,jk->ik", a, b)`` is a matrix product. No diagonals, and no ``...``."""
    tensors: Sequence[Any] = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    return apply(arithmetic.Einsum, *_promoted("einsum", *tensors), equation=equation)
