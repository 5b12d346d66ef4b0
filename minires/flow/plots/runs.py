"""The panel for several runs of each line: their middle, their range, and the name at the line's end."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import AutoLocator

from . import style
from .axes import log_scale


def runs(
    ax: Axes,
    x: Sequence[float],
    lines: Mapping[str, Any],
    looks: Mapping[str, Any] | None = None,
    *,
    middle: Callable[..., Any] = np.mean,
    **line: Any,
) -> Axes:
    """For each name the middle of its runs as a line, their range as a band, and the name at the line's end.

    lines: {name: values} of shape (runs, points), or (points,) for one run; x: (points,), rising. looks: {name: colour,
    or keyword arguments of ``ax.plot``}, by default `style.looks`. line: keyword arguments of ``ax.plot`` for all.
    Set scale and limits of y before the call, ticks of x after it.
    Raises TypeError for lines that are not a dict, ValueError for values that do not fit x.
    """
    style.nonempty("runs", lines)
    looks = style.looks(lines) if looks is None else looks
    ends = []
    for name, values in lines.items():
        values = np.atleast_2d(values)
        if values.shape[1] != len(x):
            raise ValueError(
                f"plots.runs: got {values.shape[1]} values for {name!r}, expected one for each of {len(x)} x"
            )
        look: dict[str, Any] = {"color": looks[name]} if isinstance(looks[name], str) else looks[name]
        height, colour = middle(values, axis=0), look["color"]
        ax.plot(x, height, **{"lw": 1.8, "ms": 4, **line, **look})
        if len(values) > 1:
            ax.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
        ends.append((height[-1], name, colour))
    first, last = x[0], x[-1]
    if ax.get_xscale() == "log":
        margin = (last / first) ** 0.02
        ax.set_xlim(first / margin, last * margin)
    else:
        margin = 0.02 * (last - first)
        ax.set_xlim(first - margin, last + margin)
        locator = AutoLocator()
        locator.set_params(integer=all(float(value).is_integer() for value in x))  # there is no half a layer
        ax.xaxis.set_major_locator(locator)
    beyond = 1e-9 * abs(last - first)  # by rounding alone
    ax.set_xticks([tick for tick in ax.get_xticks() if first - beyond <= tick <= last + beyond])
    if ax.get_yscale() == "log":
        log_scale(ax)
    style.label_ends(ax, ends)
    return ax
