"""Look without touching: instruments run a model and leave it exactly as it was."""

import itertools
import operator
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy as np

from .. import random
from ..blocks import contextmanager
from ..nn import Module
from ..tensor import Tensor

Kept = tuple[Iterable[Any], list[tuple]]  # what a thing holds, and the calls (function, *arguments) that restore it


@contextmanager
def keeping(model: Module) -> Iterator[None]:
    """When the block ends, restore all that the model holds, and the random state. Inside, gradients start as None.

    Parameters and buffers (arrays or Tensors, whether reassigned or written into) are restored bit for bit, with their
    dtype, device, gradient and ``requires_grad``; so is every other attribute of every module: its mode, its hooks, a
    counter, a random generator of its own, the contents of its lists, dicts and sets.
    """
    restore = random.restorer()
    with restoring(model, _ours) as kept:
        try:
            for thing in kept:
                if isinstance(thing, Tensor):
                    thing.grad = None
            yield
        finally:
            restore()


@contextmanager
def restoring(root: Any, engines: Callable[[Any], Kept | None]) -> Iterator[Collection[Any]]:
    """When the block ends, restore the root and everything changeable that it holds, directly or within other things.

    engines: returns, for a module or a tensor of the engine's, what it holds and how to restore it; None for others.
    """
    kept: dict[int, Any] = {}
    calls: list[tuple] = []
    stack: list[Any] = [root]
    while stack:
        thing = stack.pop()
        if isinstance(thing, tuple):
            stack += thing
        elif id(thing) not in kept and (found := engines(thing) or _plain(thing)) is not None:
            kept[id(thing)] = thing
            stack += found[0]
            calls += found[1]
    restore = itertools.starmap(operator.call, calls)
    try:
        yield kept.values()
    finally:
        list(restore)  # in one C call, so that no interrupt comes between


def _ours(thing: Any) -> Kept | None:
    """minires's modules and tensors."""
    if isinstance(thing, Module):
        return keep_contents(vars(thing))
    if isinstance(thing, Tensor):
        slots = "array", "_grad", "requires_grad", "op", "hooks"
        return [thing.array], [(setattr, thing, name, getattr(thing, name)) for name in slots]
    return None


def keep_contents(thing: Any) -> Kept:
    """What a dict, set, list or deque holds, and how to restore it."""
    before = thing.copy()
    fill = thing.extend if isinstance(thing, list | deque) else thing.update
    return before.values() if isinstance(before, dict) else before, [(thing.clear,), (fill, before)]


def _plain(thing: Any) -> Kept | None:
    """Containers, NumPy's random generators, and arrays that can be written; None for anything else."""
    if isinstance(thing, list | deque | dict | set):
        return keep_contents(thing)
    if isinstance(thing, np.random.Generator):
        return (), [(setattr, thing.bit_generator, "state", thing.bit_generator.state)]
    cupys = type(thing).__module__.partition(".")[0] == "cupy" and hasattr(thing, "__setitem__")
    if cupys or (isinstance(thing, np.ndarray) and thing.flags.writeable):
        return (), [(operator.setitem, thing, ..., thing.copy("K"))]
    return None
