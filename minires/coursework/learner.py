"""The grader's side of a submission: start it in a separate process, have it call functions, never import it."""

import signal
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from .launcher import PATIENCE, CannotGrade, Keeper, Limits
from .lines import Gone, TimeUp
from .messages import MessageError, Other, pack, unpack
from .submission import Submission

KINDS = {  # of trouble, from a submission's process, and the only words for it that a hidden test may show
    "missing": "missing",
    "signature": "signature",
    "syntax": "syntax",
    "unwritten": "not written yet",
    "exit": "exit",
    "memory": "memory",
    "raises": "raises",
    "library": "the library's own answer is called",
}
Answers = Mapping[str, Callable[..., Any]]
OUT_OF_TIME = [getattr(signal, name) for name in ("SIGXCPU", "SIGKILL") if hasattr(signal, name)]
TEXT_KEPT = 3000  # characters of what is said about a failure


class Wrong(Exception):
    """A test does not pass. ``str`` of it is for the learner; ``brief`` says no more than a hidden test may reveal."""

    def __init__(self, message: str, brief: str = ""):
        super().__init__(message if len(message) <= TEXT_KEPT else f"{message[:TEXT_KEPT]}…")
        self.brief = brief


class Learner:
    """A submission in its own process, for one test. A context manager; its end sets ``peak`` (MB), ``cpu`` (s).

    ``loaded``: whether the submission's file ran to its end; if not, entering raises Wrong.
    """

    def __init__(self, keeper: Any, submission: Submission, limits: Limits):
        self.keeper, self.submission, self.limits = keeper, submission, limits
        self.left = PATIENCE
        self.printed, self.dropped = b"", 0
        self.peak = self.cpu = 0.0
        self.loaded = False
        self.trouble: Wrong | None = None

    def __enter__(self) -> "Learner":
        self._line = self.keeper.line(self.limits)
        try:
            self._prepare()
            helpers = {path: as_bytes(text) for path, text in self.submission.helpers.items()}
            first = {"source": as_bytes(self.submission.source), "name": self.submission.file, "helpers": helpers}
            first["off_limits"] = self.limits.off_limits
            self._answer(first, "when your file was loaded")
            self.loaded = True
        except BaseException:
            self._end()
            raise
        return self

    def _prepare(self) -> None:
        """Wait until the process is ready. Raises CannotGrade if it is not: nothing of the submission has run yet."""
        try:
            reply = unpack(self._exchange(b"", "when a test was started"))
        except (Wrong, MessageError) as error:
            raise CannotGrade(f"the process of a test did not start ({error})") from None
        if "cannot" in reply:
            raise CannotGrade(reply["cannot"])
        self.left = self.limits.seconds

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
        self._line.answer = lambda question: self._asked(question, answers or {})
        try:
            reply = unpack(self._exchange(pack(message), when))
            while isinstance(reply, dict) and "ask" in reply:
                reply = unpack(self._exchange(pack(self._asked(reply, answers or {})), when))
            if not isinstance(reply, dict):
                raise MessageError("not a reply")
        except MessageError as error:
            raise self._wrong(f"what came back {when} is not a result ({error})") from None
        if "trouble" in reply:
            brief = KINDS.get(str(reply["trouble"])[:20], "raises")
            text = str(reply.get("text"))[:TEXT_KEPT]
            named = brief in ("missing", "signature")  # which say of what they speak
            raise self._wrong(text if named else f"{when}{': ' if when else ''}{text}", brief)
        return reply

    def _asked(self, question: dict[str, Any], answers: Answers) -> dict[str, Any]:
        """The answer to a question from beside the submission."""
        started = time.monotonic()
        try:
            return {"value": answers[question["ask"]](*question["arguments"])}
        except Exception as error:  # whatever was asked
            return {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        finally:
            self.left -= time.monotonic() - started

    def _wrong(self, text: str, brief: str = "") -> Wrong:
        self.trouble = Wrong(text.strip(), brief)
        return self.trouble

    def _exchange(self, data: bytes, when: str) -> bytes:
        """Send, and wait for one whole message; all of it takes time."""
        until = time.monotonic() + self.left
        try:
            return self._line.exchange(data, self.left)
        except TimeUp:
            raise self._wrong(
                f"stopped after {self.limits.seconds:.3g} s {when}: is there a loop that does not end, or one "
                "over every number, where NumPy can take whole arrays?".replace("  ", " "),
                "time limit",
            ) from None
        except Gone:
            raise self._wrong(*self._ended(when)) from None
        finally:
            self.left = until - time.monotonic()

    def _ended(self, when: str) -> tuple[str, str]:
        """Why the process is gone."""
        report = self._end(gone=True)
        number = report["signal"]
        if number in OUT_OF_TIME and report["cpu"] > self.limits.seconds:
            return f"stopped after {report['cpu']:.0f} s of computing {when}: a loop that does not end?", "time limit"
        how = f"by {signal.Signals(number).name}" if number else "from within (os._exit?)"
        return f"the process was ended {how} {when}", "process ended"

    def _end(self, gone: bool = False) -> dict[str, Any]:
        report = self._line.end(gone) if self._line is not None else {}
        if report:
            self.peak, self.cpu = report["peak"], report["cpu"]
            self.printed, self.dropped = self._line.printed, self._line.dropped
            self._line = None
        return report

    _line: Any = None


def as_bytes(text: str) -> np.ndarray:
    """A text as a message's array; a header is for short ones."""
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


__all__ = ["CannotGrade", "Keeper", "Learner", "Limits", "Other", "Wrong"]
