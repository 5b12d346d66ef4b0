"""`state`: how the code now running computes, such as whether it builds a graph; `switch` changes that for a while.

Both variables are context variables: a thread has its own values, and so has an asyncio task, which starts with those
of the code that made it. What one of them sets while another waits does not reach that other.
"""

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, NamedTuple


class State(NamedTuple):
    """What `switch` sets. It is never changed, only replaced."""

    grad_enabled: bool = True
    anomaly: bool = False
    recorder: Any = None  # a Recorder, which watches; flow.recording() sets it
    segment: Any = None  # a recompute.Segment, which every new op joins; checkpoint() sets it
    recomputing: bool = False  # whether checkpoint() is running something a second time
    switches: "tuple[switch, ...]" = ()  # all that are in force, the latest last


state: ContextVar[State] = ContextVar("minires.state", default=State())  # noqa: B039 (a tuple)
scope: ContextVar[str] = ContextVar("minires.scope", default="")  # name of the module now running; nn.Module sets it


class switch:
    """Set fields of `state` inside a ``with`` block, or whenever the body of a decorated function runs.

    The body of a generator does not run while it waits at a ``yield``; that of a coroutine runs until it returns. One
    switch may be used any number of times, also inside itself.
    """

    until_the_end = False  # whether it stays in force until the ``with`` block around it ends

    def __init__(self, **settings: Any):
        self.settings = settings

    def __enter__(self) -> None:
        now = state.get()
        state.set(now._replace(**self.settings, switches=(*now.switches, self)))

    def __exit__(self, *error: Any) -> None:
        left = list(state.get().switches)
        if self in left:  # or it was entered in another context, as an asyncio fixture may be: nothing to undo here
            place = len(left) - 1 - left[::-1].index(self)
            left[place:] = [other for other in left[place + 1 :] if not other.until_the_end]
            settings = {name: value for other in left for name, value in other.settings.items()}
            state.set(State(**settings, switches=tuple(left)))

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isclass(function) or inspect.isasyncgenfunction(function) or not callable(function):
            raise TypeError(
                f"switch: got {function!r} to decorate; it takes functions, generators and coroutines; use a with "
                "block inside it"
            )

        def called(*args: Any, **options: Any) -> Any:
            with self:
                return function(*args, **options)

        def resumed(*args: Any, **options: Any) -> Any:
            return (yield from self._resumed(function(*args, **options)))

        async def awaited(*args: Any, **options: Any) -> Any:
            with self:
                return await function(*args, **options)

        generator, coroutine = inspect.isgeneratorfunction(function), inspect.iscoroutinefunction(function)
        return functools.wraps(function)(resumed if generator else awaited if coroutine else called)

    def _resumed(self, generator: Generator) -> Generator:
        """The same generator, which is inside the ``with`` block only between being resumed and yielding."""
        resume: Any = generator.send
        sent: Any = None
        while True:
            try:
                with self:
                    value = resume(sent)
            except StopIteration as end:
                return end.value
            try:
                resume, sent = generator.send, (yield value)
            except BaseException as error:  # thrown in; GeneratorExit if it is closed
                resume, sent = generator.throw, error


class set_grad_enabled(switch):
    """Build graphs or not: from now on, ``set_grad_enabled(False)``, or for a while, ``with set_grad_enabled(False):``.

    From now on means until the ``with`` block around the call ends, if there is one, as in PyTorch.
    """

    def __init__(self, mode: bool):
        super().__init__(grad_enabled=bool(mode))
        now = state.get()
        earlier = now.switches[:-1] if now.switches and now.switches[-1].until_the_end else now.switches
        state.set(now._replace(**self.settings, switches=(*earlier, self)))
        self.until_the_end = True

    def __enter__(self) -> None:
        if self.until_the_end:
            self.until_the_end = False
        else:
            super().__enter__()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        with self:  # as a decorator, it is in force only when the function runs
            pass
        return super().__call__(function)
