"""The grader's side of a submission: start it in a separate process, have it call functions, never import it."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .messages import LARGEST, LENGTH, MessageError, Other, framed, pack, unpack

OUTPUT_KEPT = 4000  # characters of what a test prints
TROUBLES = {  # what a hidden test may say of the kinds of trouble that a submission's process reports
    "raises": "raises",
    "unwritten": "not written yet",
    "missing": "a function is missing",
    "signature": "other parameters",
    "syntax": "Python cannot read the file",
    "exit": "the code calls exit",
    "memory": "out of memory",
    "library": "the library's own answer is called",
}
Answers = Mapping[str, Callable[..., Any]]
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")


class Wrong(Exception):
    """A test does not pass. ``str`` of it is for the learner; ``brief`` says no more than a hidden test may reveal."""

    def __init__(self, message: str, brief: str = ""):
        super().__init__(message)
        self.brief = brief


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
        self.pid = 0  # of the test's process

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def start(self, limits: Limits) -> tuple[socket.socket, int]:
        """A new process: (socket to talk to it, descriptor from which its output is read)."""
        with contextlib.suppress(OSError, ValueError):
            return self._start(limits)
        self._stop()  # it is gone, or broken
        return self._start(limits)

    def end(self, gone: bool = False) -> dict[str, Any]:
        """End the process and all it left; return how it ended (``signal``), its ``peak`` in MB and ``cpu`` seconds."""
        try:
            return self._ask({"do": "end", "gone": gone}, [])
        except (OSError, ValueError):
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
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "minires.coursework.keeper", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._control = socket.socket(fileno=os.dup(ours.fileno()))
        self._control.settimeout(60)

    def _ask(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if self._control is None:
            raise OSError("the keeper is not running")
        socket.send_fds(self._control, [json.dumps(order).encode()], fds)
        line = b""
        while not line.endswith(b"\n"):
            part = self._control.recv(4096)
            if not part:
                raise OSError("the keeper has ended")
            line += part
        return json.loads(line)

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._control = None


class Learner:
    """A submission in its own process, for one test. A context manager; its end sets ``peak`` (MB), ``cpu`` (s)."""

    def __init__(self, keeper: Keeper, source: str, name: str, limits: Limits):
        self.keeper, self.source, self.name, self.limits = keeper, source, name, limits
        self.left = limits.seconds
        self.printed, self.dropped = b"", 0
        self.peak = self.cpu = 0.0
        self.trouble: Wrong | None = None
        self._received = b""

    def __enter__(self) -> "Learner":
        self._channel, self._output = self.keeper.start(self.limits)
        try:
            first = {"source": self.source, "name": self.name, "off_limits": self.limits.off_limits}
            self._answer(first, "when your file was loaded")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    @property
    def output(self) -> str:
        """What the submission printed, cut off if it was too much."""
        text = self.printed.decode("utf-8", "replace")
        return text + (f"\n… and {self.dropped:,} bytes more" if self.dropped else "")

    def call(self, function: str, *arguments: Any, **options: Any) -> Any:
        """What the submission's function returns. Raises Wrong, in words for the learner, if it does not return."""
        reply = self._request(function, False, arguments, options)
        changed = [str(name) for name in reply.get("changed") or ()]
        if changed:
            raise self._wrong(f"{function} wrote into its input {', '.join(changed)}: work on a copy", "input changed")
        return reply.get("value")

    def drive(self, driver: str, *arguments: Any, answers: Answers | None = None, **options: Any) -> Any:
        """What a function of `drivers`, run beside the submission, returns. Raises Wrong as `call` does.

        answers: functions that run here, by the names under which the driver may `ask` for them. Their time counts.
        """
        return self._request(driver, True, arguments, options, answers or {}).get("value")

    def _request(
        self, name: str, driver: bool, arguments: tuple, options: dict, answers: Answers | None = None
    ) -> dict[str, Any]:
        request = {"name": name, "driver": driver, "arguments": arguments, "options": options}
        return self._answer(request, "" if driver else f"in {name}", answers or {})

    def _answer(self, message: dict[str, Any], when: str, answers: Answers | None = None) -> dict[str, Any]:
        """The reply to a message; Wrong if there is none, or if it reports trouble."""
        if self.trouble is not None:
            raise self.trouble
        try:
            reply = unpack(self._exchange(framed(pack(message)), when))
            while isinstance(reply, dict) and "ask" in reply:
                reply = unpack(self._exchange(framed(pack(self._asked(reply, answers or {}))), when))
            if not isinstance(reply, dict):
                raise MessageError("not a reply")
        except MessageError as error:
            raise self._wrong(f"what came back {when} is not a result ({error})") from None
        if "trouble" in reply:
            brief = TROUBLES.get(str(reply["trouble"]), "trouble")
            raise self._wrong(f"{when}{': ' if when else ''}{reply.get('text')}", brief)
        return reply

    def _asked(self, question: dict[str, Any], answers: Answers) -> dict[str, Any]:
        """The answer to a question from beside the submission."""
        started = time.monotonic()
        try:
            return {"value": answers[question["ask"]](*question["arguments"])}
        except Exception as error:  # whatever was asked
            return {"error": f"{type(error).__name__}: {error}"}
        finally:
            self.left -= time.monotonic() - started

    def _wrong(self, text: str, brief: str = "") -> Wrong:
        self.trouble = Wrong(text.strip(), brief)
        return self.trouble

    def _exchange(self, data: bytes, when: str) -> bytes:
        """Send, and wait for one whole message, reading everything that is printed meanwhile."""
        waiting = memoryview(data)
        while True:
            if len(self._received) >= LENGTH.size:
                length = LENGTH.unpack_from(self._received)[0]
                if length > LARGEST:
                    raise MessageError("too large")
                if len(self._received) >= LENGTH.size + length:
                    message = self._received[LENGTH.size : LENGTH.size + length]
                    self._received = self._received[LENGTH.size + length :]
                    return message
            started = time.monotonic()
            readers = [self._channel, *([self._output] if self._output is not None else [])]
            readable, writable, _ = select.select(readers, [self._channel] * bool(waiting), [], max(self.left, 0))
            self.left -= time.monotonic() - started
            if self.left <= 0:
                raise self._wrong(
                    f"stopped after {self.limits.seconds:g} s {when}: is there a loop that does not end, or one over "
                    "every number, where NumPy can take whole arrays?".replace("  ", " "),
                    "time limit",
                )
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
                raise self._wrong(*self._ended(when)) from None

    def _read_output(self) -> None:
        part = os.read(self._output, 2**16)
        if not part:
            os.close(self._output)
            self._output = None
        room = OUTPUT_KEPT - len(self.printed)
        self.printed += part[:room]
        self.dropped += len(part) - len(part[:room])

    def _ended(self, when: str) -> tuple[str, str]:
        """Why the process is gone."""
        report = self._end(gone=True)
        number = report["signal"]
        if number in (signal.SIGXCPU, signal.SIGKILL) and report["cpu"] > self.limits.seconds:
            return f"stopped after {report['cpu']:.0f} s of computing {when}: a loop that does not end?", "time limit"
        how = f"by {signal.Signals(number).name}" if number else "from within (os._exit?)"
        return f"the process was ended {how} {when}", "process ended"

    def _end(self, gone: bool = False) -> dict[str, Any]:
        if self._channel is None:
            return {}
        report = self.keeper.end(gone)
        self.peak, self.cpu = report["peak"], report["cpu"]
        while self._output is not None:  # what is still in the pipe, now that no one writes
            try:
                self._read_output()
            except BlockingIOError:  # an escaped process holds it open
                os.close(self._output)
                self._output = None
        self._channel.close()
        self._channel = None
        return report

    _channel: Any = None
    _output: Any = None


__all__ = ["Keeper", "Learner", "Limits", "Other", "Wrong"]
