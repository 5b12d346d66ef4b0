"""What runs in the process of one test: load the submission, call its functions as the grader asks, send back results.

Nothing here is trusted by the grader: the submission runs in this very process and may change all of it. So the right
answers never come here.
"""

import builtins
import contextlib
import inspect
import linecache
import os
import random
import socket
import sys
import traceback
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import random as minires_random
from . import drivers
from .messages import LENGTH, MessageError, framed, pack, unpack
from .watch import Watch


def work(channel: socket.socket) -> None:
    """Load the submission, which comes first, then answer requests until the grader closes the channel."""
    stream = channel.makefile("rb")
    first = _receive(stream)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (a submission may use it)
    minires_random.manual_seed(0)
    submission: Any = None

    def load() -> None:
        nonlocal submission
        submission = load_module(first["source"], first["name"])

    watch = Watch(first["off_limits"])
    drivers.ask = partial(_ask, channel, stream)
    _send(channel, watch.run(lambda: attempt(load, first["name"])))
    if submission is not None:
        watch.look_at(submission)
    while (request := _receive(stream)) is not None:
        action = partial(attempt, partial(perform, submission, request), first["name"])
        reply = action() if request["driver"] and request["name"] in drivers.UNWATCHED else watch.run(action)
        _send(channel, off_limits(watch.found) if watch.found else reply)


def off_limits(name: str) -> dict[str, Any]:
    """The reply for a submission that called this function."""
    if name == "sys.setprofile":
        return {"trouble": "library", "text": "your code calls sys.setprofile, which the grader needs; leave it out"}
    return {"trouble": "library", "text": f"your code calls {name}, which answers the exercise; write it yourself"}


def load_module(source: str, name: str) -> types.ModuleType:
    """The submission's text as a module whose lines tracebacks can show."""
    module = types.ModuleType("submission")
    module.__file__ = name
    sys.modules["submission"] = module
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    exec(compile(source, name, "exec"), module.__dict__)
    return module


def perform(submission: types.ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    """Call one of the submission's functions, or a driver that uses several."""
    name, arguments, options = request["name"], request["arguments"], request["options"]
    if request["driver"]:
        return {"value": getattr(drivers, name)(submission, *arguments, **options)}
    function = getattr(submission, name, None)
    if not callable(function):
        return {"trouble": "missing", "text": f"there is no function {name} in your file"}
    names = _fits(function, name, arguments, options)
    before = [np.array(a) if isinstance(a, np.ndarray) else None for a in arguments]
    value = function(*arguments, **options)
    changed = [
        names[i]
        for i, (copy, a) in enumerate(zip(before, arguments))
        if copy is not None and (a.shape != copy.shape or not np.array_equal(a, copy, equal_nan=True))
    ]
    return {"value": value, "changed": changed}


class _DoesNotFit(Exception):
    """A function's parameters are not those that the assignment specifies."""


def _fits(function: Callable, name: str, arguments: tuple, options: dict) -> list[str]:
    """The parameters' names, in the order of the arguments."""
    try:
        signature = inspect.signature(function)
        signature.bind(*arguments, **options)
    except TypeError as error:
        raise _DoesNotFit(
            f"{name}{signature} cannot be called with {len(arguments)} arguments"
            f"{' and ' + ', '.join(options) if options else ''} ({error}); keep the parameters of the exercise file"
        ) from None
    except ValueError:
        return [f"input {i}" for i in range(len(arguments))]
    names = [p for p, spec in signature.parameters.items() if spec.kind is not spec.VAR_POSITIONAL]
    return [names[i] if i < len(names) else f"input {i}" for i in range(len(arguments))]


def attempt(action: Callable[[], Any], file: str) -> dict[str, Any]:
    """What an action returned, or what went wrong, in words for the author of the file."""
    try:
        return action() or {"value": None}
    except _DoesNotFit as error:
        return {"trouble": "signature", "text": str(error)}
    except SyntaxError as error:
        line = f"line {error.lineno} of {os.path.basename(error.filename or file)}"
        shown = f"\n    {error.text.strip()}" if error.text else ""
        return {"trouble": "syntax", "text": f"Python cannot read {line}: {error.msg}{shown}"}
    except NotImplementedError as error:
        text = f"not written yet{f': {error}' if str(error) else ''}"
        return {"trouble": "unwritten", "text": text + where(error, file)}
    except SystemExit as error:
        return {"trouble": "exit", "text": f"the code called exit({error.code!r}); remove it{where(error, file)}"}
    except MemoryError as error:
        text = f"out of memory{f': {error}' if str(error) else ''}. Does an array have the size it should?"
        return {"trouble": "memory", "text": text + where(error, file)}
    except RecursionError as error:
        text = "functions call each other too deeply (RecursionError): use a loop, or look for the case that ends it"
        return {"trouble": "raises", "text": text + where(error, file)}
    except BaseException as error:
        return {"trouble": "raises", "text": f"{type(error).__name__}: {error}{where(error, file)}"}


def where(error: BaseException, file: str) -> str:
    """The last lines of the submission that an error passed through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file][-3:]
    return "".join(f"\n    line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames)


def _ask(channel: socket.socket, stream: Any, name: str, *arguments: Any) -> Any:
    """What a function of the grader returns. Raises ValueError if it cannot be called like this."""
    channel.sendall(framed(pack({"ask": name, "arguments": arguments})))
    answer = _receive(stream)
    if answer is None or "error" in answer:
        raise ValueError("the grader is gone" if answer is None else answer["error"])
    return answer["value"]


def _receive(stream: Any) -> Any:
    """The next message, or None at the end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return unpack(stream.read(LENGTH.unpack(head)[0]))


def _send(channel: socket.socket, reply: dict[str, Any]) -> None:
    with contextlib.suppress(builtins.BaseException):  # whatever has taken the place of stdout by now
        sys.stdout.flush()
    try:
        data = framed(pack(reply))
    except (MessageError, RecursionError, TypeError, ValueError) as error:
        data = framed(pack({"trouble": "raises", "text": f"the result cannot be sent back: {error}"}))
    channel.sendall(data)
