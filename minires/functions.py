"""PyTorch's functions that are also methods of a Tensor: ``mr.sum(x)`` is ``x.sum()``.

The other methods have no function here, and `minires.__getattr__` says so.
"""

from typing import Any

import numpy as np

from .arguments import described
from .tensor import Tensor


def is_tensor(obj: Any) -> bool:
    """Whether this is a Tensor."""
    return isinstance(obj, Tensor)


def _tensor(function: str, x: Any, beside: Any = None) -> Tensor:
    """x itself, a tensor of an array, or of a number beside an operand. Raises TypeError for anything else."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.number | int | float) and isinstance(beside, Tensor):
        return Tensor(np.asarray(x, beside.dtype) if beside.dtype.kind == "f" else x).to(beside.device)
    if isinstance(x, int | float) and isinstance(beside, int | float):
        return Tensor(x)
    if type(x).__name__ != "ndarray":  # NumPy's or CuPy's
        raise TypeError(f"{function}: got {described(x)}; expected a Tensor, made with tensor(x)")
    return Tensor(x)


# arithmetic


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha·other."""
    return _tensor("add", input, other).add(other, alpha=alpha)


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input − alpha·other."""
    return _tensor("sub", input, other).sub(other, alpha=alpha)


def mul(input: Any, other: Any) -> Tensor:
    """input · other, elementwise."""
    return _tensor("mul", input, other).mul(other)


def div(input: Any, other: Any, *, rounding_mode: Any = None) -> Tensor:
    """input / other."""
    return _tensor("div", input, other).div(other, rounding_mode=rounding_mode)


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    return _tensor("pow", input, exponent).pow(exponent)


def matmul(input: Tensor, other: Any) -> Tensor:
    """input @ other."""
    return _tensor("matmul", input).matmul(other)


def mm(input: Tensor, mat2: Any) -> Tensor:
    """The product of two matrices."""
    return _tensor("mm", input).mm(mat2)


def bmm(input: Tensor, mat2: Any) -> Tensor:
    """The products of two stacks of matrices, (B, N, M) and (B, M, P): (B, N, P)."""
    return _tensor("bmm", input).bmm(mat2)


def dot(input: Tensor, tensor: Any) -> Tensor:
    """The product of two vectors: a scalar."""
    return _tensor("dot", input).dot(tensor)


def outer(input: Tensor, vec2: Any) -> Tensor:
    """All products of two vectors (N) and (M): (N, M)."""
    return _tensor("outer", input).outer(vec2)


def eq(input: Tensor, other: Any) -> Tensor:
    """Where the two are equal."""
    return _tensor("eq", input).eq(other)


def ne(input: Tensor, other: Any) -> Tensor:
    """Where the two differ."""
    return _tensor("ne", input).ne(other)


def lt(input: Tensor, other: Any) -> Tensor:
    """Where input is smaller."""
    return _tensor("lt", input).lt(other)


def le(input: Tensor, other: Any) -> Tensor:
    """Where input is not larger."""
    return _tensor("le", input).le(other)


def gt(input: Tensor, other: Any) -> Tensor:
    """Where input is larger."""
    return _tensor("gt", input).gt(other)


def ge(input: Tensor, other: Any) -> Tensor:
    """Where input is not smaller."""
    return _tensor("ge", input).ge(other)


# of each entry


def neg(input: Tensor) -> Tensor:
    """−x."""
    return _tensor("neg", input).neg()


def exp(input: Tensor) -> Tensor:
    """eˣ."""
    return _tensor("exp", input).exp()


def log(input: Tensor) -> Tensor:
    """The natural logarithm."""
    return _tensor("log", input).log()


def log1p(input: Tensor) -> Tensor:
    """log(1 + x), exact for small x."""
    return _tensor("log1p", input).log1p()


def sqrt(input: Tensor) -> Tensor:
    """√x."""
    return _tensor("sqrt", input).sqrt()


def rsqrt(input: Tensor) -> Tensor:
    """1/√x."""
    return _tensor("rsqrt", input).rsqrt()


def square(input: Tensor) -> Tensor:
    """x²."""
    return _tensor("square", input).square()


def reciprocal(input: Tensor) -> Tensor:
    """1/x."""
    return _tensor("reciprocal", input).reciprocal()


def abs(input: Tensor) -> Tensor:
    """|x|."""
    return _tensor("abs", input).abs()


def relu(input: Tensor) -> Tensor:
    """max(x, 0)."""
    return _tensor("relu", input).relu()


def sigmoid(input: Tensor) -> Tensor:
    """1/(1 + e⁻ˣ)."""
    return _tensor("sigmoid", input).sigmoid()


def tanh(input: Tensor) -> Tensor:
    """tanh x."""
    return _tensor("tanh", input).tanh()


def sign(input: Tensor) -> Tensor:
    """−1, 0 or 1, with gradient 0."""
    return _tensor("sign", input).sign()


def floor(input: Tensor) -> Tensor:
    """The largest whole number that is not above x, with gradient 0."""
    return _tensor("floor", input).floor()


def ceil(input: Tensor) -> Tensor:
    """The smallest whole number that is not below x, with gradient 0."""
    return _tensor("ceil", input).ceil()


def isnan(input: Tensor) -> Tensor:
    """Where x is NaN."""
    return _tensor("isnan", input).isnan()


def isinf(input: Tensor) -> Tensor:
    """Where x is infinite."""
    return _tensor("isinf", input).isinf()


def isfinite(input: Tensor) -> Tensor:
    """Where x is neither NaN nor infinite."""
    return _tensor("isfinite", input).isfinite()


def logical_not(input: Tensor) -> Tensor:
    """Where x is 0."""
    return _tensor("logical_not", input).logical_not()


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest number of so many decimals, with gradient 0."""
    return _tensor("round", input).round(decimals=decimals)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """min(max(x, min), max): numbers or tensors, at least one of them."""
    return _tensor("clamp", input).clamp(min, max)


def masked_fill(input: Tensor, mask: Any, value: Any) -> Tensor:
    """x, with ``value`` where the bool ``mask`` holds."""
    return _tensor("masked_fill", input).masked_fill(mask, value)


# reductions


def sum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, keepdims: Any = None
) -> Tensor:
    """Σx, of all values or along dimensions."""
    return _tensor("sum", input).sum(dim, keepdim, dtype=dtype, axis=axis, keepdims=keepdims)


def mean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, keepdims: Any = None
) -> Tensor:
    """Σx/n, of all values or along dimensions."""
    return _tensor("mean", input).mean(dim, keepdim, dtype=dtype, axis=axis, keepdims=keepdims)


def prod(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, keepdims: Any = None
) -> Tensor:
    """Πx, of all values or along a dimension."""
    return _tensor("prod", input).prod(dim, keepdim, dtype=dtype, axis=axis, keepdims=keepdims)


def cumsum(input: Tensor, dim: Any = None, *, dtype: Any = None, axis: Any = None) -> Tensor:
    """Sums of the first 1, 2, 3, … values along a dimension."""
    return _tensor("cumsum", input).cumsum(dim, dtype=dtype, axis=axis)


def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """(Σ|x|ᵖ)^(1/p), of all values or along dimensions; the largest |x| for p=inf."""
    return _tensor("norm", input).norm(p, dim, keepdim, dtype)


def var(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """Variance, Σ(x − x̄)²/(n − correction), of all values or along dimensions."""
    return _tensor("var", input).var(dim, unbiased, keepdim, correction=correction)


def std(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None
) -> Tensor:
    """Standard deviation, the square root of `var`."""
    return _tensor("std", input).std(dim, unbiased, keepdim, correction=correction)


def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
    """The largest value; along a dimension, with its index; of two tensors, elementwise."""
    return _tensor("max", input).max(dim, keepdim, axis=axis, keepdims=keepdims)


def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
    """The smallest value; along a dimension, with its index; of two tensors, elementwise."""
    return _tensor("min", input).min(dim, keepdim, axis=axis, keepdims=keepdims)


def amax(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Tensor:
    """The largest value, of all or along dimensions; equal ones share the gradient."""
    return _tensor("amax", input).amax(dim, keepdim, axis=axis, keepdims=keepdims)


def amin(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Tensor:
    """The smallest value, of all or along dimensions; equal ones share the gradient."""
    return _tensor("amin", input).amin(dim, keepdim, axis=axis, keepdims=keepdims)


def argmax(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Tensor:
    """Index of the (first) largest value, among all or along a dimension."""
    return _tensor("argmax", input).argmax(dim, keepdim, axis=axis, keepdims=keepdims)


def argmin(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Tensor:
    """Index of the (first) smallest value, among all or along a dimension."""
    return _tensor("argmin", input).argmin(dim, keepdim, axis=axis, keepdims=keepdims)


def any(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Tensor:
    """Whether a value is not 0, of all or along dimensions."""
    return _tensor("any", input).any(dim, keepdim, axis=axis, keepdims=keepdims)


def all(input: Tensor, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Tensor:
    """Whether no value is 0, of all or along dimensions."""
    return _tensor("all", input).all(dim, keepdim, axis=axis, keepdims=keepdims)


def softmax(input: Tensor, dim: Any = None, dtype: Any = None, *, axis: Any = None) -> Tensor:
    """eˣ / Σeˣ along a dimension."""
    return _tensor("softmax", input).softmax(dim, dtype, axis=axis)


def log_softmax(input: Tensor, dim: Any = None, dtype: Any = None, *, axis: Any = None) -> Tensor:
    """x − log Σeˣ along a dimension."""
    return _tensor("log_softmax", input).log_softmax(dim, dtype, axis=axis)


# shape


def reshape(input: Tensor, shape: Any) -> Tensor:
    """The same values in another shape; one size may be −1."""
    return _tensor("reshape", input).reshape(shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dimensions from ``start_dim`` to ``end_dim`` into one."""
    return _tensor("flatten", input).flatten(start_dim, end_dim)


def permute(input: Tensor, dims: Any) -> Tensor:
    """The dimensions in another order."""
    return _tensor("permute", input).permute(dims)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    return _tensor("transpose", input).transpose(dim0, dim1)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix."""
    return _tensor("t", input).t()


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without the dimensions of size 1, or without those given."""
    return _tensor("squeeze", input).squeeze(dim)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a dimension of size 1 put in."""
    return _tensor("unsqueeze", input).unsqueeze(dim)


def flip(input: Tensor, dims: Any) -> Tensor:
    """The order of the values along these dimensions reversed."""
    return _tensor("flip", input).flip(dims)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts, all of one size except perhaps the last."""
    return _tensor("chunk", input).chunk(chunks, dim)


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of this size, the last one perhaps smaller, or of these sizes."""
    return _tensor("split", tensor).split(split_size_or_sections, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dimension, each without that dimension."""
    return _tensor("unbind", input).unbind(dim)


def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """``length`` values along ``dim`` from ``start`` on."""
    return _tensor("narrow", input).narrow(dim, start, length)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Along ``dim`` the values that ``index`` names."""
    return _tensor("gather", input).gather(dim, index)


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The values in order along a dimension, and where they were."""
    return _tensor("sort", input).sort(dim, descending, stable)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort the values along a dimension."""
    return _tensor("argsort", input).argsort(dim, descending, stable)


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) values along a dimension, in order, and where they are."""
    return _tensor("topk", input).topk(k, dim, largest, sorted)


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy, through which gradients flow."""
    return _tensor("clone", input).clone(memory_format=memory_format)


def numel(input: Tensor) -> int:
    """Number of values."""
    return _tensor("numel", input).numel()


def allclose(input: Tensor, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all |input − other| ≤ atol + rtol·|other|."""
    return _tensor("allclose", input).allclose(other, rtol, atol, equal_nan)


def equal(input: Tensor, other: Any) -> bool:
    """Whether the two have the same shape and values."""
    return _tensor("equal", input).equal(other)
