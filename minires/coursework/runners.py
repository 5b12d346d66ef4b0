"""Where tests run: the three runners, what each keeps a submission from, and which of them a system has."""

import os
import socket
import sys
from typing import Any

from ..arguments import one_of
from .launcher import Keeper
from .portable import Processes
from .unprotected import Here

RUNNERS = {"hardened": Keeper, "portable": Processes, "here": Here}
SAYS = {  # what there is to know before points depend on it
    "hardened": "",
    "portable": "Each test runs in a process of its own with a time limit. Nothing limits its memory, its files or the "
    "network, and what it starts is not ended: grade only what you would run yourself.",
    "here": "The tests run in this very process, without protection: the code can do anything that you can, also to "
    "its own points.",
}


def default() -> str:
    """The best runner of this system."""
    if sys.platform == "emscripten":  # a browser, which has no processes
        return "here"
    return "hardened" if hasattr(os, "fork") and hasattr(socket, "send_fds") else "portable"


def check(runner: str | None) -> str:
    """The runner of this name, or the best one. Raises ValueError for an unknown name, OSError for one not here."""
    chosen = default() if runner is None else runner
    if chosen not in RUNNERS:
        raise ValueError(f"grade: got runner={runner!r}; {one_of(runner, RUNNERS)}")
    if chosen == "hardened" and default() != "hardened":
        raise OSError("grade: the hardened runner needs fork: use Linux, macOS or WSL on Windows, or --runner portable")
    if chosen == "portable" and default() == "here":
        raise OSError("grade: there are no processes in a browser; use the runner here")
    return chosen


def start(runner: str) -> Any:
    """A new runner of this name, which is a context manager."""
    return RUNNERS[runner]()
