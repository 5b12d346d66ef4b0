"""The figure of a sweep: a panel for each number, a line or row for each variant, and a band or dots over seeds."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from .experiment import Cell
from .sweep import Result

PANELS = 6  # at most
Points = dict[str, dict[float, list[float]]]  # {line: {x: its numbers over seeds}}


def draw(path: Path, result: Result) -> None:
    """Write the figure, as PNG."""
    import matplotlib  # slow to import, and needed only here

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ..flow.plots import style

    own = result.sweep.experiment
    panels = {what: lines for what, lines in points(result).items() if not own.shows or what in own.shows}
    panels = dict(list(panels.items())[:PANELS]) or {"": {}}
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(4.6 * columns, 6.4), 3.6 * rows + 0.9), squeeze=False, layout="constrained"
    )
    seeds = len({job.seed for job in result.done})
    count = f"{seeds} seed{'' if seeds == 1 else 's'}: mean and range" if seeds else "no job is done"
    figure.suptitle(style.plain(f"{own.statement}\n{own.source} · {count}"), size=11, wrap=True)
    figure.draw_without_rendering()  # labels at the ends of lines want to know how large axes are
    for ax, (what, lines) in zip(axes.flat, panels.items()):
        ax.set_title(style.plain(what), size=10)
        if what in own.log:
            ax.set_yscale("log")
        if any(len(line) > 1 for line in lines.values()):
            _lines(ax, lines, own.along)
        elif lines:
            _dots(ax, {name: next(iter(line.values())) for name, line in lines.items()})
        else:
            ax.set_axis_off()
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    figure.savefig(path, dpi=120, format="png")
    plt.close(figure)


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
            line = cell.name("")
            panel, line = (what, line) if several or own.along != "depth" else ("", what)
            found.setdefault(panel, {}).setdefault(line, {}).setdefault(x, []).append(value)
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _lines(ax: Any, lines: Any, along: str) -> None:
    """Lines of one variant each; seeds that lack a point leave it to the others."""
    from ..flow.plots import style

    looks = style.looks(lines)
    ends = []
    for name, line in lines.items():
        x = sorted(line)
        means = [float(np.mean(line[at])) for at in x]
        colour = looks[name]["color"]
        ax.plot(x, means, **{"lw": 1.8, "ms": 5} | looks[name])
        if any(len(line[at]) > 1 for at in x):
            ax.fill_between(x, [min(line[at]) for at in x], [max(line[at]) for at in x], color=colour, alpha=0.2, lw=0)
        ends.append((means[-1], name, colour))
    ticks = sorted({at for line in lines.values() for at in line})
    ax.set_xlabel(along)
    if len(ticks) <= 8:
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    style.label_ends(ax, ends)


def _dots(ax: Any, numbers: Any) -> None:
    """A row for each line: its seeds as dots, their mean as a bar."""
    from ..flow.plots import style

    looks = style.looks(numbers)
    for row, (name, values) in enumerate(numbers.items()):
        colour = looks[name]["color"]
        ax.plot(values, [row] * len(values), looks[name]["marker"], color=colour, ms=6, alpha=0.6, mew=0)
        ax.plot([float(np.mean(values))] * 2, [row - 0.3, row + 0.3], color=colour, lw=2)
    ax.set_yticks(range(len(numbers)), [style.plain(name) for name in numbers])
    ax.set_ylim(len(numbers) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.3)
