"""The portable runner: a fresh process for each test, and a time limit, by what every system with processes has.

It keeps a mistake, such as a loop that does not end or a crash, to its own test. It does not limit memory, files or the
network, and ends no process that a submission has started: grade with it what you would run yourself. Messages go to a
test's process on stdin and come back on stdout.
"""

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import IO, Any

from . import worker
from .launcher import CannotGrade, Limits, environment
from .lines import Gone, Line, TimeUp
from .messages import LARGEST, LENGTH, MessageError, framed, pack

END = 5.0  # seconds in which a process that was ended is gone, and what it printed is read


class Processes:
    """Starts the tests' processes, each a little before it is needed. A context manager, used as the keeper is."""

    def __init__(self) -> None:
        self.checked: Any = None  # for which exercise and limits the machine was found able
        self.lost = False
        self._spare: ProcessLine | None = None

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._spare is not None:
            self._spare.end()

    def line(self, limits: Limits) -> "ProcessLine":
        """A line to a new process. Raises CannotGrade if the machine has none to give."""
        try:
            line, self._spare = self._spare or ProcessLine(), None
            self._spare = ProcessLine()  # it gets ready while the other one works
        except OSError as error:
            raise CannotGrade(f"no process can be started for a test ({error})") from error
        return line


class ProcessLine(Line):
    """To a process of its own, over its stdin and stdout; what it prints comes from its stderr. Threads read both."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.mkdtemp(prefix="minires-test-")
        command = [sys.executable, "-P", "-c", "from minires.coursework.portable import main; main()"]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        own = environment() | {"HOME": self._folder, "TMPDIR": self._folder, "TEMP": self._folder, "TMP": self._folder}
        try:
            self._process = subprocess.Popen(command, cwd=self._folder, env=own, **pipes)  # type: ignore[call-overload]
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._messages: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._listen)]
        for thread in self._threads:
            thread.start()

    def exchange(self, data: bytes, seconds: float) -> bytes:
        if data:  # in a thread, as whoever does not read must not keep us
            threading.Thread(target=self._write, args=[framed(data)], daemon=True).start()
        try:
            message = self._messages.get(timeout=seconds)
        except queue.Empty:
            raise TimeUp from None
        if isinstance(message, Exception):
            raise message
        return message

    def end(self, gone: bool = False) -> dict[str, Any]:
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(0.5 * gone)
        if code is None:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(END)  # a process that it has started may hold a pipe open
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if pipe is not None and not any(thread.is_alive() for thread in self._threads):
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return {"signal": -code if code is not None and code < 0 else None, "peak": 0.0, "cpu": 0.0, "left": 0}

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended, which `_read` notices
            assert self._process.stdin is not None
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _read(self) -> None:
        """Put the messages that come into the queue, and at last why there are no more."""
        stream = self._process.stdout
        assert stream is not None
        end: Exception = Gone()
        with contextlib.suppress(OSError, ValueError):
            while len(head := stream.read(LENGTH.size)) == LENGTH.size:
                length = LENGTH.unpack(head)[0]
                if length > LARGEST:
                    end = MessageError("too large")
                    break
                message = stream.read(length)
                if len(message) < length:
                    break
                self._messages.put(message)
        self._messages.put(end)

    def _listen(self) -> None:
        """Keep what is printed."""
        stream: IO[bytes] | None = self._process.stderr
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(stream.fileno(), 2**16):
                self.keep(part)


class _Pipes:
    """What `worker` takes for its socket: messages on the process's stdin and stdout, which nothing else then uses."""

    def __init__(self) -> None:
        self._in, self._out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)  # what is printed goes where errors go

    def makefile(self, mode: str) -> IO[bytes]:
        return self._in

    def sendall(self, data: bytes) -> None:
        self._out.write(data)
        self._out.flush()


def main() -> None:
    """The process of a test: say that it is ready, then work until the grader is gone."""
    pipes = _Pipes()
    pipes.sendall(framed(pack({"ready": True})))
    try:
        worker.work(pipes)
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(0)  # threads and exit handlers of the submission do not keep it
