"""Panels of the probes: lesion study, layer responses, shattered gradients, growth of variance.

Each takes {name of the network: result}, so that plain and residual stand on the same axes, and ``when``, the moment in
training, for the title. Networks called "plain…" and "residual…" keep their colours in all figures.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

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
    _start(ax, longest, "One block deleted", when)
    width, ends = (0.5, len(longest) + 0.5), []
    for network, look in looks(results).items():
        result, colour = results[network], look["color"]
        x = np.arange(1, len(result.names) + 1)
        ax.hlines(result.intact_accuracy, *width, color=colour, lw=1, alpha=0.7)
        ax.plot(x, result.accuracy, **look, ms=4.5, lw=1.2)
        rings = result.stage_change
        ax.plot(x[rings], result.accuracy[rings], "o", ms=11, mfc="none", mec=colour, mew=1.2)
        ends.append((result.accuracy[-1], f"{network}\nintact {100 * result.intact_accuracy:.1f} %", colour))
    chance = 1 / next(iter(results.values())).classes
    ax.hlines(chance, *width, color=TOTAL, ls=":", lw=1.4)
    ends.append((chance, "chance", rcParams["text.color"]))
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel("accuracy")
    return _finish(ax, "deleted block (ringed: changes the shape)", 1, len(longest), ends)


def responses(ax: Axes, results: Mapping[str, Responses], when: str = "", *, ranked: bool = False) -> Axes:
    """Standard deviation of each convolution's response, in forward order, or ``ranked`` from large to small.

    The two halves of fig. 7 of He et al. 2015 (arXiv 1512.03385).
    """
    longest = max((result.names for result in _checked("responses", results)), key=len)
    _start(ax, [] if ranked else longest, "Layer responses" + (", ranked" if ranked else ""), when)
    ends = []
    for network, look in looks(results).items():
        std = results[network].ranked if ranked else results[network].std
        ax.plot(np.arange(1, len(std) + 1), std, **look, ms=4, lw=1.3)
        ends.append((std[-1], network, look["color"]))
    ax.set_ylim(0, 1.08 * max(result.std.max() for result in results.values()))
    ax.set_ylabel("std of the response")
    return _finish(ax, "rank" if ranked else "convolution, from input to output", 1, len(longest), ends)


def variance(
    ax: Axes,
    results: Mapping[str, VarianceProfile],
    when: str = "",
    *,
    gradient: bool = False,
    theory: Mapping[str, Sequence[float]] | None = None,
) -> Axes:
    """Variance of the activations, or of the ``gradient``, at the first block's input (0) and every block's output.

    theory: dotted lines by their label, such as ``{r"$2^\\ell$": 2.0 ** np.arange(11)}``.
    """
    longest = max((result.names[1:] for result in _checked("variance", results)), key=len)
    what = "gradient" if gradient else "activations"
    _start(ax, longest, f"Variance of the {what}", when)
    for label, expected in (theory or {}).items():
        ax.plot(np.arange(len(expected)), expected, ":", color=TOTAL, lw=1.6, zorder=3)
        here = 3 * len(expected) // 4
        at = here, expected[here]
        ax.annotate(label, at, (-4, 5), textcoords="offset points", ha="right", size=9)
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
    ax.set_ylabel(f"variance of the {what}")
    return _finish(ax, "block ℓ, from input to output", 0, len(longest), ends)


def shattering(
    ax: Axes, results: Mapping[str, Shattering | Sequence[Shattering]], when: str = "", *, lags: int = 15
) -> Axes:
    """Autocorrelation of the gradient along the line; of several results (seeds) the mean, and a band from min to max.

    Fig. 2 of Balduzzi et al. 2017 (arXiv 1702.08591). White noise, the gradient of a shattered network, is 0 (dotted).
    """
    _checked("shattering", results)
    _start(ax, [], "Shattering of the gradient", when)
    ax.hlines(0, -0.5, lags + 0.5, color=TOTAL, ls=":", lw=1.4)
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
    return _finish(ax, "lag, in grid points", 0, lags, ends)


def input_gradient(ax: Axes, results: Mapping[str, Shattering], when: str = "") -> Axes:
    """The gradient along the line of inputs, in units of its standard deviation; the networks one above the other.

    Fig. 1 of Balduzzi et al. 2017 (arXiv 1702.08591).
    """
    _checked("input_gradient", results)
    _start(ax, [], "Gradient along a line of inputs", when)
    middles = []
    for i, (network, look) in enumerate(looks(results).items()):
        result = results[network]
        standard = (result.gradient - result.gradient.mean()) / (result.gradient.std() or 1.0)
        middles.append(-7.0 * i)
        ax.axhline(middles[-1], color=TOTAL, ls=":", lw=0.8)
        ax.plot(result.points, standard + middles[-1], color=look["color"], lw=1)
        ax.text(0.01, middles[-1] + 2.6, network, color=look["color"], size=9, transform=ax.get_yaxis_transform())
    ax.set_yticks(middles, ["0"] * len(middles))
    ax.set_ylim(middles[-1] - 4, 4)
    ax.set_xlabel("position t along the line of inputs")
    ax.set_ylabel("df/dt, mean 0 and std 1")
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


def _start(ax: Axes, names: Sequence[str], what: str, when: str) -> None:
    """Title, and shaded stages where there are several."""
    stages = len({name.split(".")[0] for name in names}) > 1
    if stages:
        shade_stages(ax, names)
    ax.set_title(f"{what}, {when}" if when else what, size=11, pad=16 if stages else 6)


def _finish(ax: Axes, xlabel: str, first: int, last: int, ends: list[tuple[float, str, str]]) -> Axes:
    """Ticks from ``first`` to ``last``, and the labels ``ends`` in a margin as wide as they need."""
    longest = max(len(line) for _, label, _ in ends for line in label.split("\n"))
    inches = ax.get_window_extent().width / ax.figure.dpi
    share = min(0.073 * longest / inches + 0.03, 0.5)  # of the axes; a character takes 0.073 inches
    length = last - first + 1
    ax.set_xlim(first - 0.5, first - 0.5 + length / (1 - share))
    step = 1 if length <= 13 else 5 if length <= 31 else 10
    ax.set_xticks(sorted({first, *range(-(-first // step) * step, last + 1, step)}))
    label_ends(ax, last + 0.5 + 0.015 * length, ends, ha="left")
    ax.set_xlabel(xlabel)
    return ax
