"""Shape: ops that move numbers without computing anything. Backward moves the gradients back."""

import functools
from typing import Any

import numpy as np

from .. import kernels
from ..kernels.layout import put
from .op import Op
from .reduce import axes_of, axis_of


class Reshape(Op):
    """The same numbers in row-major order in another shape; one entry of the shape may be −1."""

    def forward(self, x, shape):
        self.in_shape = x.shape
        try:
            if min(shape, default=0) < -1:
                raise ValueError  # NumPy takes any negative number for -1
            return x.reshape(shape)
        except ValueError:
            raise ValueError(
                f"reshape: got shape {tuple(shape)} for {x.size} values of shape {x.shape}; "
                "the sizes must multiply to the same number (one of them may be -1)"
            ) from None

    def backward(self, grad_output):
        return grad_output.reshape(self.in_shape)


class Permute(Op):
    """Reorder the axes; backward applies the inverse permutation."""

    def forward(self, x, axes):
        axes = axes_of("permute", x.ndim, axes)
        if len(axes) != x.ndim:
            raise ValueError(f"permute: got dims {axes} for a tensor of {x.ndim} dimensions; name each once")
        self.inverse = tuple(axes.index(axis) for axis in range(x.ndim))
        return x.transpose(axes)

    def backward(self, grad_output):
        return grad_output.transpose(self.inverse)


class Expand(Op):
    """Stretch axes of size 1 (a view, no copy); the engine sums the gradient back, as for all broadcasting."""

    def forward(self, x, shape):
        added = len(shape) - x.ndim
        full = tuple(x.shape[i - added] if n == -1 and i >= added else n for i, n in enumerate(shape))
        try:
            return np.broadcast_to(x, full)
        except ValueError:
            raise ValueError(
                f"expand: got shape {tuple(shape)} for a tensor of shape {x.shape}; only axes of size 1 stretch, "
                "and new axes go in front"
            ) from None

    def backward(self, grad_output):
        return grad_output


BASIC = {slice, int, bool, type(None), type(Ellipsis)}  # parts of a key that are no array


class Index(Op):
    """x[key]; the key is a tuple of slices, integers, arrays … An entry taken twice receives both gradients."""

    def forward(self, x, key):
        self.in_shape = x.shape
        self.key = tuple([k if type(k) in BASIC else position(k, x) for k in key])
        check_positions(self.key, x)
        part, key = begun(x, self.key)
        return part[key]

    def backward(self, grad_output):
        grad_x = np.zeros_like(grad_output, shape=self.in_shape)
        part, key = begun(grad_x, self.key)
        if any(getattr(k, "ndim", 0) and k.dtype.kind != "b" for k in key):
            # an index may repeat, and += would count it only once
            kernels.device_of(part).add_at(part, key, grad_output)
        elif all(type(k) is slice for k in key):
            put(part, key, grad_output)
        else:
            part[key] = grad_output
        return grad_x


def begun(x, key):
    """The part of x that the numbers and slices of a key choose, and a key for what is left: arrays, truth values.

    NumPy takes a number beside an array for one more array, so that x[0, :, [1, 2]] has the axis of [1, 2] first, and
    an ellipsis between arrays for an axis even where it stands for none. Here, as in PyTorch, x[0, :, [1, 2]] is
    x[0][:, [1, 2]].
    """
    is_number = [type(k) is int or (getattr(k, "ndim", None) == 0 and k.dtype.kind in "iu") for k in key]
    is_array = [type(k) is bool or (hasattr(k, "dtype") and not number) for k, number in zip(key, is_number)]
    if not (any(is_array) and (any(is_number) or any(k is Ellipsis for k in key))):
        return x, key
    axes = [
        0 if k is None or k is Ellipsis or type(k) is bool else k.ndim if array and k.dtype.kind == "b" else 1
        for k, array in zip(key, is_array)
    ]
    chosen: list[Any] = []
    left: list[Any] = []
    for k, number, array, n in zip(key, is_number, is_array, axes):
        n = x.ndim - sum(axes) if k is Ellipsis else n
        chosen += [int(k)] if number else [slice(None)] * n if array or k is Ellipsis else [k]
        left += [] if number else [k] if array else [slice(None)] * (1 if k is None else n)
    return x[(*chosen, ...)], tuple(left)


def position(key, x):
    """A part of a key for x that is not basic, as an array: a list, a tuple or any other sequence.

    Raises IndexError for uint8.
    """
    if not hasattr(key, "dtype"):
        array = np.asarray(key)
        key = kernels.to_device(array if array.size else array.astype(int), kernels.device_of(x).name)
    if key.dtype == np.uint8 and not isinstance(key, np.generic):
        raise IndexError(
            "index: got positions of dtype uint8, which PyTorch reads as a mask and NumPy as numbers; say which: "
            "key.long() or key.to(bool)"
        )
    return key


def check_positions(key, x):
    """Raise NumPy's IndexError for a position outside x on a GPU, where CuPy would take it modulo the axis's size.

    The positions are read back for it, except while a step is captured.
    """
    on = kernels.device_of(x)
    if not on.is_cpu and not on.capturing and any(hasattr(k, "dtype") and k.dtype.kind in "iu" for k in key):
        here = tuple([kernels.to_device(k, "cpu") if hasattr(k, "dtype") else k for k in key])
        part, here = begun(np.broadcast_to(np.False_, x.shape), here)
        part[here]


class Cat(Op):
    """Join along an existing axis; backward cuts the gradient at the joints. A tensor of shape (0,) joins anything."""

    def forward(self, *arrays, axis=0):
        joined: Any = [a for a in arrays if a.shape != (0,)] or arrays
        self.empty = [i for i, a in enumerate(arrays) if a.shape == (0,)] if len(joined) < len(arrays) else []
        arrays, shapes = joined, [a.shape for a in joined]
        if not shapes or () in shapes:
            raise ValueError(f"cat: got shapes {shapes}; expected one tensor at least, and all with an axis to join")
        axis = axis_of("cat", len(shapes[0]), axis)
        if len({s[:axis] + s[axis + 1 :] for s in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
            raise ValueError(f"cat: got shapes {shapes}; all axes but dim={axis} must agree")
        self.axis = axis
        self.joints = np.cumsum([s[axis] for s in shapes])[:-1].tolist()
        return _concatenated(arrays, axis)

    def backward(self, grad_output):
        grads = np.split(grad_output, self.joints, self.axis)
        for i in self.empty:
            grads.insert(i, np.zeros_like(grad_output, shape=(0,)))
        return grads


class Stack(Op):
    """Join along a new axis; backward splits the gradient along it."""

    def forward(self, *arrays, axis=0):
        if len({a.shape for a in arrays}) != 1:
            raise ValueError(
                f"stack: got shapes {[a.shape for a in arrays]}; expected at least one tensor, and all of equal shape. "
                "Did you mean cat?"
            )
        self.axis = axis_of("stack", arrays[0].ndim + 1, axis)
        return _concatenated([np.expand_dims(a, self.axis) for a in arrays], self.axis)

    def backward(self, grad_output):
        return tuple(np.moveaxis(grad_output, self.axis, 0))


def _concatenated(arrays, axis):
    """np.concatenate; on a GPU array by array.

    CuPy's own sends the addresses to the GPU if there are more than 8 arrays (14.2), as a step that is captured in a
    CUDA graph must not: each of its launches would send them again from memory that then holds something else.
    """
    on = kernels.device_of(arrays[0])
    if on.is_cpu:
        return np.concatenate(arrays, axis)
    ends, shape = np.cumsum([a.shape[axis] for a in arrays]).tolist(), list(arrays[0].shape)
    shape[axis] = ends[-1]
    joined = on.empty(tuple(shape), functools.reduce(np.promote_types, [a.dtype for a in arrays]))
    for place, array in zip(np.split(joined, ends[:-1], axis), arrays):
        place[...] = array
    return joined


class Pad(Op):
    """Surround with a constant; backward crops. A negative width crops, and its backward pads with zeros."""

    def forward(self, x, widths, value=0.0):
        if any(n + lo + hi < 0 for n, (lo, hi) in zip(x.shape, widths)):
            raise ValueError(f"pad: got widths {widths} for shape {x.shape}; they crop away more than there is")
        self.in_shape = x.shape
        self.inside, self.source = [], []
        for n, (lo, hi) in zip(x.shape, widths):
            self.inside.append(slice(max(lo, 0), n + lo + min(hi, 0)))  # where the kept values are in the output …
            self.source.append(slice(max(-lo, 0), n + min(hi, 0)))  # … and in the input
        y = np.full_like(x, value, shape=[n + lo + hi for n, (lo, hi) in zip(x.shape, widths)])
        put(y, tuple(self.inside), x[tuple(self.source)])
        return y

    def backward(self, grad_output):
        inside = grad_output[tuple(self.inside)]
        if inside.shape == self.in_shape:  # nothing was cropped
            return inside
        grad_x = np.zeros_like(grad_output, shape=self.in_shape)
        put(grad_x, tuple(self.source), inside)
        return grad_x


class Clone(Op):
    """The same numbers in memory of their own, laid out as before ("K") or row by row ("C")."""

    def forward(self, x, order="K"):
        return x.copy(order)

    def backward(self, grad_output):
        return grad_output


class Gate(Op):
    """Lets arrays pass unchanged; backward gives all their gradients to ``through``, and sends on what that returns.

    One array passes by itself. Of several, since an op has one output, each passes in a `Passed` of its own, which
    leaves its gradient in ``grads`` on the way back; this op then comes last, and its own output is empty.
    """

    def forward(self, *arrays, through, grads):
        self.through, self.grads, self.several = through, grads, len(arrays) > 1
        return np.empty_like(arrays[0], shape=(0,)) if self.several else arrays[0][...]

    def backward(self, grad_output):
        found = dict(self.grads) if self.several else {0: grad_output}
        self.grads.clear()  # the graph may be walked again
        return tuple(self.through(found))


class Passed(Op):
    """Array number ``slot`` of those that pass a `Gate`."""

    def forward(self, gate, array, slot, grads):
        self.gate, self.slot, self.grads = gate, slot, grads
        return array[...]

    def backward(self, grad_output):
        self.grads[self.slot] = grad_output
        return self.gate  # empty


class Cast(Op):
    """The same numbers in another floating-point type; the gradient is cast back."""

    def forward(self, x, dtype):
        self.in_dtype = x.dtype
        return x.astype(dtype)

    def backward(self, grad_output):
        return grad_output.astype(self.in_dtype)


class Move(Op):
    """The same numbers on another device; the gradient is moved back."""

    def forward(self, x, device):
        self.from_device = kernels.device_of(x).name
        return kernels.to_device(x, device)

    def backward(self, grad_output):
        return kernels.to_device(grad_output, self.from_device)
