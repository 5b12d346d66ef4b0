"""Look without touching: instruments run a model and leave it exactly as it was."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import random
from ..nn import Module
from ..tensor import Tensor


@contextlib.contextmanager
def keeping(model: Module) -> Iterator[None]:
    """When the block ends, restore all that the model holds, and the random state. Inside, gradients start as None.

    Parameters and buffers (arrays or Tensors, whether reassigned or written into) are restored bit for bit, with their
    dtype, device, gradient and ``requires_grad``; so is every other attribute of every module: its mode, its hooks, a
    counter, a random generator of its own, the contents of its lists, dicts and sets.
    """
    restorers = [_restorer(thing) for thing in _held_by(model)]
    state = random.get_state()
    try:
        yield
    finally:
        for restore in restorers:
            restore()
        random.set_state(state)


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
    """Whether it is of a kind that `_restorer` can restore."""
    if isinstance(thing, np.ndarray) or type(thing).__module__.partition(".")[0] == "cupy":
        return hasattr(thing, "__setitem__") and getattr(thing.flags, "writeable", True)  # CuPy has no such flag
    return isinstance(thing, Module | Tensor | list | deque | dict | set | np.random.Generator)


def _restorer(thing: Any) -> Callable[[], None]:
    """A function that makes a thing what it is now again; whatever the thing holds needs a restorer of its own."""
    before: Any
    if isinstance(thing, Tensor):
        fields = thing.array, thing.grad, thing.requires_grad, thing.op, thing.hooks
        thing.grad = None

        def restore() -> None:
            thing.array, thing.grad, thing.requires_grad, thing.op, thing.hooks = fields

    elif isinstance(thing, Module | list | deque | dict | set):
        contents = vars(thing) if isinstance(thing, Module) else thing
        before = contents.copy()

        def restore() -> None:
            contents.clear()
            (contents.extend if isinstance(contents, list | deque) else contents.update)(before)

    elif isinstance(thing, np.random.Generator):
        before = thing.bit_generator.state

        def restore() -> None:
            thing.bit_generator.state = before

    else:
        before = thing.copy("K")

        def restore() -> None:
            thing[...] = before

    return restore
