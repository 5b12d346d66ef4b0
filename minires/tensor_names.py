"""`Names`: PyTorch's other names for what a Tensor can do: conversions, operators as methods, products of two."""

import numpy as np

from .arguments import array_of, check_operand, check_tensor, number
from .dtypes import check_holds
from .ops.arithmetic import broadcast
from .ops.reduce import axis_of

FORMATS = ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")  # PyTorch's memory formats


class Names:
    """The part of `minires.Tensor` that is defined here."""

    __slots__ = ()

    # conversions
    def half(self, memory_format=None):
        """To float16."""
        return self.to(np.float16, memory_format=memory_format)

    def float(self, memory_format=None):
        """To float32."""
        return self.to(np.float32, memory_format=memory_format)

    def double(self, memory_format=None):
        """To float64."""
        return self.to(np.float64, memory_format=memory_format)

    def short(self, memory_format=None):
        """To int16."""
        return self.to(np.int16, memory_format=memory_format)

    def int(self, memory_format=None):
        """To int32."""
        return self.to(np.int32, memory_format=memory_format)

    def long(self, memory_format=None):
        """To int64."""
        return self.to(np.int64, memory_format=memory_format)

    def bool(self, memory_format=None):
        """To truth values."""
        return self.to(np.bool_, memory_format=memory_format)

    def type(self, dtype):
        """To this dtype."""
        return self.to(dtype)

    def cpu(self):
        """To the CPU."""
        return self.to("cpu")

    def cuda(self, device="cuda", non_blocking=False):
        """To the GPU."""
        return self.to("cuda" if device in (None, 0) else device)

    def tolist(self):
        """The values as Python numbers, in lists of lists."""
        return self.numpy().tolist()

    def dim(self):
        """Number of axes."""
        return self.ndim

    def size(self, dim=None):
        """The shape, or one of its entries."""
        return self.shape if dim is None else self.shape[axis_of("size", self.ndim, dim)]

    def numel(self):
        """Number of values."""
        return self.array.size

    # operators
    def add(self, other, *, alpha=1):
        """self + alpha·other."""
        return self._plus("add", other, alpha)

    def sub(self, other, *, alpha=1):
        """self − alpha·other."""
        return self._plus("sub", other, -number("sub", "alpha", alpha))

    def _plus(self, function, other, alpha):
        other, alpha = _operand(function, other), number(function, "alpha", alpha)
        if alpha in (1, -1):
            return self + other if alpha == 1 else self - other
        _, other = self._alike(function, self, other)  # first, as the product would have a type of its own
        return self + other * alpha if alpha >= 0 else self - other * -alpha  # uint8 holds no negative alpha

    def mul(self, other):
        """x · other."""
        return self * _operand("mul", other)

    def div(self, other, *, rounding_mode=None):
        """x / other."""
        if rounding_mode is not None:
            raise ValueError(f"div: got rounding_mode={rounding_mode!r}, expected None; to round down, (x / y).floor()")
        return self / _operand("div", other)

    def pow(self, exponent):
        """x ** exponent."""
        return self ** _operand("pow", exponent)

    def matmul(self, other):
        """x @ other."""
        return self @ _operand("matmul", other)

    def eq(self, other):
        """x == other."""
        return self == _operand("eq", other)

    def ne(self, other):
        """x != other."""
        return self != _operand("ne", other)

    def lt(self, other):
        """x < other."""
        return self < _operand("lt", other)

    def le(self, other):
        """x <= other."""
        return self <= _operand("le", other)

    def gt(self, other):
        """x > other."""
        return self > _operand("gt", other)

    def ge(self, other):
        """x >= other."""
        return self >= _operand("ge", other)

    def allclose(self, other, rtol=1e-05, atol=1e-08, equal_nan=False):
        """Whether all |x − other| ≤ atol + rtol·|other|."""
        check_tensor("allclose", other)
        rtol, atol = number("allclose", "rtol", rtol), number("allclose", "atol", atol)
        if not broadcast(self.shape, other.shape):
            raise ValueError(f"allclose: got shapes {self.shape} and {other.shape}, which do not broadcast")
        return bool(np.allclose(self.numpy(), other.numpy(), rtol, atol, equal_nan))

    def equal(self, other):
        """Whether the two have the same shape and values."""
        check_tensor("equal", other)
        return self.shape == other.shape and bool((self == other).all())

    # of truth values, or of the bits of whole numbers
    def __invert__(self):
        return _bits("invert", np.invert, self)

    def __and__(self, other):
        return _bits("and", np.bitwise_and, self, other)

    def __or__(self, other):
        return _bits("or", np.bitwise_or, self, other)

    def __xor__(self, other):
        return _bits("xor", np.bitwise_xor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    # products that want vectors or matrices
    def dot(self, other):
        """The product of two vectors: a scalar."""
        _check_axes("dot", 1, self, other)
        return self @ other

    def outer(self, other):
        """All products of two vectors (N) and (M): (N, M)."""
        _check_axes("outer", 1, self, other)
        return self.reshape(-1, 1) * other

    def mm(self, other):
        """The product of two matrices."""
        _check_axes("mm", 2, self, other)
        return self @ other

    def bmm(self, other):
        """The products of two stacks of B matrices each, (B, N, M) and (B, M, P): (B, N, P)."""
        _check_axes("bmm", 3, self, other)
        if len(self) != len(other):
            raise ValueError(f"bmm: got stacks of {len(self)} and {len(other)} matrices; matmul broadcasts")
        return self @ other


def checked_format(function, memory_format):
    """The name of a memory format, ours or PyTorch's own, or None. Raises TypeError for anything else."""
    name = memory_format if memory_format is None else str(memory_format).removeprefix("torch.")
    if name is not None and name not in FORMATS:
        raise TypeError(f"{function}: got memory_format={memory_format!r:.60}; expected one of {', '.join(FORMATS)}")
    return name


def _bits(function, compute, x, *others):
    """A constant tensor, computed from the bits. Raises TypeError for floating point."""
    arrays = [array_of(a) for a in (x, *others)]
    if not all(a.dtype.kind in "bui" if hasattr(a, "dtype") else isinstance(a, int) for a in arrays):
        kinds = " and ".join(str(getattr(a, "dtype", type(a).__name__)) for a in arrays)
        raise TypeError(f"{function}: got {kinds}; expected truth values, such as x > 0, or whole numbers")
    operands = x._alike(function, x, *others)
    for value in operands:
        if not hasattr(value, "dtype"):
            check_holds(function, value, operands[0].dtype)
    return x.wrap(compute(*(getattr(a, "array", a) for a in operands)))


def _operand(function, x):
    """x, if it can stand beside a tensor."""
    check_operand(function, x)
    return x


def _check_axes(function, ndim, a, b):
    """Raise ValueError unless both tensors have this many axes."""
    if not (a.ndim == getattr(b, "ndim", None) == ndim and hasattr(b, "dtype")):
        raise ValueError(
            f"{function}: got shapes {a.shape} and {np.shape(b)}; expected {ndim} dimension(s) in both, unlike matmul"
        )
