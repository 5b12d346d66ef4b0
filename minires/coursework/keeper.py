"""The keeper: a process beside the grader that starts one process per test, and ends everything that is left of it.

It has imported the library but never a submission, and it forks: a test starts in milliseconds, in a new session, with
limits on memory, time and files, in an empty folder. Orphans of a test become the keeper's children (Linux), so even a
process that left its group is found and killed.

    python -m minires.coursework.keeper FD FOLDER   FD: a socket on which the grader says "start" and "end";
                                                    FOLDER: where each test gets a folder of its own
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import data
from . import worker
from .leftovers import remove, remove_files_of
from .messages import framed, pack

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
FILES = 32 * 2**20  # bytes a file may grow to
AT_ONCE = 2.0  # seconds for removing what a test has left; the rest goes at the end
PROCESSES = 64  # of the user a submission runs as, if not this one

_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


def main(control_fd: int, folders: str) -> None:
    """Obey the grader until it closes the socket."""
    control = socket.socket(fileno=control_fd)
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    data.digits()  # another user may not be able to import what reading them needs
    gc.freeze()  # pages that no child touches stay shared
    pid, began = 0, 0.0
    folder, user = "", -1  # of the test that runs, or ran last; -1: this process's own user
    report: dict[str, Any] = {}
    while True:
        line, fds, _, _ = socket.recv_fds(control, 65536, 2)
        order: dict[str, Any] = json.loads(line) if line else {"do": "end"}
        ended = False
        try:
            if order["do"] == "start":
                user, began = (order["user"] or (-1, -1))[0], time.time()
                folder = tempfile.mkdtemp(prefix="test-", dir=folders)
                for module in order["imported"]:
                    with contextlib.suppress(Exception):  # the submission's own import says why
                        importlib.import_module(module)
                pid = os.fork()
                if pid == 0:
                    _become_test(control, fds, folder, order)
                report = {"pid": pid}
            elif pid:
                report, ended = end(pid, bool(order.get("gone"))), True
        except OSError as error:
            report = {"cannot": str(error)}
        finally:
            for fd in fds:
                os.close(fd)
        if line:
            with contextlib.suppress(OSError):  # the grader is gone, which the next turn finds out
                control.sendall(json.dumps(report).encode() + b"\n")
        if ended:  # after the answer: removing can take longer than the test
            pid = 0
            remove(folder, AT_ONCE)
            if user >= 0:
                remove_files_of(user, began)
        if not line:
            remove(folders)
            return


def _become_test(control: socket.socket, fds: list[int], folder: str, order: dict[str, Any]) -> None:
    """The forked process: give up what belongs to the keeper, accept the limits, and work. Never returns.

    Until it says that it is ready, nothing of the submission has run; what fails before is the machine's trouble.
    """
    channel = socket.socket(fileno=os.dup(fds[0]))
    try:
        os.setsid()
        control.close()
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.dup(fds[1])
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(channel.fileno(), 3)
        channel = socket.socket(fileno=3)
        os.closerange(4, max(256, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 2**16)))
        os.chdir(folder)
        limit(order["memory"], order["cpu"], order["user"] is not None)
        if order["user"] is not None:
            uid, gid = order["user"]
            os.chown(folder, uid, gid)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            check_readable(uid)
        os.environ.update(HOME=folder, TMPDIR=folder)
        os.environ.pop("MPLCONFIGDIR", None)  # the keeper's
        tempfile.tempdir = None
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        channel.sendall(framed(pack({"ready": True})))
    except BaseException as error:
        channel.sendall(framed(pack({"cannot": f"{type(error).__name__}: {error}"})))
        os._exit(0)
    try:
        worker.work(channel)
    finally:
        os._exit(0)


def check_readable(uid: int) -> None:
    """Raise OSError unless this process, now the submission's user, can read Python, NumPy and this library."""
    for path in (os.__file__, np.__file__, __file__, worker.drivers.__file__):
        try:
            open(path, "rb").close()
            os.scandir(os.path.dirname(path)).close()
        except OSError as error:
            raise OSError(
                f"the user with number {uid} cannot read {path} ({error.strerror}): install Python and minires where "
                "everyone may read them, or choose another user"
            ) from None


def limit(memory: int, cpu: int, other_user: bool) -> None:
    """Limits of this process: ``memory`` MB beyond what it has now, ``cpu`` seconds, size of files, no core dumps.

    Raises OSError if the process that started this one has left it less memory or time than that.
    """
    needed = {resource.RLIMIT_CPU: cpu}
    with contextlib.suppress(OSError, ValueError):  # no /proc outside Linux
        pages = [int(count) for count in Path("/proc/self/statm").read_text(encoding="utf-8").split()]
        needed[resource.RLIMIT_AS] = pages[0] * resource.getpagesize() + memory * 2**20
        needed[resource.RLIMIT_DATA] = pages[5] * resource.getpagesize() + memory * 2**20
    smaller = {resource.RLIMIT_FSIZE: FILES, resource.RLIMIT_CORE: 0}
    if other_user:
        smaller[resource.RLIMIT_NPROC] = PROCESSES
    for what, value in (needed | smaller).items():
        hard = resource.getrlimit(what)[1]
        if hard != resource.RLIM_INFINITY and hard < value:
            if what in needed:
                name, unit = ("CPU seconds", 1) if what == resource.RLIMIT_CPU else ("MB of memory", 2**20)
                raise OSError(
                    f"a test may take {value // unit:,} {name} here, but this process was started with a limit of "
                    f"{hard // unit:,}: raise it (ulimit), or pass a smaller --timeout or --memory"
                )
            value = hard
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
    kill_group(pid)
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


def kill_group(pid: int) -> None:
    """Kill a process and its group, if they are there and may be killed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def children() -> list[int]:
    """The keeper's children, each a process that a test left behind (Linux; elsewhere none are known)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(entry.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(entry.parent.name))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
