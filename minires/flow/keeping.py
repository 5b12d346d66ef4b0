"""Look without touching: instruments run a model and leave it exactly as it was."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import random
from ..nn import Module
from ..tensor import Tensor

Restore = Callable[[], Any]
Kept = tuple[Iterable[Any], Restore]  # what a thing holds, and the function that makes it what it was


@contextlib.contextmanager
def keeping(model: Module) -> Iterator[None]:
    """When the block ends, restore all that the model holds, and the random state. Inside, gradients start as None.

    Parameters and buffers (arrays or Tensors, whether reassigned or written into) are restored bit for bit, with their
    dtype, device, gradient and ``requires_grad``; so is every other attribute of every module: its mode, its hooks, a
    counter, a random generator of its own, the contents of its lists, dicts and sets.
    """
    state = random.get_state()
    with restoring(model, _ours):
        try:
            yield
        finally:
            random.set_state(state)


@contextlib.contextmanager
def restoring(root: Any, engines: Callable[[Any], Kept | None]) -> Iterator[None]:
    """When the block ends, restore the root and everything changeable that it holds, directly or within other things.

    engines: returns, for a module or a tensor of the engine's, what it holds and how to restore it; None for others.
    """
    kept: dict[int, Any] = {}
    restorers: list[Restore] = []
    stack: list[Any] = [root]
    while stack:
        thing = stack.pop()
        if isinstance(thing, tuple):
            stack += thing
        elif id(thing) not in kept and (found := engines(thing) or _plain(thing)) is not None:
            kept[id(thing)] = thing
            held, restore = found
            stack += held
            restorers.append(restore)
    try:
        yield
    finally:
        for restore in restorers:
            restore()


def _ours(thing: Any) -> Kept | None:
    """minires's modules and tensors."""
    if isinstance(thing, Module):
        return keep_contents(vars(thing))
    if not isinstance(thing, Tensor):
        return None
    fields = thing.array, thing.grad, thing.requires_grad, thing.op, thing.hooks
    thing.grad = None

    def restore() -> None:
        thing.array, thing.grad, thing.requires_grad, thing.op, thing.hooks = fields

    return fields[:1], restore


def keep_contents(thing: Any) -> Kept:
    """What a dict, set, list or deque holds, and how to restore it."""
    before = thing.copy()

    def restore() -> None:
        thing.clear()
        (thing.extend if isinstance(thing, list | deque) else thing.update)(before)

    return before.values() if isinstance(before, dict) else before, restore


def _plain(thing: Any) -> Kept | None:
    """Containers, NumPy's random generators, and arrays that can be written; None for anything else."""
    if isinstance(thing, list | deque | dict | set):
        return keep_contents(thing)
    if isinstance(thing, np.random.Generator):
        state = thing.bit_generator.state
        return (), lambda: setattr(thing.bit_generator, "state", state)
    cupys = type(thing).__module__.partition(".")[0] == "cupy" and hasattr(thing, "__setitem__")
    if cupys or (isinstance(thing, np.ndarray) and thing.flags.writeable):
        values = thing.copy("K")
        return (), lambda: thing.__setitem__(..., values)
    return None
