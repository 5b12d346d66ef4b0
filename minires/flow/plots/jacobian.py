"""The panel of the blocks' Jacobians."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes

from ..jacobian import Jacobian
from . import sentences
from .axes import finish_panel, log_scale, mark_zeros, start_panel
from .style import TOTAL, looks, nonempty


def jacobian(ax: Axes, results: Mapping[str, Sequence[Jacobian]], when: str = "", *, product: bool = False) -> Axes:
    """Leading singular values of each block's Jacobian, or of the product of the first i: markers at σ₁, a band below.

    results: {name of the network: what `flow.jacobians` returned, with the same ``product``}. The band goes down to the
    last singular value computed; where it is wide, few directions carry the gradient. Dotted: 1, the identity's.
    """
    longest = max((len(jacobians) for jacobians in nonempty("jacobian", results)), default=0)
    if not longest:
        raise ValueError("plots.jacobian: got no Jacobians; pass {'residual': flow.jacobians(model, x)}")
    count = max(len(jacobian.values) for jacobians in results.values() for jacobian in jacobians)
    what = "∏J, the Jacobian of blocks 1 … i" if product else "J, the Jacobian of block i alone"
    start_panel(ax, [], what, when)
    ax.hlines(1, 0.5, longest + 0.5, color=TOTAL, ls=":", lw=1.6)
    ends = [(1.0, "1 (identity)", rcParams["text.color"])]
    for network, look in looks(results).items():
        values = np.array([jacobian.values for jacobian in results[network]])  # (blocks, count)
        x, colour, seen = np.arange(1, len(values) + 1), look["color"], np.where(values > 0, values, np.nan)
        ax.fill_between(x, seen[:, -1], seen[:, 0], color=colour, alpha=0.22, lw=0)
        ax.plot(x, seen[:, -1], color=colour, ls=look["ls"], lw=0.7)
        ax.plot(x, seen[:, 0], **look, ms=4, lw=1.5)
        mark_zeros(ax, x, values[:, 0], colour)
        ends.append((values[-1, 0], f"{network}\nσ₁ = {sentences.number(values[-1, 0])}", colour))
    log_scale(ax)
    index = str(count).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
    ax.set_ylabel(f"singular values σ₁ (markers) … σ{index}" if count > 1 else "largest singular value σ₁")
    sentence = sentences.jacobian(results, product)
    return finish_panel(ax, "block i, from input to output", 1, longest, ends, sentence)
