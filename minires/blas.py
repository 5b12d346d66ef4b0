"""BLAS held to one thread while our own kernels run.

BLAS has threads of its own, and no product of ours may wake them: after a product they spin for some 30 ms, waiting for
the next one, and keep the cores from our threads. A single such product, in the linear layer at the end of a ResNet-18,
made the whole training step 13 % longer.
"""

import operator
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import threadpoolctl

ALONE = 9_000  # multiply-adds up to which OpenBLAS itself uses one thread, judging by its threads' CPU time
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")  # read by BLAS

_libraries: list[tuple[Callable[[], int], Callable[[int], None]]] | None = None  # for each: get and set its threads
_lock = threading.RLock()
_users: dict[object, int] = {}  # one entry for each call in progress: its thread
_held = False
_undo: Iterator = iter(())  # exhausting it gives each library its threads back, once


def one_blas_thread(work: Callable, *arguments: Any) -> Any:
    """``work(*arguments)``, with BLAS held to one thread. When the last user leaves, BLAS gets its threads back.

    Warns, once per process, if BLAS cannot be held. Not a context manager: an interrupt at the end of a ``with`` block
    can keep ``__exit__`` from running (`minires.threads` says where interrupts may come).
    """
    global _held
    user, thread = object(), threading.get_ident()
    try:
        _users[user] = thread
        if not _held:
            _hold()
        return work(*arguments)
    finally:
        del _users[user]
        if not _users:
            with _lock:
                _held = False  # before it looks once more: who comes in between sees this, or is seen
                if _users:
                    _held = True
                else:
                    list(_undo)


def is_held() -> bool:
    """Whether BLAS is held to one thread now."""
    return _held


def _hold() -> None:
    global _libraries, _held, _undo
    with _lock:
        if _held:
            return
        list(_undo)  # left over from a user that was interrupted
        first = _libraries is None
        if _libraries is None:
            _libraries = _find()
        _undo = map(operator.call, [set_threads for _, set_threads in _libraries], threads())
        for _, set_threads in _libraries:
            set_threads(1)
        _held = True
        alone = sys.platform == "emscripten" or "1" in map(os.environ.get, VARIABLES)  # WebAssembly's has no threads
        if first and (not _libraries or set(threads()) != {1}) and not alone:
            warnings.warn(
                f"minires: BLAS cannot be held to one thread, so its own threads slow the kernels down; threadpoolctl "
                f"{threadpoolctl.__version__} does not know NumPy's BLAS. Install a newer one, or set the BLAS's own "
                f"variable to 1 before Python starts ({', '.join(VARIABLES)})",
                RuntimeWarning,
                stacklevel=2,
            )


def threads() -> list[int]:
    """How many threads each of the process's BLAS libraries uses now."""
    return [get() for get, _ in _libraries or ()]


def describe() -> str:
    """NumPy's BLAS: library, version, and the processor whose kernels it runs, as in "openblas 0.3.31 (SkylakeX)"."""
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").info()
    texts = (f"{x['internal_api']} {x['version']} ({x.get('architecture', 'of its own choice')})" for x in found)
    return ", ".join(sorted(set(texts))) or "unknown to threadpoolctl"


def _find() -> list[tuple[Callable[[], int], Callable[[int], None]]]:
    controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
    return [_get_and_set(library) for library in controller.lib_controllers]


def _get_and_set(library: Any) -> tuple[Callable[[], int], Callable[[int], None]]:
    """OpenBLAS's own functions where its threads belong to the process, as in NumPy's wheels; else threadpoolctl's.

    From 3.8 on, threadpoolctl's setter ignores every thread but the one that used it first. Here any thread may call,
    and `one_blas_thread` counts them.
    """
    if getattr(library, "threading_layer", None) == "pthreads" and hasattr(library, "_get_symbol"):
        own = library._get_symbol("openblas_get_num_threads"), library._get_symbol("openblas_set_num_threads")
        if all(own):
            return own
    return library.get_num_threads, getattr(library, "_real_set_num_threads", library.set_num_threads)


def _after_fork() -> None:
    """Forget the parent's other threads, which do not exist in the child, and what they were holding."""
    global _lock, _held
    _lock, mine = threading.RLock(), threading.get_ident()
    for user in [user for user, thread in _users.items() if thread != mine]:
        del _users[user]
    if not _users:
        _held = False
        list(_undo)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
