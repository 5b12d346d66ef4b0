"""Watching a submission: does it call the library's own answer to its exercise?

Python reports each call of a Python function (`sys.setprofile`), and the stack says who is behind it. What this does
not see is in lessons/exercises/honesty.md.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from types import CodeType, FrameType, ModuleType
from typing import Any

LIBRARY = __name__.partition(".")[0]
WORKER = f"{LIBRARY}.coursework.worker"  # it calls what bears the name of the submission's function
OURS = tuple(f"{LIBRARY}.coursework.{name}" for name in ("drivers", "networks", "graphs", "pieces"))
WALKS = tuple(
    f"{LIBRARY}.{name}" for name in ("autograd.backward", "autograd.grad", "autograd._walk", "tensor.Tensor.backward")
)
KERNELS = f"{LIBRARY}.kernels", f"{LIBRARY}.ops"
# What would go around the watch, and the modules that may do it: their new threads are watched, or the library's own.
# (Python reports threads from 3.12 on.)
NEEDED = {
    "sys.setprofile": ("threading",),
    "_thread.start_new_thread": ("threading", f"{LIBRARY}.threads"),
    "_thread.start_joinable_thread": ("threading",),
}


class Watch:
    """Notes in ``found`` the first function that is called for the submission and is off limits.

    off_limits: names of modules, classes or functions, such as "minires.kernels", with all that is in them.
    """

    def __init__(self, off_limits: Sequence[str]):
        self.off_limits = tuple(f"{name}." for name in off_limits)
        self.found = ""
        self._known: dict[CodeType, bool] = {}
        self._on = False
        if off_limits:
            sys.addaudithook(self._audit)

    def run(self, action: Callable[[], Any]) -> Any:
        """What the action returns, watched."""
        if not self.off_limits:
            return action()
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        self._on = True
        try:
            return action()
        finally:
            self._on = False
            sys.setprofile(None)
            threading.setprofile(None)

    def look_at(self, submission: ModuleType) -> None:
        """Look for classes that are off limits, under their own names, or inherit from what is."""
        for name, value in list(vars(submission).items()):
            if isinstance(value, type) and (value.__module__ == submission.__name__ or value.__name__ == name):
                names = [f"{base.__module__}.{base.__qualname__}" for base in value.__mro__]
                taken = [name for name in names if f"{name}.".startswith(self.off_limits)]
                self.found = self.found or (taken[0] if taken else "")

    def _audit(self, event: str, arguments: tuple) -> None:
        if event in NEEDED and self._on and not _almost_too_deep():
            if _module(sys._getframe(1)) not in NEEDED[event]:
                self.found = self.found or event

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and not self.found:
            code = frame.f_code
            if code not in self._known:
                self._known[code] = f"{_name(frame)}.".startswith(self.off_limits)
            if self._known[code] and for_the_submission(frame.f_back):
                self.found = _name(frame)


def for_the_submission(frame: FrameType | None) -> bool:
    """Whether this frame, or one that is waiting for it, is the submission's, or calls what the submission defines.

    A watched thread in which nobody waits is the submission's, too: it was given the function itself.
    """
    module = ""
    while frame is not None:
        module = _module(frame)
        room = module.partition(".")[0]
        if module in OURS or (room == LIBRARY and frame.f_code.co_name == "<module>"):
            return False  # the library calls it for itself, or an import
        if module == WORKER or (room not in (LIBRARY, "numpy") and room not in sys.stdlib_module_names):
            return True
        frame = frame.f_back
    return module == "threading"


def _almost_too_deep() -> bool:
    """Whether the stack is about to exceed Python's limit: then Python itself switches the watch off."""
    frame: FrameType | None = sys._getframe()
    left = sys.getrecursionlimit() - 20
    while frame is not None and left > 0:
        frame, left = frame.f_back, left - 1
    return frame is not None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _name(frame: FrameType) -> str:
    return f"{_module(frame)}.{frame.f_code.co_qualname}"
