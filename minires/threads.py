"""Threads: a few large pieces of work on a few cores, with BLAS held to one thread inside.

NumPy releases the interpreter lock inside large calls, so plain Python threads that work on blocks of an array run side
by side. Between two calls they wait for it, which is why blocks are large and calls few. (`np.matmul` and `np.vecdot`
count as large only if they return more than 500 entries, whatever they read.) A free-threaded Python has no such lock,
and its threads do not wait; nothing here relies on it.

Ctrl-C, an alarm or a notebook's stop button may raise an exception in the main thread after any call that it makes
(also of a Python function, before its first line), and at the end of each pass of a loop; nowhere else. Only there,
and in C functions that release it, does the interpreter lock change hands. So code that must not be interrupted has no
such place: only assignments, and a single call of a C function, such as ``list`` of a ``map`` made beforehand.
"""

import _thread
import contextlib
import ctypes
import functools
import itertools
import math
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from . import blas
from .blas import one_blas_thread


def available_cores() -> int:
    """Number of cores this process may use: one where Python can start no threads, as in a browser."""
    if sys.platform == "emscripten":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Found by `python -m benchmarks tune`.
RUNS_PER_THREAD = 4  # more runs balance a slow core better, but each costs a call
BLOCK_BYTES = 4_000_000  # of an array, in one block of channels
PARALLEL_BYTES = 4_000_000  # below this a second thread costs more than it saves
PARALLEL_WORK = 24_000_000  # the same, in multiply-adds of a matrix product

CACHE_LINE = 64  # bytes

_num_threads = available_cores()
_crew: "_Crew | None" = None
_local = threading.local()


def set_num_threads(n: int) -> None:
    """Use ``n`` threads in the kernels (default: every core the process may use). Results may differ in rounding.

    Where Python can start no threads, as in a browser, it stays at one. Raises ValueError unless n is a whole number of
    at least 1.
    """
    global _num_threads, _crew
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: got {n!r}; expected a whole number of at least 1")
    if sys.platform == "emscripten":
        n = 1
    _num_threads, _crew = n, None  # the former crew ends with the last call that uses it


def get_num_threads() -> int:
    """Number of threads the kernels use."""
    return _num_threads


def parallel(work: Callable[[Sequence], Any], items: Sequence) -> list:
    """Cut ``items`` into a few runs per thread, call ``work`` on each side by side, and return the results in order.

    A thread that has finished takes the next run, so a core that is slow for a while does less. The runs are the same
    every time, whoever takes them: sums over their results, in order, come out the same to the last bit.
    When called from inside ``work``, everything runs in the calling thread.
    """
    threads = min(_num_threads, len(items))
    if threads <= 1 or getattr(_local, "busy", False):
        return [one_blas_thread(work, items)] if len(items) else []
    count = min(RUNS_PER_THREAD * threads, len(items))
    # popleft gives each run to one thread, also in a Python without the interpreter lock, and each thread one None
    runs = deque([*enumerate(items[part] for part in cut(len(items), count)), *[None] * threads])
    results: list[Any] = [None] * count

    def take_runs():
        _local.busy = True
        try:
            for i, run in iter(runs.popleft, None):
                results[i] = work(run)
        finally:
            _local.busy = False

    one_blas_thread(_hire().call, take_runs, threads - 1)
    return results


def worth_threads(multiply_adds: int) -> bool:
    """Whether matrix products with this many multiply-adds in all are worth several threads."""
    return multiply_adds >= PARALLEL_WORK


def cut(length: int, pieces: int) -> list[slice]:
    """Slices that cut range(length) into that many nearly equal pieces, leaving out empty ones."""
    ends = [length * i // pieces for i in range(pieces + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(ends) if a < b]


def parallel_products(work: Callable[[Sequence], Any], items: Sequence, multiply_adds: int) -> list:
    """`parallel` if there is enough to multiply, otherwise all in this thread; returns the results in order."""
    if worth_threads(multiply_adds):
        return parallel(work, items)
    return [one_blas_thread(work, items)]


def products_over(length: int, work: Callable[[Sequence[slice]], Any], multiply_adds: int) -> list:
    """`parallel_products` on slices of range(length): one for each thread, or a single one if there is little to do.

    Small work is not cut, so its results have the same bits for any number of threads.
    """
    pieces = cut(length, _num_threads if worth_threads(multiply_adds) else 1)
    return parallel_products(work, pieces, multiply_adds)


def plus(partial: np.ndarray | None, product: np.ndarray) -> np.ndarray:
    """The sum of both, in the memory of the first; just ``product`` if there is no ``partial`` sum yet."""
    return product if partial is None else np.add(partial, product, out=partial)


def total(partials: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of what the runs returned, in their order, in the memory of the first."""
    return functools.reduce(plus, partials)


def over_channels(work: Callable[[Sequence[slice]], Any], array: np.ndarray) -> None:
    """Call ``work`` on slices that cut the first axis of ``array`` into blocks, on several threads if faster."""
    if array.nbytes < PARALLEL_BYTES:
        long = array.size > blas.ALONE * len(array)  # work may contain a dot product for each channel
        one_blas_thread(work, [slice(None)]) if long else work([slice(None)])
        return
    per_block = min(max(BLOCK_BYTES // array[0].nbytes, 1), -(-len(array) // _num_threads))
    parallel(work, [slice(i, i + per_block) for i in range(0, len(array), per_block)])


class _Crew:
    """Helper threads, for one caller at a time. They end once nothing refers to the crew any more.

    The caller must not leave while a helper still writes into its arrays. So there is no gap here for an interrupt, and
    the wait is deaf to it: it is raised when all have finished.
    """

    def __init__(self, size: int):
        self.free = [True]  # empty while they are at work for somebody
        self.jobs: list[SimpleQueue] = [SimpleQueue() for _ in range(size)]
        self.latches = [_closed_latch() for _ in range(size)]
        for queue, latch in zip(self.jobs, self.latches):
            end = weakref.ref(self, queue.put)  # puts itself into the queue when the crew is gone
            _thread.start_new_thread(_help, (queue, latch, end))  # one call; Thread.start consists of many

    def call(self, job: Callable[[], None], count: int) -> None:
        """Run ``job`` here and in ``count`` helpers; when all are done, return, or raise what one of them raised.

        If another caller has the helpers, the job runs here alone.
        """
        errors: list[BaseException] = []
        taken: list[bool] = []
        take = map(taken.append, map(list.pop, [self.free]))  # an IndexError if another caller has them
        start = itertools.chain(take, map(SimpleQueue.put, self.jobs, [(job, errors)] * count))
        wait = map(_wait, self.latches[:count], itertools.repeat(1))
        finish = itertools.chain(start, wait, map(self.free.append, taken))  # starts those not yet started
        try:
            with contextlib.suppress(IndexError):
                list(start)
            job()
        finally:
            if taken:
                list(finish)
        if errors:
            raise errors[0]


def _help(jobs: SimpleQueue, latch: int, end: weakref.ref) -> None:
    """What a helper thread does: take jobs, and open its latch after each."""
    while (order := jobs.get()) is not end:
        job, errors = order
        try:
            job()
        except BaseException as error:
            errors.append(error)
        del order, job, errors  # they hold the caller's arrays
        _open(latch)
    _free_latch(latch)


def _hire() -> _Crew:
    global _crew
    crew, n = _crew, _num_threads
    if crew is None:
        crew = _Crew(max(n - 1, 1))
        if n == _num_threads:
            _crew = crew
    return crew


def _closed_latch() -> int:
    latch = _new_latch()
    _wait(latch, 1)
    return latch


# Latches are the interpreter's own locks. `threading.Lock` wraps the same ones, but a signal ends the wait for it.
_new_latch = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThread_allocate_lock", ctypes.pythonapi))
_open = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThread_release_lock", ctypes.pythonapi))
_free_latch = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThread_free_lock", ctypes.pythonapi))
_wait = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(("PyThread_acquire_lock", ctypes.pythonapi))


def _after_fork() -> None:
    """Forget the parent's threads, which do not exist in the child, and what they were holding."""
    global _crew
    _crew, _local.busy = None, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def workspace(shape: tuple[int, ...], dtype: np.dtype, purpose: str = "patches") -> np.ndarray:
    """This thread's scratch memory, one piece for each purpose, reused from call to call; contents are undefined.

    It begins at a cache line, where NumPy's own memory need not: a vector that spans two lines takes twice as long to
    read, and convolutions a tenth longer.
    """
    count = math.prod(shape) * dtype.itemsize
    buffer = getattr(_local, purpose, None)
    if buffer is None or buffer.size < count:
        buffer = np.empty(count + CACHE_LINE, np.uint8)
        buffer = buffer[-buffer.ctypes.data % CACHE_LINE :]
        setattr(_local, purpose, buffer)
    return buffer[:count].view(dtype).reshape(shape)
