"""What panels do to their axes: title and takeaway, stages, logarithmic scales, zeros, and nothing to show."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .style import label_ends, make_room, plain

SPAN = 10.0  # a logarithmic axis shows at least this factor: on less, rounding would fill it from top to bottom


def say(ax: Axes, sentence: str, loc: Any = "center") -> None:
    """Write one sentence, the takeaway, under the panel's title, broken into lines that fit.

    It is the label of an axis on top, which titles and layout engines keep clear of. Call it after `label_ends`.
    """
    top, words, most = _top(ax), plain(sentence).split(" "), ax.get_window_extent().width
    label = top.set_xlabel("", size=8.5, loc=loc, labelpad=6, color=rcParams["text.color"])

    def width(text: str) -> float:
        label.set_text(text)
        return label.get_window_extent().width

    widths = [width(f"{word} n") - width("n") for word in words]
    tries = (  # lines of one length, not a word on the last
        (count, _broken(words, widths, limit))
        for count in itertools.count(math.ceil(sum(widths) / most))
        for limit in np.linspace(sum(widths) / count, most, 20)
    )
    lines = next(lines for count, lines in tries if len(lines) <= count)
    label.set_text("\n".join(lines))
    make_room(ax, top=label.get_window_extent().height)


def _broken(words: list[str], widths: list[float], limit: float) -> list[str]:
    """The words as lines no wider than the limit, unless a single word is."""
    lines, room = [""], limit
    for word, wide in zip(words, widths):
        room -= wide
        if room < 0 and lines[-1]:
            lines, room = [*lines, ""], limit - wide
        lines[-1] += f"{word} "
    return [line.strip() for line in lines]


def takeaways(figure: Any) -> list[str]:
    """The sentences under the titles of a figure's panels, each once; where each panel is a network, with its title."""
    tops = [(ax.get_title("left"), top) for ax in figure.axes for top in ax.child_axes if top.get_gid() == "takeaway"]
    said = dict.fromkeys((title, top.get_xlabel()) for title, top in tops if top.get_xlabel())
    lines = [f"{title}: {sentence}" if title and len(said) > 1 else sentence for title, sentence in said]
    return [line.replace("\n", " ").replace(r"\$", "$") for line in lines]


def _top(ax: Axes) -> Any:
    """The axis on top, for the takeaway and the names of stages."""
    for child in ax.child_axes:
        if child.get_gid() == "takeaway":
            return child
    top = ax.secondary_xaxis("top")
    top.set_gid("takeaway")
    top.set_xticks([])
    top.spines["top"].set_visible(False)
    top.tick_params(length=0, pad=1.5, labelsize=8)
    return top


def shade_stages(ax: Axes, layers: Sequence[str]) -> None:
    """Shade every second stage, a stage being the first part of a layer's name, and name the stages on top."""
    stages = [name.split(".")[0] for name in layers]
    starts = [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]
    named = [(a, b) for a, b in zip(starts, [*starts[1:], len(stages)]) if b - a > 1]
    for a, b in named[::2]:
        ax.axvspan(a + 0.5, b + 0.5, color="#888888", alpha=0.12, lw=0)
    if named:
        _top(ax).set_xticks([(a + b + 1) / 2 for a, b in named], [plain(stages[a]) for a, _ in named])


def start_panel(ax: Axes, names: Sequence[str], what: str, when: str) -> None:
    """Set the title, and shade the stages if there are several."""
    if len({name.split(".")[0] for name in names}) > 1:
        shade_stages(ax, names)
    ax.set_title(plain(f"{what}, {when}" if when else what), size=11)


def finish_panel(
    ax: Axes, xlabel: str, first: int, last: int, ends: list[tuple[float, str, str]], sentence: str
) -> Axes:
    """Set limits and ticks of x from ``first`` to ``last``; write ``ends`` beside the axes, and the takeaway."""
    ax.set_xlim(first - 0.5, last + 0.5)
    length = last - first + 1
    step = 1 if length <= 13 else 5 if length <= 31 else 10
    ax.set_xticks(sorted({first, *range(-(-first // step) * step, last + 1, step)}))
    ax.set_xlabel(xlabel)
    label_ends(ax, ends)
    say(ax, sentence)
    return ax


def log_scale(ax: Axes, base: float = 10) -> None:
    """Make y logarithmic over at least a factor of `SPAN`, with ticks that read like numbers; call it after plotting.

    Where y is logarithmic already, its base stays, and so do limits that were set.
    """
    if ax.get_yscale() != "log":
        ax.set_yscale("log", base=base)
    ax.autoscale_view()
    low, high = ax.get_ylim()
    if ax.get_autoscaley_on():
        low, high = widened(low, high)
        ax.set_ylim(low, high)
    if ax.yaxis.get_transform().base == 10:  # type: ignore[attr-defined]
        decades = math.log10(high / low)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.6 else (1, 3) if decades < 3 else (1,)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value)))
    ax.yaxis.set_minor_formatter(NullFormatter())


def widened(low: float, high: float) -> tuple[float, float]:
    """The limits, moved apart around their middle where they span less than `SPAN`."""
    if not 0 < low < math.inf or high / low >= SPAN:
        return low, high
    middle = math.sqrt(low) * math.sqrt(high)
    return middle / math.sqrt(SPAN), middle * math.sqrt(SPAN)


def readable(value: float) -> str:
    """A tick's number: 0.05, 2, 3000; with a power of ten below 0.001 and from 10,000 on."""
    if value <= 0 or 1e-3 <= value < 1e4:
        return f"{value:g}"
    mantissa, power = f"{value:.0e}".split("e")
    times = "" if mantissa == "1" else rf"{mantissa}\times"
    return f"${times}10^{{{int(power)}}}$"


def mark_zeros(ax: Axes, x: Iterable[float], values: Iterable[float], colour: str) -> int:
    """Mark values of exactly 0, which a logarithmic axis cannot show, by triangles at its foot; returns how many."""
    zeros = [at for at, value in zip(x, values) if value == 0]
    if zeros:
        foot: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": colour, "clip_on": False, "zorder": 5}
        ax.plot(zeros, [0.02] * len(zeros), "v", ms=6, **foot)
        ax.text(
            zeros[0], 0.04, "exactly 0", size=8, ha="left" if zeros[0] < 0.7 * ax.get_xlim()[1] else "right", **foot
        )
    return len(zeros)


def nothing(ax: Axes, why: str) -> Axes:
    """Say why there is nothing to draw, in place of an empty scale."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(0.5, 0.5, plain(why), transform=ax.transAxes, ha="center", va="center", size=10, wrap=True)
    return ax


def colour_scale(norms: np.ndarray) -> LogNorm:
    """A logarithmic colour scale for gradient norms, without the outermost 1 %; any scale if none is above 0.

    It spans at least a factor of `SPAN`, as axes do.
    """
    shown = norms[np.isfinite(norms) & (norms > 0)]
    return LogNorm(*widened(*np.quantile(shown, [0.005, 0.995]))) if shown.size else LogNorm(0.1, 1.0)


def colour_bar(figure: Any, axes: Sequence[Axes], label: str = "‖∂L/∂W‖") -> Any:
    """The colour bar of `heatmap`s that share a scale, with ticks that read like numbers."""
    bar = figure.colorbar(axes[0].collections[0], ax=list(axes), label=label, fraction=0.05, pad=0.02, extend="both")
    log_ticks = LogLocator(subs=(1, 2, 5) if bar.vmax < 40 * bar.vmin else (1,))
    bar.set_ticks(log_ticks)
    bar.set_ticks([], minor=True)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value)))
    return bar
