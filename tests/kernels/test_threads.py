"""Threads: every piece of work is done once, errors come through, nothing hangs, no thread is left behind."""

import _thread
import gc
import os
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given, strategies as st
from processes import run_python

import minires as mr
from minires import threads as threads_module
from minires.threads import available_cores, cut, get_num_threads, parallel, products_over, workspace


@given(st.integers(0, 30), st.integers(1, 9))
def test_pieces_are_nearly_equal_and_cover_all(length, pieces):
    found = [list(range(length))[piece] for piece in cut(length, pieces)]
    assert [i for piece in found for i in piece] == list(range(length)) and len(found) == min(length, pieces)
    sizes = {len(piece) for piece in found}
    assert 0 not in sizes and (not sizes or max(sizes) - min(sizes) <= 1)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("items", [0, 1, 2, 7])
def test_each_item_is_worked_on_once_and_in_order(count, items, threads):
    threads(count)
    results = parallel(list, range(items))
    assert [item for run in results for item in run] == list(range(items))
    assert len(results) == (min(threads_module.RUNS_PER_THREAD * count, items) if count > 1 else min(1, items))


def test_work_runs_side_by_side(threads):
    """Three pieces that wait for one another finish only if they run at the same time."""
    threads(3)
    barrier = threading.Barrier(3, timeout=20)
    assert sorted(i for run in parallel(lambda run: (barrier.wait(), run)[1], range(3)) for i in run) == [0, 1, 2]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_any_worker_comes_through_after_all_are_done(failing, threads):
    threads(3)
    done = set()

    def work(run):
        if run[0] == failing:
            raise LookupError(f"piece {failing}")
        done.add(run[0])

    with pytest.raises(LookupError, match=f"piece {failing}"):
        parallel(work, range(3))
    assert done == {0, 1, 2} - {failing}
    assert parallel(len, range(3)) == [1, 1, 1]  # and the next call works


def test_nested_calls_run_in_their_own_thread(threads):
    threads(2)

    def outer(run):
        inner = parallel(lambda run: threading.get_ident(), range(4))
        assert inner == [threading.get_ident()]
        return len(run)

    assert sum(parallel(outer, range(8))) == 8


def test_several_callers_at_once(threads):
    threads(2)
    totals = []

    def call():
        totals.append(sum(parallel(sum, range(100))))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert totals == [4950] * 8


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "two", None])
def test_a_wrong_number_of_threads_is_refused(wrong, threads):
    before = get_num_threads()
    with pytest.raises(ValueError, match=r"set_num_threads: got .*; expected a whole number of at least 1"):
        threads(wrong)
    assert get_num_threads() == before


def test_the_default_is_every_core_this_process_may_use():
    assert available_cores() >= 1
    program = "import minires; print(minires.get_num_threads())"
    assert int(run_python(program)) == available_cores()


def test_each_thread_has_its_own_workspace(threads):
    threads(2)
    barrier = threading.Barrier(2, timeout=20)

    def fill(run):
        mine = workspace((1000,), np.dtype(np.float32))
        mine[:] = run[0]
        barrier.wait()
        return set(mine.tolist())

    assert parallel(fill, range(2)) == [{0.0}, {1.0}]


def test_a_finished_job_holds_no_arrays(threads):
    threads(2)
    array = np.ones(1000)
    alive = weakref.ref(array)
    parallel(lambda run, array=array: array[run[0]], range(8))
    del array
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_training_step_is_bit_identical_for_a_thread_count(count, threads):
    """Also from several user threads at once, each with its own network."""
    threads(count)

    def step():
        rng = np.random.default_rng(0)
        x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((64, 8, 16, 16), (8, 8, 3, 3)))
        x, w = mr.tensor(x, requires_grad=True), mr.tensor(w, requires_grad=True)
        y = mr.nn.functional.conv2d(x, w, padding=1)
        (mr.nn.functional.batch_norm(y, None, None, training=True).relu() ** 2).sum().backward()
        return x.grad.numpy().tobytes(), w.grad.numpy().tobytes()

    expected, found = step(), []
    users = [threading.Thread(target=lambda: found.append(step())) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(60)
    assert found == [expected] * 4 and step() == expected


def test_the_number_of_threads_may_change_while_others_compute(threads):
    threads(3)
    totals, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            totals.append(sum(parallel(sum, range(100))))
            totals.append(sum(products_over(100, lambda run: sum(sum(range(100)[c]) for c in run), 10**9)))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for count in [1, 2, 3, 2] * 25:
        threads(count)
    stop.set()
    for caller in callers:
        caller.join(20)
    assert not any(caller.is_alive() for caller in callers) and set(totals) == {4950}


def settles_at(count):
    """Whether this process soon has that many threads, those of Python alone."""
    until = time.monotonic() + 20
    while _thread._count() != count and time.monotonic() < until:
        time.sleep(0.01)
    return _thread._count() == count


def test_no_thread_is_left_behind(threads):
    """Two callers hire at the same time, while a third thread changes the number of threads."""
    threads(1)
    time.sleep(0.2)  # for what earlier tests hired to end
    before, barrier = _thread._count(), threading.Barrier(3, timeout=20)

    def call():
        for _ in range(50):
            barrier.wait()
            parallel(sum, range(100))

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    for round in range(50):
        threads(2 + round % 2)
        barrier.wait()
    for caller in callers:
        caller.join(20)
    assert parallel(len, range(3)) == [1, 1, 1]
    assert settles_at(before + get_num_threads() - 1)  # Python's main thread is not counted
    threads(1)
    assert settles_at(before)


def test_work_may_change_the_number_of_threads(threads):
    threads(3)

    def work(run):
        threads(2 + run[0] % 2)
        return run[0]

    assert parallel(work, range(12)) == list(range(12))


FORK = """
import os, signal, threading, warnings
import numpy as np
from minires import blas, threads
from minires.kernels.conv.cpu import conv2d

warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of what is tested here
threads.PARALLEL_WORK = 0
threads.set_num_threads(3)
x, w = np.ones((4, 3, 9, 9), np.float32), np.ones((5, 3, 3, 3), np.float32)
before = conv2d(x, w)
barrier = threading.Barrier(3)
threads.parallel(lambda run: barrier.wait(20), range(3))  # now both workers of the pool are running

def child():
    signal.alarm(20)  # rather than wait for ever on threads and locks that stayed in the parent
    barrier = threading.Barrier(3)
    threads.parallel(lambda run: barrier.wait(10), range(3))
    return (conv2d(x, w) == before).all()

def fork(where):
    held = [1] if threading.get_ident() in blas._users.values() else blas_before
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if child() and blas.threads() == held else 2
        finally:
            os._exit(code)
    print(where, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

blas_before = blas.threads()
fork("outside")
blas.one_blas_thread(fork, "inside")
with blas._lock:
    fork("locked")
threads.parallel(lambda run: fork("worker") if run[0] == 2 else None, range(3))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes():
    """The parent's threads do not exist in the child; nor is anything held that they held."""
    assert run_python(FORK).splitlines() == ["outside 0", "inside 0", "locked 0", "worker 0"]
