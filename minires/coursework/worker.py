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
import re
import sys
import traceback
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import random as minires_random
from ..arguments import nearest
from . import drivers
from .messages import LENGTH, MessageError, framed, pack, unpack
from .watch import NEEDED, Watch

SHOWN = 1500  # characters of one message


def work(channel: Any) -> None:
    """Load the submission, which comes first, then answer requests until the grader closes the channel, a socket."""
    stream = channel.makefile("rb")
    session = Session(_receive(stream), partial(_ask, channel, stream))
    _send(channel, session.load())
    while (request := _receive(stream)) is not None:
        _send(channel, session.reply(request))


class Session:
    """A submission, from its first message on. ``ask``: how `drivers` ask the grader."""

    def __init__(self, first: dict[str, Any], ask: Callable[..., Any]):
        self._first = first
        self._submission: Any = None
        self._compared = False
        self._watch = Watch(first["off_limits"])
        write_helpers({path: text.tobytes().decode() for path, text in first["helpers"].items()})
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 (a submission may use it)
        minires_random.manual_seed(0)
        drivers.ask = ask

    def load(self) -> dict[str, Any]:
        """Run the submission's file; the reply says how that went."""
        source, name = self._first["source"].tobytes().decode("utf-8", "surrogatepass"), self._first["name"]

        def load() -> None:
            self._submission = load_module(source, name)

        reply = self._watch.run(lambda: attempt(load, name))
        self._compared = bool(self._watch.found)
        if self._submission is not None:
            self._watch.look_at(self._submission)
        return reply

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked, watched."""
        action = partial(attempt, partial(perform, self._submission, request), self._first["name"])
        unwatched = request["driver"] and request["name"] in drivers.UNWATCHED
        reply = action() if unwatched else self._watch.run(action)
        return off_limits(self._watch.found, self._compared) if self._watch.found else reply


def off_limits(name: str, compared: bool = False) -> dict[str, Any]:
    """The reply for a submission that called this function; ``compared``: while it was loaded, perhaps to compare."""
    if name in NEEDED:
        return {"trouble": "library", "text": f"your code calls {name}, which the grader needs; leave it out"}
    text = f"your code calls {name}, which answers the exercise; write it yourself"
    if compared:
        text += '. To compare yours with it, do so under `if __name__ == "__main__":`, which is not graded'
    return {"trouble": "library", "text": text}


def load_module(source: str, name: str) -> types.ModuleType:
    """The submission's text as a module whose lines tracebacks can show."""
    module = types.ModuleType("submission")
    module.__file__ = name
    sys.modules["submission"] = module
    if (stem := name.rpartition(".")[0]).isidentifier():
        sys.modules.setdefault(stem, module)  # a helper may import what it helps
    try:
        code = compile(source, name, "exec")
    except SyntaxError:
        plain = without_magics(source)
        if plain == source:
            raise
        source, code = plain, compile(plain, name, "exec")
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    module.__dict__["get_ipython"] = _NoNotebook  # what a notebook has, and scripts exported from one expect
    module.__dict__["display"] = lambda *arguments, **options: None
    exec(code, module.__dict__)
    return module


def write_helpers(helpers: dict[str, str]) -> None:
    """The modules beside the submission, in this test's own folder, from which they can be imported."""
    for path, source in helpers.items():
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
    if helpers:
        sys.path.insert(0, os.getcwd())


# At the start of a statement: what only a notebook understands (``%matplotlib``, ``!pip``, ``sum?``, ``files = !ls``),
# to the end of its last line. Python has no statement that starts like this.
MAGIC = re.compile(
    r"(?P<indent>[ \t]*)(?:(?P<target>[\w., \t]+=)[ \t]*[%!]|[%!?]|[\w.]+\?{1,2}[ \t]*$)(?:\\\n|[^\n])*", re.M
)
# What may hide the end of a line, or is one: comments, strings, continued lines, brackets.
PIECE = re.compile(
    r"#[^\n]*|\"{3}(?:\\.|[^\\])*?(?:\"{3}|\Z)|'{3}(?:\\.|[^\\])*?(?:'{3}|\Z)"
    r"|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?|\\\n|[()\[\]{}\n]",
    re.S,
)


def without_magics(source: str) -> str:
    """The text with ``pass``, or None assigned, for what only a notebook understands; no line moves."""
    made, at, depth, starts = [], 0, 0, True
    while at < len(source):
        if starts and (magic := MAGIC.match(source, at)):
            instead = f"{magic['target']} None" if magic["target"] else "pass"
            made.append(f"{magic['indent']}{instead}  # " + magic[0].strip().replace("\n", "\n# "))
            at, starts = magic.end(), False
        elif piece := PIECE.search(source, at):
            made.append(source[at : piece.end()])
            depth = max(0, depth + (piece[0] in "([{") - (piece[0] in ")]}"))
            at, starts = piece.end(), piece[0] == "\n" and not depth
        else:
            made.append(source[at:])
            break
    return "".join(made)


class _NoNotebook:
    """What ``get_ipython()`` gives outside a notebook: every method does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **options: None


def perform(submission: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Call one of the submission's functions, or a driver that uses several."""
    name, arguments, options = request["name"], request["arguments"], request["options"]
    if request["driver"]:
        return {"value": getattr(drivers, name)(submission, *arguments, **options)}
    function = getattr(submission, name, None)
    if not callable(function):
        others = [own for own, value in vars(submission).items() if callable(value)]
        return {"trouble": "missing", "text": f"there is no function {name} in your file{nearest(name, others)}"}
    names = _fits(function, name, arguments, options)
    given = [*zip(names, arguments), *options.items()]
    before = [np.array(a) if isinstance(a, np.ndarray) else None for _, a in given]
    value = function(*arguments, **options)
    changed = [
        name
        for copy, (name, a) in zip(before, given)
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
    except BaseException as error:
        try:
            kind, text = explain(error, file)
            return {"trouble": kind, "text": shortened(text) + where(error, file)}
        except BaseException:  # an error whose own methods raise errors
            return {"trouble": "raises", "text": "an exception that cannot be shown was raised"}


def explain(error: BaseException, file: str) -> tuple[str, str]:
    """The kind of trouble, and what there is to say about it."""
    kind = name_of(error)
    if isinstance(error, _DoesNotFit):
        return "signature", said(error)
    if isinstance(error, SyntaxError):
        line = f"line {error.lineno} of {os.path.basename(error.filename or file)}"
        shown = f"\n    {error.text.strip()[:200]}" if error.text else ""
        return "syntax", f"Python cannot read {line}: {shortened(str(error.msg))}{shown}"
    if isinstance(error, NotImplementedError):
        return "unwritten", f"not written yet{f': {said(error)}' if said(error) else ''}"
    if isinstance(error, SystemExit):
        code = "" if error.code is None else shortened(repr(error.code))
        return "exit", f"the code called exit({code}); remove it"
    if isinstance(error, EOFError):
        return "raises", f"{kind}: {said(error)}. Does the code call input()? Nobody answers here; remove it"
    if isinstance(error, MemoryError):
        text = f"out of memory{f': {said(error)}' if said(error) else ''}"
        return "memory", f"{text}. Does an array have the size it should?"
    if isinstance(error, RecursionError):
        return "raises", (
            "functions call each other too deeply (RecursionError): use a loop, or look for the case that ends it"
        )
    return "raises", f"{kind}: {said(error)}"


def said(error: BaseException) -> str:
    """The error's message, whatever its ``__str__`` does."""
    try:
        return shortened(str(error))
    except BaseException as trouble:
        return f"(its message cannot be shown: __str__ raises {name_of(trouble)})"


def name_of(error: BaseException) -> str:
    """The name of the error's type, whatever its metaclass says."""
    return type.__dict__["__name__"].__get__(type(error))


def shortened(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


def where(error: BaseException, file: str) -> str:
    """The last lines of the submission, and of the modules beside it, that an error passed through."""
    beside = os.getcwd() + os.sep
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename == file or f.filename.startswith(beside)
    ]
    told = []
    for f in frames[-3:]:
        place = "" if f.filename == file else f" of {f.filename.removeprefix(beside)}"
        told.append(f"\n    line {f.lineno}{place}, in {f.name}: {shortened(f.line or '')}")
    return "".join(told)


def _ask(channel: Any, stream: Any, name: str, *arguments: Any) -> Any:
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


def _send(channel: Any, reply: dict[str, Any]) -> None:
    with contextlib.suppress(builtins.BaseException):  # whatever has taken the place of stdout by now
        sys.stdout.flush()
    try:
        data = framed(pack(reply))
    except (MessageError, RecursionError, TypeError, ValueError) as error:
        data = framed(pack({"trouble": "raises", "text": f"the result cannot be sent back: {error}"}))
    channel.sendall(data)
