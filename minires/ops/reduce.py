"""Reductions: from many numbers to few. Backward spreads the few gradients over the many numbers."""

import numpy as np

from .. import kernels
from .op import Op, wide


def axes_of(op, ndim, axis):
    """Normalise ``axis`` (None, an int or a tuple) to a tuple of distinct non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    axes, count = tuple(axis) if isinstance(axis, tuple | list) else (axis,), max(ndim, 1)
    for a in axes:
        if type(a) is not int and not isinstance(a, np.integer):  # True would be axis 1
            raise TypeError(
                f"{op}: got dim={axis!r}; expected a whole number, or several where the function takes them"
            )
        if not -count <= a < count:
            raise IndexError(
                f"{op}: got dim={axis} for a tensor of {ndim} dimensions; dims run from {-ndim} to {ndim - 1}"
            )
    axes = tuple(a % ndim for a in axes) if ndim else ()
    if len(set(axes)) != len(axes):
        raise ValueError(f"{op}: got dim={axis}, in which a dimension appears twice; name each once")
    return axes


def axis_of(op, ndim, axis):
    """One axis as a non-negative int; an array of shape () counts as having one."""
    if type(axis) is int and -ndim <= axis < ndim:
        return axis % ndim
    if axis is None or isinstance(axis, tuple | list):
        raise TypeError(f"{op}: got dim={axis!r}; expected one whole number")
    return (*axes_of(op, ndim, axis), 0)[0]


def check_not_empty(function, shape, axes):
    """Raise ValueError for the largest or smallest of no values."""
    if 0 in [shape[axis] for axis in axes] or (0 in shape and len(axes) == len(shape)):
        raise ValueError(f"{function}: got an empty tensor of shape {shape}; it has no extreme value")


def check_keepdim(function, keepdim):
    """Raise TypeError for anything but True or False."""
    if not isinstance(keepdim, bool | np.bool_):
        raise TypeError(f"{function}: got keepdim={keepdim!r:.60}, expected True or False; dims go in a tuple")


class Reduce(Op):
    """What the reductions share: which axes go, and how a reduced array is stretched to the input's shape again."""

    def setup(self, x, axis, keepdims):
        if type(keepdims) is not bool:
            check_keepdim(self.name.lower(), keepdims)
        self.axes = axes_of(self.name.lower(), x.ndim, axis) or tuple(range(x.ndim))  # () means all, as in PyTorch
        self.in_shape, self.keepdims = x.shape, keepdims
        self.kept_shape = tuple(1 if i in self.axes else n for i, n in enumerate(x.shape))  # (…, 1, …)
        self.count = int(np.prod([x.shape[a] for a in self.axes]))

    def spread(self, reduced):
        """A reduced array as a read-only view of the input's shape."""
        return np.broadcast_to(reduced.reshape(self.kept_shape), self.in_shape)


class Sum(Reduce):
    """Σx: every summand gets the gradient of the sum. The sum of whole numbers or bools is int64."""

    def forward(self, x, axis=None, keepdims=False):
        self.setup(x, axis, keepdims)
        total = kernels.of(x).reduce_sum(x, self.axes, keepdims)
        return total if total.dtype.kind == "f" else total.astype(np.int64)

    def backward(self, grad_output):
        return self.spread(grad_output)


class Mean(Reduce):
    """Σx/n: every summand gets 1/n of the gradient."""

    kinds = "f"

    def forward(self, x, axis=None, keepdims=False):
        self.setup(x, axis, keepdims)
        total = kernels.of(x).reduce_sum(wide(x), self.axes, keepdims)
        return (total / (self.count or np.nan)).astype(x.dtype, copy=False)  # the mean of nothing is NaN

    def backward(self, grad_output):
        return self.spread((wide(grad_output) / (self.count or 1)).astype(grad_output.dtype, copy=False))


class Var(Reduce):
    """Σ(x − x̄)²/(n − correction), computed in float64: dx = 2(x − x̄)/(n − correction)·g.

    Where n is not above the correction, the divisor is 0, as in PyTorch: the variance of one value is NaN.
    """

    kinds = "f"

    def forward(self, x, axis=None, keepdims=False, correction=1):
        self.setup(x, axis, keepdims)
        self.divisor = max(self.count - correction, 0)
        total, centred = kernels.of(x).reduce_sum, x.astype(np.float64)
        centred -= total(centred, self.axes, keepdims=True) / (self.count or 1)
        self.centred = centred.astype(x.dtype)
        squares = total(centred * centred, self.axes, keepdims)
        return (squares / self.divisor if self.divisor else zero_divided(squares)).astype(x.dtype)

    def backward(self, grad_output):
        if not self.divisor:
            return zero_divided(abs(self.centred)) * self.spread(grad_output)
        return self.centred * self.spread(grad_output * (2 / self.divisor))


def zero_divided(x):
    """x/0 for x ≥ 0: infinite, or NaN where x is 0. (Without NumPy's warning: a count has said so.)"""
    return np.where(x > 0, np.inf, np.nan).astype(x.dtype)


class Amax(Reduce):
    """Largest value: the gradient is shared equally by all entries that attain it (PyTorch's amax).

    If it is NaN, no entry equals it, and the gradient is NaN; with ``of_nan``, the NaNs share it (PyTorch's max()).
    """

    extreme = "reduce_max"

    def forward(self, x, axis=None, keepdims=False, of_nan=False):
        self.setup(x, axis, keepdims)
        if not x.size:
            check_not_empty(self.name.lower(), x.shape, self.axes)
        y = getattr(kernels.of(x), self.extreme)(x, self.axes, keepdims=True)
        self.attained = (x == y) | ((x != x) & (y != y)) if of_nan else x == y
        return y if keepdims else y.squeeze(self.axes)

    def backward(self, grad_output):
        attained = wide(self.attained.astype(grad_output.dtype))
        ties = kernels.of(attained).reduce_sum(attained, self.axes, keepdims=True)
        return (self.spread(grad_output) * attained / ties).astype(grad_output.dtype, copy=False)


class Amin(Amax):
    """Smallest value: the gradient is shared equally by all entries that attain it (PyTorch's amin)."""

    extreme = "reduce_min"


class Max(Reduce):
    """Largest value along one axis: the gradient goes to the first entry that attains it (PyTorch's max(dim))."""

    place = "argmax"

    def forward(self, x, axis, keepdims=False):
        self.setup(x, axis_of(self.name.lower(), x.ndim, axis), keepdims)
        if not x.ndim:
            return x.copy()
        if not x.size:
            check_not_empty(self.name.lower(), x.shape, self.axes)
        self.first = getattr(kernels.of(x), self.place)(x, self.axes[0], keepdims=True)
        y = np.take_along_axis(x, self.first, self.axes[0])
        return y if keepdims else y.squeeze(self.axes)

    def backward(self, grad_output):
        if not self.axes:
            return grad_output
        grad_x = np.zeros_like(grad_output, shape=self.in_shape)
        np.put_along_axis(grad_x, self.first, grad_output.reshape(self.kept_shape), self.axes[0])
        return grad_x


class Min(Max):
    """Smallest value along one axis: the gradient goes to the first entry that attains it (PyTorch's min(dim))."""

    place = "argmin"


class Std(Var):
    """√var: dx = (x − x̄)/((n − correction)·std)·g, and 0 where all values are equal (PyTorch's convention)."""

    def forward(self, x, axis=None, keepdims=False, correction=1):
        self.y = np.sqrt(super().forward(x, axis, keepdims, correction))
        return self.y

    def backward(self, grad_output):
        if not self.divisor:
            return self.spread(grad_output * np.nan)
        return super().backward(grad_output / np.where(self.y == 0, np.inf, 2 * self.y))


class Norm(Reduce):
    """(Σ|x|ᵖ)^(1/p): dx = sign(x)·(|x|/norm)ᵖ⁻¹·g, and 0 where the norm is 0 or, for p < 1, x (PyTorch's convention).

    p = 0 counts the values that are not 0, and has no gradient.
    """

    kinds = "f"

    def forward(self, x, axis=None, keepdims=False, p=2):
        self.setup(x, axis, keepdims)
        self.x, self.p, total, inside = x, p, kernels.of(x).reduce_sum, wide(x)
        if p == 2:
            y = np.sqrt(total(inside * inside, self.axes, keepdims))
        elif p == 0:
            y = total((inside != 0).astype(inside.dtype), self.axes, keepdims)
        else:
            y = total(np.abs(inside) ** p, self.axes, keepdims) ** (1 / p)
        self.y = y.astype(x.dtype, copy=False)
        return self.y

    def backward(self, grad_output):
        x, p = self.x, self.p
        if p == 2:
            return x * self.spread(grad_output / np.where(self.y == 0, np.inf, self.y))
        skipped = (x == 0) | self.spread(self.y == 0) if p < 1 else self.spread(self.y == 0)
        shares = np.where(skipped, 1, np.abs(x) / self.spread(np.where(self.y == 0, 1, self.y))) ** (p - 1)
        return np.where(skipped, 0, np.sign(x) * shares * self.spread(grad_output)).astype(x.dtype, copy=False)


class Prod(Reduce):
    """Πx, of all values or along one axis: each factor's gradient is the product of the others, 0 or not."""

    def forward(self, x, axis=None, keepdims=False):
        self.setup(x, axis if axis is None else axis_of("prod", x.ndim, axis), keepdims)
        self.x, self.axis = x, axis
        product = np.prod(wide(x), self.axes, None if x.dtype.kind == "f" else np.int64, keepdims=keepdims)
        return product.astype(x.dtype, copy=False) if x.dtype.kind == "f" else product

    def backward(self, grad_output):
        all_of_them = self.axis is None or not self.x.ndim
        rows = self.x.reshape(-1) if all_of_them else np.moveaxis(self.x, self.axes[0], -1)
        others = earlier(rows) * earlier(rows[..., ::-1])[..., ::-1]
        return self.spread(grad_output) * (
            others.reshape(self.in_shape) if all_of_them else np.moveaxis(others, -1, self.axes[0])
        )


def earlier(rows):
    """For each entry of the last axis, the product of those before it."""
    return np.cumprod(np.concatenate([np.ones_like(rows[..., :1]), rows[..., :-1]], -1), -1)


class Cumsum(Op):
    """Sums of the first entry, the first two, … along an axis: an entry's gradient sums grad from its place on."""

    def forward(self, x, axis):
        self.axis = axis_of("cumsum", x.ndim, axis)
        if x.dtype.kind == "f":
            return running_sum(x, self.axis)
        return np.cumsum(x, self.axis, np.int64) if x.ndim else x.astype(np.int64)

    def backward(self, grad_output):
        if not grad_output.ndim:
            return grad_output
        return np.flip(running_sum(np.flip(grad_output, self.axis), self.axis), self.axis)


def running_sum(x, axis):
    """Σ of the entries of an axis up to each; in float64, as every sum carries the rounding of those before it."""
    return np.cumsum(x, axis, np.float64).astype(x.dtype) if x.ndim else x.copy()
