"""Panels of the probes: lesion study, layer responses, shattered gradients, growth of variance.

Each takes {name of the network: result}, so that plain and residual share the same axes, and for the title ``when``,
the moment in training. Networks called "plain…" and "residual…" keep their colours in all figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ...norms import moments
from ..lesion import Lesion
from ..responses import Responses
from ..shattering import Shattering
from ..variance import VarianceProfile
from . import sentences
from .axes import finish_panel, log_scale, mark_zeros, nothing, say, start_panel
from .style import TOTAL, label_ends, looks, nonempty


def lesion(ax: Axes, results: Mapping[str, Lesion], when: str = "") -> Axes:
    """Accuracy without each block: intact networks are thin lines, chance is dotted, changes of shape are ringed.

    The figure of Veit et al. 2016 (arXiv 1605.06431, fig. 3), with accuracy in place of error; where targets are no
    class indices, with the loss.
    """
    longest = max((result.names for result in nonempty("lesion", results)), key=len)
    start_panel(ax, longest, "One block deleted", when)
    width, ends = (0.5, len(longest) + 0.5), []
    what = "loss" if any(np.isnan(result.intact_accuracy) for result in results.values()) else "accuracy"
    for network, look in looks(results).items():
        result, colour = results[network], look["color"]
        intact, without = getattr(result, f"intact_{what}"), getattr(result, what)
        x = np.arange(1, len(result.names) + 1)
        ax.hlines(intact, *width, color=colour, lw=1, alpha=0.7)
        ax.plot(x, without, **look, ms=4.5, lw=1.2)
        rings = result.stage_change
        ax.plot(x[rings], without[rings], "o", ms=11, mfc="none", mec=colour, mew=1.2)
        known = sentences.number(intact) if what == "loss" else f"{100 * intact:.1f} %"
        ends.append((without[-1], f"{network}\nintact {known}", colour))
    if what == "accuracy":
        chance = 1 / next(iter(results.values())).classes
        ax.hlines(chance, *width, color=TOTAL, ls=":", lw=1.4)
        ends.append((chance, "chance", rcParams["text.color"]))
        ax.set_ylim(0, 1.02)
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel(what)
    xlabel = "deleted block (ringed: changes the shape)"
    return finish_panel(ax, xlabel, 1, len(longest), ends, sentences.lesion(results, what))


def responses(ax: Axes, results: Mapping[str, Responses], when: str = "", *, ranked: bool = False) -> Axes:
    """Standard deviation of each convolution's response, in forward order, or ``ranked`` from large to small.

    The two halves of fig. 7 of He et al. 2015 (arXiv 1512.03385).
    """
    longest = max((result.names for result in nonempty("responses", results)), key=len)
    what = "Layer responses" + (", ranked" if ranked else "")
    start_panel(ax, [] if ranked else longest, what, when)
    ends = []
    for network, look in looks(results).items():
        std = results[network].ranked if ranked else results[network].std
        ax.plot(np.arange(1, len(std) + 1), std, **look, ms=4, lw=1.3)
        ends.append((std[-1], network, look["color"]))
    ax.set_ylim(0, 1.08 * max(result.std.max() for result in results.values()) or 1.0)
    ax.set_ylabel("std of the response")
    xlabel = "rank" if ranked else "convolution, from input to output"
    return finish_panel(ax, xlabel, 1, len(longest), ends, sentences.responses(results))


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
    longest = max((result.names[1:] for result in nonempty("variance", results)), key=len)
    what = "gradient" if gradient else "activations"
    for network, result in results.items():
        if gradient and result.gradient is None:
            raise ValueError(
                f"plots.variance: got no gradient for {network!r}; record it: variance_profile(…, backward=loss)"
            )
    start_panel(ax, longest, f"Variance of the {what}", when)
    for label, expected in (theory or {}).items():
        ax.plot(np.arange(len(expected)), expected, ":", color=TOTAL, lw=1.6, zorder=3)
        here = 3 * len(expected) // 4
        at = here, expected[here]
        ax.annotate(label, at, (-4, 5), textcoords="offset points", ha="right", size=9)
    ends = []
    for network, look in looks(results).items():
        values = np.asarray(results[network].gradient if gradient else results[network].activation)
        ax.plot(np.arange(len(values)), np.where(values > 0, values, np.nan), **look, ms=4, lw=1.3)
        mark_zeros(ax, range(len(values)), values, look["color"])
        ends.append((values[-1], network, look["color"]))
    log_scale(ax, base=2)
    ax.set_ylabel(f"variance of the {what}")
    sentence = sentences.variance(results, gradient)
    return finish_panel(ax, "block ℓ, from input to output", 0, len(longest), ends, sentence)


def shattering(
    ax: Axes, results: Mapping[str, Shattering | Sequence[Shattering]], when: str = "", *, lags: int = 15
) -> Axes:
    """Autocorrelation of the gradient along the line; for several results (seeds) the mean, in a band from min to max.

    Fig. 2 of Balduzzi et al. 2017 (arXiv 1702.08591). White noise, the gradient of a shattered network, is 0 (dotted).
    """
    nonempty("shattering", results)
    runs = {
        network: np.array([result.autocorrelation[: lags + 1] for result in _as_list(found)])
        for network, found in results.items()
    }
    means = {network: curves.mean(0) for network, curves in runs.items()}
    start_panel(ax, [], "Shattering of the gradient", when)
    known = {network: mean for network, mean in means.items() if not np.isnan(mean).all()}
    if not known:
        say(ax, sentences.shattering(means))
        return nothing(ax, "The gradient is the same all along the line:\nit has no autocorrelation.")
    ax.hlines(0, -0.5, lags + 0.5, color=TOTAL, ls=":", lw=1.4)
    ends = [(0.0, "white noise", rcParams["text.color"])]
    for network, look in looks(results).items():
        if network not in known:
            continue
        curves, mean = runs[network], known[network]
        x = np.arange(len(mean))
        if len(curves) > 1:
            ax.fill_between(x, curves.min(0), curves.max(0), color=look["color"], alpha=0.2, lw=0)
        ax.plot(x, mean, **look, ms=4, lw=1.4)
        ends.append((mean[-1], network, look["color"]))
    ax.set_ylim(min(ax.get_ylim()[0], -0.12), 1.04)
    ax.set_ylabel("autocorrelation of df/dt")
    return finish_panel(ax, "lag, in grid points", 0, lags, ends, sentences.shattering(means))


def input_gradient(ax: Axes, results: Mapping[str, Shattering], when: str = "") -> Axes:
    """The gradient along the line of inputs, in units of its standard deviation, with the networks one above another.

    Fig. 1 of Balduzzi et al. 2017 (arXiv 1702.08591).
    """
    nonempty("input_gradient", results)
    start_panel(ax, [], "Gradient along a line of inputs", when)
    middles, ends = [], []
    for i, (network, look) in enumerate(looks(results).items()):
        result = results[network]
        mean, std, _ = moments(result.gradient)
        standard = (result.gradient - mean) / (std or 1.0)
        middles.append(-7.0 * i)
        ax.axhline(middles[-1], color=TOTAL, ls=":", lw=0.8)
        ax.plot(result.points, standard + middles[-1], color=look["color"], lw=1)
        ends.append((middles[-1], network if std else f"{network}\n(constant)", look["color"]))
    ax.set_yticks(middles, ["0"] * len(middles))
    low, high = ax.get_ylim()  # of all curves
    ax.set_ylim(min(low, middles[-1] - 4), max(high, 4))
    ax.set_xlabel("position t along the line of inputs")
    ax.set_ylabel("df/dt, mean 0 and std 1")
    ax.margins(x=0.02)
    label_ends(ax, ends)
    say(ax, sentences.input_gradient(results))
    return ax


def _as_list(results: Any) -> list[Any]:
    return list(results) if isinstance(results, list | tuple) else [results]
