"""Forks: a wrong gradient as whole-number coefficients over what each consumer of a tensor sends back.

The contributions come from the engine's own ledger, through a recorder. If they add up to the numeric
gradient, the backward walk that was checked is at fault; if not, one of the ops around the fork is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import autograd
from ..ops import Op
from ..tensor import Tensor
from .subject import Graph

MOST_FORKS = 32


@dataclass
class Ledger(autograd.Recorder):
    """Every op with its input and output arrays, and every edge."""

    ops: list[tuple[Op, list[Any], Any]] = field(default_factory=list)
    edges: dict[Any, list[Any]] = field(default_factory=dict)
    totals: dict[Any, Any] = field(default_factory=dict)

    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        self.ops.append((op, list(inputs), output))

    def backward(self, source: Any, edges: Sequence[Any], total: Any) -> None:
        self.edges[source] = [edge for edge in edges if edge.consumer is not None]
        self.totals[source] = total


def explain_edges(
    subject: Graph,
    arrays: list[Any],
    slot: int,
    cotangent: np.ndarray,
    grad: np.ndarray,
    numeric: np.ndarray,
    slack: float,
) -> tuple[str, str] | None:
    """(kind, words) if a mistake at a fork turns the contributions of its consumers into this gradient."""
    ledger, leaf = _walked(subject, arrays, slot, cotangent)
    reference = ledger.totals.get(leaf)
    if reference is None:
        return None

    def near(a: Any, b: Any) -> bool:
        return bool(np.abs(a - b).max(initial=0) <= slack)

    if near(reference, numeric):
        return _walk_at_fault(subject, arrays, slot, cotangent, grad, near, ledger, leaf)
    return _op_at_fault(numeric - reference, near, ledger, leaf) if near(reference, grad) else None


def find_silent_edge(
    subject: Graph,
    arrays: list[Any],
    slot: int,
    cotangent: np.ndarray,
    grad: np.ndarray,
    numeric: np.ndarray,
    slack: float,
) -> tuple[str, str] | None:
    """(kind, words) for an op that sends back nothing, or nothing but zeros, if the op and not the walk is at fault."""
    ledger, leaf = _walked(subject, arrays, slot, cotangent)
    if leaf not in ledger.totals or np.abs(ledger.totals[leaf] - grad).max(initial=0) > slack:
        return None
    for source in [leaf, *(op for op, _, _ in ledger.ops)]:
        for op in _users(ledger, source):
            edges = ledger.edges.get(source, [])
            if any(edge.consumer is op and not edge.grad.any() for edge in edges):
                return "edge_missing", f"{_label(op)} sends back nothing but zeros to {_label(source)}"
            if edges and op not in [edge.consumer for edge in edges]:
                return "edge_missing", f"{_label(op)} uses {_label(source)} but sends nothing back: detached?"
    return None


def ops_of(subject: Graph, arrays: list[Any]) -> list[tuple[Op, list[Any], Any]]:
    """Every op with its input and output arrays, in the order of creation."""
    ledger = Ledger()
    with autograd.switch(recorder=ledger):
        subject.build(arrays)
    return ledger.ops


def _walked(subject: Graph, arrays: list[Any], slot: int, cotangent: np.ndarray) -> tuple[Ledger, Any]:
    """The ledger of a forward and a backward pass, and the leaf of one of the arrays."""
    ledger = Ledger()
    with autograd.switch(recorder=ledger):
        y, leaves = subject.build(arrays)
        autograd.grad(y, [leaves[slot]], cotangent, retain_graph=True, allow_unused=True)
    return ledger, leaves[slot]


# ── the walk is wrong ───────────────────────────────────────────────────────────────────────────────────────────────

POLICIES: list[tuple[str, str, Callable]] = [
    ("edge_overwritten", "the last contribution replaces the others: add to it (+=)", lambda old, new: new),
    ("edge_missing", "only the first contribution is kept", lambda old, new: old),
    ("edge_sign", "a contribution is subtracted where it should be added", lambda old, new: old - new),
    ("edge_counted_twice", "every contribution after the first is counted twice", lambda old, new: old + 2 * new),
    ("edge_counted_twice", "what is there already is counted again", lambda old, new: 2 * old + new),
]


def _walk_at_fault(subject, arrays, slot, cotangent, grad, near, ledger, leaf) -> tuple[str, str] | None:
    """Try each mistake at all forks at once, then whole-number coefficients at one fork at a time."""
    for kind, text, policy in POLICIES:
        y, leaves = subject.build(arrays)
        if near(_walk(y, leaves[slot], cotangent, policy), grad):
            return kind, f"at forks, {text}"
    reference = ledger.totals[leaf]
    for source, parts in _forks(ledger, leaf):
        ways = [pulled for _, pulled in parts]
        system = np.stack([way.ravel() for way in ways], axis=1)
        change = np.rint(np.linalg.lstsq(system, (grad - reference).ravel(), rcond=None)[0])
        if near(reference + (system @ change).reshape(grad.shape), grad):
            counts = [int(k) + 1 for k in change]
            kinds = [_kind(k) for k in counts if k != 1]
            kind = kinds[0] if kinds else "partly_wrong"
            if kind == "edge_missing" and counts[0] == 1 and sum(counts) == 1 and len(counts) > 1:
                kind = "edge_overwritten"  # the earliest consumer comes last in the backward walk
            uses = ", ".join(f"{_label(op)}: {k}" for (op, _), k in zip(parts, counts))
            return kind, f"at the fork {_label(source)}, the consumers' contributions are counted ({uses}) times"
    return None


def _walk(y: Tensor, leaf: Any, cotangent: np.ndarray, policy: Callable) -> Any:
    """A backward walk in which ``policy(old, new)`` decides what becomes of a second contribution."""
    totals: dict[Any, Any] = {y.op: cotangent}
    for op in autograd.ops_latest_first([y.op], None):
        if op not in totals:
            continue
        back = autograd.gradients(op, totals.pop(op))
        for i, source in enumerate(op.inputs):
            if source is not None:
                g = autograd.checked(back[i], op, i)
                totals[source] = policy(totals[source], g) if source in totals else g
    return totals.get(leaf, np.zeros(leaf.shape))


# ── an op is wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def _op_at_fault(missing, near, ledger, leaf) -> tuple[str, str] | None:
    """Which single contribution, taken k more times, makes the gradient right."""
    for source, parts in _forks(ledger, leaf):
        where = "" if source is leaf else f" of {_label(source)}"
        for op, way in parts:
            square = float((way * way).sum())
            if square == 0:
                continue
            truth = 1 + float((missing * way).sum()) / square  # how often it should have been counted
            if not near((truth - 1) * way, missing) or abs(truth - 1) < 1e-6:
                continue
            counted = 1 / truth if abs(truth) > 1e-6 else np.inf
            if abs(counted - round(counted, 0)) < 1e-3 if np.isfinite(counted) else False:
                times = round(counted)
                return _kind(times), f"the contribution{where} through {_label(op)} is counted {times} times"
            if np.isinf(counted):
                return "partly_wrong", f"the contribution{where} through {_label(op)} should not be there"
        for op in _users(ledger, source):
            upstream = ledger.totals.get(op)
            if upstream is not None and upstream.shape == source.shape:
                way = upstream if source is leaf else _pull(source, leaf, upstream)
                if near(way, missing):
                    return (
                        "edge_missing",
                        f"the contribution{where} through {_label(op)} is missing: detached, dropped?",
                    )
    return None


def _kind(times: int) -> str:
    """The kind of mistake, if a contribution is counted this many times."""
    return "edge_missing" if times == 0 else "edge_sign" if times < 0 else "edge_counted_twice"


def _forks(ledger: Ledger, leaf: Any) -> Iterator[tuple[Any, list[tuple[Op, Any]]]]:
    """(tensor, [(consumer, its contribution brought back to the leaf)]), consumers in forward order."""
    sources = [leaf, *(op for op, _, _ in reversed(ledger.ops))]
    count = 0
    for source in sources:
        edges = ledger.edges.get(source, [])
        if not edges or len(_users(ledger, source)) < 2 or count >= MOST_FORKS:
            continue
        count += 1
        edges = sorted(edges, key=lambda edge: (edge.consumer.serial, edge.slot))
        yield source, [(e.consumer, e.grad if source is leaf else _pull(source, leaf, e.grad)) for e in edges]


def _users(ledger: Ledger, source: Any) -> list[Op]:
    """The ops that used a tensor's array, including those that send no gradient back (one entry per use)."""
    array = source.array if not isinstance(source, Op) else next(out for op, _, out in ledger.ops if op is source)
    return [op for op, inputs, _ in ledger.ops for a in inputs if a is array]


def _pull(source: Op, leaf: Any, g: np.ndarray) -> Any:
    """The contribution g to the gradient of an op's output, brought back to the leaf."""
    stand_in = Tensor(np.empty(source.shape, source.dtype), requires_grad=True, op=source)
    found = autograd.grad(stand_in, [leaf], g, retain_graph=True, allow_unused=True)[0]
    return np.zeros(leaf.shape) if found is None else found.array


def _label(node: Any) -> str:
    if not isinstance(node, Op):
        return "the input"
    return f"{node.name} in {node.scope}" if node.scope else node.name
