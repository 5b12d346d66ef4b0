"""Writes in place: `write` makes one, and `check_unwritten` keeps backward from using what has changed since.

An op saves arrays for its backward, often without copying them. If the memory of one is written before backward has
passed, by ``p -= lr * p.grad`` or an optimiser's step, the gradient would be that of another function. So every write
gets a serial, from the same sequence as the ops, and backward refuses an op older than a write to an array it saved.

`minires.tensor_in_place` says what may be written, and when. ``p.array`` and ``p.numpy()`` are the arrays themselves:
what is written through them is not noticed, as in PyTorch.
"""

import weakref
from typing import Any

from .dtypes import RANK
from .ops import Op
from .ops.op import SET_BY_THE_ENGINE, serials
from .ops.shape import begun, check_positions
from .state import current

latest = -1  # serial of the latest write; an op made after it need not be checked
_serials: dict[int, int] = {}  # id of an array that owns memory -> serial of the latest write to that
_owners: dict[int, weakref.ref] = {}  # the same arrays; forgotten when they go, as another may get the id


def wrote(*arrays: Any) -> None:
    """Note that these arrays have been written in place."""
    global latest
    latest = next(serials)
    for array in arrays:
        memory = array if array.base is None else _owner(array)
        if id(memory) not in _owners:
            _owners[id(memory)] = weakref.ref(memory, _forgetting(id(memory)))
        _serials[id(memory)] = latest


def write(array: Any, values: Any) -> None:
    """Put ``values`` into ``array``, in place; floats may not go into whole numbers, nor numbers into bools.

    Raises TypeError for such values, ValueError for a shape other than the array's, and RuntimeError for an array that
    cannot be written, because it is read-only or several of its entries share one place in memory.
    """
    if RANK[values.dtype.kind] > RANK[array.dtype.kind]:
        raise TypeError(
            f"in-place: got a {values.dtype} result for a {array.dtype} tensor, which cannot hold it; make a new "
            "tensor: x = x + y instead of x += y"
        )
    if values.shape != array.shape:
        raise ValueError(
            f"in-place: got a result of shape {values.shape} for a tensor of shape {array.shape}, which cannot grow; "
            "make a new tensor: x = x + y instead of x += y"
        )
    put(array, ..., values)


def put(array: Any, key: Any, values: Any) -> None:
    """``array[key] = values``, cast to the array's dtype. Raises as `write` does for memory that cannot be written."""
    shared = array.size and any(n > 1 and not s for n, s in zip(array.shape, array.strides))
    if shared or not getattr(array.flags, "writeable", True):
        raise RuntimeError(
            f"in-place: got a tensor of shape {array.shape} whose memory cannot be written: it is read-only, or "
            "expanded, so that several entries share one place in memory. Copy it first: x = tensor(x)"
        )
    fusion = current().fusion
    if fusion is not None:
        fusion.settle()
    part = array
    if isinstance(key, tuple):
        check_positions(key, array)
        part, key = begun(array, key)
    part[key] = values
    wrote(array)


def latest_of(array: Any) -> int:
    """Serial of the latest write to the array's memory; −1 if there was none."""
    return _serials.get(id(_owner(array)), -1)


def check_unwritten(op: Op) -> None:
    """Raise RuntimeError if an array that the op saved has been written in place since the op ran."""
    for name, value in vars(op).items():
        if name not in SET_BY_THE_ENGINE:
            for array in _arrays(value):
                if latest_of(array) > op.serial:
                    raise RuntimeError(
                        f"backward: an array of shape {array.shape} that {op!r} saved has been written in place since, "
                        "by an operator such as +=, an optimiser's step or loading a state, so the gradient would be "
                        "wrong. Call backward first, or write to a copy"
                    )


def _forgetting(key: int) -> Any:
    return lambda gone: (_serials.pop(key), _owners.pop(key))


def _owner(array: Any) -> Any:
    """The array whose memory this one is a view of; the array itself if it is no view."""
    while hasattr(array.base, "base") and hasattr(array.base, "dtype"):  # the base may be a memory map, or a tensor
        array = array.base
    return array


def _arrays(value: Any) -> Any:
    """The arrays in a value that an op saved: the value itself, or those in a tuple, list or dict."""
    if isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _arrays(part)
    elif hasattr(value, "base") and hasattr(value, "dtype"):
        yield value
