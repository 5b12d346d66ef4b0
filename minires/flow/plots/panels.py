"""The panels that show a recording, or a history of recordings, of one network or of twins."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from ..forks import Fork
from . import sentences
from .axes import log_scale, mark_zeros, say, shade_stages
from .style import BRANCH, SKIP, TOTAL, label_ends, looks, numbers, plain, spread

SMALL = 0.01  # below this share of its height, a part of a bar can hardly be seen


def profile(
    ax: Axes,
    lines: Sequence[tuple[str, str, Any, str]],
    layers: Sequence[str],
    when: str = "",
    *,
    apart: Collection[str] = (),
    sentence: str = "",
    layer: str = "convolution",
) -> Axes:
    """Gradient norm against depth: one line for each (label, network, norms, line style), on a log axis.

    Norms are (layers,), or (runs, layers) for the median of several runs with a band from the lowest to the highest.
    ``layers`` are the layers' names, from which stages are shaded; ``when`` goes into the title. A norm of 0 is a
    triangle at the foot of the axis, and NaN leaves a gap. Layers ``apart``, such as the fully connected one behind
    convolutions, are stars beside the line, with their names. ``sentence``: the takeaway, by default how the gradient
    changes along each line. ``layer``: what a layer of the line is called.
    """
    x = np.arange(1, len(layers) + 1)
    along = np.array([name not in apart for name in layers], bool)
    shade_stages(ax, layers)
    ends: list[tuple[float, str, str]] = []
    said: dict[str, Sequence[float]] = {}
    found = looks(dict.fromkeys(network for _, network, _, _ in lines))
    for label, network, norms, style in lines:
        colour, runs = found[network]["color"], np.atleast_2d(np.asarray(norms, float))
        values = np.median(runs, 0)
        face = colour if style == "-" else "none"
        positive = np.where(values > 0, values, np.nan)
        if len(runs) > 1:
            low, high = np.where(runs > 0, runs, np.nan).min(0), runs.max(0)
            ax.fill_between(x[along], low[along], high[along], color=colour, alpha=0.2, lw=0)
        marker = found[network]["marker"]
        ax.plot(x[along], positive[along], style, color=colour, marker=marker, ms=3.5, mfc=face, lw=1.4)
        if apart:
            ax.plot(x[~along], positive[~along], "*", color=colour, ms=9, mfc=face)
        mark_zeros(ax, x, values, colour)
        said[label] = values[along]
        ends.append((next((value for value in values[along][::-1] if not math.isnan(value)), math.nan), label, colour))
    if not any(np.any(np.asarray(norms) > 0) for _, _, norms, _ in lines):
        ax.set_ylim(0.1, 1)
        ax.set_yticks([])
    log_scale(ax)
    ax.set_xlim(0.5, len(layers) + 0.5)
    ax.set_xticks(numbers(len(layers)))
    for i in np.flatnonzero(~along).tolist():
        highest = np.nanmax([np.atleast_2d(norms)[:, i].max() for _, _, norms, _ in lines])
        if highest > 0:
            ax.annotate(
                plain(layers[i]), (x[i], highest), (-7, 0), textcoords="offset points", ha="right", va="center", size=8
            )
    label_ends(ax, ends)
    ax.set_xlabel(f"{layer} (★: other layers), from input to output" if apart else f"{layer}, from input to output")
    ax.set_ylabel("‖∂L/∂W‖")
    say(ax, sentence or sentences.profile(said, layer))
    if when:
        ax.set_title(plain(f"Gradient over depth, {when}"), size=11)
    return ax


def heatmap(
    ax: Axes, steps: Sequence[int], norms: np.ndarray, norm: LogNorm, network: str = "", colour: str = ""
) -> Axes:
    """Gradient norm over depth (x) and training step (y, downwards), norms (steps, layers).

    norm: the colour scale, one for all networks compared. For a colour bar take ``ax.collections[0]``. What is exactly
    0, or not finite, is grey. colour: of the network's name, by default as in other figures.
    """
    colours = colormaps["viridis"].with_extremes(bad=TOTAL)
    known = np.ma.masked_where(~(np.isfinite(norms) & (norms > 0)), norms)
    ax.pcolormesh(known, norm=norm, cmap=colours, rasterized=True)
    ax.invert_yaxis()
    shown = spread(len(steps), 7)
    ax.set_yticks([i + 0.5 for i in shown], [str(steps[i]) for i in shown])
    columns = norms.shape[1]
    ticks = numbers(columns)
    ax.set_xticks([t - 0.5 for t in ticks], [str(t) for t in ticks])
    ax.set_ylabel("step (thinned out)")
    if network:
        title = plain(f"{network}, steps {steps[0]} to {steps[-1]}")
        ax.set_title(title, size=10, color=colour or looks([network])[network]["color"], loc="left")
    say(ax, sentences.heatmap(steps, norms), loc="left")
    return ax


def fork_strip(ax: Axes, strip: Axes, forks: Sequence[Fork], when: str = "") -> tuple[Axes, Axes]:
    """Shares of ‖g‖² that came back through skip and branch, one bar per fork; beneath, the cosine between them.

    A share too small to be seen is written into the bar, and a fork through which nothing came, or NaN, has no bar.
    Where `scaled` multiplied a way, the bar says by what, "×0", and its shares are of what was passed on.
    Several passes stand side by side.
    """
    x = np.arange(1, len(forks) + 1)
    branch = np.array([fork.share for fork in forks])
    ax.bar(x, 1 - branch, width=0.85, color=SKIP)
    ax.bar(x, branch, bottom=1 - branch, width=0.85, color=BRANCH, hatch="///", edgecolor="white", lw=0)
    _name_ways(ax, forks)
    _write_small_shares(ax, forks)
    _part_passes(ax, forks)
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    ax.set_ylabel("share of ‖g‖²")
    ax.set_xticks([])
    ax.set_xlim(0.4, len(forks) + 0.6)
    known = np.array([fork.skip > 0 and fork.branch > 0 and math.isfinite(fork.cosine) for fork in forks])
    cosines = np.ma.masked_where(~known[None], [[fork.cosine for fork in forks]])
    colours = colormaps["RdBu_r"].with_extremes(bad="#DDDDDD")  # where one way returned nothing
    image = strip.pcolormesh(np.arange(len(forks) + 1) + 0.5, [0, 1], cosines, cmap=colours, vmin=-1, vmax=1)
    if not known.any():
        why = (
            "not defined: one way returned 0"
            if any(fork.skip > 0 or fork.branch > 0 for fork in forks)
            else "not defined"
        )
        strip.text((len(forks) + 1) / 2, 0.5, why, color="black", size=9, ha="center", va="center")
    strip.set_yticks([0.5], ["cosine"])
    strip.set_xlim(ax.get_xlim())
    within = [[fork.pass_ for fork in forks[: i + 1]].count(fork.pass_) for i, fork in enumerate(forks)]
    ticks = [i for i in range(len(forks)) if (within[i] - 1) % max(len(forks) // 9, 1) == 0]
    strip.set_xticks([i + 1 for i in ticks], [str(within[i]) for i in ticks])
    strip.set_xlabel("residual block, from input to output")
    bar = strip.figure.colorbar(image, ax=[ax, strip], fraction=0.03, pad=0.02, ticks=[-1, 0, 1])
    bar.ax.set_title("cos", fontsize="small")
    say(ax, sentences.forks(forks))
    if when:
        ax.set_title(plain(f"{fork_title(forks)}, {when}"), size=11)
    return ax, strip


def fork_title(forks: Sequence[Fork]) -> str:
    """What the bars of the fork strip show."""
    multiplied = any(fork.scaled_ways() for fork in forks)
    return f"What {'was passed on' if multiplied else 'came back'} at each fork"


def _name_ways(ax: Axes, forks: Sequence[Fork]) -> None:
    """Write "branch" and "skip" into the first bar, with their share where it is too small to be seen."""
    number = _first_bar(forks)
    if number is None:
        return
    fork, middle = forks[number - 1], max(float(number), 0.4 + 0.03 * len(forks))  # of the bar, or right of the edge
    factors = dict(fork.scaled_ways())
    for name, share, colour, height in (
        ("branch", fork.share, BRANCH, 1 - fork.share / 2),
        ("skip", fork.skip_share, SKIP, fork.skip_share / 2),
    ):
        said = name + _times(factors.get(name))
        text = f"{said}\n{_small(share)}" if share < SMALL and factors.get(name) != 0 else said
        box = {"boxstyle": "round", "fc": "white", "ec": colour, "alpha": 0.85}
        inside = min(max(height, 0.09), 0.91)
        ax.text(middle, inside, text, color="black", ha="center", va="center", size=9, bbox=box, zorder=5)


def _first_bar(forks: Sequence[Fork]) -> int | None:
    """The number of the first fork whose shares are known; None if there is none."""
    return next((number for number, fork in enumerate(forks, start=1) if math.isfinite(fork.share)), None)


def _write_small_shares(ax: Axes, forks: Sequence[Fork]) -> None:
    """Write every factor, and every share below `SMALL`, into its bar, where it belongs, in letters that fit."""
    points = 72 * ax.get_window_extent().width / ax.figure.dpi / (len(forks) + 0.2)  # from bar to bar
    paper = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
    style: dict[str, Any] = {"color": "black", "size": min(8.0, 0.75 * points), "rotation": 90, "bbox": paper}
    named = _first_bar(forks)
    for number, fork in enumerate(forks, start=1):
        if not math.isfinite(fork.share):
            why = "no gradient" if fork.skip == fork.branch == 0 else "not finite"
            ax.text(number, 0.5, why, ha="center", va="center", zorder=4, **style)
        elif number != named:  # there the names say it
            factors = dict(fork.scaled_ways())
            for way, share, height, va in (
                ("branch", fork.share, 0.985, "top"),
                ("skip", fork.skip_share, 0.015, "bottom"),
            ):
                small = _small(share) if share < SMALL and factors.get(way) != 0 else ""
                text = f"{small} {_times(factors.get(way))}".strip()
                if text:
                    ax.text(number, height, text, ha="center", va=va, zorder=4, **style)


def _times(factor: float | None) -> str:
    """The factor of a way that `scaled` multiplied, and nothing of another."""
    return "" if factor is None else f" ×{factor:g}"


def _small(share: float) -> str:
    return f"{share:.0e}" if share else "0"


def _part_passes(ax: Axes, forks: Sequence[Fork]) -> None:
    """If there are several passes, draw lines between them, and their numbers on top."""
    passes = [fork.pass_ for fork in forks]
    for pass_ in sorted(set(passes)) if len(set(passes)) > 1 else ():
        first, count = passes.index(pass_), passes.count(pass_)
        if first:
            ax.axvline(first + 0.5, color="black", lw=1.2)
        middle = first + (count + 1) / 2
        ax.text(middle, 1.01, f"pass {pass_}", transform=ax.get_xaxis_transform(), ha="center", va="bottom", size=8)


def training(
    ax: Axes, losses: dict[str, Sequence[float]], notes: dict[str, str] | None = None, smooth: int = 20
) -> Axes:
    """Training loss against step for each network, raw (thin) and a running mean over ``smooth`` steps (thick).

    losses: {name: (steps,)}, or {name: (runs, steps)} for the median of several runs' running means with a band from
    the lowest to the highest.
    """
    ends, means = [], {}
    runs = {network: np.atleast_2d(np.asarray(loss, float)) for network, loss in losses.items()}
    longest = max(loss.shape[1] for loss in runs.values())
    window = min(smooth, max(min(loss.shape[1] for loss in runs.values()) // 5, 1))
    for network, look in looks(losses).items():
        colour, each = look["color"], [np.convolve(loss, np.ones(window) / window, "valid") for loss in runs[network]]
        mean = np.median(each, 0)
        x = np.arange(len(mean)) + (window - 1) / 2
        if len(each) > 1:
            ax.fill_between(x, np.min(each, 0), np.max(each, 0), color=colour, alpha=0.2, lw=0)
        else:
            ax.plot(np.arange(runs[network].shape[1]), runs[network][0], color=colour, lw=0.5, alpha=0.35)
        ax.plot(x, mean, color=colour, lw=2, ls=look["ls"])
        means[network] = mean[-1]
        ends.append((mean[-1], f"{network}\n{(notes or {}).get(network, '')}".strip(), colour))
    ax.set_xlim(0, max(longest - 1, 1))
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))  # there is no half a step
    ax.set_ylim(bottom=0)
    label_ends(ax, ends)
    ax.set_xlabel("step")
    ax.set_ylabel("training loss")
    ax.set_title(f"Training loss, steps 0 to {longest - 1}", size=11)
    say(ax, sentences.training(means, window))
    return ax


def strip_axes(figure: Any) -> tuple[Axes, Axes]:
    """Two axes for `fork_strip`, the lower one flat."""
    upper, lower = figure.subplots(2, 1, height_ratios=[8, 1])
    return upper, lower
