"""Which ops of a computation graph are drawn together: lanes for skips and branches, segments for blocks, boxes.

Parameters have already been left out; nodes and edges are as in the dict that `Recording.graph()` returns.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..forks import meeting_points

BOX, ROUND = 0.30, 0.22  # height of a box, diameter of a sum, in inches
SIGNS = {"Mul": "×", "Div": "÷", "Sub": "−", "CrossEntropy": "loss", "Index": "slice"}  # how ops are called


@dataclass
class Box:
    """One op, a chain of ops, a sum ("+"), or a dot at which a row starts."""

    key: int
    label: str
    kind: str  # "box", "sum" or "dot"
    segment: str
    members: list[int]
    lane: int = 0
    role: str | None = None  # of the way that it lies on: "skip" or "branch"
    column: int = 0
    row: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """In inches."""
        return {"sum": ROUND, "dot": 0.08}.get(self.kind, max(0.46, 0.078 * len(self.label) + 0.13))

    @property
    def height(self) -> float:
        """In inches."""
        return {"sum": ROUND, "dot": 0.08}.get(self.kind, BOX)


@dataclass
class Ways:
    """What lies between the forks and the sums at which they end."""

    spans: list[tuple[int, int]] = field(default_factory=list)  # (fork, its sum)
    lanes: dict[int, int] = field(default_factory=dict)
    roles: dict[int, str] = field(default_factory=dict)


def find_ways(nodes: Mapping[int, Any], edges: Sequence[Mapping[str, Any]]) -> Ways:
    """Lane and role of every node between a fork and its sum; inner forks override outer ones."""
    consumers: dict[int, list[int]] = {key: [] for key in nodes}
    for e in edges:
        consumers[e["source"]].append(e["consumer"])
    meets = meeting_points({key: consumers[key] for key in nodes})
    found = Ways()
    for fork in sorted({e["source"] for e in edges if e["role"]}):
        end = meets[fork]
        if end is None:
            continue
        found.spans.append((fork, end))
        own = [e for e in edges if e["source"] == fork]
        inside = {id(e): _between(consumers, e["consumer"], end) for e in own}
        branches = sorted((e for e in own if e["role"] != "skip"), key=lambda e: -len(inside[id(e)]))
        base = found.lanes.get(end, 0)
        for e in own:
            lane = base + 1 if e["role"] == "skip" else base - branches.index(e)
            for key in inside[id(e)]:
                found.lanes[key] = lane
                found.roles[key] = e["role"] or "branch"
    return found


def _between(consumers: Mapping[int, Sequence[int]], start: int, end: int) -> set[int]:
    """The nodes on all ways from start (included) to end (not included)."""
    seen, stack = set(), [start]
    while stack:
        key = stack.pop()
        if key != end and key not in seen:
            seen.add(key)
            stack.extend(consumers[key])
    return seen


def find_segments(nodes: Mapping[int, Any], ways: Ways) -> dict[int, str]:
    """{node: name of the block it belongs to}, "" for a node between blocks."""
    scopes = {n["scope"] for n in nodes.values()}
    sums = {nodes[end]["scope"] for _, end in ways.spans}
    inner = {".".join(parts[:i]) for s in scopes for parts in [s.split(".")] for i in range(1, len(parts))}
    layers = scopes - inner - sums
    blocks = ({s.rpartition(".")[0] for s in layers} | sums) - {""}

    def block(scope: str) -> str:
        parts = scope.split(".")
        prefixes = [".".join(parts[: i + 1]) for i in range(len(parts))]
        return next((p for p in prefixes if p in blocks), "")

    found = {key: block(n["scope"]) for key, n in nodes.items()}
    for number, (fork, end) in enumerate(ways.spans, start=1):  # a block that is not a module
        span = [key for key in nodes if fork < key <= end]
        if len({found[key] for key in span}) > 1 or not found[end]:
            name = next((found[key] for key in span if found[key]), f"block {number}")
            found.update(dict.fromkeys(span, name))
    return found


def make_boxes(
    nodes: Mapping[int, Any],
    edges: Sequence[Mapping[str, Any]],
    ways: Ways,
    segments: Mapping[int, str],
    learned: set[int],
    detail: str,
) -> list[Box]:
    """A box for every op, or for every chain of ops of a block, in forward order.

    learned: the ops with parameters. A sum takes in the activation that follows it, but none of these.
    """
    sources: dict[int, list[int]] = {key: [] for key in nodes}
    outputs: dict[int, list[int]] = {key: [] for key in nodes}
    for e in edges:
        sources[e["consumer"]].append(e["source"])
        outputs[e["source"]].append(e["consumer"])
    home: dict[int, Box] = {}
    boxes = []
    for key, node in nodes.items():
        before = sources[key]
        if len(before) == 1 and len(outputs[before[0]]) == 1:
            chain = home[before[0]]
            together = segments[key] == chain.segment and ways.lanes.get(key, 0) == chain.lane
            mean = _is_loss(nodes[chain.key]) and node["op"] in ("Sum", "Div")  # over the examples
            if together and (mean or (detail == "blocks" and not (chain.kind == "sum" and key in learned))):
                home[key] = chain
                chain.members.append(key)
                continue
        kind = "sum" if node["op"] == "Add" and len(before) > 1 else "box"
        home[key] = Box(key, "", kind, segments[key], [key], ways.lanes.get(key, 0), ways.roles.get(key))
        boxes.append(home[key])
    ops: dict[str, set[str]] = {}
    for node in nodes.values():
        ops.setdefault(node["scope"], set()).add(node["op"])
    for box in boxes:
        box.label = "+" if box.kind == "sum" else _label([nodes[key] for key in box.members], box.segment, ops)
    for segment in dict.fromkeys(segments.values()):
        alike = sorted((box for box in boxes if box.label == segment), key=lambda box: -len(box.members))
        for box in alike[1:]:  # only the longest chain is called as the block
            box.label = _ends(_names([nodes[key] for key in box.members], segment, ops))
    if len(boxes[-1].members) > 1 and " … " in boxes[-1].label:
        boxes[-1].label = boxes[-1].label.partition(" … ")[0] + " … loss"
    return boxes


def side_by_side(boxes: Iterable[Box], sources: Mapping[int, Collection[int]], row: Callable[[Box], int]) -> None:
    """Move boxes that would lie on others into lanes below: ways that run side by side and belong to no fork.

    Such are queries, keys and values, or what is concatenated. ``boxes`` are in forward order, ``sources`` the keys of
    the boxes before each; ``row`` says which boxes may lie on each other, if column and lane are the same.
    """
    taken: set[tuple[int, int, int]] = set()
    lower: dict[int, int] = {}  # key -> by how many lanes it was moved
    rows: dict[int, int] = {}
    for box in boxes:
        own, rows[box.key] = box.lane, row(box)
        if len(sources[box.key]) == 1:  # go on where the way is
            (ahead,) = sources[box.key]
            box.lane -= lower.get(ahead, 0) if rows.get(ahead) == rows[box.key] else 0
        while (rows[box.key], box.column, box.lane) in taken:
            box.lane -= 1
        lower[box.key] = own - box.lane
        taken.add((rows[box.key], box.column, box.lane))


def _is_loss(node: Mapping[str, Any]) -> bool:
    return node["op"] == "CrossEntropy"


def _label(members: Sequence[Mapping[str, Any]], segment: str, ops: Mapping[str, set[str]]) -> str:
    """What is written in a box: the layer's name, the op's where a module runs several, or the block's for a chain."""
    names = _names(members, segment, ops)
    if len(names) == 1 or _is_loss(members[0]):
        return names[0]
    within = {".".join(n["scope"].split(".")[: segment.count(".") + 2]) for n in members}
    if segment and len(within) == 1 and not within & {segment, ""}:
        return within.pop().rpartition(".")[2]  # a module inside the block, such as its downsample
    return segment if segment and len(names) > 2 else _ends(names)


def _names(members: Sequence[Mapping[str, Any]], segment: str, ops: Mapping[str, set[str]]) -> list[str]:
    names = []
    for node in members:
        last = node["scope"].rpartition(".")[2]
        own = node["scope"] not in ("", segment) and not last.isdigit() and len(ops[node["scope"]]) == 1
        names.append(last if own else _say(node["op"]) or node["name"].partition(" of ")[0])
    return names


def _ends(names: Sequence[str]) -> str:
    return names[0] if len(set(names)) == 1 else f"{names[0]} … {names[-1]}"


def _say(op: str) -> str:
    """The op's name as one reads it: "max pool2d" of MaxPool2d, "×" of Mul."""
    return SIGNS.get(op, re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", op).lower())
