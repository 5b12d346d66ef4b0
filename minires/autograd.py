"""The engine: `backward` walks the graph from op to op, latest first, and hands every input its gradient.

A node of the graph is either an `Op`, which stands for the tensor it made, or a leaf tensor. A tensor with several
consumers receives one gradient from each; these are its `Edge`s, and their sum is its gradient. That is all there is to
it, and `_walk` does it. (How an op joins the graph on the way forward: `minires.tensor.apply`.)
First-order only, by choice, so that the backward methods stay plain array code.
"""

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import writes
from .blas import one_blas_thread
from .checks import (
    as_array,
    as_list,
    check_all_used,
    check_first_order,
    check_wanted,
    checked,
    checked_seed,
    freed,
    one_each,
)
from .kernels.layout import entry_by_entry
from .missing import not_offered
from .ops import Op
from .ops.arithmetic import add, add_to
from .state import current, switch


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """Build no graph inside: ``with no_grad(): …``, ``@no_grad()`` or ``@no_grad``."""
    off = switch(grad_enabled=False)
    return off if function is None else off(function)


def enable_grad(function: Callable[..., Any] | None = None) -> Any:
    """Build graphs inside, even within `no_grad`; like that, a ``with`` block or a decorator."""
    on = switch(grad_enabled=True)
    return on if function is None else on(function)


def inference_mode(mode: Any = True) -> Any:
    """The same as `no_grad`, or nothing if ``mode`` is False; PyTorch's own also forbids later use in a graph."""
    return no_grad(mode) if callable(mode) else switch(grad_enabled=False) if mode else switch()


def detect_anomaly() -> switch:
    """Stop at the first NaN or Inf, forward or backward, and name the op and scope it appeared in (slow)."""
    return switch(anomaly=True)


class Edge(NamedTuple):
    """One consumer's share of a tensor's gradient."""

    source: Any  # whose gradient this is: the op that made the tensor, or the leaf tensor itself
    consumer: Op | None  # the op that used the tensor; None for the gradient that backward was started with
    slot: int  # and which of its inputs it was
    grad: Any  # the array that came back
    factor: float = 1.0  # what `minires.flow.scaled` multiplied it by: grad is then what was passed on
    came: Any = None  # and this is what had come back; None where nothing was multiplied


class Recorder:
    """Watches while the graph is built and walked. A subclass defines the methods that it needs.

    >>> import minires as mr
    >>> class Forks(mr.Recorder):
    ...     def backward(self, source, edges, total):
    ...         if len(edges) > 1:
    ...             print([(edge.consumer.name, edge.grad.tolist()) for edge in edges], total.tolist())
    >>> x = mr.tensor([2.0, -3.0], requires_grad=True)
    >>> with mr.autograd.switch(recorder=Forks()):
    ...     (x.relu() + x).sum().backward()
    [('Add', [1.0, 1.0]), ('ReLU', [1.0, 0.0])] [2.0, 1.0]
    """

    def network(self, module: Any) -> None:
        """A network begins to run, that is a module that no other runs; ops that follow have scopes named by it."""

    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        """An op has joined the graph: its input arrays (numbers and None as they were) and its output array."""

    def begin(self, call: str) -> None:
        """A walk back begins, by a call of "backward", which adds to ``.grad``, or of "grad", which does not."""

    def end(self) -> None:
        """The walk back that began last is over: every tensor that it reached has been told of."""

    def backward(self, source: Any, edges: Sequence[Edge], total: Any) -> None:
        """The gradient of an op's output, or of a leaf tensor, is complete: its edges and their sum. Only read them."""


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradient of Σ⟨grad, tensor⟩ to ``.grad`` of every leaf tensor that requires it, or of ``inputs`` alone.

    ``grad_tensors`` has one array (or Tensor) per tensor; it may be None if a tensor is a scalar. Frees the graph as it
    goes, unless ``retain_graph``. Inside `minires.parallel`, the parameters' ``.grad`` is then averaged over the ranks.
    Raises RuntimeError if there is no graph, or a freed one.
    """
    check_first_order("backward", create_graph)
    outputs, wanted = as_list(tensors), None if inputs is None else {t.op or t: t for t in as_list(inputs)}
    if wanted is not None:
        check_wanted(wanted.values())
    one_blas_thread(_leave_gradients, outputs, grad_tensors, wanted, bool(retain_graph))


def _leave_gradients(outputs, grads, wanted, retain_graph):
    """Walk back, and hand each gradient to its tensor."""
    for node, total, ours in _walk(outputs, grads, wanted, retain_graph, "backward"):
        tensor = wanted.get(node) if wanted is not None else node.tensor if isinstance(node, Op) else node
        if tensor is not None:
            tensor.receive(total, ours)
    ranks = current().ranks
    if ranks is not None:
        ranks.average()


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Vector–Jacobian product of the piece of graph between ``inputs`` and ``outputs``; ``.grad`` is left alone.

    ``grad_outputs`` has one array (or Tensor) per output; it may be None if an output is a scalar.
    Returns one Tensor per input, of its shape. Raises ValueError if an input is not part of the graph
    (``allow_unused=True`` returns None for it instead).
    """
    check_first_order("grad", create_graph)
    if not only_inputs:
        raise ValueError("grad: got only_inputs=False; grad leaves .grad alone, use backward(inputs=...)")
    inputs = as_list(inputs)
    wanted = {t.op or t for t in inputs}
    walk = _walk(as_list(outputs), grad_outputs, wanted, bool(retain_graph), "grad")
    found = {node: total if ours else total.copy("K") for node, total, ours in walk if node in wanted}
    if not allow_unused:
        check_all_used(inputs, found)
    return tuple(t.wrap(found[t.op or t]) if (t.op or t) in found else None for t in inputs)


def Variable(data: Any, requires_grad: bool = False) -> Any:
    """PyTorch's name of a tensor before version 0.4: the tensor itself, over the same memory."""
    return data.detach().requires_grad_(requires_grad)


def _walk(outputs, grads, wanted, retain_graph, call):
    """Yield every node behind the outputs, its gradient, and whether that array may be kept as it is."""
    seeds = [None] * len(outputs) if grads is None else as_list(grads)
    if len(seeds) != len(outputs):
        raise ValueError(f"{call}: got {len(seeds)} gradients for {len(outputs)} outputs; give one for each")
    now = current()
    roots = [t.op for t in outputs if t.op]
    order, factors = list(ops_latest_first(roots, wanted)), edge_factors(outputs)
    sums = _Sums(now.recorder, call, factors)
    joined = {} if now.fusion is None or factors else now.fusion.joined(order, {*roots, *(wanted or ())})
    for t, seed in zip(outputs, seeds):
        sums.add(t.op or t, None, 0, checked_seed(t, seed))
    for op in order:
        if op in sums.totals:  # and complete, as all its consumers have had their turn
            total, _ = sums.pop(op)
            yield op, total, False
            op = joined.get(op, op)  # in a captured step, a ReLU together with the batch norm before it
            grads = gradients(op, total)
            for slot, source in enumerate(op.inputs):
                if source is not None:
                    sums.add(source, op, slot, checked(grads[slot], op, slot, now.anomaly))
            if not retain_graph:
                op.release()
    grads = None  # the last op's: what nobody holds now may be kept without a copy
    for node in list(sums.totals):  # the leaves and, with wanted nodes, the ops at which the walk ended
        if wanted is None or node in wanted:
            yield node, *sums.pop(node)
    if now.recorder is not None:
        now.recorder.end()


class _Sums:
    """The gradients that are not complete yet: for each node, the sum of the edges seen so far."""

    def __init__(self, recorder, call, factors):
        self.recorder, self.factors = recorder, factors
        if recorder is not None:
            recorder.begin(call)
        self.edges = {}  # node -> its edges, kept only for a recorder
        self.totals = {}  # node -> running sum
        self.ours = set()  # nodes whose running sum is an array made here, safe to add to in place

    def add(self, source, consumer, slot, g):
        factor, came = 1.0, None
        if self.factors and (consumer, slot) in self.factors:
            factor, came = self.factors[consumer, slot], g
            g = times(came, factor)
        if self.recorder is not None:
            self.edges.setdefault(source, []).append(Edge(source, consumer, slot, g, factor, came))
        totals = self.totals
        if source not in totals:
            totals[source] = g
        elif source in self.ours:
            add_to(totals[source], g)
        else:
            totals[source] = as_array(add(totals[source], g))
            self.ours.add(source)

    def pop(self, node):
        """The gradient of a node whose edges are all there, and whether nobody else holds that array."""
        total = self.totals.pop(node)
        alone = node in self.ours or (sys.getrefcount(total) <= ALONE and owns_memory(total))
        ours = alone and self.recorder is None
        if self.recorder is not None:
            self.recorder.backward(node, self.edges.pop(node), total)
        for hook in node.hooks:
            total, ours = hook(total), False
        return total, ours


def owns_memory(array):
    """Whether no other array that somebody holds is over the same memory, as far as the array itself shows.

    Also False for a read-only one, such as a broadcast view: its holder could not add to it.
    """
    if not getattr(array.flags, "writeable", True):
        return False
    base = array.base
    if base is None:
        return True
    return type(base) in (np.ndarray, type(array)) and base.size == array.size and sys.getrefcount(base) <= ALONE + 1


def _references_of_a_local():
    total = [np.empty(0)].pop()
    return sys.getrefcount(total)


ALONE = _references_of_a_local()  # what `sys.getrefcount` says of an array that is held by one local variable alone


def edge_factors(outputs):
    """{(consumer, slot): factor} of the edges behind tensors whose gradient is to be multiplied, see `flow.scaled`."""
    scaling = current().scaling
    return {} if scaling is None else scaling.factors(outputs)


def times(g, factor):
    """A gradient times a number; 0 leaves nothing of it, not even of an infinity or a NaN."""
    return as_array(entry_by_entry(operator.mul, g, factor)) if factor else np.zeros_like(g)


def gradients(op, total):
    """What the op's backward returns, one gradient for each input."""
    while op.segment is not None:  # it has dropped what it saved; more than once if checkpoints are nested
        op.segment.recompute()
    if -1 < op.serial < writes.latest:
        writes.check_unwritten(op)
    return one_each(op, op.backward(total) if op.memory_order is None else op.backward_along_memory(total))


def ops_latest_first(roots, wanted):
    """The ops behind ``roots``, latest first: creation order is topological order. No recursion, however deep.

    With ``wanted`` nodes, only the ops whose inputs lead to one. (A wanted op is among them if it leads to another.)
    """
    stop = min((node.serial if isinstance(node, Op) else -1 for node in wanted or ()), default=-1)
    seen, stack = set(roots), list(roots)
    while stack:
        op = stack.pop()
        if op.released and (wanted is None or op not in wanted):
            raise freed(op)
        for source in op.inputs:
            if isinstance(source, Op) and source not in seen and source.serial > stop:
                seen.add(source)
                stack.append(source)
    order = sorted(seen, key=lambda op: op.serial)
    if wanted is not None:
        leading = set(wanted)
        for op in order:  # earliest first
            if not leading.isdisjoint(op.inputs):
                leading.add(op)
        order = [op for op in order if not leading.isdisjoint(op.inputs)]
    return reversed(order)


def __getattr__(name: str) -> Any:
    raise not_offered("minires.autograd", name)
