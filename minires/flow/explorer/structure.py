"""What the explorer draws where: blocks in a row, and in each the boxes of its ops, far out and unfolded.

Lanes, blocks and boxes are those of the figure, `plots.boxes`; here every block becomes a slot, in which the networks
of a run stand one below the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

LEVELS = {"folded": "blocks", "ops": "ops"}  # the page's word: that of `make_boxes`


def structure(graph: Mapping[str, Any]) -> dict[str, Any]:
    """The boxes of one network.

    graph: what `EdgeHistory.graph` returns, of one pass. slots: {name, block} in forward order, block being whether it
    is one. boxes: for each level, [label, kind, slot, column, lane, places of its tensors]. roles: "skip", "branch" or
    None for every edge, also for those between the fork and the sum.
    """
    from ..plots import boxes  # plots needs matplotlib, which is slow to import

    place = {node["id"]: i for i, node in enumerate(graph["nodes"])}
    nodes = {n["id"]: n for n in sorted(graph["nodes"], key=lambda n: n["id"]) if not n["parameter"] and n["op"]}
    edges = [e for e in graph["edges"] if e["source"] in nodes and e["consumer"] in nodes]
    learned = {e["consumer"] for e in graph["edges"] if e["source"] not in nodes}
    ways = boxes.find_ways(nodes, edges)
    segments = boxes.find_segments(nodes, ways)
    if not any(segments.values()):  # no blocks: every module is one
        segments = {key: node["scope"] for key, node in nodes.items()}
        is_block = dict.fromkeys(segments.values(), False)
    else:
        is_block = dict.fromkeys(segments.values(), True)
    slot_of, slots = _slots(nodes, segments, is_block)
    found: dict[str, list[list[Any]]] = {}
    for level, detail in LEVELS.items():
        made = boxes.make_boxes(nodes, edges, ways, segments, learned, detail)
        _place(made, edges, slot_of)
        found[level] = [
            [b.label, b.kind, slot_of[b.key], b.column, b.lane, [place[key] for key in b.members]] for b in made
        ]
    roles = [e["role"] or ways.roles.get(e["source"]) for e in graph["edges"]]
    return {"slots": slots, "boxes": found, "roles": roles}


def _slots(
    nodes: Mapping[int, Any], segments: Mapping[int, str], is_block: Mapping[str, bool]
) -> tuple[dict[int, int], list[dict[str, Any]]]:
    """The slot of every node, and the slots: blocks, and what stands before, between and behind them."""
    slot_of: dict[int, int] = {}
    slots: list[dict[str, Any]] = []
    known: dict[str, int] = {}
    last = None
    for key in nodes:
        segment = segments[key]
        if segment and segment in known:
            slot_of[key] = known[segment]
        elif not segment and last == "":
            slot_of[key] = len(slots) - 1
        else:
            slot_of[key] = known[segment] = len(slots)
            slots.append(
                {"name": segment or ("stem" if not slots else "head"), "block": bool(is_block[segment] and segment)}
            )
        last = segment
    between = [slot for slot in slots[:-1] if slot["name"] == "head"]
    for number, slot in enumerate(between, start=1):
        slot["name"] = f"between {number}"
    return slot_of, slots


def _place(made: Sequence[Any], edges: Sequence[Mapping[str, Any]], slot_of: Mapping[int, int]) -> None:
    """Set the column of every box within its slot, its longest way from the slot's first box, and correct its lane.

    What uses no tensor that gets a gradient stands just before its first use, below what is there.
    """
    from ..plots import boxes  # see `structure`

    home = {key: box for box in made for key in box.members}
    before: dict[int, set[int]] = {box.key: set() for box in made}
    after: dict[int, list[Any]] = {box.key: [] for box in made}
    reached = set()
    for e in edges:
        a, b = home[e["source"]], home[e["consumer"]]
        if a is not b:
            reached.add(b.key)
            if slot_of[a.key] == slot_of[b.key]:
                before[b.key].add(a.key)
                after[a.key].append(b)
    for box in made:
        box.column = max((home[key].column + 1 for key in before[box.key]), default=0)
    for box in made:
        if box.key not in reached:
            box.column = max(min((b.column for b in after[box.key]), default=1) - 1, 0)
    last = sorted(made, key=lambda box: box.key not in reached)
    boxes.side_by_side(last, before, lambda box: slot_of[box.key])
