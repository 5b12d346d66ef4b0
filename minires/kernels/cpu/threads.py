"""Threads: a few large pieces of work on a few cores, with BLAS held to one thread inside.

NumPy releases the interpreter lock inside large calls, so plain Python threads over blocks of an array run side by
side.
"""

import contextlib
import itertools
import math
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


RUNS_PER_THREAD = 4
BLOCK_BYTES = 4_000_000  # of an array that is worked on channel by channel
PARALLEL_BYTES = 2_000_000  # below this a second thread costs more than it brings

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
    """Cut ``items`` into a few runs per thread, call ``work`` on each side by side, and return the results in order.

    A thread that is done takes the next run, so that a core which is slow for a while does less. The runs are the same
    every time, whoever takes them: sums over their results, in order, come out the same to the last bit.
    Called from inside a piece of work, it runs in that piece's own thread.
    """
    threads = min(_num_threads, len(items))
    if threads <= 1 or getattr(_local, "busy", False):
        with one_blas_thread():
            return [work(items)] if len(items) else []
    count = min(RUNS_PER_THREAD * threads, len(items))
    cuts = [len(items) * i // count for i in range(count + 1)]
    runs = enumerate([items[a:b] for a, b in itertools.pairwise(cuts)])
    results: list[Any] = [None] * count
    with one_blas_thread():
        others = [_executor().submit(_take_runs, work, runs, results) for _ in range(threads - 1)]
        try:
            _take_runs(work, runs, results)
        finally:  # the others write into arrays of the caller's: never leave before they are done
            errors = [other.exception() for other in others]
    for error in filter(None, errors):
        raise error
    return results


def over_channels(work: Callable[[Sequence[slice]], Any], array: np.ndarray) -> None:
    """Call ``work`` on slices that cut the first axis of ``array`` into blocks, on several threads if it pays."""
    per_block = max(BLOCK_BYTES // max(array[0].nbytes, 1), 1)
    large = array.nbytes >= PARALLEL_BYTES
    if large:
        per_block = min(per_block, -(-len(array) // _num_threads))
    blocks = [slice(i, i + per_block) for i in range(0, len(array), per_block)]
    if large:
        parallel(work, blocks)
    else:
        work(blocks)


def _take_runs(work, runs, results):
    """Take one run after the other from a common iterator (whose step the interpreter lock makes atomic)."""
    _local.busy = True
    try:
        for i, run in runs:
            results[i] = work(run)
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
    """Tell every BLAS its number of threads, from whichever thread this is.

    threadpoolctl's own setter (from 3.8 on) ignores every thread but the one that used it first; here any may come, and
    `one_blas_thread` counts them.
    """
    for library, n in zip(_blas or (), counts):
        getattr(library, "_real_set_num_threads", library.set_num_threads)(n)


def workspace(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Scratch memory of this thread, reused from call to call; its contents are undefined."""
    count = math.prod(shape) * dtype.itemsize
    buffer = getattr(_local, "buffer", None)
    if buffer is None or buffer.size < count:
        buffer = _local.buffer = np.empty(count, np.uint8)
    return np.ndarray(shape, dtype, buffer)
