"""Look without touching: instruments run a model and leave it exactly as it was."""

import itertools
import operator
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import random
from ..blocks import contextmanager
from ..nn import Module
from ..tensor import Tensor


@contextmanager
def keeping(model: Module) -> Iterator[None]:
    """When the block ends, restore all that the model holds, and the random state. Inside, gradients start as None.

    Parameters and buffers (arrays or Tensors, whether reassigned or written into) are restored bit for bit, with their
    dtype, device, gradient and ``requires_grad``; so is every other attribute of every module: its mode, its hooks, a
    counter, a random generator of its own, the contents of its lists, dicts and sets.
    """
    held = _held_by(model)
    calls = [*itertools.chain.from_iterable(map(_restoring, held)), (random.restorer(),)]
    restore = itertools.starmap(operator.call, calls)
    try:
        for thing in held:
            if isinstance(thing, Tensor):
                thing.grad = None
        yield
    finally:
        list(restore)  # in one C call, so that no interrupt comes between


def _held_by(model: Module) -> list[Any]:
    """The model and everything changeable that it holds, directly or within something else, each once."""
    found: dict[int, Any] = {}
    stack: list[Any] = [model]
    while stack:
        thing = stack.pop()
        if isinstance(thing, tuple):
            stack += thing
        elif id(thing) not in found and _can_change(thing):
            found[id(thing)] = thing
            if isinstance(thing, Module | dict):
                stack += (vars(thing) if isinstance(thing, Module) else thing).values()
            elif isinstance(thing, list | deque | set):
                stack += thing
            elif isinstance(thing, Tensor):
                stack.append(thing.array)
    return list(found.values())


def _can_change(thing: Any) -> bool:
    """Whether it is of a kind that `_restoring` knows."""
    if isinstance(thing, np.ndarray) or type(thing).__module__.partition(".")[0] == "cupy":
        return hasattr(thing, "__setitem__") and getattr(thing.flags, "writeable", True)  # CuPy has no such flag
    return isinstance(thing, Module | Tensor | list | deque | dict | set | np.random.Generator)


def _restoring(thing: Any) -> list[tuple]:
    """Calls, (function, *arguments), that make a thing what it is now again; not what it holds, which has its own."""
    if isinstance(thing, Tensor):
        return [
            (setattr, thing, name, getattr(thing, name)) for name in ("array", "_grad", "requires_grad", "op", "hooks")
        ]
    if isinstance(thing, Module | list | deque | dict | set):
        contents = vars(thing) if isinstance(thing, Module) else thing
        fill = contents.extend if isinstance(contents, list | deque) else contents.update
        return [(contents.clear,), (fill, contents.copy())]
    if isinstance(thing, np.random.Generator):
        return [(setattr, thing.bit_generator, "state", thing.bit_generator.state)]
    return [(operator.setitem, thing, ..., thing.copy("K"))]
