"""Figures of gradient flow. Every function draws on matplotlib axes it is given, and returns them.

Colours are Okabe & Ito's, which colour-blind readers can tell apart; markers and line styles repeat what colour says.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from .history import History
from .record import Fork, Recording

SKIP, BRANCH, TOTAL = "#0072B2", "#E69F00", "#999999"
NETWORK = {"plain": "#D55E00", "residual": "#009E73"}
MARKER = {"plain": "o", "residual": "s"}


# ── panels ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def profile(ax: Axes, lines: Sequence[tuple[str, str, Sequence[float], str]], layers: Sequence[str]) -> Axes:
    """Gradient norm against depth: one line for each (label, network, norms, line style), on a log axis.

    ``layers`` are the layers' names, from which stages are shaded.
    """
    x = np.arange(1, len(layers) + 1)
    shade_stages(ax, layers)
    ends = []
    for label, network, norms, style in lines:
        colour = NETWORK.get(network, TOTAL)
        face = colour if style == "-" else "none"
        ax.plot(x, norms, style, color=colour, marker=MARKER.get(network, "."), ms=3.5, mfc=face, lw=1.4)
        ends.append((norms[0], label, colour))
    ax.set_yscale("log")
    ax.set_xlim(-0.34 * len(layers), len(layers) + 1)
    ax.set_xticks([1, *range(10, len(layers) + 1, 10)] if len(layers) > 12 else x)
    label_ends(ax, 0.2, ends, ha="right")
    ax.set_xlabel("convolution, from input to output")
    ax.set_ylabel("‖∂L/∂W‖")
    return ax


def heatmap(ax: Axes, steps: Sequence[int], norms: np.ndarray, norm: LogNorm) -> Any:
    """Gradient norm over depth (x) and training step (y, downwards), norms (steps, layers); returns the mesh."""
    positive = np.where(norms > 0, norms, norm.vmin)
    mesh = ax.pcolormesh(positive, norm=norm, cmap="viridis", rasterized=True)
    ax.invert_yaxis()
    shown = spread(len(steps), 7)
    ax.set_yticks([i + 0.5 for i in shown], [str(steps[i]) for i in shown])
    columns = norms.shape[1]
    ticks = [1, *range(10, columns + 1, 10)] if columns > 12 else list(range(1, columns + 1))
    ax.set_xticks([t - 0.5 for t in ticks], [str(t) for t in ticks])
    ax.set_ylabel("step (thinned out)")
    return mesh


def fork_strip(ax: Axes, strip: Axes, forks: Sequence[Fork]) -> tuple[Axes, Axes]:
    """Shares of ‖g‖² that came back through skip and branch, a bar for each fork; beneath, the cosine between the two."""
    x = np.arange(1, len(forks) + 1)
    branch = np.array([fork.share for fork in forks])
    ax.bar(x, 1 - branch, width=0.85, color=SKIP)
    ax.bar(x, branch, bottom=1 - branch, width=0.85, color=BRANCH, hatch="///", edgecolor="white", lw=0)
    box = dict(boxstyle="round", fc="white", ec="none", alpha=0.85)
    for name, colour, height in (("branch", BRANCH, 1 - branch[0] / 2), ("skip", SKIP, (1 - branch[0]) / 2)):
        ax.text(x[0] + 0.02 * len(x), height, name, color="black", va="center", size=9, bbox={**box, "ec": colour})
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    ax.set_ylabel("share of ‖g‖²")
    ax.set_xticks([])
    ax.set_xlim(0.4, len(forks) + 0.6)
    cosines = np.array([[fork.cosine for fork in forks]])
    image = strip.pcolormesh(np.arange(len(forks) + 1) + 0.5, [0, 1], cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    strip.set_yticks([0.5], ["cosine"])
    strip.set_xlim(ax.get_xlim())
    strip.set_xticks(x[:: max(len(forks) // 9, 1)])
    strip.set_xlabel("residual block, from input to output")
    bar = strip.figure.colorbar(image, ax=[ax, strip], fraction=0.03, pad=0.02, ticks=[-1, 0, 1])
    bar.ax.set_title("cos", fontsize="small")
    return ax, strip


def training(ax: Axes, losses: dict[str, Sequence[float]], notes: dict[str, str], smooth: int = 20) -> Axes:
    """Training loss against step for each network, raw (thin) and a running mean over ``smooth`` steps (thick)."""
    ends = []
    for network, loss in losses.items():
        colour, steps = NETWORK.get(network, TOTAL), np.arange(len(loss))
        window = min(smooth, max(len(loss) // 5, 1))
        mean = np.convolve(loss, np.ones(window) / window, "valid")
        ax.plot(steps, loss, color=colour, lw=0.5, alpha=0.35)
        ax.plot(steps[: len(mean)] + (window - 1) / 2, mean, color=colour, lw=2, ls="-" if network == "residual" else "--")
        ends.append((mean[-1], f"{network}\n{notes.get(network, '')}".strip(), colour))
    ax.set_xlim(0, max(len(loss) for loss in losses.values()) * 1.32)
    ax.set_ylim(bottom=0)
    label_ends(ax, max(len(loss) for loss in losses.values()) * 1.02, ends, ha="left")
    ax.set_xlabel("step")
    ax.set_ylabel("training loss")
    return ax


# ── what the panels share ───────────────────────────────────────────────────────────────────────────────────────────


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
        ax.text((a + b + 1) / 2, 1.01, stages[a], transform=ax.get_xaxis_transform(), ha="center", va="bottom", size=8)


def label_ends(ax: Axes, x: float, ends: Sequence[tuple[float, str, str]], ha: str) -> None:
    """Write (value, label, colour) beside the lines' ends at x, pushed apart where they would overlap."""
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = [float(to_axes.transform((x, value))[1]) for value, _, _ in ends]
    order = sorted(range(len(ends)), key=lambda i: heights[i])
    gap = 0.068 * max(label.count("\n") + 1 for _, label, _ in ends)
    placed: list[float] = []
    for i in order:
        placed.append(max(heights[i], placed[-1] + gap if placed else gap / 2))
    over = max(placed[-1] - (1 - gap / 2), 0) if placed else 0
    for k in reversed(range(len(placed))):  # push down again what left the axes at the top
        limit = placed[k + 1] - gap if k + 1 < len(placed) else placed[k] - over
        placed[k] = min(placed[k], limit)
    for k, i in enumerate(order):
        _, label, colour = ends[i]
        transform = ax.get_xaxis_transform()  # x in data, y in axes
        ax.text(x, placed[k], label, color=colour, ha=ha, va="center", size=9, transform=transform)


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` evenly spread indices of range(count), the first and last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


# ── whole figures ───────────────────────────────────────────────────────────────────────────────────────────────────


def recording(rec: Recording) -> Figure:
    """One recording: profile of all weight layers, and the fork strip if there are forks."""
    figure = plt.figure(figsize=(10, 4.2) if rec.forks else (6, 4), layout="constrained")
    parts = figure.subfigures(1, 2) if rec.forks else [figure]
    ax = parts[0].subplots()
    network = "residual" if rec.forks else "plain"
    profile(ax, [("", network, [r.weight_gradient for r in rec.layers], "-")], [r.name for r in rec.layers])
    ax.set_xlim(0, len(rec.layers) + 1)
    ax.set_xlabel("layer, from input to output")
    if rec.forks:
        fork_strip(*strip_axes(parts[1]), rec.forks)
        parts[1].suptitle("What came back at each fork: skip (blue), branch (orange)", size=10)
    return figure


def strip_axes(figure: Any) -> tuple[Axes, Axes]:
    """Two axes for `fork_strip`, the lower one flat."""
    upper, lower = figure.subplots(2, 1, height_ratios=[8, 1])
    return upper, lower


def comparison(
    histories: dict[str, History], losses: dict[str, Sequence[float]], accuracy: dict[str, float], title: str
) -> Figure:
    """The four panels of ``minires compare``: profile, depth × step heatmap, fork strip, training curves."""
    figure = plt.figure(figsize=(13, 9.2), layout="constrained")
    figure.suptitle(title, size=13)
    (top_left, top_right), (bottom_left, bottom_right) = figure.subfigures(2, 2, wspace=0.02, hspace=0.04)
    first, last = (histories["plain"].steps[i] for i in (0, -1))
    layers = histories["plain"].convolutions

    lines = []
    for network, history in histories.items():
        lines.append((f"{network}, step {first}", network, history.convolution_norms[0], ":"))
        if last > first:
            lines.append((f"{network}, step {last}", network, history.convolution_norms[-1], "-"))
    profile(top_left.subplots(), lines, layers)
    top_left.suptitle(f"Gradient over depth, at step {first} (dotted) and step {last} (solid)", size=11)

    norms = np.concatenate([history.convolution_norms for history in histories.values()])
    scale = LogNorm(*np.quantile(norms[norms > 0], [0.005, 0.995]))
    axes = top_right.subplots(2, 1, sharex=True)
    for ax, (network, history) in zip(axes, histories.items()):
        mesh = heatmap(ax, history.steps, history.convolution_norms, scale)
        ax.set_title(network, size=10, color=NETWORK[network], loc="left", pad=3)
    axes[1].set_xlabel("convolution, from input to output")
    top_right.colorbar(mesh, ax=list(axes), label="‖∂L/∂W‖", fraction=0.05, pad=0.02, extend="both")
    top_right.suptitle(f"Gradient over depth and training, steps {first} to {last}", size=11)

    forks = histories["residual"].forks[-1]
    fork_strip(*strip_axes(bottom_left), forks)
    bottom_left.suptitle(f"Forks of the residual network at step {last}: skip (blue) and branch (orange, hatched)", size=11)

    notes = {network: f"test {100 * value:.1f} %" for network, value in accuracy.items()}
    training(bottom_right.subplots(), losses, notes)
    bottom_right.suptitle(f"Training loss, steps 0 to {last}", size=11)
    return figure
