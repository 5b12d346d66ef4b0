"""Whole figures, put together from panels."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from . import sentences
from .axes import colour_bar, colour_scale
from .panels import fork_strip, fork_title, heatmap, profile, strip_axes, training
from .runs import runs as draw_runs
from .style import looks, plain

STYLES = ["-", ":", "--", "-."]  # one for each pass of a recording


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """A figure that a notebook shows once, as the value of a cell, and not a second time because it is open."""
    figure = plt.figure(figsize=(width, height), layout=layout)
    if "inline" in plt.get_backend():
        plt.close(figure)
    return figure


def recording(rec: Any) -> Figure:
    """One `flow.Recording`: profile of all weight layers, one line per pass, and the fork strip if there are forks."""
    network = "residual" if rec.forks else "plain"
    layers, lines = _by_pass(rec, network)
    wide = bool(rec.forks and layers)
    figure = new_figure(11 if wide else 6.4, 4.4 if wide else 4.2)
    parts: Any = figure.subfigures(1, 2) if wide else [figure]
    if layers:
        shapes = {layer.name: len(layer.weight_shape) for layer in rec.weight_layers}
        convolutional = any(axes > 2 for axes in shapes.values())
        apart = [n for n in layers if convolutional and (shapes.get(n, 4) == 2 or ".downsample" in n)]
        ax = parts[0].subplots()
        profile(ax, lines, layers, apart=apart, layer="convolution" if convolutional else "layer")
        ax.set_title("Gradient of each layer's weight", size=11)
    elif not rec.forks:
        figure.text(0.5, 0.5, "nothing to draw: no layer has a weight, and no fork was found", ha="center", size=9)
    if rec.forks:
        ax, _ = fork_strip(*strip_axes(parts[-1]), rec.forks)
        ax.set_title(fork_title(rec.forks), size=11)
    return figure


def _by_pass(rec: Any, network: str) -> tuple[list[str], list[tuple[str, str, list[float], str]]]:
    """The names of all weight layers, as the first pass through each names them, and `profile`'s line for each pass."""
    passes: dict[int, dict[str, float]] = {}
    for layer in rec.weight_layers:
        name = layer.name.removesuffix(f" ({rec.passes[layer.pass_ - 1]} {layer.pass_})")
        passes.setdefault(layer.pass_, {})[name] = layer.weight_gradient
    names = list(dict.fromkeys(name for norms in passes.values() for name in norms))
    lines = []
    for pass_, norms in passes.items():
        label = f"pass {pass_}" if len(passes) > 1 else ""
        lines.append((label, network, [norms.get(name, math.nan) for name in names], STYLES[(pass_ - 1) % len(STYLES)]))
    return names, lines


def comparison(
    histories: dict[str, Any], losses: dict[str, Any], accuracy: dict[str, float], title: str, smooth: int = 20
) -> Figure:
    """The panels of ``minires compare``: profile, depth × step heatmap, fork strip, training curves, turning kernels.

    histories: a `flow.FlowHistory` of each of two networks, or a list of them, one for each of several runs; then
    profile and training curves are medians with bands, and the others show the first run. losses: likewise, drawn as
    running means over ``smooth`` steps.
    """
    runs = {name: history if isinstance(history, list) else [history] for name, history in histories.items()}
    one = {name: several[0] for name, several in runs.items()}
    colours = {name: look["color"] for name, look in looks(runs).items()}
    figure = new_figure(13, 9.2)
    figure.suptitle(plain(title), size=13)
    parts: Any = figure.subfigures(2, 2, wspace=0.02, hspace=0.04)
    (top_left, top_right), (bottom_left, bottom_right) = parts
    layers = max((history.convolutions for history in one.values()), key=len)
    count = min(len(history.steps) for several in runs.values() for history in several)  # fewer if interrupted
    first, last = (next(iter(one.values())).steps[i] for i in (0, count - 1))

    lines = []
    for network, several in runs.items():
        ends = (np.array([history.convolution_norms[i] for history in several]) for i in (0, count - 1))
        lines.append((f"{network}, step {first}", network, next(ends), ":"))
        if last > first:
            lines.append((f"{network}, step {last}", network, next(ends), "-"))
    when = f"step {first} (dotted) and step {last} (solid)" if last > first else f"step {first}"
    seeds = len(next(iter(runs.values())))
    band = f", {seeds} seeds" if seeds > 1 else ""
    first_losses = {name: loss[0] if seeds > 1 else loss for name, loss in losses.items()}
    sentence = "" if seeds > 1 else sentences.compared(one, first_losses)
    profile(top_left.subplots(), lines, layers, when + band, sentence=sentence)

    scale = colour_scale(np.concatenate([history.convolution_norms.ravel() for history in one.values()]))
    axes = top_right.subplots(2, 1, sharex=True)
    for ax, (network, history) in zip(axes, one.items()):
        heatmap(ax, history.steps, history.convolution_norms, scale, network, colours[network])
    axes[1].set_xlabel("convolution, from input to output")
    colour_bar(top_right, axes)
    of_first = " of the first seed" if seeds > 1 else ""
    top_right.suptitle(f"Gradient over depth and training{of_first}", size=11)

    forked = [network for network, history in one.items() if history.forks[-1]]
    rows: Any = bottom_left.subfigures(len(forked), 1, squeeze=False) if forked else []
    for (part,), network in zip(rows, forked):
        name = "residual network" if network == "residual" else network
        fork_strip(*strip_axes(part), one[network].forks[-1], f"{name}, step {one[network].steps[-1]}{of_first}")

    notes = {network: f"test {100 * value:.1f} %" for network, value in accuracy.items()}
    steps = next(iter(one.values())).steps[:count]
    turns = {
        network: np.array([np.nanmedian(history.convolution_turns[:count, 1:10], axis=1) for history in several])
        for network, several in runs.items()
        if all(np.isfinite(history.convolution_turns[:count, 1:10]).any(1).all() for history in several)
    }
    if len(turns) < len(runs) or count < 2:
        ax = training(bottom_right.subplots(), losses, notes, smooth)
    else:
        ax, below = bottom_right.subplots(2, 1, height_ratios=[1.5, 1])
        training(ax, losses, notes, smooth)
        below.set(yscale="log", ylabel="degrees a step", xlim=ax.get_xlim(), xlabel="step")
        below.set_title("How far early kernels turn (median of nine or fewer)", size=11)
        draw_runs(below, steps, turns, middle=np.median)
        ax.set_xlabel("")
    ax.set_title(ax.get_title() + band, size=11)
    return figure
