"""The panel of the computation graph, with the gradient as the width of its wires."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path

from ...arguments import described
from . import sentences
from .axes import say, start_panel
from .figures import new_figure
from .layout import Drawing, Wire, layout, norms
from .style import BRANCH, SKIP, TOTAL, nonempty, plain

COLOUR = {"skip": SKIP, "branch": BRANCH, None: TOTAL}
WIDTHS = 0.8, 5.5  # of the thinnest and the thickest wire, in points
READABLE = 0.8  # below this scale, single ops are too small to read
TALL = 7.5  # above this height in inches, `graphs` draws blocks
MARGIN, HEADING = 0.15, 0.6  # of `graphs`, in inches: beside the drawings, and above each for title and takeaway


def graph(
    ax: Axes,
    graph: Mapping[str, Any],
    when: str = "",
    *,
    detail: str = "auto",
    limits: tuple[float, float] | None = None,
    scale: float | None = None,
    pass_: int | None = None,
) -> Axes:
    """The network as boxes and wires: skips (blue) run above the main line, branches (orange) through their boxes.

    graph: what `Recording.graph()` returns, or the same read back from JSON. A wire is as wide as the logarithm of the
    norm of the gradient that came back along it, or of what `scaled` made of that; dotted where it is 0. ``limits`` are
    the norms of the thinnest and the thickest wire. ``detail``: "ops" draws each op, "blocks" each block as one box,
    "auto" the ops where they can be read at the size of the axes. ``scale`` shrinks the drawing, unless it is that
    small already. Two networks side by side take the same limits, the `graph_limits` of both, and the same detail and
    scale, the smaller `graph_scale`. ``pass_``: which walk back to draw of a recording that holds several, the first if
    not given.
    Raises ValueError for anything but such a graph.
    """
    graph, pass_, several = _one_pass(graph, detail, pass_)
    when = f"{when}, pass {pass_}".lstrip(", ") if several else when
    extent = ax.get_window_extent()
    size = extent.width / ax.figure.dpi, extent.height / ax.figure.dpi
    drawing = _fit(graph, detail, size)
    width, height = _size(drawing)
    largest = min(size[0] / width, size[1] / height)
    start_panel(ax, [], "Gradient along the graph", when)
    say(ax, sentences.graph(_wired(graph)))
    return _paint(ax, drawing, size, min(largest, scale or largest), limits or graph_limits([graph]))


def graphs(graphs: Mapping[str, Mapping[str, Any]], when: str = "", *, width: float = 13.0) -> Figure:
    """A figure of several networks, {name: graph}, one above another: one scale, one left edge, text of 8 points.

    It is at most ``width`` inches wide and as high as the drawings need: every op is drawn where that is no higher than
    `TALL`, every block as one box otherwise. For the graphs, see `graph`; of several passes the first is drawn.
    """
    nonempty("graphs", graphs)
    chosen = {name: _one_pass(graph, "auto", None)[0] for name, graph in graphs.items()}
    lowest = max(_size(layout(graph, "ops", 36))[1] for graph in chosen.values())
    detail = "ops" if lowest <= TALL else "blocks"
    drawings = {name: _within(graph, detail, width) for name, graph in chosen.items()}
    across = max(_size(max(drawings.values(), key=lambda drawing: drawing.height))[0], min(width, 8.0))
    drawings = {name: _within(graph, detail, across) for name, graph in chosen.items()}  # all as wide as the highest
    sizes = [_size(drawing) for drawing in drawings.values()]
    across = max(width for width, _ in sizes) + 2 * MARGIN
    high = sum(height + HEADING for _, height in sizes)
    figure, limits, top = new_figure(across, high, layout=None), graph_limits(list(chosen.values())), high
    for (name, drawing), (_, height) in zip(drawings.items(), sizes):
        top -= height + HEADING
        place = MARGIN / across, top / high, 1 - 2 * MARGIN / across, height / high
        ax = figure.add_axes(place)
        ax.set_title(plain(f"{name}, {when}" if when else name), size=11, loc="left")
        say(ax, sentences.graph(_wired(chosen[name])), loc="left")
        ax.set_position(place)  # the heading has its room already
        _paint(ax, drawing, (across - 2 * MARGIN, height), 1.0, limits)
    return figure


def _wired(graph: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The edges that are drawn: those that do not come from parameters."""
    parameters = {node["id"] for node in graph["nodes"] if node["parameter"]}
    return [edge for edge in graph["edges"] if edge["source"] not in parameters]


def _within(graph: Mapping[str, Any], detail: str, width: float) -> Drawing:
    """The lowest layout that is not wider than this, and of those the narrowest, with rows of one length."""
    drawings = [layout(graph, detail, columns) for columns in range(4, 37)]
    fitting = [drawing for drawing in drawings if _size(drawing)[0] <= width] or drawings[:1]
    return min(fitting, key=lambda drawing: (round(drawing.height, 3), drawing.width))


def _paint(ax: Axes, drawing: Drawing, size: Sequence[float], scale: float, limits: tuple[float, float]) -> Axes:
    """Draw into axes of this size in inches, from their upper left corner."""
    ax.set_xlim(0, size[0] / scale)
    ax.set_ylim(drawing.height - size[1] / scale, drawing.height)
    ax.set_aspect("equal", anchor="NW")
    ax.set_axis_off()
    text = min(scale, 1.15) * 8
    for wire in sorted(drawing.wires, key=lambda wire: wire.role == "skip"):
        _draw_wire(ax, wire, limits, min(scale, 1.0))
    for box in drawing.boxes:
        _draw_box(ax, box, text)
    for label, x, y in drawing.rows:
        ax.text(x, y, plain(label), size=text, weight="bold", ha="left", va="center")
    _name_ways(ax, drawing, text)
    came = "passed on" if any(wire.factor != 1 for wire in drawing.wires) else "that came back"
    _key(ax, limits, min(scale, 1.0), text, f"width: ‖gradient‖ {came}, as arrows point")
    return ax


def graph_limits(graphs: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The smallest and the largest gradient norm on the wires of these graphs."""
    found = norms(graphs)
    return (min(found), max(found)) if found else (0.1, 1.0)


def graph_scale(ax: Axes, graph: Mapping[str, Any], detail: str = "auto", *, pass_: int | None = None) -> float:
    """The scale at which the graph fills the axes; at 1, text is 8 points high."""
    graph, _, _ = _one_pass(graph, detail, pass_)
    extent = ax.get_window_extent()
    size = extent.width / ax.figure.dpi, extent.height / ax.figure.dpi
    width, height = _size(_fit(graph, detail, size))
    return min(size[0] / width, size[1] / height)


def _one_pass(graph: Mapping[str, Any], detail: str, pass_: int | None) -> tuple[Mapping[str, Any], int, bool]:
    """The part of a graph that belongs to one pass, the number of that pass, and whether there are others."""
    _check(graph, detail)
    passes = {node["id"]: node.get("pass", 1) for node in graph["nodes"]}
    known = sorted(set(passes.values()))
    if pass_ is not None and pass_ not in known:
        raise ValueError(f"plots.graph: got pass_={pass_!r}; this recording has {', '.join(map(str, known))}")
    chosen = known[0] if pass_ is None else pass_
    nodes = [node for node in graph["nodes"] if passes[node["id"]] == chosen]
    edges = [edge for edge in graph["edges"] if passes[edge["source"]] == chosen]
    return {**graph, "nodes": nodes, "edges": edges}, chosen, len(known) > 1


def _check(graph: Mapping[str, Any], detail: str) -> None:
    if detail not in ("auto", "ops", "blocks"):
        raise ValueError(f'plots.graph: got detail={detail!r}; expected "auto", "ops" or "blocks"')
    if not isinstance(graph, Mapping) or not {"version", "nodes", "edges"} <= set(graph):
        raise ValueError(
            f"plots.graph: got {described(graph)}; expected what Recording.graph() returns, a dict with version, "
            "nodes and edges"
        )
    if graph["version"] != 1:
        raise ValueError(f"plots.graph: got a graph of version {graph['version']!r}; this draws version 1")
    if not any(not node["parameter"] for node in graph["nodes"]):
        raise ValueError("plots.graph: got a graph without ops; record a forward and a backward pass first")


def _size(drawing: Drawing) -> tuple[float, float]:
    """Width and height of the drawing with the key beneath it, in inches."""
    return max(drawing.width, 6.0), drawing.height + 0.4


def _fit(graph: Mapping[str, Any], detail: str, size: Sequence[float]) -> Drawing:
    """The layout that comes out largest in axes of this size, in inches."""

    def best(detail: str) -> tuple[float, Drawing]:
        drawings = [layout(graph, detail, columns) for columns in (6, 8, 10, 12, 14, 18, 24, 36)]
        scales = [min(size[0] / width, size[1] / height) for width, height in map(_size, drawings)]
        i = scales.index(max(scales))
        return scales[i], drawings[i]

    if detail != "auto":
        return best(detail)[1]
    scale, drawing = best("ops")
    return drawing if scale >= READABLE else best("blocks")[1]


def _draw_wire(ax: Axes, wire: Wire, limits: tuple[float, float], scale: float) -> None:
    known = wire.norm > 0 and math.isfinite(wire.norm)
    wide = _width(wire.norm, limits) * scale if known else 1.0
    style: dict[str, Any] = {} if known else {"ls": (0, (1, 1.5))}
    path = _rounded(wire.points, 0.1)
    ax.add_patch(PathPatch(path, fc="none", ec=COLOUR[wire.role], lw=wide, capstyle="butt", zorder=2, **style))
    if known:  # an arrow in the middle of the longest stretch, against forward's direction
        (x, y), (to_x, to_y) = max(itertools.pairwise(wire.points), key=lambda stretch: math.dist(*stretch))
        angle = math.degrees(math.atan2(y - to_y, x - to_x)) - 90  # of a triangle that points up
        arrow: dict[str, Any] = {"marker": (3, 0, angle), "ms": 1.6 * wide + 4 * scale, "mew": 0, "zorder": 3}
        ax.plot((x + to_x) / 2, (y + to_y) / 2, color=COLOUR[wire.role], **arrow)


def _width(norm: float, limits: tuple[float, float]) -> float:
    """Line width in points, linear in the logarithm of the norm."""
    low, high = (math.log(limit) for limit in limits)
    share = (math.log(norm) - low) / (high - low) if high > low else 0.5
    return WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * min(max(share, 0.0), 1.0)


def _rounded(points: Sequence[tuple[float, float]], radius: float) -> Path:
    """The polyline through the points with its corners rounded."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:]):
        for other, code in ((before, Path.LINETO), (after, Path.CURVE3)):
            length = math.dist(corner, other) or 1.0
            share = min(radius, length / 2) / length
            near = tuple(c + share * (o - c) for c, o in zip(corner, other))
            if code == Path.CURVE3:
                vertices.append(corner)
                codes.append(Path.CURVE3)
            vertices.append(near)  # type: ignore[arg-type]
            codes.append(code)
    return Path([*vertices, points[-1]], [*codes, Path.LINETO])


def _draw_box(ax: Axes, box: Any, text: float) -> None:
    edge, face = rcParams["text.color"], rcParams["axes.facecolor"]
    if box.kind == "dot":
        ax.add_patch(Circle((box.x, box.y), box.width / 2, fc=edge, ec=edge, zorder=4))
        return
    if box.kind == "sum":
        ax.add_patch(Circle((box.x, box.y), box.width / 2, fc=face, ec=edge, lw=1.0, zorder=4))
    else:
        corner = box.x - box.width / 2, box.y - box.height / 2
        style = "round,pad=0,rounding_size=0.05"
        ax.add_patch(FancyBboxPatch(corner, box.width, box.height, style, fc=face, ec=edge, lw=0.8, zorder=4))
    ax.text(box.x, box.y, plain(box.label), size=text, ha="center", va="center_baseline", zorder=5)


def _name_ways(ax: Axes, drawing: Drawing, text: float) -> None:
    """Write "skip" and "branch" with their norms; only at the first fork where there is no room for more.

    Where `flow.scaled` multiplied a way, it says what came back and by what, at every fork: "skip 0.3 ×0".
    """
    style: dict[str, Any] = {"size": text * 0.9, "zorder": 5}
    named: set[str | None] = set()
    for wire in drawing.wires:
        crowded = len(drawing.wires) > 100 and wire.role in named
        factor = "" if wire.factor == 1 else f"×{wire.factor:g}"
        if wire.label is None or (crowded and not factor):
            continue
        named.add(wire.role)
        x, y = wire.label
        label = factor if crowded else f"{wire.role} {wire.came:.2g} {factor}".rstrip()
        if wire.role == "skip":
            ax.text(x, y + 0.05, label, ha="center", va="bottom", **style)
        else:
            ax.text(x, y - 0.03, label, ha="left", va="top", **style)


def _key(ax: Axes, limits: tuple[float, float], scale: float, text: float, meaning: str) -> None:
    """Say under the drawing what the widths mean."""
    low, high = limits
    ax.text(0, -0.25, meaning, size=text, va="center")
    for i, norm in enumerate((low, math.sqrt(low) * math.sqrt(high), high)):
        x = 3.1 + i
        ax.plot([x, x + 0.35], [-0.25, -0.25], color=TOTAL, lw=_width(norm, limits) * scale, solid_capstyle="butt")
        ax.text(x + 0.42, -0.25, f"{norm:.1g}", size=text, va="center")
