"""What all figures share: colours, markers, and names at the lines' ends.

The hues are Okabe & Ito's, which colour-blind readers can tell apart, each brought to a luminance of 0.18: such colours
have a contrast of 4.5 to white and to black alike, so that text in them can be read on either. Markers, hatches and
line styles repeat what the colour says, so that a figure still works in grey.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

SKIP, BRANCH, TOTAL = "#007BC0", "#A96600", "#757575"
NETWORK = {"plain": "#CD4A00", "residual": "#008661"}
MARKER = {"plain": "o", "residual": "s"}
LINE = {"plain": "--", "residual": "-"}
OTHER = [
    ("#8063CF", "^", "-."),
    ("#C7438A", "D", (0, (5, 1, 1, 1, 1, 1))),
    (TOTAL, "v", (0, (3, 1))),
    (SKIP, "P", (0, (1, 1))),
]


def looks(networks: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line style of each network, as arguments of ``ax.plot``.

    The first whose name starts with "plain" or "residual" gets the look of those; each of the others gets another.
    """
    found: dict[str, dict[str, Any]] = {}
    free = {kind: (NETWORK[kind], MARKER[kind], LINE[kind]) for kind in NETWORK}
    others = itertools.cycle(OTHER)
    for network in networks:
        kind = next((kind for kind in free if network.startswith(kind)), "")
        colour, marker, line = free.pop(kind) if kind else next(others)
        found[network] = {"color": colour, "marker": marker, "ls": line}
    return found


def plain(text: str) -> str:
    """Text in which matplotlib shows every $ as it is: two of them would make a formula of what is between."""
    return text.replace("$", r"\$")


def label_ends(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write (value, label, colour) right of the axes at the value's height, pushed apart where they would overlap.

    What an axis cannot show is written at its end: 0 on a logarithmic one at the foot, what is not finite at the top.
    Call it last: it takes the limits of y as they are.
    """
    ends = [end for end in ends if end[1]]
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()

    def height(value: float) -> float:
        if not math.isfinite(value):
            return 1.0
        return 0.0 if value <= 0 and ax.get_yscale() == "log" else float(to_axes.transform((1, value))[1])

    line = 12.5 / 72 / max(ax.get_window_extent().height / ax.figure.dpi, 1.0)  # a share of the axes' height
    order = sorted(range(len(ends)), key=lambda i: height(ends[i][0]))
    rooms = [line * (ends[i][1].count("\n") + 1.2) for i in order]
    gaps = [(a + b) / 2 for a, b in itertools.pairwise(rooms)]
    placed: list[float] = []
    for k, i in enumerate(order):
        at = min(max(height(ends[i][0]), 0.0), 1.0)
        placed.append(max(at, placed[-1] + gaps[k - 1] if placed else rooms[k] / 2))
    over = max(placed[-1] - (1 - rooms[-1] / 2), 0) if placed else 0
    for k in reversed(range(len(placed))):  # push what left the axes at the top down again
        limit = placed[k + 1] - gaps[k] if k + 1 < len(placed) else placed[k] - over
        placed[k] = min(placed[k], limit)
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    for k, i in enumerate(order):
        _, label, colour = ends[i]
        ax.annotate(plain(label), (1, placed[k]), (5, 0), color=colour, ha="left", va="center", size=9, **style)
    make_room(ax, right=max([0.0, *(text.get_window_extent().x1 for text in ax.texts)]))


def make_room(ax: Axes, right: float = 0.0, top: float = 0.0) -> None:
    """Make the axes smaller by what lies beyond them, right and top in pixels, if no layout engine does that."""
    figure = ax.figure
    if figure.get_layout_engine() is not None:
        return
    frame, box = ax.get_window_extent(), ax.get_position()
    across, up = max(right - frame.x1, 0) / figure.bbox.width, max(top, 0) / figure.bbox.height
    ax.set_position((box.x0, box.y0, box.width - min(across, box.width / 2), box.height - min(up, box.height / 2)))
    ax.set_in_layout(True)  # which set_position ends; an engine may still come


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` evenly spread indices of range(count), the first and last among them."""
    step = (count - 1) / max(min(count, most) - 1, 1)
    return sorted({round(i * step) for i in range(min(count, most))})


def numbers(count: int) -> list[int]:
    """1 and round numbers up to ``count``, at most a dozen or so: ticks for layers counted from 1."""
    step = 1 if count <= 12 else 5 if count <= 40 else 10 if count <= 120 else 50
    return sorted({1, *range(step, count + 1, step)})


def nonempty(panel: str, results: Mapping[str, Any]) -> Iterable[Any]:
    """The results of all networks. Raises TypeError, in the panel's name, if they are not a dict, or an empty one."""
    if not isinstance(results, Mapping) or not results:
        raise TypeError(
            f"plots.{panel}: got {type(results).__name__} {'' if results else 'without entries'}; expected a dict such "
            'as {"plain": result, "residual": result}'
        )
    return results.values()
