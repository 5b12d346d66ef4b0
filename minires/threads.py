"""Threads: a few large pieces of work on a few cores, with BLAS held to one thread inside.

NumPy releases the interpreter lock inside large calls, so plain Python threads that work on blocks of an array run side
by side.

BLAS has threads of its own, and no product of ours may wake them: after a product they spin for some 30 ms, waiting for
the next one, and keep the cores from our threads. A single such product, in the linear layer at the end of a ResNet-18,
made the whole training step 13 % longer.
"""

import contextlib
import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import threadpoolctl


def available_cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Found by `python -m benchmarks tune`.
RUNS_PER_THREAD = 4  # more runs balance a slow core better, but each costs a call
BLOCK_BYTES = 4_000_000  # of an array, in one block of channels
PARALLEL_BYTES = 4_000_000  # below this a second thread costs more than it saves
PARALLEL_WORK = 24_000_000  # the same, in multiply-adds of a matrix product

BLAS_ALONE = 9_000  # multiply-adds up to which OpenBLAS itself uses one thread, judging by its threads' CPU time

_num_threads = available_cores()
_crew: "_Crew | None" = None
_local = threading.local()


def set_num_threads(n: int) -> None:
    """Use ``n`` threads in the kernels (default: every core the process may use). Results may differ in rounding.

    Raises ValueError unless n is a whole number of at least 1.
    """
    global _num_threads, _crew
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: got {n!r}; expected a whole number of at least 1")
    _num_threads, former, _crew = n, _crew, None
    if former is not None and not getattr(_local, "busy", False):  # work cannot wait for its own end
        former.dismiss()


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
        with one_blas_thread():
            return [work(items)] if len(items) else []
    count = min(RUNS_PER_THREAD * threads, len(items))
    runs = enumerate([items[part] for part in cut(len(items), count)])
    results: list[Any] = [None] * count

    def take_runs():
        _local.busy = True
        try:
            for i, run in runs:  # one iterator for all threads; the interpreter lock makes its step atomic
                results[i] = work(run)
        finally:
            _local.busy = False

    with one_blas_thread():
        _hire().call(take_runs, threads - 1)
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
    with one_blas_thread():
        return [work(items)]


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
        long = array.size > BLAS_ALONE * len(array)  # work may contain a dot product for each channel
        with one_blas_thread() if long else contextlib.nullcontext():
            work([slice(None)])
        return
    per_block = min(max(BLOCK_BYTES // array[0].nbytes, 1), -(-len(array) // _num_threads))
    parallel(work, [slice(i, i + per_block) for i in range(0, len(array), per_block)])


class _Helper(threading.Thread):
    """A thread that waits to be called. Two bare locks hand over work in half the time of an executor's queue."""

    def __init__(self) -> None:
        super().__init__(name="minires", daemon=True)
        self.go, self.done = threading.Lock(), threading.Lock()
        self.go.acquire()
        self.done.acquire()
        self.job: Callable[[], None] | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        while True:
            self.go.acquire()
            job, self.job = self.job, None
            if job is None:
                return
            try:
                job()
            except BaseException as error:
                self.error = error
            job = None  # it holds the caller's arrays
            self.done.release()


class _Crew:
    """Helper threads, for one caller at a time."""

    def __init__(self, size: int):
        self.free = threading.Lock()
        self.helpers = [_Helper() for _ in range(size)]

    def call(self, job: Callable[[], None], count: int) -> None:
        """Run ``job`` here and in ``count`` helpers; when all are done, return, or raise what one of them raised.

        If another caller has the helpers, the job runs here alone.
        """
        if not self.free.acquire(blocking=False):
            job()
            return
        called = self.helpers[:count]
        try:
            for helper in called:
                helper.job, helper.error = job, None
                helper.go.release()
            job()
        finally:  # the helpers write into the caller's arrays: never leave before they are done
            interrupt = None
            for helper in called:
                try:
                    helper.done.acquire()
                except KeyboardInterrupt as error:
                    interrupt = error
                    helper.done.acquire()
            self.free.release()
        for raised in (interrupt, *(helper.error for helper in called)):
            if raised is not None:
                raise raised

    def dismiss(self) -> None:
        """Let the helpers end as soon as no caller has them; later calls run in the caller's thread alone."""
        self.free.acquire()
        for helper in self.helpers:
            helper.go.release()  # without a job


def _hire() -> _Crew:
    global _crew
    if _crew is None:
        _crew = _Crew(max(_num_threads - 1, 1))
    return _crew


def _after_fork() -> None:
    """Forget the parent's threads, which do not exist in the child, and what they were holding."""
    global _crew, _blas_lock, _blas_users
    _crew, _blas_lock, _local.busy = None, threading.Lock(), False
    if _blas_users:
        _blas_users = 0
        _set_blas_threads(_blas_before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


_blas: list[tuple[Callable[[], int], Callable[[int], None]]] | None = None  # of each library: get and set its threads
_blas_lock = threading.Lock()
_blas_users = 0
_blas_before: list[int] = []


class one_blas_thread(contextlib.ContextDecorator):
    """Hold BLAS to one thread inside, and restore what was set when the last user leaves."""

    def __enter__(self) -> None:
        global _blas, _blas_users, _blas_before
        with _blas_lock:
            if _blas is None:
                libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
                _blas = [_get_and_set(library) for library in libraries]
            if _blas_users == 0:
                _blas_before = [get() for get, _ in _blas]
                _set_blas_threads([1] * len(_blas))
            _blas_users += 1

    def __exit__(self, *error: Any) -> None:
        global _blas_users
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _set_blas_threads(_blas_before)


def _set_blas_threads(counts: list[int]) -> None:
    for (_, set_threads), n in zip(_blas or (), counts):
        set_threads(n)


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


def workspace(shape: tuple[int, ...], dtype: np.dtype, purpose: str = "patches") -> np.ndarray:
    """This thread's scratch memory, one piece for each purpose, reused from call to call; contents are undefined."""
    count = math.prod(shape) * dtype.itemsize
    buffer = getattr(_local, purpose, None)
    if buffer is None or buffer.size < count:
        buffer = np.empty(count, np.uint8)
        setattr(_local, purpose, buffer)
    return buffer[:count].view(dtype).reshape(shape)
