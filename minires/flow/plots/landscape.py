"""Panels of the loss landscape: along a line, and over a plane."""

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes

from ..landscape import Landscape
from . import sentences
from .axes import log_scale, say, start_panel
from .style import NETWORK, label_ends, looks, nonempty


def landscape(ax: Axes, results: Mapping[str, Landscape], when: str = "") -> Axes:
    """Loss along one filter-normalised direction, several networks on one logarithmic scale; 0 is the model itself.

    results: {name of the network: one-dimensional `Landscape`}.
    """
    for result in nonempty("landscape", results):
        _check_dimensions("landscape", result, 1)
    start_panel(ax, [], "Loss along a random direction", when)
    ends = []
    for network, look in looks(results).items():
        result = results[network]
        ax.plot(result.steps, result.loss, **look, ms=3.5, lw=1.5)
        finite = result.loss[np.isfinite(result.loss)]
        ends.append((float(finite[-1]) if finite.size else 1.0, network, look["color"]))
    log_scale(ax)
    ax.set_ylabel("loss")
    left, right = (float(f([f(result.steps) for result in results.values()])) for f in (np.min, np.max))
    ax.margins(x=0.02)
    ax.set_xticks(np.linspace(left, right, 5))
    label_ends(ax, ends)
    say(ax, sentences.landscape(results))
    ax.set_xlabel("step, in norms of the filters")
    return ax


def landscape_2d(
    ax: Axes, result: Landscape, network: str = "", when: str = "", *, levels: Iterable[float] | None = None
) -> Axes:
    """Contours of the loss over the plane of two filter-normalised directions; the cross in the middle is the model.

    levels: of the contour lines; take `contour_levels` of all networks that stand side by side.
    """
    _check_dimensions("landscape_2d", result, 2)
    levels = list(levels) if levels is not None else contour_levels([result])
    loss = np.clip(np.nan_to_num(result.loss.T, nan=np.inf), levels[0], levels[-1])  # first direction to the right
    ax.contourf(result.steps, result.steps, loss, levels=levels, cmap="Blues", norm="log")
    lines = ax.contour(result.steps, result.steps, loss, levels=levels[1:-1], colors="#222222", linewidths=0.8)
    texts = ax.clabel(lines, fmt=lambda value: f"{value:.0f}" if value >= 100 else f"{value:.2g}", fontsize=7)
    for text in texts:
        if np.abs(text.get_position()).max() > 0.92 * result.steps[-1]:
            text.remove()  # the edge would cut it
        text.set_bbox({"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75})
    ax.plot(0, 0, "+", color=NETWORK["plain"], ms=11, mew=2)
    ax.set_aspect("equal")
    what = f"{network}, loss" if network else "Loss over two random directions"
    start_panel(ax, [], what, when)
    say(ax, sentences.landscape({network: result}))
    ticks = np.linspace(result.steps[0], result.steps[-1], 5)
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.set_xlabel("step along direction 1")
    ax.set_ylabel("step along direction 2")
    return ax


def contour_levels(results: Iterable[Landscape], most: int = 10) -> list[float]:
    """Levels of the loss for contour lines, evenly spaced in its logarithm, that suit all of these landscapes."""
    found = [result.loss[np.isfinite(result.loss) & (result.loss > 0)] for result in results]
    losses = np.concatenate([np.empty(0), *found])
    if not losses.size:
        raise ValueError("contour_levels: got no landscape with a finite, positive loss")
    low, high = losses.min(), np.quantile(losses, 0.98)
    return [float(level) for level in np.geomspace(low, max(high, low * 1.01), most)]


def _check_dimensions(panel: str, result: Landscape, wanted: int) -> None:
    if result.dimensions != wanted:
        other = "landscape_2d" if wanted == 1 else "landscape"
        raise ValueError(
            f"plots.{panel}: got a landscape of {result.dimensions} dimensions, expected {wanted}; "
            f"use plots.{other}, or flow.landscape(…, dimensions={wanted})"
        )
