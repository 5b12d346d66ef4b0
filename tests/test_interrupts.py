"""Ctrl-C in a notebook and in a terminal, and alarms, at random moments of training and recording.

The next thing to run must be as right as ever, on as many threads.
"""

import os
import queue
import random
import select
import subprocess
import sys
import time

import pytest
from processes import ENVIRONMENT, in_a_terminal, run_python

pty = pytest.importorskip("pty")  # not on Windows

pytestmark = pytest.mark.slow

# Small enough for a hundred interrupts a minute, and all of it cut among the threads.
TRAINING = """
import contextlib, hashlib, signal, threading, time
import numpy as np
import threadpoolctl
import minires as mr
from minires import flow, models, optim, threads
from minires.state import current, scope

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits it as ignored
threads.set_num_threads(2)
threads.PARALLEL_WORK = threads.PARALLEL_BYTES = 0
threadpoolctl.threadpool_limits(2, "blas")
blas = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
mr.manual_seed(0)
trained, fixed = (models.ResNet(models.ResidualBlock, (1, 1, 1), (4, 8, 16), in_channels=1) for _ in range(2))
optimizer = optim.SGD(trained.parameters(), 0.01, momentum=0.9)
x, y = mr.randn(32, 1, 16, 16), mr.tensor(np.arange(32) % 10)

def gradients(model):
    optimizer.zero_grad()
    for p in model.parameters():
        p.grad = None
    loss = mr.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    return [loss.array, *(p.grad for p in model.parameters())]

def train():
    while True:
        with mr.no_grad():
            trained(x)
        with flow.recording(trained):
            gradients(trained)
        optimizer.step()

def state():
    barrier = threading.Barrier(2, timeout=10)
    threads.parallel(lambda run: barrier.wait(), range(2))  # raises if one thread does everything
    settings = repr(current()), scope.get()
    numbers = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in gradients(fixed))).hexdigest()
    return numbers[:16], [b.num_threads for b in blas], settings, threads._crew.free
"""
STUCK = 20  # seconds without an answer

ALARMS = """
import random
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
moments, expected, rung = random.Random(0), state(), 0
for _ in range(200):
    try:
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.002, 0.06))
        train()
    except Alarm:
        rung += 1
    assert state() == expected, (rung, state(), expected)
print(rung)
"""


def test_alarms():
    assert run_python(TRAINING + ALARMS, timeout=120) == "200\n"


# A held key goes on while the exception of its first signal is being handled.
TERMINAL = """
def patiently(function):
    while True:
        try:
            return function()
        except KeyboardInterrupt:
            pass

def until_quiet():
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        try:
            time.sleep(0.02)
        except KeyboardInterrupt:
            end = time.monotonic() + 0.2

def round():
    with contextlib.suppress(KeyboardInterrupt):
        print("training", flush=True)
        train()

print("state", state(), flush=True)
while True:
    patiently(lambda: patiently(round))
    patiently(until_quiet)
    print("state", state(), flush=True)
"""


class Terminal:
    """A Python program in a terminal of its own. A context manager."""

    def __enter__(self):
        self.process, self.fd = in_a_terminal("-c", TRAINING + TERMINAL)
        self.seen = b""
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)

    def line(self, word):
        """The next line that begins with the word."""
        while True:
            *lines, rest = self.seen.split(b"\r\n")
            for i, line in enumerate(lines):
                if line.lstrip(b"^C").startswith(word):
                    self.seen = b"\r\n".join([*lines[i + 1 :], rest])
                    return line.lstrip(b"^C")
            assert select.select([self.fd], [], [], STUCK)[0], f"stuck; the last lines are {lines[-3:]}"
            self.seen += os.read(self.fd, 65536)


@pytest.mark.parametrize(("presses", "rounds"), [(1, 100), (8, 30)], ids=["pressed", "held"])
def test_ctrl_c_in_a_terminal(presses, rounds):
    moments = random.Random(0)
    with Terminal() as terminal:
        expected = terminal.line(b"state")
        for _ in range(rounds):
            terminal.line(b"training")
            time.sleep(moments.uniform(0, 0.06))
            for _ in range(presses):
                os.write(terminal.fd, b"\x03")
                time.sleep(1 / 30)  # as a keyboard repeats a held key
            assert terminal.line(b"state") == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from Jupyter's own packages
def test_the_stop_button_of_a_notebook():
    """200 interrupts; the kernel answers after each, and the next cell is right."""
    jupyter_client = pytest.importorskip("jupyter_client")
    pytest.importorskip("ipykernel")
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager, moments = jupyter_client.KernelManager(), random.Random(0)
    manager.kernel_spec.argv[:] = command
    manager.start_kernel(env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()

    def run(code):
        """What a cell prints. The kernel puts off what it is sent while it is still telling of an error."""
        printed = []
        while True:
            reply = client.execute_interactive(code, timeout=60, output_hook=printed.append)["content"]
            if reply["status"] != "aborted":
                assert reply["status"] == "ok", reply
                return "".join(message["content"].get("text", "") for message in printed)

    try:
        client.wait_for_ready(timeout=60)
        run(TRAINING)
        expected = run("print(state())")
        for i in range(200):
            sent = client.execute("print('begun', flush=True); train()")  # before that the interrupt is ipykernel's own
            while client.get_iopub_msg(timeout=STUCK)["content"].get("text", "").strip() != "begun":
                pass
            time.sleep(moments.uniform(0, 0.1))
            manager.interrupt_kernel()
            try:
                while (reply := client.get_shell_msg(timeout=STUCK))["parent_header"].get("msg_id") != sent:
                    pass
            except queue.Empty:
                pytest.fail(f"the kernel is stuck after {i + 1} interrupts")
            assert reply["content"].get("ename") == "KeyboardInterrupt"
            assert run("print(state())") == expected
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
