"""Threads: a few large pieces of work on a few cores, with BLAS held to one thread inside.

NumPy releases the interpreter lock inside large calls, so plain Python threads over blocks of an array run side by
side.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import threadpoolctl


def available_cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_num_threads = available_cores()
_pool: ThreadPoolExecutor | None = None
_local = threading.local()


def set_num_threads(n: int) -> None:
    """Use ``n`` threads in the kernels (default: every core the process may use). Results may differ in rounding.

    Raises ValueError unless n is a whole number of at least 1.
    """
    global _num_threads, _pool
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: got {n!r}; expected a whole number of at least 1")
    _num_threads, _pool = n, None


def get_num_threads() -> int:
    """Number of threads the kernels use."""
    return _num_threads


def parallel(work: Callable[[Sequence], Any], items: Sequence) -> list:
    """Cut ``items`` into one run per thread, call ``work`` on each side by side, and return the results in order.

    Called from inside a piece of work, it runs in that piece's own thread.
    """
    threads = min(_num_threads, len(items))
    if threads <= 1 or getattr(_local, "busy", False):
        with one_blas_thread():
            return [work(items)] if len(items) else []
    cuts = [len(items) * i // threads for i in range(threads + 1)]
    runs = [items[a:b] for a, b in itertools.pairwise(cuts)]
    with one_blas_thread():
        others = [_executor().submit(_inside, work, run) for run in runs[1:]]
        try:
            first = _inside(work, runs[0])
        finally:  # the others write into arrays of the caller's: never leave before they are done
            results = [f.exception() or f.result() for f in others]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [first, *results]


def _inside(work, run):
    _local.busy = True
    try:
        return work(run)
    finally:
        _local.busy = False


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(_num_threads - 1, 1), thread_name_prefix="minires")
    return _pool


def _after_fork() -> None:
    """The parent's threads do not exist in the child: forget them, and what they were holding."""
    global _pool, _blas_lock, _blas_users
    _pool, _blas_lock, _local.busy = None, threading.Lock(), False
    if _blas_users:
        _blas_users = 0
        _set_blas_threads(_blas_before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


_blas: list[Any] | None = None
_blas_lock = threading.Lock()
_blas_users = 0
_blas_before: list[int] = []


class one_blas_thread(contextlib.ContextDecorator):
    """Hold BLAS to one thread inside, and restore what was set when the last user leaves."""

    def __enter__(self) -> None:
        global _blas, _blas_users, _blas_before
        with _blas_lock:
            if _blas is None:
                _blas = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
            if _blas_users == 0:
                _blas_before = [library.num_threads for library in _blas]
                _set_blas_threads([1] * len(_blas))
            _blas_users += 1

    def __exit__(self, *error: Any) -> None:
        global _blas_users
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _set_blas_threads(_blas_before)


def _set_blas_threads(counts: list[int]) -> None:
    for library, n in zip(_blas or (), counts):
        library.set_num_threads(n)


def workspace(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Scratch memory of this thread, reused from call to call; its contents are undefined."""
    count = int(np.prod(shape)) * dtype.itemsize
    buffer = getattr(_local, "buffer", None)
    if buffer is None or buffer.size < count:
        buffer = _local.buffer = np.empty(count, np.uint8)
    return buffer[:count].view(dtype).reshape(shape)
