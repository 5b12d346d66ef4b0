"""`Names`: PyTorch's other names for what a Tensor can do: conversions, operators as methods, products of two."""

import numpy as np

from .ops.reduce import axis_of


class Names:
    """The part of `minires.Tensor` that is defined here."""

    __slots__ = ()

    # conversions
    def half(self):
        """To float16."""
        return self.to(np.float16)

    def float(self):
        """To float32."""
        return self.to(np.float32)

    def double(self):
        """To float64."""
        return self.to(np.float64)

    def int(self):
        """To int32."""
        return self.to(np.int32)

    def long(self):
        """To int64."""
        return self.to(np.int64)

    def bool(self):
        """To truth values."""
        return self.to(np.bool_)

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
        if alpha == 1:
            return self + other
        return self + other * alpha if alpha >= 0 else self - other * -alpha  # uint8 holds no negative alpha

    def sub(self, other, *, alpha=1):
        """self − alpha·other."""
        return self - other if alpha == 1 else self.add(other, alpha=-alpha)

    def mul(self, other):
        """x · other."""
        return self * other

    def div(self, other, *, rounding_mode=None):
        """x / other."""
        if rounding_mode is not None:
            raise ValueError(f"div: got rounding_mode={rounding_mode!r}, expected None; to round, use NumPy on .data")
        return self / other

    def pow(self, exponent):
        """x ** exponent."""
        return self**exponent

    def matmul(self, other):
        """x @ other."""
        return self @ other

    def eq(self, other):
        """x == other."""
        return self == other

    def ne(self, other):
        """x != other."""
        return self != other

    def lt(self, other):
        """x < other."""
        return self < other

    def le(self, other):
        """x <= other."""
        return self <= other

    def gt(self, other):
        """x > other."""
        return self > other

    def ge(self, other):
        """x >= other."""
        return self >= other

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


def _check_axes(function, ndim, a, b):
    """Raise ValueError unless both tensors have this many axes."""
    if not (a.ndim == getattr(b, "ndim", None) == ndim):
        raise ValueError(
            f"{function}: got shapes {a.shape} and {np.shape(b)}; expected {ndim} dimension(s) in both, unlike matmul"
        )
