"""`InPlace`: the methods of a Tensor that write its memory.

An operator such as ``x += y`` gives the name x a new tensor where the old one must stay. ``x[0] = y``, or a method such
as ``x.add_(y)``, always writes, and so needs a tensor without a graph, or `no_grad`. What happens to a graph that has
used the memory is in `minires.writes`.
"""

import numpy as np

from . import kernels
from .arguments import array_of, check_no_foreign, number
from .ops.shape import BASIC, position
from .random import generator
from .state import current
from .writes import put, write


class InPlace:
    """The part of `minires.Tensor` that is defined here; methods whose names end in _ return the tensor itself."""

    __slots__ = ()

    def __iadd__(self, other):
        return _in_place(self, self + other)

    def __isub__(self, other):
        return _in_place(self, self - other)

    def __imul__(self, other):
        return _in_place(self, self * other)

    def __itruediv__(self, other):
        return _in_place(self, self / other)

    def __ipow__(self, exponent):
        return _in_place(self, self**exponent)

    def __setitem__(self, key, values):
        keys = [array_of(k) for k in (key if isinstance(key, tuple) else (key,))]
        _put("setitem", self, tuple([k if type(k) in BASIC else position(k, self.array) for k in keys]), values)

    def add_(self, other, *old, alpha=1):
        """x += alpha · other."""
        _check_new_form("add_", old)
        return _overwritten("add_", self, self.add(other, alpha=alpha))

    def sub_(self, other, *old, alpha=1):
        """x −= alpha · other."""
        _check_new_form("sub_", old)
        return _overwritten("sub_", self, self.sub(other, alpha=alpha))

    def mul_(self, other):
        """x *= other."""
        return _overwritten("mul_", self, self.mul(other))

    def div_(self, other):
        """x /= other."""
        return _overwritten("div_", self, self.div(other))

    def fill_(self, value):
        """Make every entry ``value``."""
        return _put("fill_", self, ..., value)

    def zero_(self):
        """Make every entry 0."""
        return _put("zero_", self, ..., 0)

    def copy_(self, source, non_blocking=False):
        """Copy the entries of ``source``, which broadcasts."""
        return _put("copy_", self, ..., source)

    def normal_(self, mean=0.0, std=1.0):
        """Draw every entry from a normal distribution."""
        mean, std = number("normal_", "mean", mean), number("normal_", "std", std)
        return _put("normal_", self, ..., mean + std * generator().standard_normal(self.shape, np.float64))

    def uniform_(self, low=0.0, high=1.0):
        """Draw every entry uniformly from [low, high)."""
        low, high = number("uniform_", "low", low), number("uniform_", "high", high)
        return _put("uniform_", self, ..., low + (high - low) * generator().random(self.shape, np.float64))


def _check_new_form(function, old):
    """Raise TypeError for ``x.add_(-lr, g)``, as it was written until 2020."""
    if old:
        raise TypeError(
            f"{function}: got {1 + len(old)} values; the factor, which PyTorch once took first, is an argument by "
            f"name: x.{function}(y, alpha=-lr)"
        )


def _in_place(x, result):
    """What ``x += y`` leaves under the name x, where ``result`` is x + y; and so on for the other operators.

    A leaf is written in place: whoever else holds the tensor, or a view of its memory, sees it. If it requires a
    gradient, only under `no_grad`; a graph cannot hold both its values. The result of an op, and a constant that gets a
    gradient from y, become a new tensor, ``x = x + y``: values that backward may need stay as they are.
    """
    if x.op is not None or (result.requires_grad and not x.requires_grad):
        return result
    if result.requires_grad:
        raise RuntimeError(
            f"in-place: got a leaf of shape {x.shape} that requires grad; a graph cannot hold its old and its new "
            "values. To update it, write under no_grad(): with no_grad(): p -= lr * p.grad"
        )
    write(x.array, result.array)
    return x


def _overwritten(function, x, result):
    """x, whose memory now holds the values of ``result``."""
    _check_no_graph(function, x, result)
    write(x.array, result.array)
    return x


def _put(function, x, key, values):
    """x, part of whose memory now holds ``values``, cast to its dtype."""
    if function in ("normal_", "uniform_") and x.dtype.kind != "f":
        raise TypeError(f"{function}: got a tensor of dtype {x.dtype}, expected floating point")
    check_no_foreign(function, values)
    _check_no_graph(function, x, values)
    array = array_of(values)
    if not isinstance(array, int | float):
        array = array if hasattr(array, "ndim") else np.asarray(array)
        if array.dtype.kind not in "biuf":  # NumPy would make NaN of None
            raise TypeError(f"{function}: got {values!r:.60}; expected numbers")
        array = kernels.to_device(array, x.device)
        while array.ndim and array.shape[0] == 1:  # NumPy puts no array of one value into an entry, or behind a mask
            array = array[0]
    try:
        put(x.array, key, array)
    except (OverflowError, ValueError) as error:
        raise type(error)(
            f"{function}: got values that do not fit into a {x.dtype} tensor of shape {x.shape}: {error}"
        ) from None
    return x


def _check_no_graph(function, x, values):
    """Raise RuntimeError if a graph is being built and one of the two belongs to it."""
    if current().grad_enabled and (x.requires_grad or getattr(values, "requires_grad", False)):
        raise RuntimeError(
            f"{function}: got a tensor of shape {x.shape}, or values for it, in a graph, which cannot hold old and new "
            "values of one tensor. Make a new one, with x = x + y or where(mask, y, x), or write under no_grad()"
        )
