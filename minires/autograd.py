"""The engine: `backward` walks the graph from op to op, latest first, and hands every input its gradient.

A node of the graph is an `Op`, which stands for the tensor it made, or a leaf tensor. The fact this library stands on
is in `_walk`: a tensor with several consumers receives one gradient from each, and those are seen one by one, as
`Edge`s, before they are summed. (How an op joins the graph on the way forward: `minires.tensor.apply`.)

First-order only, by choice: the backward methods stay plain array code.
"""

import contextlib
import itertools
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import kernels
from .ops import Op
from .ops.arithmetic import add, sum_to

# ── switches ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _State(threading.local):
    """What holds for the code now running, per thread."""

    grad_enabled = True
    anomaly = False
    scope = ""  # dotted name of the module now running; nn.Module sets it
    recorder: Any = None  # told of every op and every gradient, see flow.Recording; flow.recording() sets it
    segment: Any = None  # told of every op, see recompute.Segment; checkpoint() sets it
    recomputing = False  # whether checkpoint() runs something a second time


state = _State()
serials = itertools.count()


@contextlib.contextmanager
def switch(**settings: Any):
    """Set fields of `state` inside a ``with`` block or a decorated function, and restore them afterwards."""
    before = {name: getattr(state, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(state, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(state, name, value)


def no_grad():
    """Build no graph inside: ``with no_grad(): …`` or ``@no_grad()``."""
    return switch(grad_enabled=False)


def detect_anomaly():
    """Stop at the first NaN or Inf, forward or backward, and name the op and scope it appeared in (slow)."""
    return switch(anomaly=True)


# ── backward: the walk ──────────────────────────────────────────────────────────────────────────────────────────────


class Edge(NamedTuple):
    """One consumer's share of a tensor's gradient."""

    source: Any  # whose gradient this is: the op that made the tensor, or the leaf tensor itself
    consumer: Op | None  # the op that used the tensor; None for the gradient that backward was started with
    slot: int  # as which of its inputs
    grad: Any  # the array that came back


def backward(outputs: Sequence[Any], grads: Sequence[Any], keep_graph: bool = False) -> None:
    """Add the gradient of Σ⟨grad, output⟩ to ``.grad`` of every leaf tensor that requires it."""
    for leaf, total, owned in _walk(outputs, grads, None, keep_graph):
        if leaf.grad is None:
            leaf.grad = total if owned else total.copy("K")
        else:
            leaf.grad += total


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    keep_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Vector–Jacobian product of the piece of graph between ``inputs`` and ``outputs``; ``.grad`` is left alone.

    ``grad_outputs`` has one array (or Tensor) per output; it may be None where an output is a scalar.
    Returns one array per input, of its shape. Raises ValueError if an input is not part of the graph
    (``allow_unused=True`` returns None for it instead).
    """
    outputs, inputs = _as_list(outputs), _as_list(inputs)
    seeds = [None] * len(outputs) if grad_outputs is None else _as_list(grad_outputs)
    if len(seeds) != len(outputs):
        raise ValueError(f"grad: got {len(seeds)} grad_outputs for {len(outputs)} outputs; give one for each")
    walk = _walk(outputs, seeds, {t.op or t for t in inputs}, keep_graph)
    found = {node: total if owned else total.copy("K") for node, total, owned in walk}
    for i, t in enumerate(inputs):
        if not allow_unused and (t.op or t) not in found:
            raise ValueError(
                f"grad: input {i} of shape {t.shape} was not used to compute the outputs (or does not require grad); "
                "pass allow_unused=True to get None for it"
            )
    return tuple(found.get(t.op or t) for t in inputs)


def _walk(outputs, seeds, wanted, keep_graph):
    """Yield (node, gradient, whether the array is ours to change) for every leaf, or for every wanted node.

    A node is an op, standing for the tensor it made, or a leaf tensor.
    """
    recorder = state.recorder
    totals: dict[Any, Any] = {}  # node -> running sum of its gradient
    owned: set[Any] = set()  # nodes whose running sum is an array made here, safe to add to in place
    ledger: dict[Any, list[Edge]] = {}  # node -> its edges, kept only for a recorder

    def contribute(source, consumer, slot, g):
        if recorder is not None:
            ledger.setdefault(source, []).append(Edge(source, consumer, slot, g))
        if source not in totals:
            totals[source] = g
        elif source in owned:
            totals[source] += g
        else:
            totals[source] = as_array(add(totals[source], g))
            owned.add(source)

    def settle(node):
        total = totals.pop(node)
        if recorder is not None:
            recorder.backward(node, ledger.pop(node), total)
        return total

    for t, seed in zip(outputs, seeds):
        contribute(t.op or t, None, 0, _seed(t, seed))
    for op in ops_latest_first([t.op for t in outputs if t.op], wanted):
        if op not in totals:
            continue
        total = settle(op)
        if wanted is not None and op in wanted:
            yield op, total, False
        elif wanted is None and op.tensor is not None:
            op.tensor.grad = total.copy("K") if op.tensor.grad is None else as_array(op.tensor.grad + total)
        grads = gradients(op, total)
        for slot, source in enumerate(op.inputs):
            if source is not None:
                contribute(source, op, slot, checked(grads[slot], op, slot))
        if not keep_graph:
            op.release()
    for node in list(totals):  # the leaves; and, for wanted nodes, the ops at which the walk stopped
        if wanted is None or node in wanted:
            yield node, settle(node), node in owned and recorder is None  # what a recorder holds stays as it is


def ops_latest_first(roots, wanted):
    """The ops behind ``roots``, latest first: creation order is topological order. No recursion, however deep.

    With ``wanted`` nodes, only the ops whose inputs lead to one. (A wanted op is among them if it leads to another.)
    """
    stop = min((node.serial if isinstance(node, Op) else -1 for node in wanted or ()), default=-1)
    seen, stack = set(roots), list(roots)
    while stack:
        op = stack.pop()
        if op.released and (wanted is None or op not in wanted):
            raise RuntimeError(
                f"backward: the graph behind {op!r} was already freed by an earlier backward; "
                "run the forward pass again, or pass keep_graph=True to the first backward"
            )
        for source in op.inputs:
            if isinstance(source, Op) and source not in seen and source.serial > stop:
                seen.add(source)
                stack.append(source)
    order = sorted(seen, key=lambda op: op.serial)
    if wanted is not None:
        leads: set[Op] = set()
        for op in order:  # earliest first
            if any(source in wanted or source in leads for source in op.inputs if source is not None):
                leads.add(op)
        order = [op for op in order if op in leads]
    return reversed(order)


def gradients(op, total):
    """What the op's backward returns, one for each input; what it had forgotten is computed again first."""
    while op.segment is not None:  # more than once, where checkpoints are nested
        op.segment.recompute()
    grads = op.backward(total)
    grads = grads if isinstance(grads, tuple | list) else (grads,)
    if len(grads) != len(op.inputs):
        raise ValueError(f"{op.name}.backward: got {len(grads)} gradients for {len(op.inputs)} inputs of {op!r}")
    return grads


def _seed(t, seed):
    """The gradient to start from at output ``t``, checked: 1 for a scalar."""
    if not t.requires_grad:
        raise RuntimeError(
            "backward: the tensor does not require grad, so there is no graph behind it. Was it computed under "
            "no_grad(), detached, or made from tensors without requires_grad=True?"
        )
    if seed is None:
        if t.data.size != 1:
            raise ValueError(
                f"backward: got a tensor of shape {t.shape} and no gradient; only a scalar has an obvious one. "
                "Reduce it to a scalar loss, or pass a gradient of the same shape"
            )
        return np.ones_like(t.data)
    array = seed.data if hasattr(seed, "requires_grad") else seed
    if isinstance(array, np.generic) or not hasattr(array, "dtype"):  # numbers take the type of the tensor
        array = kernels.to_device(np.asarray(array, dtype=t.dtype), t.device)
    if array.shape != t.shape or array.dtype != t.dtype:
        raise ValueError(
            f"backward: got a {array.dtype} gradient of shape {array.shape} for a {t.dtype} tensor of shape {t.shape}; "
            "the two must agree"
        )
    return array


def checked(g, op, slot):
    """The gradient an op returned for one input: right shape, right type, broadcasting undone."""
    want_shape, want_dtype = op.input_specs[slot]
    if not hasattr(g, "dtype"):
        raise ValueError(
            f"{op.name}.backward: got {None if g is None else type(g).__name__} for input {slot}, which requires grad, "
            f"in {op!r}; expected an array of shape {want_shape}"
        )
    if g.shape != want_shape:
        if g.shape != op.shape or not _broadcasts(want_shape, op.shape):
            raise ValueError(
                f"{op.name}.backward: got a gradient of shape {g.shape} for input {slot} of shape {want_shape} in "
                f"{op!r}; a gradient has the shape of its input (or of the output, where the input was broadcast)"
            )
        g = sum_to(g, want_shape)
    if g.dtype != want_dtype:
        raise TypeError(f"{op.name}.backward: got a {g.dtype} gradient for {want_dtype} input {slot} in {op!r}")
    if state.anomaly:
        check_finite(g, op, f"gradient for input {slot}")
    return as_array(g)


def _broadcasts(small, large):
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(reversed(small), reversed(large)))


def _as_list(x):
    return list(x) if isinstance(x, list | tuple) else [x]


def as_array(value):
    """NumPy turns results of shape () into scalars; make an array of them again."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def check_finite(array, op, what, inputs=()):
    """Raise FloatingPointError, naming the op, if a value is NaN or Inf."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        cause = ""
        for slot, a in enumerate(inputs):
            if getattr(a, "dtype", None) is not None and a.dtype.kind == "f" and not np.isfinite(a).all():
                cause = f"; its input {slot} was already not finite"
        raise FloatingPointError(f"detect_anomaly: NaN or Inf in the {what} of {op!r}{cause}")
