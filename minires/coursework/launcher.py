"""The grader's side of the keeper: start it, have it start and end the tests' processes, and clean up after it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .leftovers import remove

PATIENCE = 60.0  # seconds in which a process starts, on a busy machine
END = 15.0  # seconds in which the keeper ends one, unless the submission keeps it from it
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")


class CannotGrade(RuntimeError):
    """What failed is the grader or the machine, so there is no score."""


@dataclass(frozen=True)
class Limits:
    """What one test may use: seconds (of waiting for the submission), MB of memory, and (uid, gid) it runs as.

    off_limits: what of the library the submission may not call, as `watch.Watch` takes it.
    """

    seconds: float = 30.0
    memory: int = 512
    user: tuple[int, int] | None = None
    off_limits: tuple[str, ...] = ()


class Keeper:
    """The process that starts the tests' processes; started again if a submission ends it. A context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None
        self._folders = ""
        self.pid = 0  # of the test's process
        self.lost = False  # whether it has ended since the last start
        self.checked: Any = None  # for which exercise and limits the machine was found able

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def start(self, limits: Limits) -> tuple[socket.socket, int]:
        """A new process: (socket to talk to it, descriptor from which its output is read).

        Raises CannotGrade if the machine has none to give.
        """
        self.lost = False
        with contextlib.suppress(OSError, ValueError):
            return self._start(limits)
        self._stop()  # it is gone, or broken
        try:
            return self._start(limits)
        except (OSError, ValueError) as error:
            self._stop()
            raise CannotGrade(f"no process can be started for a test ({error})") from error

    def end(self, gone: bool = False) -> dict[str, Any]:
        """End the process and all it left; return how it ended (``signal``), its ``peak`` in MB and ``cpu`` seconds."""
        try:
            return self._ask({"do": "end", "gone": gone}, [])
        except (OSError, ValueError):
            self.lost = True
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            self._stop()
            return {"signal": None, "peak": 0.0, "cpu": 0.0, "left": 0}

    def _start(self, limits: Limits) -> tuple[socket.socket, int]:
        if self._process is None:
            self._launch()
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        order = {"do": "start", "memory": limits.memory, "cpu": int(limits.seconds) + 5, "user": limits.user}
        try:
            self.pid = self._ask(order, [theirs.fileno(), write])["pid"]
        except BaseException:
            ours.close()
            os.close(read)
            raise
        finally:
            theirs.close()
            os.close(write)
        ours.setblocking(False)
        os.set_blocking(read, False)
        return ours, read

    def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            package = Path(__file__).resolve().parents[2]
            path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
            environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            environment |= {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
            environment |= {"MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8:replace"}
            environment |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
            self._folders = tempfile.mkdtemp(prefix="minires-tests-")
            os.chmod(self._folders, 0o711)  # each finds its own folder in it, and nobody else's name
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "minires.coursework.keeper", str(theirs.fileno()), self._folders],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._control = socket.socket(fileno=os.dup(ours.fileno()))

    def _ask(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if self._control is None or self._process is None:
            raise OSError("the keeper is not running")
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGCONT)  # a submission may have stopped it
        self._control.settimeout(PATIENCE if order["do"] == "start" else END)
        socket.send_fds(self._control, [json.dumps(order).encode()], fds)
        line = b""
        while not line.endswith(b"\n"):
            part = self._control.recv(4096)
            if not part:
                raise OSError("the keeper has ended")
            line += part
        report = json.loads(line)
        if "cannot" in report:
            raise OSError(report["cannot"])
        return report

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(END)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._folders and os.path.exists(self._folders):  # it did not come to it
            remove(self._folders)
        self._process, self._control, self._folders = None, None, ""
