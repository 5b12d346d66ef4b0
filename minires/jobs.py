"""Independent jobs: taking turns in this process, or side by side on an executor, with progress from inside each.

A job is a generator function with its argument. It yields when it has advanced by a little, and returns its result:

    def count(limit):
        for i in range(limit):
            yield i
        return limit

    results = jobs.run(count, [10, 20])                                # in this process, one after the other
    with jobs.Processes(2) as executor:
        results = jobs.run(count, [10, 20], executor=executor)         # side by side

Every job starts with the random numbers of a fresh process and has them for itself. So its result is the same to the
last bit wherever it runs, if its kernels use as many threads, or are too small to use several (see `threads`).

`outcomes` is for many jobs that have nothing to do with each other: plain functions, whose results come as they end,
and of which one that fails stops nobody. `minires.executors` opens executors by name.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from typing import Any

from . import random
from .threads import set_num_threads

Job = Callable[[Any], Generator[Any, None, Any]]
Progress = Callable[[int, Any], None]
MOST = 61  # processes that Windows can wait for at once
POLL = 0.1  # seconds from one look at the children's messages to the next; a progress bar is not drawn more often


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what there was until then: a job raises it to hand over an unfinished ``result``.

    `run` raises it with a list of results, one for each task, with None for those that had nothing to hand over.
    """

    def __init__(self, result: Any):
        super().__init__()
        self.result = result


class ExecutorGone(RuntimeError):
    """The executor will do none of the jobs that are left."""


def run(
    job: Job,
    tasks: Sequence[Any],
    *,
    executor: Executor | None = None,
    abreast: int = 1,
    progress: Progress | None = None,
) -> list[Any]:
    """The results of ``job(task)`` for every task, in order.

    executor: where the jobs run; None for this process, where ``abreast`` of them take turns, from one ``yield`` to the
    next. Any executor of processes will do, on one machine or on several; job, tasks and results must pickle.
    progress: called here as ``progress(number, message)`` with what job ``number`` yielded; of the executors, only
    `Processes` passes it on.

    Ctrl-C is raised in each job, at its latest ``yield`` if it is not at work here, and then `Interrupted` here. A
    second one ends the processes of `Processes` at once. An exception in one job ends the others, and is raised here.
    Raises RuntimeError if a process died, and TypeError for an executor of threads, which would share one generator of
    random numbers.
    """
    if executor is None:
        return _take_turns(job, tasks, abreast, progress)
    if isinstance(executor, ThreadPoolExecutor):
        raise TypeError("jobs.run: got an executor of threads, which share their random numbers; use one of processes")
    return _side_by_side(job, tasks, executor, progress)


def outcomes(work: Callable[[Any], Any], tasks: Sequence[Any], executor: Executor) -> Iterator[tuple[int, Any]]:
    """(number, ``work(task)``) of every task, as it ends; of one that fails, the exception in place of its result.

    A task whose process dies has a RuntimeError. Of `Processes`, the tasks that were at work beside it, or may have
    been it, are done again, each alone, and the others go on in new processes. Leaving the iterator, as Ctrl-C does,
    cancels what has not begun, and ends the processes of `Processes`.
    Raises ExecutorGone if the executor itself gives up, as Dask's does when its scheduler has gone, or if no process
    can start.
    """
    own = executor if isinstance(executor, Processes) else None
    most = 2 * own.count if own else len(tasks)  # so that no process waits while its last result is stored
    queue, suspects, flying = deque(range(len(tasks))), deque[int](), dict[Future, int]()
    try:
        while queue or suspects or flying:
            while (suspects and not flying) or (queue and not suspects and len(flying) < most):
                number = (suspects or queue).popleft()
                try:
                    flying[executor.submit(work, tasks[number])] = number
                except BrokenExecutor as error:  # since the last one was submitted
                    flying[_failed(error)] = number
            done, _ = wait(flying, POLL, FIRST_COMPLETED)
            if own and any(isinstance(_error(future), BrokenExecutor) for future in done):
                done, _ = wait(flying)  # now all of them
                broken = [flying.pop(future) for future in done if isinstance(_error(future), BrokenExecutor)]
                if not own.have_started():
                    raise ExecutorGone(
                        "the processes end before they do anything; a script that starts some needs the line "
                        "`if __name__ == '__main__':`"
                    )
                own.renew()
                if len(broken) == 1:
                    text = "its process ended before the job was done (killed, or out of memory?)"
                    yield broken[0], RuntimeError(text)
                else:
                    suspects += sorted(broken)
            for future in done & flying.keys():
                raised = _error(future)
                if isinstance(raised, CancelledError):
                    raise ExecutorGone("the executor has cancelled its jobs; has its scheduler gone?")
                yield flying.pop(future), future.result() if raised is None else raised
    finally:
        for future in flying:
            future.cancel()
        if own and flying:
            own.kill()


def _failed(error: BaseException) -> Future:
    future: Future = Future()
    future.set_exception(error)
    return future


def _error(future: Future) -> BaseException | None:
    """What a future that is done has raised."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


# ── in this process ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Turn:
    """A job that has random numbers of its own, though it takes turns with others."""

    def __init__(self, steps: Generator[Any, None, Any], numbers: dict[str, Any]):
        self.steps, self.numbers = steps, numbers

    def __next__(self) -> Any:
        return self._go_on(next, self.steps)

    def throw(self, error: BaseException) -> Any:
        return self._go_on(self.steps.throw, error)

    def _go_on(self, resume: Callable[[Any], Any], argument: Any) -> Any:
        random.set_state(self.numbers)
        try:
            return resume(argument)
        finally:
            self.numbers = random.get_state()


def _take_turns(job: Job, tasks: Sequence[Any], abreast: int, progress: Progress | None) -> list[Any]:
    results: list[Any] = [None] * len(tasks)
    running: dict[int, _Turn] = {}
    restore = random.restorer()
    try:
        random.manual_seed(0)
        fresh = random.get_state()
        for start in range(0, len(tasks), abreast):
            group = range(start, min(start + abreast, len(tasks)))
            running = {number: _Turn(job(tasks[number]), fresh) for number in group}
            while running:
                for number, turn in list(running.items()):
                    try:
                        message = next(turn)
                        if progress is not None:
                            progress(number, message)
                    except StopIteration as end:
                        results[number] = end.value
                        del running[number]
    except KeyboardInterrupt as error:
        if isinstance(error, Interrupted):  # by the job whose turn it was
            results[number] = error.result
            del running[number]
        for number, turn in running.items():
            results[number] = _stop(turn)
        raise Interrupted(results) from None
    finally:
        restore()
    return results


def _stop(steps: Any) -> Any:
    """Interrupt a job and let it finish; returns its result, or None if it has none."""
    try:
        steps.throw(KeyboardInterrupt())
        while True:
            next(steps)
    except StopIteration as end:
        return end.value
    except Interrupted as stopped:
        return stopped.result
    except KeyboardInterrupt:
        return None


# ── side by side ────────────────────────────────────────────────────────────────────────────────────────────────────


class Processes(Executor):
    """An executor of ``count`` fresh processes on this machine, made for `run`.

    threads: how many each of them uses in the kernels. They hear of Ctrl-C only through this process, and end when it
    does, however it ends. Raises OSError or ImportError where a system has no processes to offer.
    """

    def __init__(self, count: int, threads: int = 1):
        self.count, self.threads = min(count, MOST) if sys.platform == "win32" else count, threads
        self._spawn = multiprocessing.get_context("spawn")  # the same on every system, and safe where there are threads
        self.messages, self.stopping = self._spawn.SimpleQueue(), self._spawn.Event()
        self.renew()

    def renew(self) -> None:
        """Start the processes: at first, and again when one of them has died and so ended all."""
        from concurrent.futures import ProcessPoolExecutor

        before = set(multiprocessing.active_children())
        prepare = self.messages, self.stopping, self.threads
        self._pool = ProcessPoolExecutor(self.count, self._spawn, _prepare, prepare)
        with _deaf():
            # Each starts a process; the last one makes the pool watch over all: up to Python 3.14 it may miss the death
            # of the latest one.
            self._starts = [self._pool.submit(_nothing) for _ in range(self.count + 1)]
        self.children = set(multiprocessing.active_children()) - before

    def have_started(self) -> bool:
        """Whether any of the processes has ever done anything."""
        return any(start.done() and _error(start) is None for start in self._starts)

    def submit(self, function: Callable, /, *args: Any, **options: Any) -> Future:
        """As every executor's."""
        return self._pool.submit(function, *args, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As every executor's."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End all processes at once."""
        for child in self.children:
            child.terminate()


def _side_by_side(job: Job, tasks: Sequence[Any], executor: Executor, progress: Progress | None) -> list[Any]:
    futures: list[Future] = []

    def finish(check: Callable[[Future], Any], progress: Progress | None) -> None:
        waiting = {future for future in futures if not future.cancelled()}
        while waiting:
            done, waiting = wait(waiting, POLL, FIRST_COMPLETED)
            while isinstance(executor, Processes) and not executor.messages.empty():
                message = executor.messages.get()
                if progress is not None:
                    progress(*message)
            for future in filter(done.__contains__, futures):  # the first task first
                check(future)

    if isinstance(executor, Processes):
        executor.stopping.clear()  # set where an earlier run was stopped; none of its jobs is left
    try:
        for number, task in enumerate(tasks):
            futures.append(executor.submit(_work, job, number, task))
        finish(Future.result, progress)  # raises what the job raised
    except BaseException as error:
        try:
            if isinstance(executor, Processes):
                executor.stopping.set()
            for future in futures:
                future.cancel()
            finish(Future.exception, None)
        except BaseException:
            if isinstance(executor, Processes):
                executor.kill()
            raise
        if isinstance(error, BrokenExecutor):
            raise RuntimeError(
                "jobs.run: a process ended before its job was done (killed, or out of memory?); nothing was kept"
            ) from error
        if not isinstance(error, KeyboardInterrupt):
            raise
    ends = [(None, True) if future.cancelled() else future.result() for future in futures]
    ends += [(None, True)] * (len(tasks) - len(ends))  # interrupted before it was submitted
    results = [result for result, _ in ends]
    if any(interrupted for _, interrupted in ends):
        raise Interrupted(results)
    return results


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start in this block never hear of Ctrl-C, not even before `_prepare`."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ── in each of the processes ────────────────────────────────────────────────────────────────────────────────────────

_channel: Any = None, None  # in a process of `Processes`: its messages, and whether to stop


def _prepare(messages: Any, stopping: Any, threads: int) -> None:
    """What a process of `Processes` does first."""
    global _channel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _channel = messages, stopping


def _nothing() -> None:
    pass


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job, number: int, task: Any) -> tuple[Any, bool]:
    """Run a job to its end; returns its result, and whether it was interrupted."""
    random.manual_seed(0)
    messages, stopping = _channel
    if messages is not None and stopping.is_set():
        return None, True
    steps = job(task)
    try:
        while True:
            message = next(steps)
            if messages is not None:
                messages.put((number, message))
                if stopping.is_set():
                    return _stop(steps), True
    except StopIteration as end:
        return end.value, False
    except Interrupted as stopped:  # where an executor's processes do hear of Ctrl-C
        return stopped.result, True
