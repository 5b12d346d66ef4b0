"""Forks: where a shortcut and its branch part, found in any graph with a little graph theory.

The graph comes as ``{key: keys of the consumers}``; a consumer's key is larger than those of all its inputs, and leaf
tensors have negative keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .recorder import Node


@dataclass(frozen=True)
class Fork:
    """A tensor at which a shortcut and a branch start, to meet again at an addition.

    skip, branch, total: Euclidean norms of the gradient that came back along each, and of what was passed on.
    cosine: between skip and branch. sum_error: ‖total − (skip + branch)‖ / ‖total‖, in float64.
    skip_grad, branch_grad: the arrays themselves, if the recording keeps arrays, else None.
    """

    name: str
    skip: float
    branch: float
    total: float
    cosine: float
    sum_error: float
    shape: tuple[int, ...]
    skip_grad: Any = field(default=None, repr=False)
    branch_grad: Any = field(default=None, repr=False)

    @property
    def ratio(self) -> float:
        """‖branch‖ / ‖skip‖."""
        if self.skip == self.branch == 0:
            return float("nan")
        return self.branch / self.skip if self.skip else float("inf")

    @property
    def share(self) -> float:
        """The branch's share of ‖skip‖² + ‖branch‖²."""
        both = self.skip**2 + self.branch**2
        return self.branch**2 / both if both else float("nan")


def find_forks(nodes: Mapping[int, Node]) -> list[Fork]:
    """The forks among recorded nodes (by key), in forward order, named by the scope of the addition."""
    meets = meeting_points({key: node.consumers for key, node in nodes.items()})
    found = []
    for key, skip in skip_edges(nodes).items():
        meeting = meets[key]
        assert meeting is not None  # every fork has one
        found.append(_fork(nodes[key], skip, nodes[meeting].scope))
    return found


def _fork(node: Node, skip: int, name: str) -> Fork:
    """The fork at a node: its edge number ``skip`` is the shortcut, and the sum of the others the branch."""
    others = [i for i in range(len(node.consumers)) if i != skip]
    branch_norm = float(np.sqrt(max(node.gram[np.ix_(others, others)].sum(), 0)))
    both = node.edge_norms[skip] * branch_norm
    return Fork(
        name=name,
        skip=node.edge_norms[skip],
        branch=branch_norm,
        total=node.norm,
        cosine=float(node.gram[skip, others].sum()) / both if both else 0.0,
        sum_error=node.sum_error,
        shape=node.shape,
        skip_grad=node.grads[skip] if node.grads else None,
        branch_grad=sum(node.grads[i] for i in others) if node.grads else None,
    )


class GraphNode(Protocol):
    """What `skip_edges` must know about a tensor."""

    @property
    def op(self) -> str:
        """Class name of the op that made it, "" for a leaf."""

    @property
    def parameter(self) -> bool:
        """Whether it is a parameter."""

    @property
    def consumers(self) -> Sequence[int]:
        """Keys of the ops that used it, one per edge."""


def skip_edges(nodes: Mapping[int, GraphNode]) -> dict[int, int]:
    """For every fork, in forward order, which of its edges is the skip: ``{key: index among its consumers}``.

    A fork is a tensor with several consumers whose ways meet again at an addition. The shorter way is the skip: the one
    through fewer ops that have weights, and among equals the one through fewer ops. A parameter used twice is not a
    fork but shared between two places; nor is a gate a fork, as it only multiplies what others carry (see `is_gate`).
    """
    consumers = {key: node.consumers for key, node in nodes.items()}
    meets = meeting_points(consumers)
    learned = {op for key, node in nodes.items() if key < 0 and node.parameter for op in node.consumers}
    cost = {key: (int(key in learned), int(node.op != "Add")) for key, node in nodes.items()}
    skips = {}
    for key in sorted(nodes):
        meeting = meets[key]
        if len(consumers[key]) < 2 or meeting is None or nodes[meeting].op != "Add" or nodes[key].parameter:
            continue
        if not is_gate(nodes, consumers, key, meeting):
            lengths = longest_ways(consumers, consumers[key], meeting, cost)
            skips[key] = lengths.index(min(lengths))
    return skips


def is_gate(nodes: Mapping[int, GraphNode], consumers: Mapping[int, Sequence[int]], key: int, meeting: int) -> bool:
    """Whether every way from a tensor to the meeting point is multiplied by something that does not come from it.

    In g·F(x) + (1 − g)·x the gate g is used twice and meets itself at the addition, but carries no information past it.
    """
    between = between_nodes(consumers, consumers[key], meeting)
    own = {key, *between}
    factors: dict[int, set[int]] = {k: set() for k in between if nodes[k].op == "Mul"}
    if not factors:
        return False
    for source, used in consumers.items():
        for consumer in used:
            if consumer in factors:
                factors[consumer].add(source)
    gated = {meeting: False}
    for k in sorted(between, reverse=True):
        gated[k] = bool(factors.get(k, set()) - own) or all(gated[consumer] for consumer in consumers[k])
    return all(gated[consumer] for consumer in consumers[key])


def between_nodes(consumers: Mapping[int, Sequence[int]], starts: Sequence[int], end: int) -> set[int]:
    """The nodes on the ways from ``starts`` to ``end``, including the starts but not the end, which all ways reach."""
    between, stack = set(starts) - {end}, [s for s in set(starts) if s != end]
    while stack:
        for consumer in consumers[stack.pop()]:
            if consumer != end and consumer not in between:
                between.add(consumer)
                stack.append(consumer)
    return between


def meeting_points(consumers: Mapping[int, Sequence[int]]) -> dict[int, int | None]:
    """For every node, the first node that *all* ways from it to the loss pass through (None for the last).

    This is the immediate post-dominator. Going backward from the loss, it is the nearest common ancestor of the
    consumers in the tree made so far (Cooper, Harvey & Kennedy 2001, "A simple, fast dominance algorithm").
    """
    meets: dict[int, int | None] = {}
    depth: dict[int, int] = {}
    for key in sorted(consumers, reverse=True):
        point: int | None = None
        for i, consumer in enumerate(consumers[key]):
            point = consumer if i == 0 else _common(point, consumer, meets, depth)
        meets[key] = point
        depth[key] = 0 if point is None else depth[point] + 1
    return meets


def _common(a: int | None, b: int | None, meets: Mapping[int, int | None], depth: Mapping[int, int]) -> int | None:
    """The nearest common ancestor of a and b."""
    while a != b:
        if a is None or b is None:
            return None
        if depth[a] >= depth[b]:
            a = meets[a]
        else:
            b = meets[b]
    return a


def longest_ways(
    consumers: Mapping[int, Sequence[int]], starts: Sequence[int], end: int, cost: Mapping[int, tuple[int, int]]
) -> list[tuple[int, int]]:
    """For each start, the cost of the costliest way to ``end`` (not counted), which all ways reach.

    A node's cost is a pair; pairs add up and compare from left to right.
    """
    length = {end: (0, 0)}
    for key in sorted(between_nodes(consumers, starts, end), reverse=True):
        further, own = max(length[consumer] for consumer in consumers[key]), cost[key]
        length[key] = (further[0] + own[0], further[1] + own[1])
    return [length[start] for start in starts]
