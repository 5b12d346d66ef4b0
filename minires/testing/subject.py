"""What is checked, made uniform: arrays in, an output array and its backward out.

A subject is a pair of plain functions, an op class, or a function of Tensors (with the parameters of a module).
"""

import functools
import inspect
import itertools
import operator
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import autograd, random
from ..arguments import described
from ..blocks import contextmanager
from ..checks import GradientCountError, broadcasts
from ..nn import Module
from ..ops import Op
from ..ops.arithmetic import sum_to
from ..tensor import Tensor

Pull = Callable[[np.ndarray], list[Any]]


class Subject:
    """Arrays with ``keys`` (an input's index, a parameter's name) and ``names``, and how to run what is checked."""

    def __init__(self, name: str, function: Callable, inputs: Sequence[Any]):
        self.name = name
        self.inputs: list[Any] = [a.array if isinstance(a, Tensor) else a for a in inputs]
        self.inputs = [np.asarray(a) if isinstance(a, list | np.generic) else a for a in self.inputs]
        self.keys: list[int | str] = list(range(len(inputs)))
        self.names = _parameter_names(function, len(inputs))
        self.chosen: list[int] = []

    @property
    def floating(self) -> list[int]:
        """Positions of the arrays that have gradients."""
        return [i for i, a in enumerate(self.inputs) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]

    def run(self, arrays: list[Any]) -> tuple[np.ndarray, Pull]:
        """The output, and a function ``pull(grad_output)`` -> one gradient (or None) for each array."""
        raise TypeError("a subject must define run")

    def value(self, arrays: list[Any]) -> np.ndarray:
        """The output alone."""
        return self.run(arrays)[0]

    def decisions(self, arrays: list[Any]) -> list[np.ndarray]:
        """Which way each ReLU and each pooling window decided (nothing, where that cannot be seen)."""
        return []

    def is_one_op(self, arrays: list[Any]) -> bool:
        """Whether one backward does it all, as far as can be seen."""
        return True

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Restore everything when the block ends."""
        restore = random.restorer()
        try:
            yield
        finally:
            restore()


class PlainPair(Subject):
    """``forward(*arrays) -> array`` and ``backward(grad_output, *arrays) -> one gradient per array``."""

    def __init__(self, forward: Callable, backward: Callable, inputs: Sequence[Any], options: dict[str, Any]):
        super().__init__(_name(forward), forward, inputs)
        self.forward, self.backward, self.options = forward, backward, options

    def run(self, arrays):
        def pull(grad_output):
            grads = self.backward(grad_output, *arrays, **self.options)
            return _one_each(grads, len(arrays), "backward")

        return self.value(arrays), pull

    def value(self, arrays):
        return np.asarray(self.forward(*arrays, **self.options))


class OpClass(Subject):
    """An op class, run outside the graph; broadcasting is undone as the engine does."""

    def __init__(self, op_class: type[Op], inputs: Sequence[Any], options: dict[str, Any]):
        super().__init__(op_class.__name__, op_class().forward, inputs)
        self.op_class, self.options = op_class, options

    def run(self, arrays):
        op = self.op_class()
        op.needs = [i in self.chosen for i in range(len(arrays))]
        y = np.asarray(op.forward(*arrays, **self.options))

        def pull(grad_output):
            grads = _one_each(op.backward(grad_output), len(arrays), f"{op.name}.backward")
            for i in self.chosen:
                g, shape = grads[i], arrays[i].shape
                if isinstance(g, np.ndarray) and g.shape == y.shape != shape and broadcasts(shape, y.shape):
                    grads[i] = sum_to(g, shape)
            return grads

        return y, pull


class Graph(Subject):
    """A function of Tensors, or a module; ``engine(outputs, grads)`` may replace `minires.autograd.backward`."""

    def __init__(
        self, f: Callable, inputs: Sequence[Any], params: Any, options: dict[str, Any], engine: Callable | None
    ):
        signature = f.forward if isinstance(f, Module) else f
        super().__init__(type(f).__name__ if isinstance(f, Module) else _name(f), signature, inputs)
        self.f, self.options, self.engine = f, options, engine
        self.given = len(self.inputs)
        outside = _used_from_outside(f)
        self.modules = [m for m in (f, params, *outside) if isinstance(m, Module)]
        self.parameters = _named_parameters(params if params is not None else f if isinstance(f, Module) else {})
        for name, p in self.parameters.items():
            self.keys.append(name)
            self.names.append(name)
            self.inputs.append(p.array)
        owners = [m for root in self.modules for m in root.modules()]
        self.buffers = [(m, name, buffer) for m in owners for name, buffer in m._own("buffer")]
        tensors: list[Tensor] = [t for m in outside if isinstance(m, Module) for t in m.parameters()]
        tensors += [t for t in outside if isinstance(t, Tensor) and t.op is None and t.dtype.kind == "f"]
        known = {id(p) for p in self.parameters.values()}
        self.outside = [(t, t.array) for t in tensors if id(t) not in known]
        self.random = random.get_state()

    def build(self, arrays: list[Any]) -> tuple[Tensor, list[Any]]:
        """The output Tensor and the leaf tensors behind it; buffers and random numbers start the same every time."""
        random.set_state(self.random)
        working = next((arrays[i].dtype for i in self.floating), np.dtype(np.float64))
        for module, name, buffer in self.buffers:
            array = np.array(buffer.array if isinstance(buffer, Tensor) else buffer)
            array = array.astype(working) if array.dtype.kind == "f" else array
            setattr(module, name, Tensor(array) if isinstance(buffer, Tensor) else array)
        leaves: list[Any] = []
        for i, array in enumerate(arrays[: self.given]):
            leaves.append(Tensor(array, requires_grad=i in self.chosen) if isinstance(array, np.ndarray) else array)
        for i, p in enumerate(self.parameters.values(), self.given):
            p.array, p.grad, p.requires_grad = arrays[i], None, i in self.chosen
            leaves.append(p)
        for t, data in self.outside:
            t.array = data.astype(working)
        try:
            with autograd.switch(grad_enabled=True):
                y = self.f(*leaves[: self.given], **self.options)
        except TypeError as error:
            if working == np.float64 and "float32" in str(error):
                raise TypeError(
                    f"gradcheck: {error}. The check runs in float64, and {self.name} uses something in float32 that "
                    "was not passed: pass the layer itself (or params=layer), or convert it: layer.double()"
                ) from error
            raise
        if not isinstance(y, Tensor):
            raise TypeError(f"gradcheck: {self.name} returned a {type(y).__name__}; expected one Tensor")
        return y, leaves

    def run(self, arrays):
        y, leaves = self.build(arrays)
        wanted = [leaves[i] for i in self.chosen]

        def pull(grad_output):
            found: list[Any] = [None] * len(arrays)
            if not y.requires_grad:
                return found
            if self.engine is None:
                grads = autograd.grad(y, wanted, grad_output, retain_graph=True, allow_unused=True)
            else:
                again, fresh = self.build(arrays)
                with autograd.switch(recorder=None):
                    self.engine([again], [grad_output])
                grads = tuple(fresh[i].grad for i in self.chosen)
            for i, g in zip(self.chosen, grads):
                found[i] = None if g is None else g.array
            return found

        return y.array, pull

    def value(self, arrays):
        return self.build(arrays)[0].array

    def decisions(self, arrays):
        return self._watched(arrays).found

    def is_one_op(self, arrays):
        seen = self._watched(arrays)
        return seen.ops <= 1 and not seen.indexes  # where a sort's order comes from is outside of the graph

    def _watched(self, arrays):
        seen = _Decisions()
        with autograd.switch(recorder=seen):
            self.build(arrays)
        return seen

    @contextmanager
    def borrowed(self):
        slots = "array", "_grad", "requires_grad"
        calls: list[tuple] = [(setattr, p, name, getattr(p, name)) for p in self.parameters.values() for name in slots]
        calls += [(setattr, t, "array", data) for t, data in self.outside]
        calls += [(operator.setitem, vars(module), name, buffer) for module, name, buffer in self.buffers]
        restore = itertools.starmap(operator.call, calls)
        with super().borrowed():
            try:
                yield
            finally:
                list(restore)  # in one C call, so that no interrupt comes between


class _Decisions(autograd.Recorder):
    """Records what every op with a kink decided, and counts the ops."""

    def __init__(self) -> None:
        self.found: list[np.ndarray] = []
        self.ops = 0
        self.indexes = False

    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        self.ops += 1
        self.indexes |= op.name == "Index"
        if op.name in ("ReLU", "LeakyReLU", "Abs"):
            self.found.append(inputs[0] > 0)
        elif op.name == "Hardswish":
            self.found += [inputs[0] > -3, inputs[0] > 3]
        elif op.name in ("Maximum", "Minimum"):
            self.found.append(np.asarray(inputs[0]) > np.asarray(inputs[1]))
        for name, saved in vars(op).items():  # a mask of Clamp, Where, Amax, …; the place that MaxPool2d or Max took
            for value in saved if isinstance(saved, tuple) else (saved,):
                if isinstance(value, np.ndarray) and (value.dtype == bool or name in ("tap", "first")):
                    self.found.append(value)


def make_subject(
    f: Any, inputs: Sequence[Any], params: Any, options: dict[str, Any], engine: Callable | None
) -> Subject:
    """The subject for whatever ``gradcheck`` was given. Raises TypeError for anything else."""
    if isinstance(f, tuple) and len(f) == 2 and all(callable(part) for part in f):
        return PlainPair(*f, inputs, options)
    if isinstance(f, type) and issubclass(f, Op):
        return OpClass(f, inputs, options)
    if callable(f) and not isinstance(f, type):
        return Graph(f, inputs, params, options, engine)
    raise TypeError(
        f"gradcheck: got {f!r}; expected a function of Tensors, a Module, an Op class, or a pair (forward, backward) "
        "of functions of arrays"
    )


def _named_parameters(params: Any) -> dict[str, Tensor]:
    if isinstance(params, Module):
        return dict(params.named_parameters())
    if isinstance(params, dict):
        return dict(params)
    return {f"params[{i}]": p for i, p in enumerate(params)}


def _used_from_outside(f: Any) -> list[Any]:
    """Modules and tensors that a function, or one that it calls, finds in the code around it."""
    found: list[Any] = []
    seen: set[int] = set()

    def visit(value: Any, depth: int = 0) -> None:
        if id(value) in seen or depth > 6:
            return
        seen.add(id(value))
        parts: Iterable[Any] = ()
        if isinstance(value, Module | Tensor):
            found.append(value)
        elif isinstance(value, list | tuple | dict):
            parts = value.values() if isinstance(value, dict) else value
        elif isinstance(value, functools.partial):
            parts = [value.func, value.args, value.keywords]
        elif inspect.ismethod(value):
            parts = [value.__self__, value.__func__]
        elif type(value).__module__.startswith(("minires.", "numpy", "builtins")) and not inspect.isfunction(value):
            return
        elif inspect.isfunction(value) and not value.__module__.startswith("minires."):
            names = inspect.getclosurevars(value)
            parts = [*names.nonlocals.values(), *names.globals.values(), *(value.__defaults__ or ())]
        elif not isinstance(value, type | types.ModuleType | types.FunctionType):
            parts = list(getattr(value, "__dict__", {}).values())
        for part in parts:
            visit(part, depth + 1)

    visit(None if isinstance(f, Module) else f)
    return found


def _one_each(grads: Any, count: int, what: str) -> list[Any]:
    several = isinstance(grads, tuple | list)
    found = list(grads) if several else [grads]
    if len(found) != count:
        came = f"{len(found)} gradients" if several else "None" if grads is None else described(grads)
        text = f"{what} returned {came} for {count} inputs; expected a tuple with one gradient for each (or None)"
        raise GradientCountError(text, None, None, len(found), count)
    return found


def _name(f: Any) -> str:
    name = getattr(f, "__name__", type(f).__name__)
    return "f" if name == "<lambda>" else name


def _parameter_names(f: Callable, count: int) -> list[str]:
    """The names of the first ``count`` parameters; those behind a ``*`` are numbered."""
    try:
        kinds = inspect.signature(f).parameters.values()
        names = [p.name for p in kinds if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        names = []
    return [names[i] if i < len(names) else f"input{i}" for i in range(count)]
