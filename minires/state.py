"""`current`: how the code now running computes, such as whether it builds a graph; `switch` changes that for a while.

The settings and `scope` are context variables: each thread has its own values, and so has each asyncio task, which
starts with those of the code that made it. What one of them sets never reaches another that is waiting. (Python 3.14
can be told to start threads like tasks, and does so where it is free-threaded: `sys.flags.thread_inherit_context`.)

An interrupt (Ctrl-C, a notebook's stop button) may come before the first line of ``__exit__``, which then does nothing.
But what a ``with`` block is going to call at its end lives exactly as long as the block: the interpreter gets it before
it calls ``__enter__``, and lets it go when the block has ended, however that came about. So every block gets a callable
of its own, and `current` drops the settings of blocks whose callable is gone.
"""

import functools
import inspect
import weakref
from collections.abc import Callable, Generator, Iterable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple


class State(NamedTuple):
    """What `switch` sets. A state is never changed, only replaced."""

    grad_enabled: bool = True
    anomaly: bool = False
    recorder: Any = None  # a Recorder, which watches; flow.recording() sets it
    scaling: Any = None  # multiplies gradients on their way back; flow.scaled() sets it
    ranks: Any = None  # the processes that train together; parallel() sets it
    segment: Any = None  # a recompute.Segment, which every new op joins; checkpoint() sets it
    recomputing: bool = False  # whether checkpoint() is running something a second time
    exact: bool = False  # whether convolutions are direct; exact() sets it
    fusion: Any = None  # a fusion.Fusion, which joins ops; train.fit(graph=True) sets it
    tf32: bool = False  # whether products may run on tensor cores; kernels.allow_tf32() sets it
    uses: "tuple[_Use, ...]" = ()  # of switches, all those in force, the latest last


class _Use:
    """One time that a switch is in force."""

    def __init__(self, switch: "switch", until_the_end: bool = False):
        self.switch = switch
        self.until_the_end = until_the_end  # whether it stays in force until the ``with`` block around it ends
        self.alive: Callable[[], Any] = _for_good  # returns None once its ``with`` block has ended
        self.begun: Token | None = None  # from the context in which its ``with`` block began


def _for_good() -> bool:
    return True


latest: ContextVar[State] = ContextVar("minires.state", default=State())  # noqa: B039 (a tuple); see `current`
_next: ContextVar[Callable[[], _Use | None]] = ContextVar("minires.next", default=lambda: None)  # now beginning
_place: ContextVar[None] = ContextVar("minires.place", default=None)  # by its tokens one context knows another
scope: ContextVar[str] = ContextVar("minires.scope", default="")  # name of the module now running; nn.Module sets it


def current() -> State:
    """The settings of the code now running."""
    now = latest.get()
    for use in now.uses:
        if use.alive() is None:
            now = _without(now, [use for use in now.uses if use.alive() is None])
            latest.set(now)
            break
    return now


def _state_of(uses: Iterable[_Use]) -> State:
    """The state with these uses in force: of two that set the same, the later one counts."""
    uses = tuple(uses)
    return State(**{name: value for use in uses for name, value in use.switch.settings.items()}, uses=uses)


def _without(state: State, ended: list[_Use]) -> State:
    """The state once these uses have ended, and those behind them that last until the block around them ends."""
    first = min([i for i, use in enumerate(state.uses) if use in ended], default=len(state.uses))
    behind = [use for use in state.uses[first:] if use not in ended and not use.until_the_end]
    return _state_of([*state.uses[:first], *behind])


class _Exit:
    """A switch's ``__exit__``: whoever gets it, such as a ``with`` statement, gets a callable of its own."""

    def __get__(self, switch: "switch | None", owner: Any = None) -> Callable[..., None]:
        if switch is None:
            return _exit_by_hand  # to be called with the switch, as contextlib.ExitStack does
        use = _Use(switch)
        exit = functools.partial(_exit, use)
        use.alive = weakref.ref(exit)
        _next.set(weakref.ref(use))
        return exit


def _exit(use: _Use, *error: Any) -> None:
    if use.begun is None:
        _exit_by_hand(use.switch)
        return
    try:
        _place.reset(use.begun)
    except ValueError:  # it began in another context, as in an asyncio fixture; that will see that it has ended
        return
    except RuntimeError:  # it has ended before
        return
    now = _without(latest.get(), [use])
    use.alive = _for_good  # for tasks that began inside the block; nothing can come between this and the next call
    latest.set(now)


def _exit_by_hand(switch: "switch", *error: Any) -> None:
    """End the switch's latest use that began with a call of ``__enter__``, not with a ``with`` statement."""
    now = current()
    latest.set(_without(now, [use for use in now.uses if use.switch is switch and use.alive is _for_good][-1:]))


class switch:
    """Change the settings inside a ``with`` block, or whenever the body of a decorated function runs.

    The body of a generator does not run while it waits at a ``yield``; that of a coroutine counts as running until it
    returns. A switch may be used any number of times, even inside itself.
    """

    __exit__ = _Exit()

    def __init__(self, **settings: Any):
        self.settings = settings

    def __enter__(self) -> Any:
        use = _next.get()()
        if use is None or use.switch is not self or use.begun or use.alive() is None:
            use = _Use(self)  # called by hand, not by a ``with`` statement
        use.begun = _place.set(None)
        latest.set(_state_of([*current().uses, use]))

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
        uses = current().uses
        uses = uses[:-1] if uses and uses[-1].until_the_end else uses
        latest.set(_state_of([*uses, _Use(self, until_the_end=True)]))

    def __enter__(self) -> None:
        super().__enter__()
        now = current()  # what __init__ began ends
        latest.set(_without(now, [use for use in now.uses if use.switch is self and use.until_the_end]))

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        with self:  # which ends what __init__ began: as a decorator, it is in force only while the function runs
            pass
        return super().__call__(function)
