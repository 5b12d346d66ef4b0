"""Arithmetic: what the operators + - * / ** @ of a Tensor do.

Operands broadcast. Backward returns gradients of the output's shape, and the engine sums them to the operands' shapes.
"""

import math
import operator

import numpy as np

from .. import kernels
from ..kernels.layout import along_memory
from .op import Elementwise, Op, wide


class Add(Op):
    """a + b: the gradient passes to both unchanged, which is what makes a skip connection work."""

    def forward(self, a, b):
        return add(a, b)

    def backward(self, grad_output):
        return grad_output, grad_output


class Sub(Elementwise):
    """a − b."""

    kinds = "fui"

    def forward(self, a, b):
        return a - b

    def backward(self, grad_output):
        return grad_output, -grad_output if self.needs[1] else None


NUMBERS = int, float, bool  # of Python; the scalars that NumPy makes of arrays of shape () are like arrays


def widely(operation, a, b):
    """The operation's result; in float32 on the way, where a number is beside float16, whose range it may leave."""
    if type(a) in NUMBERS or type(b) in NUMBERS:
        dtype = (b if type(a) in NUMBERS else a).dtype
        return operation(wide(a), wide(b)).astype(dtype) if dtype == np.float16 else operation(a, b)
    return operation(a, b)


class Mul(Elementwise):
    """a · b, elementwise: each factor's gradient is the other factor."""

    def forward(self, a, b):
        self.a = a if self.needs[1] else None
        self.b = b if self.needs[0] else None
        return widely(operator.mul, a, b)

    def backward(self, grad_output):
        return (
            widely(operator.mul, grad_output, self.b) if self.needs[0] else None,
            widely(operator.mul, grad_output, self.a) if self.needs[1] else None,
        )


class Div(Elementwise):
    """a / b: d(a/b) = da/b − a·db/b²."""

    fractional = True

    def forward(self, a, b):
        self.a, self.b = a if self.needs[1] else None, b
        return widely(operator.truediv, a, b)

    def backward(self, grad_output):
        grad_a = widely(operator.truediv, grad_output, self.b)
        return grad_a, widely(operator.mul, -grad_a, self.a) / self.b if self.needs[1] else None


class Neg(Elementwise):
    """−a."""

    kinds = "fui"

    def forward(self, a):
        return -a

    def backward(self, grad_output):
        return -grad_output


class Pow(Elementwise):
    """a ** exponent, for a constant exponent: d(aⁿ) = n·aⁿ⁻¹·da."""

    def forward(self, a, exponent):
        self.a, self.exponent = a if a.dtype.kind == "f" else whole_base(a, exponent), exponent
        return self.a**exponent

    def backward(self, grad_output):
        if self.exponent == 0:
            return np.zeros_like(grad_output)  # 0 · a⁻¹ would be NaN at a = 0
        return grad_output * (self.exponent * self.a ** (self.exponent - 1))


class PowTensor(Elementwise):
    """a ** b, where b is a tensor: ∂/∂a = b·aᵇ⁻¹, ∂/∂b = aᵇ·ln a (0 where a = 0 and b ≥ 0)."""

    def forward(self, a, b):
        if b.dtype.kind != "f":
            a = whole_base(a, b)
            if b.dtype.kind == "i" and np.result_type(a, b).kind != "f" and np.any(b < 0):  # 1/aⁿ, rounded to 0
                return np.where((b < 0) & (np.abs(a) != 1), 0, np.power(a, np.abs(b)))
        self.y = np.power(a, b)  # a ** b would be the square root where b is 0.5 and of shape ()
        self.a = a if hasattr(a, "dtype") else self.y.dtype.type(a)
        self.b = b
        return self.y

    def backward(self, grad_output):
        grad_a = grad_b = None
        if self.needs[0]:
            safe = np.where(self.b == 0, np.ones_like(self.a), self.a)
            grad_a = grad_output * self.b * safe ** (self.b - 1)
        if self.needs[1]:
            log_a = np.log(np.where((self.a == 0) & (self.b >= 0), np.ones_like(self.a), self.a))
            grad_b = grad_output * self.y * log_a
        return grad_a, grad_b


class MatMul(Op):
    """a @ b with NumPy's rules (vectors, matrices, stacks): dA = G·Bᵀ, dB = Aᵀ·G."""

    kinds = "fui"

    def forward(self, a, b):
        if np.ndim(a) == 0 or np.ndim(b) == 0:
            raise ValueError(
                f"matmul: got shapes {np.shape(a)} @ {np.shape(b)}; both operands need an axis. Use * for a number"
            )
        if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
            raise ValueError(
                f"matmul: got shapes {a.shape} @ {b.shape}; the last axis of the left operand must equal the "
                f"{'second-to-last' if b.ndim > 1 else 'only'} axis of the right one. Is a transpose missing?"
            )
        if a.ndim > 2 and b.ndim > 2 and not broadcast(a.shape[:-2], b.shape[:-2]):
            raise ValueError(
                f"matmul: got shapes {a.shape} @ {b.shape}, whose batch axes do not broadcast: counted from the last, "
                "all axes but the last two must be equal or 1"
            )
        self.a_shape, self.b_shape = a.shape, b.shape
        # a vector on the left is a one-row matrix, on the right a one-column matrix
        self.a, self.b = (a[None, :] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
        c = kernels.of(a).matmul(self.a, self.b)
        self.matrix_shape = c.shape  # (…, M, P)
        return c.reshape(c.shape[:-2] + c.shape[-2:-1] * (a.ndim > 1) + c.shape[-1:] * (b.ndim > 1))

    def backward(self, grad_output):
        g, matmul = grad_output.reshape(self.matrix_shape), kernels.of(grad_output).matmul
        grad_a = grad_b = None
        if self.needs[0]:
            grad_a = sum_to(matmul(g, np.swapaxes(self.b, -1, -2)), self.a.shape).reshape(self.a_shape)
        if self.needs[1]:
            grad_b = sum_to(matmul(np.swapaxes(self.a, -1, -2), g), self.b.shape).reshape(self.b_shape)
        return grad_a, grad_b


class Einsum(Op):
    """Sums of products: "ij,jk->ik" is a matrix product. An operand's gradient is the einsum of grad and the others.

    terms and result: the letters of each operand's axes and of the result's, none twice in one of them.
    """

    kinds = "fui"

    def forward(self, *arrays, terms, result):
        self.arrays, self.terms, self.result = arrays, terms, result
        return contracted(terms, arrays, result)

    def backward(self, grad_output):
        return [self.gradient(i, grad_output) if self.needs[i] else None for i in range(len(self.arrays))]

    def gradient(self, i, grad_output):
        """Operand i's gradient; along a label that only this operand has, over which it was summed, it is constant."""
        term, shape = self.terms[i], self.arrays[i].shape
        terms = [self.result, *self.terms[:i], *self.terms[i + 1 :]]
        shared = "".join(c for c in term if c in "".join(terms))
        grad = contracted(terms, [grad_output, *self.arrays[:i], *self.arrays[i + 1 :]], shared)
        return np.broadcast_to(grad.reshape([n if c in shared else 1 for c, n in zip(term, shape)]), shape)


def contracted(terms, arrays, result):
    """The einsum of arrays: two at a time are multiplied, and summed over the letters that nothing else needs."""
    (term, *terms), (product, *arrays) = terms, arrays
    for i, (other, array) in enumerate(zip(terms, arrays)):
        left = "".join(c for c in dict.fromkeys(term + other) if c in "".join((result, *terms[i + 1 :])))
        term, product = left, pair_contracted(term, product, other, array, left)
    once = tuple(axis for axis, c in enumerate(term) if c not in result)
    product = summed(product, once)
    kept = [c for c in term if c in result]
    return product.transpose([kept.index(c) for c in result])


def summed(array, axes):
    """Σ over the axes; of whole numbers in int64."""
    total = kernels.of(array).reduce_sum(array, axes) if axes else array
    return total if total is array or total.dtype.kind == "f" else total.astype(np.int64)


def pair_contracted(term_a, a, term_b, b, result):
    """The einsum of two arrays, as a product of stacks of matrices (B, M, K) @ (B, K, P)."""
    needed_a, needed_b = term_b + result, term_a + result  # a letter that the other has not is summed over first
    a = summed(a, tuple(axis for axis, c in enumerate(term_a) if c not in needed_a))
    b = summed(b, tuple(axis for axis, c in enumerate(term_b) if c not in needed_b))
    term_a, term_b = ("".join(filter(needed.__contains__, t)) for t, needed in ((term_a, needed_a), (term_b, needed_b)))
    shared = [c for c in term_a if c in term_b]
    stack, inner = [c for c in shared if c in result], [c for c in shared if c not in result]
    rows, columns = [c for c in term_a if c not in shared], [c for c in term_b if c not in shared]
    sizes = dict(zip(term_a + term_b, a.shape + b.shape))

    def arranged(array, term, *groups):
        lying = array.transpose([term.index(c) for group in groups for c in group])
        return lying.reshape([math.prod(sizes[c] for c in group) for group in groups])

    a, b = arranged(a, term_a, stack, rows, inner), arranged(b, term_b, stack, inner, columns)
    c = kernels.of(a).matmul(a, b) if inner else a * b
    order = stack + rows + columns
    return c.reshape([sizes[c] for c in order]).transpose([order.index(c) for c in result])


def add(a, b):
    """a + b by the kernel of a's device: where skip and branch meet, and where a fork's gradients do."""
    return kernels.of(a).add(a, b) if hasattr(a, "shape") else a + b


def add_to(total, a):
    """total += a, for a fork's third gradient and those after it."""
    if type(total) is not np.ndarray:
        total, a = along_memory(total, total, a)
    total += a


def whole_base(a, b):
    """The base of a ** b if neither is a floating-point array; a bool to the power of a whole number is whole.

    Raises TypeError if both are bools, ValueError for whole numbers to a power that is a negative number.
    """
    common = np.result_type(*(getattr(x, "dtype", x) for x in (a, b)))
    if common.kind == "b":
        raise TypeError("pow: got bools as base and exponent; convert the base first: x.long() or x.float()")
    if common.kind != "f" and not hasattr(b, "dtype") and b < 0:
        raise ValueError("pow: got whole numbers to a negative power; convert the base first: x.float()")
    return a.astype(common) if hasattr(a, "dtype") and a.dtype.kind == "b" else a


def broadcast(a, b):
    """Whether arrays of these two shapes broadcast."""
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b)))


def sum_to(array, shape):
    """Sum a broadcast array back to ``shape``: over the axes that were added, and over those of size 1."""
    if array.shape == shape:
        return array
    added = array.ndim - len(shape)
    stretched = tuple(i + added for i, n in enumerate(shape) if n == 1 and array.shape[i + added] != 1)
    return kernels.of(array).reduce_sum(array, (*range(added), *stretched), keepdims=True).reshape(shape)
