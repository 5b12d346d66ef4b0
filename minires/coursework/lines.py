"""The line between the grader and the process of a test: a message goes out, one comes back, in time or not at all.

The runners, in `launcher`, `portable` and `unprotected`, have one each.
"""

from collections.abc import Callable
from typing import Any

OUTPUT_KEPT = 4000  # bytes of what a test prints


class TimeUp(Exception):
    """No message came back in time."""


class Gone(Exception):
    """The process has ended."""


class Line:
    """What every line has. ``printed``, ``dropped``: what the submission printed, and how many bytes more.

    answer: what to do with a question that comes back instead of a reply, where the submission runs in this process.
    """

    answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def __init__(self) -> None:
        self.printed, self.dropped = b"", 0

    def exchange(self, data: bytes, seconds: float) -> bytes:
        """Send this message, if it is not empty, and wait for one. Raises TimeUp, Gone or MessageError."""
        raise NotImplementedError

    def end(self, gone: bool = False) -> dict[str, Any]:
        """End what is at the other end; how it ended (``signal``), its ``peak`` in MB and ``cpu`` seconds."""
        raise NotImplementedError

    def keep(self, printed: bytes) -> None:
        """Add what was printed, up to the bound."""
        part = printed[: OUTPUT_KEPT - len(self.printed)]
        self.printed += part
        self.dropped += len(printed) - len(part)
