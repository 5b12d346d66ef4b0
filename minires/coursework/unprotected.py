"""The runner without protection: a submission runs in this very process, as in a browser, where there is no other.

It can change anything here, read the tests, and exit; memory is not limited. A loop of its own that does not end is
ended, a call of a library that does not return is not. So this is for grading yourself, and for nobody's points.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any

from . import worker
from .launcher import Limits
from .lines import Line, TimeUp
from .messages import MessageError, pack, unpack


class Here:
    """Runs tests in this process. A context manager, used as the keeper is."""

    def __init__(self) -> None:
        self.checked: Any = None
        self.lost = False

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def line(self, limits: Limits) -> "HereLine":
        """A line to a fresh copy of the submission, in a folder of its own, which is the current one until it ends."""
        return HereLine()


TOOL = 4  # of those that sys.monitoring leaves to everybody


class OutOfTime(BaseException):
    """Raised in the submission's own code when its time is up."""


class HereLine(Line):
    """To the submission in this process. Messages are packed and unpacked as everywhere, so that nothing is shared."""

    def __init__(self) -> None:
        super().__init__()
        self._before = os.getcwd(), list(sys.path), set(sys.modules)
        self._folder: tempfile.TemporaryDirectory | None = tempfile.TemporaryDirectory(prefix="minires-test-")
        os.chdir(self._folder.name)
        self._session: worker.Session | None = None
        self._name, self._late = "", False

    def exchange(self, data: bytes, seconds: float) -> bytes:
        if not data:
            return pack({"ready": True})
        message = unpack(data)
        printed = io.StringIO()
        self._until, self._late = time.monotonic() + seconds, False
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            if self._session is None:
                self._name = message["name"]
                self._session = worker.Session(message, self._ask)
            with self._clock():
                reply = self._session.load() if "source" in message else self._session.reply(message)
        self.keep(printed.getvalue().encode("utf-8", "replace"))
        if self._late:
            raise TimeUp
        try:
            return pack(reply)
        except (MessageError, RecursionError, TypeError, ValueError) as error:
            return pack({"trouble": "raises", "text": f"the result cannot be sent back: {error}"})

    def end(self, gone: bool = False) -> dict[str, Any]:
        if self._folder is not None:
            folder, sys.path[:], modules = self._before
            os.chdir(folder)
            for name in set(sys.modules) - modules:  # the submission, under its names, and its helpers
                file = str(getattr(sys.modules[name], "__file__", ""))
                if file == self._name or file.startswith(self._folder.name):
                    del sys.modules[name]
            with contextlib.suppress(OSError):
                self._folder.cleanup()
            self._folder = None
        return {"signal": None, "peak": 0.0, "cpu": 0.0, "left": 0}

    def _ask(self, name: str, *arguments: Any) -> Any:
        assert self.answer is not None
        found = unpack(pack(self.answer(unpack(pack({"ask": name, "arguments": arguments})))))
        if "error" in found:
            raise ValueError(found["error"])
        return found["value"]

    @contextlib.contextmanager
    def _clock(self) -> Iterator[None]:
        """Look at the clock before every line and jump of the submission, and of nothing else."""
        if sys.version_info < (3, 12):
            before = sys.gettrace()
            sys.settrace(self._on_frame)
            try:
                yield
            finally:
                sys.settrace(before)
            return
        monitoring = sys.monitoring
        monitoring.use_tool_id(TOOL, "minires")
        for event in (monitoring.events.LINE, monitoring.events.JUMP):
            monitoring.register_callback(TOOL, event, self._on_event)
        monitoring.set_events(TOOL, monitoring.events.LINE | monitoring.events.JUMP)
        try:
            yield
        finally:
            monitoring.set_events(TOOL, 0)
            monitoring.free_tool_id(TOOL)

    def _on_frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != self._name:
            return None
        frame.f_trace_opcodes = True  # a loop on one line has no other events
        self._look()
        return self._on_frame

    def _on_event(self, code: CodeType, *where: int) -> Any:
        if code.co_filename != self._name:
            return sys.monitoring.DISABLE  # type: ignore[attr-defined]
        return self._look()

    def _look(self) -> None:
        if time.monotonic() > self._until:
            self._late = True
            raise OutOfTime
