"""Forks: where a shortcut and its branch part, found in any graph with a little graph theory.

The graph comes as ``{key: keys of the consumers}``; a consumer's key is larger than those of all its inputs, and leaf
tensors have negative keys.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .. import html
from . import naming
from .node import Node, Scaling


@dataclass(frozen=True)
class Fork:
    """A tensor at which a shortcut and a branch start, to meet again at an addition.

    skip, branch, total: Euclidean norms of the gradient that came back along each, and of what was passed on.
    skip_factor, branch_factor: what `scaled` multiplied the two by. skip and branch, and all that is derived from them,
    are of the products, which add up to the total; skip_came and branch_came are the norms of what had come back, None
    where nothing was multiplied.
    cosine: between skip and branch; 0 if one of them is 0. sum_error: ‖total − (skip + branch)‖ / ‖total‖, in float64;
    0 if both are 0. skip_grad, branch_grad: the arrays themselves, if the recording keeps arrays, else None.
    pass_: which walk back of the recording it belongs to, from 1.
    """

    name: str
    skip: float
    branch: float
    total: float
    cosine: float
    sum_error: float
    shape: tuple[int, ...]
    skip_grad: Any = None
    branch_grad: Any = None
    pass_: int = 1
    skip_factor: float = 1.0
    branch_factor: float = 1.0
    skip_came: float | None = None
    branch_came: float | None = None

    def __repr__(self) -> str:
        norms = f"skip {self.skip:.3g}, branch {self.branch:.3g}, total {self.total:.3g}, cosine {self.cosine:.3f}"
        return f"Fork({self.name}: {norms})"

    def _repr_html_(self) -> str:
        return html.block(as_html([self]))

    def scaled_ways(self) -> list[tuple[str, float]]:
        """("skip", factor) and ("branch", factor), of each only if `scaled` multiplied it."""
        ways = ("skip", self.skip_factor, self.skip_came), ("branch", self.branch_factor, self.branch_came)
        return [(way, factor) for way, factor, came in ways if came is not None]

    @property
    def ratio(self) -> float:
        """‖branch‖ / ‖skip‖."""
        if self.skip == self.branch == 0:
            return math.nan
        return self.branch / self.skip if self.skip else math.inf

    @property
    def share(self) -> float:
        """The branch's share of ‖skip‖² + ‖branch‖²."""
        return self._share(self.branch)

    @property
    def skip_share(self) -> float:
        """The skip's share of ‖skip‖² + ‖branch‖²; where the branch has nearly all, 1 − share would round it to 0."""
        return self._share(self.skip)

    def _share(self, part: float) -> float:
        largest = max(self.skip, self.branch)
        if not 0 < largest < math.inf:
            return math.nan
        return (part / largest) ** 2 / ((self.skip / largest) ** 2 + (self.branch / largest) ** 2)


def as_html(forks: Sequence[Fork]) -> str:
    """The table of the forks, as a notebook shows it."""
    rows = [[f.name, *(f"{norm:.3e}" for norm in (f.skip, f.branch, f.total)), f"{f.cosine:.3f}"] for f in forks]
    return html.table(["fork", "‖skip‖", "‖branch‖", "‖total‖", "cosine"], rows, "table() has all")


def find_forks(nodes: Mapping[int, Node], passes: Sequence[str]) -> list[Fork]:
    """The forks among recorded nodes (by key), pass by pass in forward order; the name of the pass ends theirs."""
    skips = skip_edges(nodes)
    names = name_forks(nodes, skips, meeting_points({key: node.consumers for key, node in nodes.items()}))
    return [
        _fork(nodes[key], skips[key], name + naming.pass_suffix(passes, nodes[key].pass_))
        for key, name in names.items()
        if len(nodes[key].edge_norms) == len(nodes[key].consumers)  # else backward was started here too
    ]


def name_forks(
    nodes: "Mapping[int, GraphNode]", skips: Mapping[int, int], meets: Mapping[int, int | None]
) -> dict[int, str]:
    """{key: name} of forks, pass by pass in forward order.

    A fork is named by the scope of its addition, or by the addition itself where it has none. "#2" follows for a second
    such fork in the same pass.
    """
    names = {}
    used: Counter[tuple[int, str]] = Counter()
    for key in sorted(skips, key=lambda key: (nodes[key].pass_, key)):
        meeting, pass_ = meets[key], nodes[key].pass_
        assert meeting is not None  # every fork has one
        name = nodes[meeting].scope or nodes[meeting].op
        used[pass_, name] += 1
        names[key] = naming.numbered(name, used[pass_, name])
    return names


def _fork(node: Node, skip: int, name: str) -> Fork:
    """The fork at a node: its edge number ``skip`` is the shortcut, and the sum of the others the branch."""
    branch, cosine = node.others[skip]
    others = [grad for i, grad in enumerate(node.grads) if i != skip]
    return Fork(
        name=name,
        skip=node.edge_norms[skip],
        branch=branch,
        total=node.norm,
        cosine=float(cosine),
        sum_error=node.sum_error,
        shape=node.shape,
        skip_grad=node.grads[skip] if node.grads else None,
        branch_grad=sum(others[1:], start=others[0]) if node.grads else None,
        pass_=node.pass_,
        **({} if node.scaling is None else _scaling(node.scaling, skip)),
    )


def _scaling(scaling: Scaling, skip: int) -> dict[str, float]:
    """The fields of a fork that say what its edges were multiplied by; of each way, only if it was."""
    others = {factor for i, factor in enumerate(scaling.factors) if i != skip}
    found: dict[str, float] = {}
    if scaling.factors[skip] != 1:
        found |= {"skip_factor": scaling.factors[skip], "skip_came": scaling.norms[skip]}
    if others != {1}:  # several branches have one factor, unless their edges are those of another fork too
        found |= {"branch_factor": others.pop() if len(others) == 1 else math.nan, "branch_came": scaling.others[skip]}
    return found


class GraphNode(Protocol):
    """What must be known about a tensor to find forks and name them."""

    @property
    def op(self) -> str:
        """Class name of the op that made it, "" for a leaf."""

    @property
    def scope(self) -> str:
        """The module in which that op ran."""

    @property
    def parameter(self) -> bool:
        """Whether it is a parameter."""

    @property
    def consumers(self) -> Sequence[int]:
        """Keys of the ops that used it, one per edge."""

    @property
    def pass_(self) -> int:
        """Which walk back of a recording it belongs to, from 1."""


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
