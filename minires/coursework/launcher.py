"""The hardened runner, on the grader's side: the keeper, which starts and ends tests' processes; the line to one."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .leftovers import remove
from .lines import Gone, Line, TimeUp
from .messages import LARGEST, LENGTH, MessageError, framed

PATIENCE = 60.0  # seconds in which a process starts, on a busy machine
END = 15.0  # seconds in which the keeper ends one, unless the submission keeps it from it
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")


class CannotGrade(RuntimeError):
    """What failed is the grader or the machine, so there is no score."""


@dataclass(frozen=True)
class Limits:
    """What one test may use: seconds (of waiting for the submission), MB of memory, and (uid, gid) it runs as.

    off_limits: what of the library the submission may not call, as `watch.Watch` takes it. imported: modules that its
    process has from the start, because they take seconds to import.
    """

    seconds: float = 30.0
    memory: int = 512
    user: tuple[int, int] | None = None
    off_limits: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()


def environment() -> dict[str, str]:
    """The variables of a process in which submissions run."""
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    kept |= {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    kept |= {"MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8:replace"}
    return kept | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}


class KeeperLine(Line):
    """To a process of the keeper's: a socket for messages, and a pipe from which all that is printed is read."""

    def __init__(self, keeper: "Keeper", limits: Limits):
        super().__init__()
        self._keeper = keeper
        self._channel: socket.socket
        self._output: int | None
        self._channel, self._output = keeper.start(limits)
        self._open = True
        self._received = bytearray()

    def exchange(self, data: bytes, seconds: float) -> bytes:
        waiting = memoryview(framed(data) if data else b"")
        until = time.monotonic() + seconds
        while True:
            if (message := self._message()) is not None:
                return message
            if (left := until - time.monotonic()) <= 0:
                raise TimeUp
            readers: list[Any] = [self._channel, *([self._output] if self._output is not None else [])]
            readable, writable, _ = select.select(readers, [self._channel] * bool(waiting), [], left)
            if self._output in readable:
                self._read_output()
            try:
                if writable:
                    waiting = waiting[self._channel.send(waiting) :]
                if self._channel in readable:
                    part = self._channel.recv(2**20)
                    if not part:
                        raise ConnectionError
                    self._received += part
            except OSError:
                raise Gone from None

    def end(self, gone: bool = False) -> dict[str, Any]:
        if not self._open:
            return {}
        self._open = False
        report = self._keeper.end(gone)
        with contextlib.suppress(BlockingIOError):  # an escaped process holds it open
            for _ in range(64):  # what is still in the pipe
                if self._output is not None:
                    self._read_output()
        if self._output is not None:
            os.close(self._output)
        self._channel.close()
        return report

    def _message(self) -> bytes | None:
        """The message that has arrived, if all of it has."""
        if len(self._received) < LENGTH.size:
            return None
        end = LENGTH.size + LENGTH.unpack_from(self._received)[0]
        if end > LENGTH.size + LARGEST:
            raise MessageError("too large")
        if len(self._received) < end:
            return None
        message = bytes(self._received[LENGTH.size : end])
        del self._received[:end]
        return message

    def _read_output(self) -> None:
        assert self._output is not None
        part = os.read(self._output, 2**16)
        if not part:
            os.close(self._output)
            self._output = None
        self.keep(part)


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

    def line(self, limits: Limits) -> KeeperLine:
        """A line to a new process. Raises CannotGrade if the machine has none to give."""
        return KeeperLine(self, limits)

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
            from .keeper import kill_group  # whose module only systems with fork can load

            kill_group(self.pid)
            self._stop()
            return {"signal": None, "peak": 0.0, "cpu": 0.0, "left": 0}

    def _start(self, limits: Limits) -> tuple[socket.socket, int]:
        if self._process is None:
            self._launch()
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        order = {
            "do": "start",
            "memory": limits.memory,
            "cpu": int(limits.seconds) + 5,
            "user": limits.user,
            "imported": limits.imported,
        }
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
            self._folders = tempfile.mkdtemp(prefix="minires-tests-")
            os.chmod(self._folders, 0o711)  # each finds its own folder in it, and nobody else's name
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "minires.coursework.keeper", str(theirs.fileno()), self._folders],
                pass_fds=[theirs.fileno()],
                env=environment() | {"MPLCONFIGDIR": self._folders},
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
