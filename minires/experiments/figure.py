"""The figure of a sweep: a panel for each number, a line or row for each variant, and a band or dots over seeds."""

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .experiment import Bounds, Cell
from .sweep import Result

PANELS = 6  # at most
NEUTRAL = {"color": "black", "marker": "o"}  # of what compares networks: each has a colour of its own beside it
Points = dict[str, dict[float, list[float]]]  # {line: {x: its numbers over seeds}}


def draw(path: Path, result: Result) -> None:
    """Write the figure, as PNG. Grey is where the criterion wants the mean of a row; the remark stands below."""
    import matplotlib  # slow to import, and needed only here

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ..flow.plots import style

    own = result.sweep.experiment
    panels, of = dict[str, Points](), dict[str, str]()  # {title: panel}, and {title: the number that it is of}
    for what, each in shown(result).items():
        panels |= (parts := by_variant(result, what, each))
        of |= dict.fromkeys(parts, what)
    panels = dict(list(panels.items())[:PANELS]) or {"": {}}
    if derived := {name: {0.0: values} for name, values in result.found().items() if name in own.derived}:
        panels["compared"] = derived
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    width = max(4.6 * columns, 6.4)
    remark = textwrap.wrap(own.remark, int(15 * width)) if result.sweep.as_declared else []
    most = max((len(panel) for panel in panels.values() if not has_lines(panel)), default=0)  # rows in a panel
    size = width, max(3.2, 0.4 * most) * rows + 0.9 + 0.16 * len(remark)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    grey = any(wanted(result, what, panel) for what, panel in panels.items() if not has_lines(panel))
    about = f"{subtitle(result)} · grey: the criterion" if grey else subtitle(result)
    texts = own.statement, about, second(result)
    heading = [line for text in texts for line in textwrap.wrap(text, int(13 * size[0]))]
    figure.suptitle(style.plain("\n".join(heading)), size=10)
    figure.supxlabel(style.plain("\n".join(remark)), size=8.5)
    figure.draw_without_rendering()  # labels at the ends of lines want to know how large the axes are
    for ax, (title, panel) in zip(axes.flat, panels.items()):
        ax.set_title(style.plain(title), size=10)
        if (what := of.get(title, title)) in own.log:
            (ax.set_yscale if has_lines(panel) else ax.set_xscale)("log")
            _few_ticks(ax.yaxis if has_lines(panel) else ax.xaxis, panel)
        if has_lines(panel):
            if what != title:
                ax.sharey(axes.flat[0])
            if own.along in own.log:
                ax.set_xscale("log")
            _lines(ax, panel, own.along)
        elif panel:
            numbers = {name: next(iter(line.values())) for name, line in panel.items()}
            looks = style.looks(numbers) if title in of else dict.fromkeys(numbers, NEUTRAL)
            _dots(ax, numbers, wanted(result, what, panel), looks)
        else:
            ax.set_axis_off()
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    figure.savefig(path, dpi=120, format="png")
    plt.close(figure)


def subtitle(result: Result) -> str:
    """Whose statement it is, at which single depth, on which data and how many seeds."""
    depth, seeds = only_depth(result), len(result.by_seed())
    parts = [result.sweep.experiment.source.replace("*", "")]  # the emphasis of Markdown
    parts += [f"depth {depth}"] if depth is not None else []
    parts += [job.data for job in result.jobs[:1] if job.data]
    parts += [f"{seeds} seeds: mean and range" if seeds > 1 else "1 seed" if seeds else "no job is done"]
    return " · ".join(parts)


def second(result: Result) -> str:
    """Whether the criteria hold at the experiment's second setting."""
    also, at = result.also(), result.sweep.experiment.second_setting
    fails = [name for name, (_, holds) in also.items() if not holds]
    too = " also" if all(holds for *_, holds in result.sweep.experiment.verdicts(result.found())) else ""
    return f"not at {at}: {'; '.join(fails)}" if fails else f"holds{too} at {at}" if also else ""


def only_depth(result: Result) -> int | None:
    """The depth, if all jobs have the same; it is in the title, and not in the names of lines."""
    depths = {job.cell.depth for job in result.jobs}
    return depths.pop() if len(depths) == 1 else None


def points(result: Result) -> dict[str, Points]:
    """{what: {line: {x: numbers over seeds}}}; of an experiment with a single cell, all whats are in one panel."""
    own, found = result.sweep.experiment, dict[str, Points]()
    several = len({job.cell for job in result.jobs}) > 1
    for job in result.jobs:
        for full, value in (result.done[job].numbers if job in result.done else {}).items():
            what, x, cell = full, 0.0, job.cell
            head, _, tail = full.rpartition(f", {own.along} ")
            if own.along != "depth" and head and _is_number(tail):
                what, x = head, float(tail)
            elif own.along == "depth" and cell.depth is not None:
                x, cell = float(cell.depth), Cell(cell.variant)
            line = Cell(cell.variant, None if only_depth(result) else cell.depth).name("")
            panel, line = (what, line) if several or own.along != "depth" else ("", what)
            found.setdefault(panel, {}).setdefault(line, {}).setdefault(x, []).append(value)
    return found


def by_variant(result: Result, what: str, lines: Points) -> dict[str, Points]:
    """A panel for each variant, if there are lines of several variants and of several depths each."""
    variants, depths = (len(set(of)) for of in zip(*(job.cell for job in result.jobs)))
    if result.sweep.experiment.along == "depth" or variants < 2 or depths < 2:
        return {what: lines}
    found: dict[str, Points] = {}
    for name, line in lines.items():
        variant, _, depth = name.rpartition("-")
        found.setdefault(f"{what}: {variant}", {})[f"depth {depth}"] = line
    return found


def shown(result: Result) -> dict[str, Points]:
    """Those of `points` that the experiment shows; with a single cell, whose numbers are in one panel, those rows."""
    found, shows = points(result), result.sweep.experiment.shows
    if "" in found:
        return {"": {what: line for what, line in found[""].items() if not shows or what in shows}}
    return {what: lines for what, lines in found.items() if not shows or what in shows}


def has_lines(panel: Points) -> bool:
    """Whether there are several x."""
    return any(len(line) > 1 for line in panel.values())


def wanted(result: Result, what: str, panel: Points) -> dict[str, Bounds]:
    """The bounds of the rows of a panel that have some."""
    bounds, depth = result.sweep.experiment.bounds, only_depth(result)
    names = {row: (row, Cell(row or None, depth).name(what)) for row in panel}
    return {row: bounds[name] for row, both in names.items() for name in both if name in bounds}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _lines(ax: Any, lines: Points, along: str) -> None:
    """The mean over seeds as a line, their range as a band; a seed that lacks a point leaves it to the others."""
    from ..flow.plots import style

    looks, ends = style.looks(lines), []
    for name, line in lines.items():
        x = sorted(line)
        means, colour = [float(np.mean(line[at])) for at in x], looks[name]["color"]
        ax.plot(x, means, **{"lw": 1.8, "ms": 5} | looks[name])
        if any(len(line[at]) > 1 for at in x):
            ax.fill_between(x, [min(line[at]) for at in x], [max(line[at]) for at in x], color=colour, alpha=0.2, lw=0)
        ends.append((means[-1], name, colour))
    ticks = sorted({at for line in lines.values() for at in line})
    if len(ticks) <= 8:
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel(along)
    style.label_ends(ax, ends)


def _few_ticks(axis: Any, panel: Points) -> None:
    """Plain numbers on a logarithmic axis, few if it is long."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = [value for line in panel.values() for numbers in line.values() for value in numbers if value > 0]
    decades = math.log10(max(values) / min(values)) if values else 0
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1, 3) if decades < 4 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _dots(
    ax: Any, numbers: Mapping[str, list[float]], wanted: Mapping[str, Bounds], looks: Mapping[str, dict[str, Any]]
) -> None:
    """A row for each line: its seeds as dots, their mean as a bar."""
    from matplotlib.ticker import MaxNLocator

    from ..flow.plots import style

    for row, (name, values) in enumerate(numbers.items()):
        colour = looks[name]["color"]
        ax.plot(values, [row] * len(values), looks[name]["marker"], color=colour, ms=6, alpha=0.6, mew=0)
        ax.plot([float(np.mean(values))] * 2, [row - 0.3, row + 0.3], color=colour, lw=2)
    ax.margins(x=0.1)
    low, high = ax.get_xlim()
    for row, name in enumerate(numbers):
        if name in wanted:
            left, right = max(wanted[name][0], low), min(wanted[name][1], high)
            if left < right:
                ax.fill_betweenx([row - 0.4, row + 0.4], left, right, color=style.TOTAL, alpha=0.15, lw=0, zorder=0)
    ax.set_xlim(low, high)
    if ax.get_xscale() == "linear":
        ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_yticks(range(len(numbers)), [style.plain(textwrap.fill(name, 28)) for name in numbers])
    ax.set_ylim(len(numbers) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.3)
