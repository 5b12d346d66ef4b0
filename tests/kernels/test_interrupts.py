"""Interrupts: whatever arrives, and whenever, no helper still writes, nothing is lost, and the next call works."""

import collections
import dis
import sys
import threading
import time

import pytest
import threadpoolctl
from processes import run_python

from minires import blas, threads as threads_module
from minires.threads import parallel

SMALL_CASE = """
import _thread, signal, threading, time
from minires import threads

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits it as ignored
threads.set_num_threads(2)
main, finished = threading.get_ident(), []

def work(run):
    if threading.get_ident() == main:
        assert started.wait(20)
    else:
        started.set()
        time.sleep(0.5)
        finished.append(time.monotonic())

for _ in range(2):
    started = threading.Event()
    threading.Timer(0.2, _thread.interrupt_main).start()
    try:
        threads.parallel(work, range(2))
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - finished[-1] < 0.2)
barrier = threading.Barrier(2, timeout=20)
threads.parallel(lambda run: barrier.wait(), range(2))
threads.set_num_threads(3)
print(threads.parallel(len, range(3)))
"""


def test_an_interrupt_while_a_helper_works():
    """It is raised when the helper has finished; both threads then work, and their number can be changed."""
    assert run_python(SMALL_CASE, timeout=30).splitlines() == ["interrupted True"] * 2 + ["[1, 1, 1]"]


def test_an_interrupt_in_the_work_waits_for_the_others(threads):
    threads(2)
    caller, started, finished = threading.get_ident(), threading.Event(), []

    def work(run):
        if threading.get_ident() == caller:
            assert started.wait(20)
            raise KeyboardInterrupt
        started.set()
        time.sleep(0.2)
        finished.append(run[0])

    with pytest.raises(KeyboardInterrupt):
        parallel(work, range(2))
    assert finished in ([0], [1])
    assert parallel(len, range(2)) == [1, 1]


def both_work():
    barrier = threading.Barrier(2, timeout=5)
    return sorted(parallel(lambda run: barrier.wait(), range(2))) == [0, 1]


class Interrupt(Exception):
    """Stands for whatever a signal's handler raises."""


def handler(code, offset):
    """Where an exception that this instruction raises is handled."""
    return [entry.target for entry in dis.Bytecode(code).exception_entries if entry.start <= offset < entry.end]


def interrupted(call, place):
    """Call, and raise Interrupt at the ``place``-th place where Python would raise what a signal brings.

    That is after a call, at the start of a function, and at a jump back; a place where what follows has another handler
    is left out, because it would catch what is raised here. Returns the line, or None if there are fewer places.
    """
    files, last, line = {blas.__file__, threads_module.__file__}, {}, None
    count = 0

    def trace(frame, event, _):
        nonlocal count, line
        code, here = frame.f_code, frame.f_lasti
        if code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            former, last[frame] = last.get(frame, 0), here
            name = dis.opname[code.co_code[former]]
            may_come = name.startswith(("CALL", "RESUME")) or "JUMP_BACKWARD" in name
            if may_come and handler(code, former) == handler(code, here):
                count += 1
                if count == place:
                    line = f"{code.co_name}, line {frame.f_lineno}"
                    raise Interrupt
        return trace

    tracing = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        assert line is not None
    else:
        assert line is None, f"lost: {line}"
    finally:
        sys.settrace(tracing)
    return line


@pytest.mark.parametrize("hired", [True, False])
def test_an_interrupt_at_any_place(hired, threads):
    """One run for each place in `threads` and `blas` where one may come."""
    threads(2)
    main, writing = threading.get_ident(), []

    def work(run):
        if threading.get_ident() != main:
            writing.append(run)
            time.sleep(1e-3)
            writing.pop()

    places = collections.Counter()
    with threadpoolctl.threadpool_limits(2, "blas"):
        blas.one_blas_thread(int)
        before = blas.threads()
        interrupted(lambda: parallel(work, range(4)), 0)  # Python 3.12 traces nothing before the second time
        for place in range(1, 1000):
            if not hired:
                threads(2)
            line = interrupted(lambda: parallel(work, range(4)), place)
            assert not writing, line
            assert blas.threads() == before and not blas._users, line
            assert both_work(), line
            if line is None:
                break
            places[line.partition(",")[0]] += 1
    assert {"parallel", "one_blas_thread", "_hold", "call", "take_runs", "_hire"} <= places.keys()
    assert places.total() > 30 and hired == ("__init__" not in places)
