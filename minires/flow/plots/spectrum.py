"""The panel of the path spectrum."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..paths import PathSpectrum
from . import sentences
from .axes import nothing, say, start_panel
from .style import TOTAL, looks, nonempty, plain

HATCH = ["", "///", "...", "xxx"]


def path_spectrum(ax: Axes, results: PathSpectrum | Mapping[str, PathSpectrum], when: str = "") -> Axes:
    """How long the paths that carry the gradient are (bars, ‖G[k]‖²), and how long all paths are (grey outline).

    Both are shares, of Σ‖G[k]‖² and of all 2ⁿ paths, so that their shapes can be compared. Dots: the share that Veit's
    sampled estimate gives to k, where paths were sampled. Vertical lines: the mean length that each implies.
    results: {name of the network: `PathSpectrum`}, or one `PathSpectrum`, which stays without a name; several networks
    stand side by side at each k.
    """
    if isinstance(results, PathSpectrum):
        results = {"": results}
    nonempty("path_spectrum", results)
    start_panel(ax, [], "Path spectrum", when)
    say(ax, sentences.path_spectrum(results))
    if not any(np.any(result.norms) for result in results.values()):
        return nothing(ax, "No gradient came back along any path.")
    networks = looks(network or "residual" for network in results)
    width, text = 0.84 / len(networks), rcParams["text.color"]
    marks: list[tuple[float, str, str, Any]] = []
    for blocks in sorted({result.blocks for result in results.values()}):
        counts = next(result.counts for result in results.values() if result.blocks == blocks)
        outline = counts / counts.sum(), np.arange(blocks + 2) - 0.5
        ax.stairs(*outline, color=TOTAL, alpha=0.2, fill=True, zorder=1)
        ax.stairs(*outline, color=TOTAL, lw=1.6, zorder=3)
        marks.append((blocks / 2, f"all 2$^{{{blocks}}}$ paths (outline)\nmean length {blocks / 2:.1f}", text, ":"))
    for i, ((network, result), look) in enumerate(zip(results.items(), networks.values())):
        colour = look["color"]
        squares = (result.norms / (result.norms.max() or 1.0)) ** 2  # alone they may underflow
        share = squares / (squares.sum() or 1.0)
        x = np.arange(len(share)) + (i - (len(networks) - 1) / 2) * width
        edge = {"edgecolor": rcParams["axes.facecolor"], "lw": 0.5, "hatch": HATCH[i % len(HATCH)]}
        ax.bar(x, share, width, color=colour, zorder=2, **edge)
        marks.append(
            (
                result.effective_length,
                f"{plain(network) or 'gradient'} (bars)\nmean {result.effective_length:.1f}",
                colour,
                "-",
            )
        )
        if result.sampled is not None:
            ax.plot(x, result.sampled / result.sampled.sum(), look["marker"], color=colour, mec=text, ms=4.5, zorder=4)
            marks.append((result.sampled_length, f"sampled (dots)\nmean {result.sampled_length:.1f}", colour, "--"))
    longest = max(result.blocks for result in results.values())
    ax.set_xlim(-0.6, longest + 0.6)
    _mark(ax, marks)
    ax.set_xlabel("k, the number of branches a path crosses")
    ax.set_ylabel("share of Σ‖G[k]‖², share of the paths")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def _mark(ax: Axes, marks: Sequence[tuple[float, str, str, Any]]) -> None:
    """Vertical lines at (x, label, colour, line style), labelled above the data in as many rows as they need."""
    left, right = ax.get_xlim()
    extent, dpi = ax.get_window_extent(), ax.figure.dpi
    per_character = 0.066 * (right - left) / (extent.width / dpi)  # 0.066 inches
    rows: list[list[tuple[float, float]]] = []  # spans taken in each row, counted from above the data
    placed: list[tuple[float, float, int, str, str, Any]] = []
    for x, label, colour, line in sorted(marks, key=lambda mark: -mark[0]):
        width = (max(map(len, label.replace("$^{", "").split("\n"))) + 1) * per_character
        start = min(x, right - width)
        row = next((i for i, taken in enumerate(rows) if all(start + width < a for a, _ in taken)), len(rows))
        lines_above = [r for at, _, r, *_ in placed if r > row and start < at < start + width]
        row = max([row, *(r + 1 for r in lines_above)])  # no line to a higher row goes through this label
        if row == len(rows):
            rows.append([])
        rows[row].append((start, start + width))
        placed.append((x, start, row, label, colour, line))
    row_height = 0.36 / (extent.height / dpi)
    data = max(1 - row_height * (len(rows) + 0.35), 0.3)  # the share of the axes' height that is left for the data
    ax.set_ylim(0, ax.get_ylim()[1] / data)
    paper = {"facecolor": rcParams["axes.facecolor"], "edgecolor": "none", "pad": 1}  # no line runs through a label
    style: dict[str, Any] = {"size": 8.5, "va": "center", "linespacing": 1.05, "bbox": paper}
    style["transform"] = ax.get_xaxis_transform()
    for x, start, row, label, colour, line in placed:
        height = data + row_height * (row + 0.55)
        top = height + row_height * 0.4
        ax.plot([x, x], [0, top], color=colour, ls=line, lw=1.5, transform=ax.get_xaxis_transform(), zorder=5)
        ax.text(start + 0.8 * per_character, height, label, color=colour, zorder=6, **style)
