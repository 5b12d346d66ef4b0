"""The keeper: a process beside the grader that starts one process per test, and ends everything that is left of it.

It has imported the library but never a submission, and it forks: a test starts in milliseconds, in a new session, with
limits on memory, time and files, in an empty folder. Orphans of a test become the keeper's children (Linux), so even a
process that left its group is found and killed.

    python -m minires.coursework.keeper FD      FD: a socket on which the grader says "start" and "end"
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .. import data
from . import worker

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
FILES = 32 * 2**20  # bytes a file may grow to
PROCESSES = 64  # of the user a submission runs as, if not this one

_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


def main(fd: int) -> None:
    """Obey the grader until it closes the socket."""
    control = socket.socket(fileno=fd)
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    data.digits()  # another user may not be able to import what reading them needs
    gc.freeze()  # pages that no child touches stay shared
    pid, folder = 0, ""
    while True:
        line, fds, _, _ = socket.recv_fds(control, 65536, 2)
        order = json.loads(line) if line else {"do": "end"}
        if order["do"] == "start":
            folder = tempfile.mkdtemp(prefix="minires-test-")
            pid = os.fork()
            if pid == 0:
                _become_test(control, fds, folder, order)
            for fd in fds:
                os.close(fd)
            control.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        elif pid:
            report = end(pid, bool(order.get("gone")))
            shutil.rmtree(folder, ignore_errors=True)
            pid = 0
            if line:
                control.sendall(json.dumps(report).encode() + b"\n")
        if not line:
            return


def _become_test(control: socket.socket, fds: list[int], folder: str, order: dict[str, Any]) -> None:
    """The forked process: give up what belongs to the keeper, accept the limits, and work. Never returns."""
    try:
        os.setsid()
        control.close()
        nothing = os.open(os.devnull, os.O_RDONLY)
        channel, output = (os.dup(fd) for fd in fds)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(channel, 3)
        os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.chdir(folder)
        limit(order["memory"], order["cpu"], order["user"] is not None)
        if order["user"] is not None:
            uid, gid = order["user"]
            os.chown(folder, uid, gid)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        os.environ.update(HOME=folder, TMPDIR=folder)
        tempfile.tempdir = None
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        worker.work(socket.socket(fileno=3))
    finally:
        os._exit(0)


def limit(memory: int, cpu: int, other_user: bool) -> None:
    """Limits of this process: ``memory`` MB beyond what it has now, ``cpu`` seconds, size of files, no core dumps."""
    limits = [(resource.RLIMIT_CPU, cpu), (resource.RLIMIT_FSIZE, FILES), (resource.RLIMIT_CORE, 0)]
    with contextlib.suppress(OSError, ValueError):  # no /proc outside Linux
        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
        limits.append((resource.RLIMIT_AS, used + memory * 2**20))
    if other_user:
        limits.append((resource.RLIMIT_NPROC, PROCESSES))
    for what, value in limits:
        resource.setrlimit(what, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError instead


def end(pid: int, gone: bool = False) -> dict[str, Any]:
    """Kill a test's process, its group and all it left; return how it had ended (``gone``: it has) and what it used."""
    report: dict[str, Any] = {"signal": None, "peak": 0.0, "cpu": 0.0, "left": 0}
    until = time.monotonic() + 0.5 * gone  # its channel closes a moment before it ends
    ended, status, usage = os.wait4(pid, os.WNOHANG)
    while not ended and time.monotonic() < until:
        time.sleep(0.001)
        ended, status, usage = os.wait4(pid, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if ended == 0:
        os.kill(pid, signal.SIGKILL)
        _, _, usage = os.wait4(pid, 0)
    elif os.WIFSIGNALED(status):
        report["signal"] = os.WTERMSIG(status)
    report["peak"] = usage.ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    report["cpu"] = usage.ru_utime + usage.ru_stime
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for child in children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                report["left"] += 1
        except ChildProcessError:
            break
        time.sleep(0.002)
    return report


def children() -> list[int]:
    """The keeper's children, each a process that a test left behind (Linux; elsewhere none are known)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(entry.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(entry.parent.name))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
