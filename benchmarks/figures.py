"""The figures of the benchmark pages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from . import bars

COLOURS = {"minires": "#d95f02", "PyTorch": "#1f5a94", "PyTorch channels_last": "#8fb8de"}
OTHERS = ("#4d4d4d", "#7a7a7a", "#a0a0a0", "#c0c0c0", "#d8d8d8")


def colours(labels: Iterable[str]) -> dict[str, str]:
    """minires orange, PyTorch blue, everything else grey."""
    grey = iter(OTHERS)
    return {label: COLOURS.get(label) or next(grey) for label in labels}


def programs(cases: Mapping[str, Mapping[str, dict]], log: bool = False) -> Figure:
    """Time and peak memory of every program, one row of bars for each case."""
    figure = Figure(figsize=(11, 0.6 + 1.45 * len(cases)), layout="constrained")
    axes = figure.subplots(len(cases), 2, squeeze=False)
    for (time, memory), (title, measured) in zip(axes, cases.items()):
        present = {label: r for label, r in measured.items() if "absent" not in r}
        colour, y = colours(measured), np.arange(len(present))
        for axis, key, unit in ((time, "ms", "ms"), (memory, "peak_mb", "MB")):
            values = [r[key] for r in present.values()]
            ranges = np.array([r[f"{key}_range"] for r in present.values()]).T
            error = np.abs(ranges - values)
            axis.barh(y, values, xerr=error, color=[colour[label] for label in present], error_kw={"lw": 1})
            for i, value in enumerate(values):
                axis.annotate(
                    f" {value:,.0f} {unit}",
                    (ranges[1, i], i),
                    va="center",
                    fontsize=8,
                    xytext=(2, 0),
                    textcoords="offset points",
                )
            axis.set_yticks(y, list(present) if axis is time else [""] * len(present), fontsize=8)
            axis.invert_yaxis()
            axis.tick_params(axis="x", labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
            if log and axis is time:
                axis.set_xscale("log")
                axis.set_xlim(min(values) / 2, max(values) * 3)
            else:
                axis.set_xlim(0, ranges[1].max() * 1.2)
        time.set_title(title, fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("one step, ms (bars: median; lines: range)" + (", logarithmic" if log else ""), fontsize=8)
    axes[-1, 1].set_xlabel("peak memory of the process, MB", fontsize=8)
    return figure


def kernels(nets: Mapping[str, list[dict[str, Any]]]) -> Figure:
    """Time of each kind of kernel in one step: at the roofline, in minires and in PyTorch."""
    rows, columns = -(-len(nets) // 2), min(len(nets), 2)
    figure = Figure(figsize=(max(5.5 * columns, 7), 3.6 * rows), layout="constrained")
    for axis, (title, calls) in zip(figure.subplots(rows, columns, squeeze=False).flat, nets.items()):
        kinds = sorted({call["kernel"] for call in calls}, key=lambda k: -_sum(calls, k, "ms"))[:6]
        kinds.reverse()
        for offset, label, key, colour in (
            (0.27, "roofline", "roofline_ms", "#bbbbbb"),
            (0.0, "minires", "ms", COLOURS["minires"]),
            (-0.27, "PyTorch NCHW", "PyTorch", COLOURS["PyTorch"]),
        ):
            values = [_sum(calls, kind, key) for kind in kinds]
            axis.barh(np.arange(len(kinds)) + offset, values, 0.25, label=label, color=colour)
        axis.set_yticks(np.arange(len(kinds)), kinds, fontsize=8)
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_xlabel("all calls of one step, ms", fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _sum(calls: list[dict[str, Any]], kind: str, key: str) -> float:
    return sum(call["count"] * (call[key] or 0) for call in calls if call["kernel"] == kind)


def ranks(steps: Mapping[str, dict[str, Any]], counts: Sequence[int]) -> Figure:
    """Two panels: the same batch over more ranks, and the same share for each rank, for each network."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    strong, weak = figure.subplots(1, 2)
    nets = [label.split()[0] for label in steps if label.endswith(" 1")]
    for net, colour in zip(nets, ("#0072B2", "#D55E00")):
        title, alone = net.replace("resnet", "ResNet-"), steps[f"{net} 1"]["ms"]
        strong.plot(counts, [alone / n for n in counts], color="#777777", lw=1, ls="--")
        for choice, marks in (("local", "o-"), ("sync", "s:")):
            times = [alone, *(steps[f"{net} {n} {choice}"]["ms"] for n in counts[1:])]
            strong.plot(counts, times, marks, color=colour, ms=4, label=f"{title}, {choice}")
            shares = [1.0] + [
                steps[f"{net} share of {n}"]["ms"] / steps[f"{net} {n} {choice}"]["ms"] for n in counts[1:]
            ]
            weak.plot(counts, shares, marks, color=colour, ms=4, label=f"{title}, {choice}")
    weak.axhline(1, color="#777777", lw=1, ls="--")
    for axis in (strong, weak):
        axis.set_xticks(counts, [str(n) for n in counts])
        axis.set_xlabel("ranks, one thread each")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8)
    strong.set_title("128 images in all (dashed: as many times faster)", fontsize=10)
    strong.set_ylabel("step, ms")
    weak.set_title("the same share for each rank (dashed: no slower than alone)", fontsize=10)
    weak.set_ylabel("time alone / time together")
    return figure


def scaling(sweeps: Mapping[str, dict[str, Any]]) -> Figure:
    """Four panels: depth and batch with their straight lines, width, threads."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axis, (name, sweep) in zip(figure.subplots(2, 2).flat, sweeps.items()):
        x = np.array([int(n) for n in sweep["points"]])
        y = np.array([r["ms"] for r in sweep["points"].values()])
        ranges = np.array([r["ms_range"] for r in sweep["points"].values()]).T
        if "line" in sweep:
            line = sweep["line"]
            fine = np.geomspace(x[0], x[-1], 200)
            fit = line["start"] + line["slope"] * fine
            axis.fill_between(
                fine,
                fit * (1 - bars.STRAIGHT),
                fit * (1 + bars.STRAIGHT),
                color="#dddddd",
                label=f"± {bars.STRAIGHT:.0%}",
            )
            axis.plot(
                fine,
                fit,
                color="#777777",
                lw=1,
                label=f"{line['start']:.3g} + {line['slope']:.3g} · {name}, farthest {line['distance']:.1%}",
            )
        if name == "threads":
            axis.plot(x, y[0] / x, color="#777777", lw=1, ls="--", label="as many times faster")
        marks = "o" if "line" in sweep else "o-"
        axis.errorbar(x, y, np.abs(ranges - y), fmt=marks, color=COLOURS["minires"], ms=4)
        if name != "depth" and len(x) > 1:
            axis.set_xscale("log", base=2)
        if name in ("batch", "width"):
            axis.set_yscale("log")
            ticks = [m * 10**e for e in range(-1, 7) for m in (1, 2, 5)]
            axis.set_yticks([t for t in ticks if y.min() / 2 <= t <= y.max() * 2])
            axis.yaxis.set_major_formatter("{x:,g}")
        else:
            axis.set_ylim(bottom=0)
        axis.set_xticks(x, [str(n) for n in x], fontsize=8)
        axis.minorticks_off()
        axis.set_xlabel(name if name == "depth" else f"{name} (ResNet-20)")
        axis.set_ylabel("training step, ms")
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False, fontsize=8)
    return figure
