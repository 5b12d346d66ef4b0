"""The panels that show a recording, or a history of recordings, of one network or of twins."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from ..forks import Fork
from .style import BRANCH, MARKER, NETWORK, OTHER, SKIP, label_ends, numbers, plain, shade_stages, spread


def profile(
    ax: Axes, lines: Sequence[tuple[str, str, Sequence[float], str]], layers: Sequence[str], when: str = ""
) -> Axes:
    """Gradient norm against depth: one line for each (label, network, norms, line style), on a log axis.

    ``layers`` are the layers' names, from which stages are shaded; ``when`` goes into the title.
    """
    x = np.arange(1, len(layers) + 1)
    shade_stages(ax, layers)
    ends = []
    for label, network, norms, style in lines:
        colour = NETWORK.get(network, OTHER[0][0])
        face = colour if style == "-" else "none"
        ax.plot(x, norms, style, color=colour, marker=MARKER.get(network, "."), ms=3.5, mfc=face, lw=1.4)
        ends.append((norms[0], label, colour))
    ax.set_yscale("log")
    ax.set_xlim(-0.34 * len(layers), len(layers) + 1)
    ax.set_xticks(numbers(len(layers)))
    label_ends(ax, 0.2, ends, ha="right")
    ax.set_xlabel("convolution, from input to output")
    ax.set_ylabel("‖∂L/∂W‖")
    if when:
        ax.set_title(plain(f"Gradient over depth, {when}"), size=11, pad=18)
    return ax


def heatmap(ax: Axes, steps: Sequence[int], norms: np.ndarray, norm: LogNorm, network: str = "") -> Axes:
    """Gradient norm over depth (x) and training step (y, downwards), norms (steps, layers).

    norm: the colour scale, one for all networks compared. For a colour bar take ``ax.collections[0]``.
    """
    positive = np.where(norms > 0, norms, float(norm.vmin or 1.0))
    ax.pcolormesh(positive, norm=norm, cmap="viridis", rasterized=True)
    ax.invert_yaxis()
    shown = spread(len(steps), 7)
    ax.set_yticks([i + 0.5 for i in shown], [str(steps[i]) for i in shown])
    columns = norms.shape[1]
    ticks = numbers(columns)
    ax.set_xticks([t - 0.5 for t in ticks], [str(t) for t in ticks])
    ax.set_ylabel("step (thinned out)")
    if network:
        title = plain(f"{network}, steps {steps[0]} to {steps[-1]}")
        ax.set_title(title, size=10, color=NETWORK.get(network, OTHER[0][0]), loc="left", pad=3)
    return ax


def fork_strip(ax: Axes, strip: Axes, forks: Sequence[Fork], when: str = "") -> tuple[Axes, Axes]:
    """Shares of ‖g‖² that came back through skip and branch, one bar per fork; beneath, the cosine between them."""
    x = np.arange(1, len(forks) + 1)
    branch = np.array([fork.share for fork in forks])
    ax.bar(x, 1 - branch, width=0.85, color=SKIP)
    ax.bar(x, branch, bottom=1 - branch, width=0.85, color=BRANCH, hatch="///", edgecolor="white", lw=0)
    box = dict(boxstyle="round", fc="white", ec="none", alpha=0.85)
    for name, colour, height in (("branch", BRANCH, 1 - branch[0] / 2), ("skip", SKIP, (1 - branch[0]) / 2)):
        middle = max(x[0], 0.4 + 0.03 * len(x))  # of the first bar, or right of the edge
        ax.text(middle, height, name, color="black", ha="center", va="center", size=9, bbox={**box, "ec": colour})
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
    if when:
        ax.set_title(plain(f"What came back at each fork, {when}"), size=11)
    return ax, strip


def training(
    ax: Axes, losses: dict[str, Sequence[float]], notes: dict[str, str] | None = None, smooth: int = 20
) -> Axes:
    """Training loss against step for each network, raw (thin) and a running mean over ``smooth`` steps (thick)."""
    ends = []
    for network, loss in losses.items():
        colour, steps = NETWORK.get(network, OTHER[0][0]), np.arange(len(loss))
        window = min(smooth, max(len(loss) // 5, 1))
        mean = np.convolve(loss, np.ones(window) / window, "valid")
        ax.plot(steps, loss, color=colour, lw=0.5, alpha=0.35)
        middle = steps[: len(mean)] + (window - 1) / 2
        ax.plot(middle, mean, color=colour, lw=2, ls="-" if network == "residual" else "--")
        ends.append((mean[-1], f"{network}\n{(notes or {}).get(network, '')}".strip(), colour))
    ax.set_xlim(0, max(len(loss) for loss in losses.values()) * 1.32)
    ax.set_ylim(bottom=0)
    label_ends(ax, max(len(loss) for loss in losses.values()) * 1.02, ends, ha="left")
    ax.set_xlabel("step")
    ax.set_ylabel("training loss")
    ax.set_title(f"Training loss, steps 0 to {max(len(loss) for loss in losses.values()) - 1}", size=11)
    return ax


def strip_axes(figure: Any) -> tuple[Axes, Axes]:
    """Two axes for `fork_strip`, the lower one flat."""
    upper, lower = figure.subplots(2, 1, height_ratios=[8, 1])
    return upper, lower
