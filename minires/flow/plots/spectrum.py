"""The panel of the path spectrum."""

from collections.abc import Mapping

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..paths import PathSpectrum
from .probes import _checked, _start
from .style import TOTAL, looks

HATCH = ["", "///", "...", "xxx"]


def path_spectrum(ax: Axes, results: Mapping[str, PathSpectrum], when: str = "") -> Axes:
    """How long the paths are that carry gradient (bars, ‖G[k]‖²), and how long paths are at all (grey outline).

    Both are shares, so that their shapes can be compared: of Σ‖G[k]‖², and of all 2ⁿ paths. Dots: the share that Veit's
    sampled estimate gives to k, where paths were sampled. Vertical lines: the mean length that each of them implies.
    results: {name of the network: `PathSpectrum`}; several networks stand side by side at each k.
    """
    _checked("path_spectrum", results)
    _start(ax, [], "Path spectrum", when)
    networks = looks(results)
    width = 0.84 / len(networks)
    text, marks = rcParams["text.color"], []
    for blocks in sorted({result.blocks for result in results.values()}):
        counts = next(result.counts for result in results.values() if result.blocks == blocks)
        edges = np.arange(blocks + 2) - 0.5
        ax.stairs(counts / counts.sum(), edges, color=TOTAL, lw=1.6, fill=False, zorder=3)
        ax.stairs(counts / counts.sum(), edges, color=TOTAL, alpha=0.2, fill=True, zorder=1)
        marks.append((blocks / 2, f"all paths\n{blocks / 2:.1f}", text, ":"))
    for i, (network, look) in enumerate(networks.items()):
        result, colour = results[network], look["color"]
        power = result.norms**2
        x = np.arange(len(power)) + (i - (len(networks) - 1) / 2) * width
        ax.bar(x, power / power.sum(), width, color=colour, edgecolor=rcParams["axes.facecolor"], lw=0.6, zorder=2,
               hatch=HATCH[i % len(HATCH)])
        name = f"{network}\n" if len(networks) > 1 or network else "gradient\n"
        marks.append((result.effective_length, f"{name}{result.effective_length:.1f}", colour, "-"))
        if result.sampled is not None:
            share = result.sampled / result.sampled.sum()
            ax.plot(x, share, look["marker"], color=colour, mec=text, mew=0.8, ms=4.5, zorder=4)
            marks.append((result.sampled_length, f"sampled\n{result.sampled_length:.1f}", colour, "--"))
    ax.set_xlabel("k, the number of branches a path crosses")
    ax.set_ylabel("share")
    return ax
