"""Where the boxes and wires of a computation graph go: rows of blocks, the main line straight, skips above it.

Works on the dict that `Recording.graph()` returns. A drawing is measured in inches: x to the right, y upwards.

- Parameters are left out. Ops fall into *segments*, one for each block: the scope that holds its layers, or everything
  between a fork and the addition at which it ends. Every segment starts a row (``detail="ops"``), or chains of ops are
  drawn as one box and every stage starts a row (``detail="blocks"``).
- In a row, an op's column is its longest way from the row's start, its *lane* is 0 on the main line, above on a skip,
  and below on a second branch. A wire that would cross boxes in its own lane runs in the first free lane above them.
- What comes from an earlier row arrives at a dot at the row's left end, where it can be seen to fork.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .boxes import BOX, Box, find_segments, find_ways, make_boxes, side_by_side

GAP = 0.20  # between columns, in inches
ABOVE, BELOW = 0.38, 0.50  # from lane to lane, above and below the main line


@dataclass
class Wire:
    """A way from box to box through the points, with the norm of the gradient that came back along it."""

    points: list[tuple[float, float]]
    norm: float
    role: str | None
    label: tuple[float, float] | None = None  # where its name goes, if it leaves a fork: above a skip, below a branch
    factor: float = 1.0  # what `flow.scaled` multiplied the gradient by; norm is that of the product,
    came: float = 0.0  # and this is that of what had come back


@dataclass
class Drawing:
    """Boxes and wires in inches, (label, x, y) of every row, and the size of all."""

    boxes: list[Box] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    rows: list[tuple[str, float, float]] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def layout(graph: Mapping[str, Any], detail: str, columns: int = 12) -> Drawing:
    """Lay out the graph, with at most ``columns`` boxes in a row (where a row can be broken)."""
    nodes = {n["id"]: n for n in graph["nodes"] if not n["parameter"]}
    edges = [e for e in graph["edges"] if e["source"] in nodes and e["consumer"] in nodes]
    ways = find_ways(nodes, edges)
    segments = find_segments(nodes, ways)
    learned = {e["consumer"] for e in graph["edges"] if e["source"] not in nodes}
    boxes = make_boxes(nodes, edges, ways, segments, learned, detail)
    home = {key: box for box in boxes for key in box.members}
    links = [(home[e["source"]], home[e["consumer"]], e) for e in edges]
    links = [(a, b, e) for a, b, e in links if a is not b]
    labels = _rows(boxes, [(a, b) for a, b, _ in links], detail, columns)
    return _Placing(nodes, ways.roles, home, links, boxes, labels).drawing


def _rows(boxes: Sequence[Box], links: Sequence[tuple[Box, Box]], detail: str, columns: int) -> list[str]:
    """Give every box its row; returns the rows' labels. A long row is broken where a single tensor crosses."""
    index = {box.key: i for i, box in enumerate(boxes)}
    across: list[set[int]] = [set() for _ in boxes]  # the boxes before each whose output is used there or later
    for a, b in links:
        for i in range(index[a.key] + 1, index[b.key] + 1):
            across[i].add(a.key)
    labels: list[str] = []
    count = 0  # of the boxes on the main line of this row
    for i, box in enumerate(boxes):
        stage = box.segment if detail == "ops" else box.segment.rpartition(".")[0]
        new = not labels or (stage != labels[-1] if detail == "ops" else bool(box.segment) and stage != labels[-1])
        if new and detail == "blocks" and labels == [""] and not any(b.segment for b in boxes[:i]):
            labels[0], new = stage, False  # the stem stands before the first stage
        if new or (count >= columns and (len(across[i]) <= 1 or count >= 3 * columns)):
            labels.append(stage if new else labels[-1])
            count = 0
        box.row = len(labels) - 1
        count += box.lane == 0
    return labels


class _Placing:
    """Coordinates for boxes that have their rows, and the wires between them."""

    def __init__(self, nodes, roles, home, links, boxes: list[Box], labels: list[str]):
        self.nodes, self.roles = nodes, roles
        self.drawing = Drawing(boxes=list(boxes))
        self.arriving: dict[tuple[int, int], Box] = {}  # (source, row) -> the dot at which it arrives in a later row
        across = [link for link in links if link[0].row != link[1].row]
        self._columns(boxes, links)
        self._dots(across)
        self._coordinates(labels, links)
        margin: list[tuple[int, int]] = []  # (from row, to row) of the connectors on the right
        for (source, row), dot in self.arriving.items():
            edges = [e for _, b, e in across if e["source"] == source and b.row == row]
            self._connect(home[source], row, dot, edges, margin)
        for a, b, e in links:
            self._wire(a if a.row == b.row else self.arriving[e["source"], b.row], b, e)
        self._crop()

    def _columns(self, boxes, links) -> None:
        before: dict[int, list[Box]] = {box.key: [] for box in boxes}
        after: dict[int, list[Box]] = {box.key: [] for box in boxes}
        for a, b, _ in links:
            before[b.key].append(a)
            after[a.key].append(b)
        for box in boxes:  # in forward order
            box.column = max((a.column + 1 for a in before[box.key] if a.row == box.row), default=0)
        orphans = [box for box in boxes if not before[box.key]]  # they use no tensor that gets a gradient
        others = [box for box in boxes if before[box.key]]
        side_by_side(others, {key: [box.key for box in found] for key, found in before.items()}, lambda box: box.row)
        taken = {(box.row, box.column, box.lane) for box in others}
        for box in orphans:  # just before their first use, below what is there
            box.column = max(min((b.column for b in after[box.key] if b.row == box.row), default=1) - 1, 0)
            while (box.row, box.column, box.lane) in taken:
                box.lane -= 1
            taken.add((box.row, box.column, box.lane))

    def _dots(self, across) -> None:
        for _, b, e in across:
            if (e["source"], b.row) not in self.arriving:
                taken = sum(dot.row == b.row for dot in self.arriving.values())
                dot = Box(-1 - len(self.arriving), "", "dot", b.segment, [], taken, column=-1, row=b.row)
                self.arriving[e["source"], b.row] = dot
                self.drawing.boxes.append(dot)

    def _coordinates(self, labels, links) -> None:
        drawing = self.drawing
        self.taken: dict[int, list[tuple[int, int, int]]] = {}  # row -> (lane, from column, to column) of runs
        self.level: dict[int, int] = {}  # id of an edge -> the lane of its run
        for a, b, e in sorted(links, key=lambda link: link[1].column - link[0].column):
            start = a if a.row == b.row else self.arriving[e["source"], b.row]
            self.level[id(e)] = self._free_lane(start, b)
        self.entry: dict[int, float] = {}  # id of an edge from above or below -> how far from its box's middle
        for box in drawing.boxes:
            for side in (1, -1):
                down = [e for _, b, e in links if b is box and (self.level[id(e)] - box.lane) * side > 0]
                down.sort(key=lambda e: abs(self.level[id(e)]))
                pitch = min(0.1, 0.6 * box.width / max(len(down), 1))
                self.entry.update({id(e): pitch * (i - (len(down) - 1) / 2) for i, e in enumerate(down)})
        y = 0.0
        indent = 0.1 + 0.08 * max(5, *map(len, labels))
        indent += 0.1 * max([0, *(dot.lane - 1 for dot in self.arriving.values())])  # each arrives on its own track
        self.places = {(box.row, box.column, box.lane) for box in drawing.boxes}
        self.ends: dict[tuple[int, int], tuple[float, float]] = {}  # (row, column) -> from where to where its boxes go
        self.right: list[float] = []
        self.above: list[float] = []
        for row, label in enumerate(labels):
            own = [box for box in drawing.boxes if box.row == row]
            lanes = [box.lane for box in own] + [lane for lane, _, _ in self.taken.get(row, [])]
            connectors = sum(dot.row == row for dot in self.arriving.values())
            y -= 0.10 * max(connectors, 1) + 0.14
            self.above.append(y)
            y -= _rise(max(lanes)) + BOX / 2 + (0.24 if max(lanes) else 0.12)
            widths: dict[int, float] = {}
            for box in own:
                widths[box.column] = max(widths.get(box.column, 0), box.width)
            x, centre = indent + 0.2, {}
            x += 0 if any(box.kind == "dot" for box in own) else 0.08 + GAP  # all rows start below each other
            for column in sorted(widths):
                centre[column] = x + widths[column] / 2
                x += widths[column] + GAP
                self.ends[row, column] = centre[column] - widths[column] / 2, centre[column] + widths[column] / 2
            for box in own:
                box.x, box.y = centre[box.column], y + _rise(box.lane)
            self.right.append(x - GAP)
            if label not in labels[:row] or not label:
                name = label or ("input" if row == 0 else "loss" if row == len(labels) - 1 else "")
                drawing.rows.append((name, 0.0, y))
            y += _rise(min(*lanes, 0)) - BOX / 2 - 0.14

    def _free_lane(self, a: Box, b: Box) -> int:
        """The lane in which a wire runs from a to b: the outer one of their lanes, or the first free one above."""
        lane = a.lane if abs(a.lane) > abs(b.lane) else b.lane
        first, last = a.column, b.column
        blockers = [
            box for box in self.drawing.boxes if box.row == b.row and first < box.column < last and box is not a
        ]
        runs = self.taken.setdefault(b.row, [])
        step = -1 if lane < 0 else 1
        own_lane = a.lane == b.lane

        def blocked(lane: int) -> bool:
            return any(box.lane == lane for box in blockers) or any(
                lane == at and first < to and start < last for at, start, to in runs
            )

        while blocked(lane):
            lane += step
        if not (own_lane and lane == a.lane):
            runs.append((lane, first, last))
        return lane

    def _wire(self, a: Box, b: Box, e: Mapping[str, Any]) -> None:
        """From a to b in one row, straight or through the lane that was found for it."""
        role = e["role"] or self.roles.get(e["source"])
        lane = self.level[id(e)]
        y = b.y + _rise(lane) - _rise(b.lane)
        out, into = a.x + a.width / 2, b.x - b.width / 2
        points = [(out, a.y)]
        if lane != a.lane:
            turn = (self.ends[a.row, a.column][1] if self._passes(a, lane) else out) + 0.35 * GAP
            points += [(turn, a.y), (turn, y)]
        if self._passes(b, lane):
            x = self.ends[b.row, b.column][0] - 0.3 * GAP
            points += [(x, y), (x, b.y), (into, b.y)]
        elif lane != b.lane:
            x = b.x + self.entry[id(e)]
            points += [(x, y), (x, b.y + (b.height if y > b.y else -b.height) / 2)]
        else:
            points += [(into, b.y)]
        label = None
        if e["role"] == "skip":
            label = (points[-3][0] + (b.x if lane != b.lane else into)) / 2, y
            if lane == b.lane and b.kind != "sum":
                label = b.x, b.y + b.height / 2
        elif e["role"] == "branch":  # beside what enters a sum from below
            label = b.x + 0.06 if b.kind == "sum" else into, min(b.y, y) - BOX / 2
        self.drawing.wires.append(
            Wire(points, _number(e["norm"]), role, label, e.get("factor", 1.0), _number(e.get("came", e["norm"])))
        )

    def _passes(self, box: Box, lane: int) -> bool:
        """Whether other boxes of its column lie between a box and a lane, or in that lane."""
        crossed = range(lane, box.lane, 1 if lane < box.lane else -1)
        return any((box.row, box.column, other) in self.places for other in crossed)

    def _connect(self, a: Box, row: int, dot: Box, edges, margin) -> None:
        """From the end of one row to the start of a later one, along the right margin and back between the rows."""
        track = sum(first < row and a.row < last for first, last in margin)
        margin.append((a.row, row))
        x = max(self.right[a.row : row]) + 0.16 + 0.1 * track
        between = self.above[row] + 0.1 * dot.lane
        out = a.x + a.width / 2
        points = [(out, a.y)]
        if any(box.row == a.row and box.column > a.column and box.lane == a.lane for box in self.drawing.boxes):
            under, turn = self.above[a.row + 1] + 0.08 + 0.05 * track, out + 0.35 * GAP  # boxes are in the way
            points += [(turn, a.y), (turn, under), (x, under)]
        else:
            points += [(x, a.y)]
        start = dot.x - 0.14 - 0.1 * dot.lane
        points += [(x, between), (start, between), (start, dot.y), (dot.x, dot.y)]
        norm = edges[0]["norm"] if len(edges) == 1 else self.nodes[edges[0]["source"]]["norm"]
        self.drawing.wires.append(Wire(points, _number(norm), self.roles.get(edges[0]["source"])))

    def _crop(self) -> None:
        """Move everything so that the drawing starts at (0, 0)."""
        drawing = self.drawing
        ys = [y for wire in drawing.wires for _, y in wire.points]
        ys += [box.y + side for box in drawing.boxes for side in (-BOX / 2, BOX / 2)]
        ys += [wire.label[1] + 0.15 for wire in drawing.wires if wire.label]
        low, high = min(ys) - 0.08, max(ys) + 0.12
        for box in drawing.boxes:
            box.y -= low
        for wire in drawing.wires:
            wire.points = [(x, y - low) for x, y in wire.points]
            wire.label = wire.label and (wire.label[0], wire.label[1] - low)
        drawing.rows = [(label, x, y - low) for label, x, y in drawing.rows]
        rightmost = [box.x + box.width / 2 for box in drawing.boxes] + [x for w in drawing.wires for x, _ in w.points]
        drawing.width, drawing.height = max(rightmost) + 0.1, high - low


def _rise(lane: int) -> float:
    """Height of a lane over the main line, in inches."""
    return lane * (ABOVE if lane > 0 else BELOW)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def norms(graphs: Iterable[Mapping[str, Any]]) -> list[float]:
    """The positive, finite gradient norms on the edges of these graphs, those of parameters left out."""
    found = []
    for graph in graphs:
        parameters = {n["id"] for n in graph["nodes"] if n["parameter"]}
        values = [_number(e["norm"]) for e in graph["edges"] if e["source"] not in parameters]
        found += [value for value in values if 0 < value < float("inf")]
    return found
