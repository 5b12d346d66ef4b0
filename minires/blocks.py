"""`contextmanager`: that of contextlib, for ``with`` blocks whose end an interrupt must not leave out.

An interrupt may come before the first line of ``__exit__`` (`minires.threads` says where else). Then contextlib's never
wakes the generator, which waits at its ``yield`` for as long as a notebook keeps the traceback, and may put things back
much later. Here it is closed at once: what the ``with`` statement was going to call is let go, whatever happens, and
that closes the generator, in one C call. (`minires.state` makes another use of this.)
"""

import contextlib
import functools
import operator
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


def contextmanager(function: Callable[P, Iterator[T]]) -> "Callable[P, Block[T]]":
    """A ``with`` block from a generator that yields once; its end comes in ``finally:``, in one C call if possible."""
    make = contextlib.contextmanager(function)
    return functools.wraps(function)(lambda *args, **options: Block(make(*args, **options)))


class _Exit:
    """A callable of its own for the ``with`` statement that asks for it, before it calls ``__enter__``."""

    def __get__(self, block: "Block | None", owner: Any = None) -> Callable[..., bool | None]:
        if block is None:
            return lambda block, *error: block.manager.__exit__(*error)  # contextlib.ExitStack calls it so
        exit = functools.partial(block.manager.__exit__)
        if not block.entered:
            close = filter(None, map(operator.call, [block.manager.gen.close]))  # its one step yields nothing
            exit.end = weakref.ref(exit, functools.partial(next, close))  # type: ignore[attr-defined]
        return exit


class Block(Generic[T]):
    """What a call of such a function returns; for a single ``with``."""

    __exit__ = _Exit()

    def __init__(self, manager: Any):
        self.manager, self.entered = manager, False

    def __enter__(self) -> T:
        self.entered = True
        return self.manager.__enter__()
