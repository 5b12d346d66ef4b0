"""The processes that grade a class: each grades one submission after the other, with one keeper for all of them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import replacing
from . import overview
from .formats import FORMATS, clean
from .grading import grade
from .learner import CannotGrade, Keeper

GRACE = 120.0  # seconds beyond its limit after which a process that grades is given up


@dataclass
class Job:
    """A process that grades, its socket, and the user that its submissions run as; until when it may be silent."""

    process: subprocess.Popen
    control: socket.socket
    user: str | int | None
    until: float = 0.0
    received: bytes = b""


def start(user: str | int | None) -> Job:
    """A process that grades, with its socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from minires.coursework.jobs import main; main({theirs.fileno()})"],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends this one, which then ends them
        )
    ours.setblocking(False)
    return Job(process, ours, user)


def assign(job: Job, path: Path, report: Path, assignment: str, format: str, options: dict[str, Any]) -> None:
    """Give a job its next submission: what to grade, and where to write the report."""
    paths = {"path": os.fsencode(path).hex(), "report": os.fsencode(report).hex()}
    order = paths | {"assignment": assignment, "format": format, "options": options | {"user": job.user}}
    job.received = b""
    job.until = time.monotonic() + options.get("total", 540.0) + GRACE
    with contextlib.suppress(OSError):  # it has ended; `hear` finds out
        job.control.setblocking(True)
        job.control.sendall(json.dumps(order).encode() + b"\n")
        job.control.setblocking(False)


def hear(job: Job) -> dict[str, Any] | None:
    """The job's reply, {} if it has ended, None if there is no reply yet."""
    try:
        while not job.received.endswith(b"\n"):
            part = job.control.recv(2**20)
            if not part:
                return {}
            job.received += part
    except BlockingIOError:
        return None
    except OSError:
        return {}
    return json.loads(job.received)


def stop(job: Job, now: bool = False) -> None:
    """End a job, and with it the keeper that it started; ``now``: in the midst of its work."""
    job.control.close()
    if now:
        job.process.terminate()
    try:
        job.process.wait(15.0)
    except subprocess.TimeoutExpired:
        job.process.kill()
        job.process.wait()


def users(user: str | int | None, count: int) -> list[str | int | None]:
    """The user of each job: submissions that run at the same time must not reach each other."""
    if user is None or count < 2:
        return [user] * count
    import pwd

    taken = {entry.pw_uid for entry in pwd.getpwall()}
    free = [number for number in range(61184, 65519) if number not in taken]  # systemd's range for passing users
    return [user, *free[: count - 1]]


def grade_one(path: Path, report: Path, order: dict[str, Any], keeper: Any) -> dict[str, Any]:
    """Grade a submission and write its report; what the overview says of it, or why the machine cannot grade."""
    try:
        result = grade(path, order["assignment"], keeper=keeper, beside=False, **order["options"])
        with replacing(report) as temporary:
            temporary.write_text(FORMATS[order["format"]](result), encoding="utf-8")
        return overview.record(result)
    except (CannotGrade, OSError, ValueError, MemoryError) as error:
        return {"cannot": clean(f"{error or type(error).__name__}")[:1000]}


def main(fd: int) -> None:
    """In the process that grades: grade what the class asks for, a line each, until the socket is closed."""
    control = socket.socket(fileno=fd)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # on the way out, the keeper ends
    with Keeper() as keeper, control.makefile("rb") as orders:
        for line in orders:
            order = json.loads(line)
            path, report = (Path(os.fsdecode(bytes.fromhex(order[name]))) for name in ("path", "report"))
            reply = grade_one(path, report, order, keeper)
            try:
                control.sendall(json.dumps(reply).encode() + b"\n")
            except OSError:
                return
