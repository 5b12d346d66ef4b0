"""`Reductions`: the methods of a Tensor that make few numbers of many, and those that work along an axis.

``axis`` and ``keepdims`` are NumPy's names for ``dim`` and ``keepdim``; PyTorch takes them, too. ``dtype`` is the type
to compute in.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from . import kernels
from .arguments import flag
from .dtypes import check_kinds, real_dtype
from .ops import activation, reduce


class Extreme(NamedTuple):
    """What ``x.max(dim)`` and ``x.min(dim)`` return."""

    values: Any
    indices: Any


class Reductions:
    """The part of `minires.Tensor` that is defined here. Names, arguments and defaults are PyTorch's."""

    __slots__ = ()

    def sum(self, dim=None, keepdim=False, *, dtype=None, axis=None, keepdims=None):
        """Sum of all entries, or along ``dim``, one or several."""
        return _reduced("sum", reduce.Sum, self, dim, keepdim, dtype, axis, keepdims)

    def mean(self, dim=None, keepdim=False, *, dtype=None, axis=None, keepdims=None):
        """Mean of all entries, or along ``dim``, one or several; NaN if there are none."""
        return _reduced("mean", reduce.Mean, self, dim, keepdim, dtype, axis, keepdims)

    def prod(self, dim=None, keepdim=False, *, dtype=None, axis=None, keepdims=None):
        """Product of all entries, or along ``dim``."""
        return _reduced("prod", reduce.Prod, self, dim, keepdim, dtype, axis, keepdims)

    def cumsum(self, dim=None, *, dtype=None, axis=None):
        """Sums of the first 1, 2, 3, … entries along ``dim``."""
        return _along("cumsum", reduce.Cumsum, self, dim if axis is None else axis, dtype)

    def norm(self, p="fro", dim=None, keepdim=False, dtype=None):
        """(Σ|x|ᵖ)^(1/p) of all entries, or along ``dim``; "fro" is p = 2, inf the largest |x|, −inf the smallest."""
        p = 2 if p is None or (isinstance(p, str) and p == "fro") else p
        if isinstance(p, bool) or not isinstance(p, int | float):
            raise ValueError(f'norm: got p={p!r}; expected a number, inf or "fro"')
        if p == 0 and self.requires_grad:
            raise ValueError(
                "norm: got p=0 for a tensor that requires grad; a count has no gradient: x.detach().norm(0)"
            )
        x = self if dtype is None else self.to(real_dtype("norm", dtype))
        if abs(p) == math.inf:
            axes = reduce.axes_of("norm", x.ndim, dim)
            reduce.check_not_empty("norm", x.shape, axes or range(x.ndim))
            return x.abs().amax(dim, keepdim) if p > 0 else x.abs().amin(dim, keepdim)
        return x._run(reduce.Norm, x, axis=dim, keepdims=keepdim, p=p)

    def var(self, dim=None, unbiased=True, keepdim=False, *, correction=None, axis=None, keepdims=None):
        """Variance, Σ(x − x̄)²/(n − correction), where unbiased=True is correction=1; NaN for one value."""
        return self._spread(reduce.Var, _either(dim, axis), unbiased, _either(keepdim, keepdims), correction)

    def std(self, dim=None, unbiased=True, keepdim=False, *, correction=None, axis=None, keepdims=None):
        """Standard deviation, the square root of `var`."""
        return self._spread(reduce.Std, _either(dim, axis), unbiased, _either(keepdim, keepdims), correction)

    def _spread(self, op_class, dim, unbiased, keepdim, correction):
        if isinstance(dim, bool) and unbiased is True:  # var(False) is PyTorch's short form of var(unbiased=False)
            dim, unbiased = None, dim
        name = op_class.__name__.lower()
        if not isinstance(unbiased, bool):
            raise TypeError(f"{name}: got unbiased={unbiased!r:.60}, expected True or False; dims go in a tuple")
        correction = int(unbiased) if correction is None else correction
        if not isinstance(correction, int | float | np.number):
            raise TypeError(f"{name}: got correction={correction!r:.60}, expected a number, such as 0 or 1")
        return self._run(op_class, self, axis=dim, keepdims=keepdim, correction=correction)

    # extremes
    def amax(self, dim=None, keepdim=False, *, axis=None, keepdims=None):
        """Largest value of all entries, or along ``dim``, one or several; equal ones share the gradient."""
        return self._run(reduce.Amax, self, axis=_either(dim, axis), keepdims=_either(keepdim, keepdims))

    def amin(self, dim=None, keepdim=False, *, axis=None, keepdims=None):
        """Smallest value of all entries, or along ``dim``, one or several; equal ones share the gradient."""
        return self._run(reduce.Amin, self, axis=_either(dim, axis), keepdims=_either(keepdim, keepdims))

    def max(self, dim=None, keepdim=False, *, axis=None, keepdims=None):
        """Largest value; along ``dim`` with its (first) index, which gets the gradient; `maximum` of a tensor."""
        dim, keepdim = _either(dim, axis), _either(keepdim, keepdims)
        if dim is None:
            return self._run(reduce.Amax, self, of_nan=True)
        return self.maximum(dim) if hasattr(dim, "dtype") else self._extreme(reduce.Max, dim, keepdim)

    def min(self, dim=None, keepdim=False, *, axis=None, keepdims=None):
        """Smallest value; along ``dim`` with its (first) index, which gets the gradient; `minimum` of a tensor."""
        dim, keepdim = _either(dim, axis), _either(keepdim, keepdims)
        if dim is None:
            return self._run(reduce.Amin, self, of_nan=True)
        return self.minimum(dim) if hasattr(dim, "dtype") else self._extreme(reduce.Min, dim, keepdim)

    def _extreme(self, op_class, dim, keepdim):
        values = self._run(op_class, self, axis=dim, keepdims=keepdim)
        return Extreme(values, self.wrap(getattr(kernels.of(self.array), op_class.place)(self.array, dim, keepdim)))

    def argmax(self, dim=None, keepdim=False, *, axis=None, keepdims=None):
        """Index of the (first) largest value, among all or along ``dim``."""
        return self._first("argmax", _either(dim, axis), _either(keepdim, keepdims))

    def argmin(self, dim=None, keepdim=False, *, axis=None, keepdims=None):
        """Index of the (first) smallest value, among all or along ``dim``."""
        return self._first("argmin", _either(dim, axis), _either(keepdim, keepdims))

    def _first(self, kernel, dim, keepdim):
        if self.dtype.kind == "b":
            raise TypeError(f"{kernel}: got a bool tensor; convert it first: x.long()")
        if type(keepdim) is not bool:
            reduce.check_keepdim(kernel, keepdim)
        dim = None if dim is None else reduce.axis_of(kernel, self.ndim, dim)
        if not self.array.size:
            reduce.check_not_empty(kernel, self.shape, range(self.ndim) if dim is None else (dim,))
        return self.wrap(getattr(kernels.of(self.array), kernel)(self.array, dim, keepdim))

    # truth values
    def any(self, dim=None, keepdim=False, *, axis=None, keepdims=None):
        """Whether an entry is not 0, of all or along ``dim``."""
        return self._truth("any", _either(dim, axis), _either(keepdim, keepdims))

    def all(self, dim=None, keepdim=False, *, axis=None, keepdims=None):
        """Whether no entry is 0, of all or along ``dim``."""
        return self._truth("all", _either(dim, axis), _either(keepdim, keepdims))

    def _truth(self, function, dim, keepdim):
        reduce.check_keepdim(function, keepdim)
        axes = None if dim is None else reduce.axes_of(function, self.ndim, dim)
        truth = getattr(self.array, function)(axes, keepdims=keepdim)
        return self.wrap(truth.astype(np.uint8) if self.dtype == np.uint8 else truth)

    # along an axis
    def softmax(self, dim=None, dtype=None, *, axis=None):
        """eˣ / Σeˣ along ``dim``."""
        return _along("softmax", activation.Softmax, self, dim if axis is None else axis, dtype)

    def log_softmax(self, dim=None, dtype=None, *, axis=None):
        """x − log Σeˣ along ``dim``, without overflow."""
        if dtype is None:
            check_kinds(activation.LogSoftmax, (self.array,), "log_softmax")
        elif real_dtype("log_softmax", dtype).kind != "f":
            raise TypeError(f"log_softmax: got dtype={dtype!r:.60}; expected floating point")
        return _along("log_softmax", activation.LogSoftmax, self, dim if axis is None else axis, dtype)

    def argsort(self, dim=-1, descending=False, stable=False):
        """The indices that sort the values; equal ones keep their order, as with ``stable=True`` in PyTorch."""
        dim, descending = reduce.axis_of("argsort", self.ndim, dim), flag("argsort", "descending", descending)
        flipped = slice(None, None, -1 if descending else 1)
        if not self.ndim:
            return self.wrap(np.zeros_like(self.array, np.int64))
        rows = np.moveaxis(self.array, dim, -1)[..., flipped]
        order = np.argsort(rows, -1, kind="stable")[..., flipped].astype(np.int64, copy=False)
        return self.wrap(np.moveaxis(rows.shape[-1] - 1 - order if descending else order, -1, dim))


def _either(ours, numpys):
    """The value of an argument that has two names."""
    return ours if numpys is None else numpys


def _reduced(function, op_class, x, dim, keepdim, dtype, axis, keepdims):
    """The reduction of x, or of x in another dtype, which the result then has."""
    axis, keepdims = dim if axis is None else axis, keepdim if keepdims is None else keepdims
    if dtype is None:
        return x._run(op_class, x, axis=axis, keepdims=keepdims)
    dtype = real_dtype(function, dtype)
    return x._run(op_class, x.to(dtype), axis=axis, keepdims=keepdims).to(dtype)


def _along(function, op_class, x, axis, dtype):
    """The same for an op that keeps the shape."""
    if dtype is None:
        return x._run(op_class, x, axis=axis)
    dtype = real_dtype(function, dtype)
    return x._run(op_class, x.to(dtype), axis=axis).to(dtype)
