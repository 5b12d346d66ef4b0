"""`state`: how the code now running computes, such as whether it builds a graph; `switch` changes that for a while.

`state` and `scope` are context variables: each thread has its own values, and so has each asyncio task, which starts
with those of the code that made it. What one of them sets never reaches another that is waiting.
"""

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, NamedTuple


class State(NamedTuple):
    """What `switch` sets. A state is never changed, only replaced."""

    grad_enabled: bool = True
    anomaly: bool = False
    recorder: Any = None  # a Recorder, which watches; flow.recording() sets it
    scaling: Any = None  # multiplies gradients on their way back; flow.scaled() sets it
    segment: Any = None  # a recompute.Segment, which every new op joins; checkpoint() sets it
    recomputing: bool = False  # whether checkpoint() is running something a second time
    switches: "tuple[switch, ...]" = ()  # all those in force, the latest last


state: ContextVar[State] = ContextVar("minires.state", default=State())  # noqa: B039 (a tuple)
scope: ContextVar[str] = ContextVar("minires.scope", default="")  # name of the module now running; nn.Module sets it


class switch:
    """Set fields of `state` inside a ``with`` block, or whenever the body of a decorated function runs.

    The body of a generator does not run while it waits at a ``yield``; that of a coroutine counts as running until it
    returns. A switch may be used any number of times, even inside itself.
    """

    until_the_end = False  # whether it stays in force until the ``with`` block around it ends

    def __init__(self, **settings: Any):
        self.settings = settings

    def __enter__(self) -> None:
        now = state.get()
        state.set(now._replace(**self.settings, switches=(*now.switches, self)))

    def __exit__(self, *error: Any) -> None:
        left = list(state.get().switches)
        if self in left:  # if not, it was entered in another context, as in an asyncio fixture: nothing to undo here
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
        """The same generator, with the switch in force only from each time it is resumed to its next ``yield``."""
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
    """Build graphs or not: from now on, ``set_grad_enabled(False)``, or in a block, ``with set_grad_enabled(False):``.

    "From now on" ends with the ``with`` block around the call, if there is one, as in PyTorch.
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
        with self:  # which ends what __init__ began: as a decorator, it is in force only while the function runs
            pass
        return super().__call__(function)
