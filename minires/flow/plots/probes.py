"""Panels of the probes: lesion study, layer responses, shattered gradients, growth of variance.

Each takes {name of the network: result}, so that plain and residual stand on the same axes, and ``when``, the moment in
training, for the title. Networks called "plain…" and "residual…" keep their colours in all figures.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..lesion import Lesion
from ..responses import Responses
from ..shattering import Shattering
from ..variance import VarianceProfile
from .style import TOTAL, label_ends, looks, shade_stages


def lesion(ax: Axes, results: Mapping[str, Lesion], when: str = "") -> Axes:
    """Accuracy without each block; the intact networks as thin lines, chance dotted, changes of shape ringed.

    The figure of Veit et al. 2016 (arXiv 1605.06431, fig. 3), with accuracy in place of error.
    """
    longest = max((result.names for result in _checked("lesion", results)), key=len)
    _stages(ax, longest)
    ends = []
    for network, look in looks(results).items():
        result, colour = results[network], look["color"]
        x = np.arange(1, len(result.names) + 1)
        ax.axhline(result.intact_accuracy, 0, len(longest) / _width(longest), color=colour, lw=1, alpha=0.7)
        ax.plot(x, result.accuracy, **look, ms=4.5, lw=1.2)
        rings = result.stage_change
        ax.plot(x[rings], result.accuracy[rings], "o", ms=11, mfc="none", mec=colour, mew=1.2)
        ends.append((result.accuracy[-1], f"{network}\nintact {100 * result.intact_accuracy:.1f} %", colour))
    chance = 1 / next(iter(results.values())).classes
    ax.axhline(chance, color=TOTAL, ls=":", lw=1.2)
    ax.text(0.6, chance + 0.015, "chance", size=8, va="bottom")
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel("accuracy")
    return _finish(ax, ends, longest, "deleted block (ringed: changes the shape)", _title("One block deleted", when))


def responses(ax: Axes, results: Mapping[str, Responses], when: str = "", *, ranked: bool = False) -> Axes:
    """Standard deviation of each convolution's response, in forward order, or ``ranked`` from large to small.

    The two halves of fig. 7 of He et al. 2015 (arXiv 1512.03385).
    """
    longest = max((result.names for result in _checked("responses", results)), key=len)
    if not ranked:
        _stages(ax, longest)
    ends = []
    for network, look in looks(results).items():
        std = results[network].ranked if ranked else results[network].std
        ax.plot(np.arange(1, len(std) + 1), std, **look, ms=4, lw=1.3)
        ends.append((std[-1], network, look["color"]))
    ax.set_ylim(0, 1.08 * max(result.std.max() for result in results.values()))
    ax.set_ylabel("std of the response")
    label = "rank" if ranked else "convolution, from input to output"
    return _finish(ax, ends, longest, label, _title("Layer responses" + (", ranked" if ranked else ""), when))


def variance(
    ax: Axes,
    results: Mapping[str, VarianceProfile],
    when: str = "",
    *,
    gradient: bool = False,
    theory: Mapping[str, Sequence[float]] | None = None,
) -> Axes:
    """Variance of the activations, or of the ``gradient``, at the first block's input (0) and every block's output.

    theory: dotted lines by their label, such as ``{"2^ℓ": 2.0 ** np.arange(11), "1 + ℓ": np.arange(11) + 1}``.
    """
    longest = max((result.names[1:] for result in _checked("variance", results)), key=len)
    _stages(ax, longest)
    for values in (theory or {}).values():
        ax.plot(np.arange(len(values)), values, ":", color=TOTAL, lw=1.6, zorder=3)
    ends = []
    for network, look in looks(results).items():
        values = results[network].gradient if gradient else results[network].activation
        if values is None:
            raise ValueError(
                f"plots.variance: got no gradient for {network!r}; record it: variance_profile(…, backward=loss)"
            )
        ax.plot(np.arange(len(values)), values, **look, ms=4, lw=1.3)
        ends.append((values[-1], network, look["color"]))
    ax.set_yscale("log", base=2)
    for label, values in (theory or {}).items():
        middle = len(values) // 2
        ax.annotate(label, (middle, values[middle]), (-4, 5), textcoords="offset points", ha="right", size=9)
    what = "gradient" if gradient else "activations"
    ax.set_ylabel(f"variance of the {what}")
    _finish(ax, ends, longest, "block ℓ, from input to output", _title(f"Variance of the {what}", when), first=0)
    return ax


def shattering(
    ax: Axes, results: Mapping[str, Shattering | Sequence[Shattering]], when: str = "", *, lags: int = 15
) -> Axes:
    """Autocorrelation of the gradient along the line; of several results (seeds) the mean, and a band from min to max.

    Fig. 2 of Balduzzi et al. 2017 (arXiv 1702.08591). White noise, the gradient of a shattered network, is 0 (dotted).
    """
    _checked("shattering", results)
    ax.axhline(0, color=TOTAL, ls=":", lw=1.4)
    ends = []
    for network, look in looks(results).items():
        curves = np.array([result.autocorrelation[: lags + 1] for result in _as_list(results[network])])
        mean, x = curves.mean(0), np.arange(curves.shape[1])
        if len(curves) > 1:
            ax.fill_between(x, curves.min(0), curves.max(0), color=look["color"], alpha=0.2, lw=0)
        ax.plot(x, mean, **look, ms=4, lw=1.4)
        ends.append((mean[-1], network, look["color"]))
    ends.append((0.0, "white noise", rcParams["text.color"]))
    ax.set_ylim(min(ax.get_ylim()[0], -0.12), 1.04)
    ax.set_ylabel("autocorrelation of df/dt")
    return _finish(ax, ends, range(lags), "lag, in grid points", _title("Shattering of the gradient", when), first=0)


def input_gradient(ax: Axes, results: Mapping[str, Shattering], when: str = "") -> Axes:
    """The gradient along the line of inputs, each network's in units of its own standard deviation, one above the other.

    Fig. 1 of Balduzzi et al. 2017 (arXiv 1702.08591).
    """
    _checked("input_gradient", results)
    middles = []
    for i, (network, look) in enumerate(looks(results).items()):
        result = results[network]
        scale = result.gradient.std() or 1.0
        middles.append(-7.0 * i)
        ax.axhline(middles[-1], color=TOTAL, ls=":", lw=0.8)
        ax.plot(result.points, (result.gradient - result.gradient.mean()) / scale + middles[-1], color=look["color"], lw=1)
        ax.text(0.01, middles[-1] + 2.6, network, color=look["color"], size=9, transform=ax.get_yaxis_transform())
    ax.set_yticks(middles, ["0"] * len(middles))
    ax.set_ylim(middles[-1] - 4, 4)
    ax.set_xlabel("position t along the line of inputs")
    ax.set_ylabel("df/dt, mean 0 and std 1")
    ax.set_title(_title("Gradient along a line", when), size=11)
    return ax


# ── what the panels share ───────────────────────────────────────────────────────────────────────────────────────────


def _checked(panel: str, results: Mapping[str, Any]) -> Iterable[Any]:
    if not isinstance(results, Mapping) or not results:
        raise TypeError(
            f"plots.{panel}: got {type(results).__name__} {'' if results else 'without entries'}; expected a dict such "
            'as {"plain": result, "residual": result}'
        )
    return results.values()


def _as_list(results: Any) -> list[Any]:
    return list(results) if isinstance(results, list | tuple) else [results]


def _title(what: str, when: str) -> str:
    return f"{what}, {when}" if when else what


def _stages(ax: Axes, names: Sequence[str]) -> None:
    """Shade the stages where there are several."""
    if len({name.split(".")[0] for name in names}) > 1:
        shade_stages(ax, names)


def _width(names: Sequence[Any]) -> float:
    """Length of the x-axis: the blocks, and room for the labels at the right."""
    return 1.3 * len(names) + 0.5


def _finish(ax: Axes, ends: list, names: Sequence[Any], xlabel: str, title: str, first: int = 1) -> Axes:
    """Limits, labels beside the lines' ends, and title."""
    n = len(names)
    ax.set_xlim(first - 0.5, first - 0.5 + _width(names))
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_xticks([tick for tick in ax.get_xticks() if first <= tick <= n])
    label_ends(ax, n + 0.03 * _width(names), ends, ha="left")
    ax.set_xlabel(xlabel)
    ax.set_title(title, size=11, pad=16)
    return ax
