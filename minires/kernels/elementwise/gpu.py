"""ReLU and addition: launches for elementwise.cu, which keep the memory order of their operands."""

import operator

import numpy as np

from ..launch import BLOCK, ITEMS, blocks, c_name
from ..layout import axes_along_memory, entry_by_entry
from ..load import TYPES, Source

ELEMENTWISE = Source(
    "elementwise/elementwise.cu", [(kernel, t) for kernel in ("relu", "relu_backward", "add") for t in TYPES]
)


def relu(on, x):
    """`definition.relu`: max(x, 0); of whole numbers by the array library."""
    return _elementwise(on, "relu", x) if x.dtype.kind == "f" else np.maximum(x, 0)


def relu_backward(on, grad_y, y):
    """`definition.relu_backward`: 0 where y ≤ 0, else the gradient."""
    return _elementwise(on, "relu_backward", grad_y, y)


def add(on, a, b):
    """`definition.add`: a + b. Arrays of the same shape go to our own kernel, all else to the array library."""
    same = getattr(b, "shape", None) == getattr(a, "shape", ()) and type(a) is type(b)
    if not same or a.dtype != b.dtype or a.dtype.kind != "f" or not a.size:
        return entry_by_entry(operator.add, a, b)
    return _elementwise(on, "add", a, b)


def _elementwise(on, kernel, *arrays):
    """Launch over all entries, in the memory order of the last operand."""
    guide = arrays[-1]
    order, back = axes_along_memory(guide.strides)
    lying = [view if (view := a.transpose(order)).flags.c_contiguous else view.copy() for a in arrays]
    y = on.empty(lying[0].shape, guide.dtype)
    grid = blocks(y.size, BLOCK * ITEMS)
    on.launch(ELEMENTWISE, kernel, (c_name(guide.dtype),), grid, BLOCK, *lying, y, numbers=(y.size,))
    return y.transpose(back)
