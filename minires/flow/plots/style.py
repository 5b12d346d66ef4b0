"""What all figures share: colours, markers, and the placing of labels.

Colours are Okabe & Ito's, which colour-blind readers can tell apart. Markers, hatches and line styles repeat what the
colour says, so that a figure still works in grey.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

SKIP, BRANCH, TOTAL = "#0072B2", "#E69F00", "#999999"
NETWORK = {"plain": "#D55E00", "residual": "#009E73"}
MARKER = {"plain": "o", "residual": "s"}
LINE = {"plain": "--", "residual": "-"}
OTHER = [("#56B4E9", "^", "-."), ("#CC79A7", "D", (0, (5, 1, 1, 1, 1, 1))), (TOTAL, "v", (0, (3, 1)))]


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


def shade_stages(ax: Axes, layers: Sequence[str]) -> None:
    """Shade every second stage, a stage being the first part of a layer's name, and name the stages on top."""
    stages = [name.split(".")[0] for name in layers]
    starts = [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]
    named = 0
    for a, b in zip(starts, [*starts[1:], len(stages)]):
        if b - a < 2:
            continue
        named += 1
        if named % 2:
            ax.axvspan(a + 0.5, b + 0.5, color="#888888", alpha=0.12, lw=0)
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "size": 8}
        ax.text((a + b + 1) / 2, 1.01, plain(stages[a]), transform=ax.get_xaxis_transform(), **style)


def label_ends(ax: Axes, x: float, ends: Sequence[tuple[float, str, str]], ha: str) -> None:
    """Write (value, label, colour) beside the lines' ends at x, pushed apart where they would overlap.

    What an axis cannot show is written at its end: 0 on a logarithmic one at the foot, what is not finite at the top.
    """
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()

    def height(value: float) -> float:
        if not math.isfinite(value):
            return 1.0
        return 0.0 if value <= 0 and ax.get_yscale() == "log" else float(to_axes.transform((x, value))[1])

    heights = [height(value) for value, _, _ in ends]
    order = sorted(range(len(ends)), key=lambda i: heights[i])
    rooms = [0.068 * (ends[i][1].count("\n") + 1) for i in order]
    gaps = [(a + b) / 2 for a, b in itertools.pairwise(rooms)]
    placed: list[float] = []
    for k, i in enumerate(order):
        placed.append(max(heights[i], placed[-1] + gaps[k - 1] if placed else rooms[k] / 2))
    over = max(placed[-1] - (1 - rooms[-1] / 2), 0) if placed else 0
    for k in reversed(range(len(placed))):  # push what left the axes at the top down again
        limit = placed[k + 1] - gaps[k] if k + 1 < len(placed) else placed[k] - over
        placed[k] = min(placed[k], limit)
    for k, i in enumerate(order):
        _, label, colour = ends[i]
        transform = ax.get_xaxis_transform()  # x in data, y in axes
        ax.text(x, placed[k], plain(label), color=colour, ha=ha, va="center", size=9, transform=transform)


def mark_zeros(ax: Axes, x: Iterable[float], values: Iterable[float], colour: str) -> None:
    """Mark values of exactly 0, which a logarithmic axis cannot show, by triangles at its foot."""
    zeros = [at for at, value in zip(x, values) if value == 0]
    if zeros:
        foot: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": colour, "clip_on": False, "zorder": 5}
        ax.plot(zeros, [0.02] * len(zeros), "v", ms=5, **foot)
        ax.text(zeros[0], 0.035, "0", size=8, ha="center", va="bottom", **foot)


def colour_scale(norms: np.ndarray) -> LogNorm:
    """A logarithmic colour scale for gradient norms, without the outermost 1 %; any scale if none is above 0."""
    shown = norms[np.isfinite(norms) & (norms > 0)]
    return LogNorm(*np.quantile(shown, [0.005, 0.995])) if shown.size else LogNorm(0.1, 1.0)


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` evenly spread indices of range(count), the first and last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


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


def start_panel(ax: Axes, names: Sequence[str], what: str, when: str) -> None:
    """Set the title, and shade the stages if there are several."""
    stages = len({name.split(".")[0] for name in names}) > 1
    if stages:
        shade_stages(ax, names)
    ax.set_title(plain(f"{what}, {when}" if when else what), size=11, pad=16 if stages else 6)


def finish_panel(ax: Axes, xlabel: str, first: int, last: int, ends: list[tuple[float, str, str]]) -> Axes:
    """Set ticks from ``first`` to ``last``, and put the labels ``ends`` in a margin as wide as they need."""
    longest = max(len(line) for _, label, _ in ends for line in label.split("\n"))
    inches = ax.get_window_extent().width / ax.figure.dpi
    share = min(0.073 * longest / inches + 0.03, 0.5)  # of the axes; a character is 0.073 inches wide
    length = last - first + 1
    ax.set_xlim(first - 0.5, first - 0.5 + length / (1 - share))
    step = 1 if length <= 13 else 5 if length <= 31 else 10
    ax.set_xticks(sorted({first, *range(-(-first // step) * step, last + 1, step)}))
    label_ends(ax, last + 0.5 + 0.015 * length, ends, ha="left")
    ax.set_xlabel(xlabel)
    return ax
