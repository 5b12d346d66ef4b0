"""Look without touching: instruments run a model and leave it exactly as it was."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .. import random
from ..nn import Module
from ..tensor import Tensor


@contextlib.contextmanager
def keeping(model: Module) -> Iterator[None]:
    """Restore, when the block ends, all that the model holds, and the random state. Inside, gradients start as None.

    Restored bit for bit are parameters and buffers (arrays or Tensors, whether assigned anew or written into), their
    dtype and device, their gradients and whether they require any; and every other attribute of every module: its mode,
    its hooks, a counter, what its lists, dicts and sets contain.
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
        if id(thing) in found:
            continue
        if isinstance(thing, tuple):
            stack += thing
        elif isinstance(thing, Module | Tensor | list | dict | set) or _is_array(thing):
            found[id(thing)] = thing
            if isinstance(thing, Module):
                stack += vars(thing).values()
            elif isinstance(thing, Tensor):
                stack.append(thing.data)
            elif isinstance(thing, dict):
                stack += thing.values()
            elif isinstance(thing, list | set):
                stack += thing
    return list(found.values())


def _is_array(thing: Any) -> bool:
    """Whether it is an array that can be written into, on any device (CuPy's have no flag that would forbid it)."""
    return hasattr(thing, "dtype") and hasattr(thing, "__setitem__") and getattr(thing.flags, "writeable", True)


def _restorer(thing: Any) -> Callable[[], None]:
    """What makes a thing again what it is now. The things that it holds have their own."""
    if isinstance(thing, Tensor):
        fields = thing.data, thing.grad, thing.requires_grad, thing.op
        thing.grad = None

        def restore() -> None:
            thing.data, thing.grad, thing.requires_grad, thing.op = fields

    elif isinstance(thing, Module | list | dict | set):
        contents = vars(thing) if isinstance(thing, Module) else thing
        before = contents.copy()

        def restore() -> None:
            contents.clear()
            (contents.extend if isinstance(contents, list) else contents.update)(before)

    else:
        before = thing.copy("K")

        def restore() -> None:
            thing[...] = before

    return restore
