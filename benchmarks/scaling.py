"""The page ``scaling``: how the time of a step grows with depth, batch, width and threads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import bars, figures
from .harness import Plan, Program, about, alternate, markdown, number, program, save, save_figure, spread
from .workers.common import cores

DEPTHS = (20, 56, 110)
BATCHES = tuple(2**i for i in range(10))  # 1 … 512
WIDTHS = (8, 16, 32, 64)


def scaling(plan: Plan) -> None:
    """Step time against depth, batch, width and threads, and its distance from a straight line."""
    few = plan.quick
    depths, batches, widths = (DEPTHS[:2], BATCHES[:8:3], WIDTHS[:2]) if few else (DEPTHS, BATCHES, WIDTHS)
    threads = range(1, cores() + 2)  # one more than there are cores: it must not fall apart
    sweeps: dict[str, dict[int, Program]] = {
        "depth": {d: program("minires_net", f"resnet{d}", "step", *(["--batch", 32] if few else [])) for d in depths},
        "batch": {b: program("minires_net", "resnet20", "step", "--batch", b) for b in batches},
        "width": {w: program("minires_net", "resnet20", "step", "--width", w) for w in widths},
        "threads": {t: program("minires_net", "resnet20", "step", "--threads", t) for t in threads},
    }
    results: dict[str, Any] = {}
    pages, everything = [], []
    for name, programs in sweeps.items():
        measured = alternate({str(n): what for n, what in programs.items()}, plan)
        everything += measured.values()
        sweep: dict[str, Any] = {"points": measured}
        if name in ("depth", "batch"):
            sweep["line"] = straight_line(list(programs), [r["ms"] for r in measured.values()])
        results[name] = sweep
        pages.append(page(name, sweep))
    save_figure("scaling", plan, figures.scaling(results))
    save("scaling", plan, results, "\n\n".join([*pages, about(plan, everything)]))


def straight_line(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """The line a + b·x with the smallest squared *relative* distances from y, and the largest of them.

    Relative, because the question is whether an image costs the same in a small batch as in a large one.
    """
    xs, ys = np.array(x, float), np.array(y, float)
    (a, b), *_ = np.linalg.lstsq(np.stack([1 / ys, xs / ys], axis=1), np.ones(len(xs)), rcond=None)
    return {"start": float(a), "slope": float(b), "distance": float(np.abs(ys / (a + b * xs) - 1).max())}


def page(name: str, sweep: dict[str, Any]) -> str:
    """The table of one sweep, and how straight it is."""
    points, rows = sweep["points"], []
    first = next(iter(points.values()))
    for n, r in points.items():
        row = [n, spread(r), f"{r['peak_mb']:.0f} MB"]
        if name == "batch":
            row.append(f"{number(r['ms'] / int(n))} ms")
        elif name == "depth":
            row.append(f"{number(r['ms'] / int(n))} ms")
        elif name == "threads":
            row.append(f"{first['ms'] / r['ms']:.2f} ×")
        else:
            row.append(f"{r['gflop'] / r['ms'] * 1e3:.0f} GFLOP/s")
        rows.append(row)
    last = {"batch": "per image", "depth": "per layer", "threads": "speed-up", "width": "rate"}[name]
    net = {"depth": "ResNet", "batch": "ResNet-20", "width": "ResNet-20", "threads": "ResNet-20"}[name]
    text = markdown([f"{net}: {name}", "step, median (range)", "peak memory", last], rows)
    if "line" in sweep:
        line = sweep["line"]
        verdict = "met" if line["distance"] <= bars.STRAIGHT else "missed"
        text += (
            f"\n\nLine: {number(line['start'])} ms + {number(line['slope'])} ms × {name}; the farthest point is "
            f"{line['distance']:.1%} off (within {bars.STRAIGHT:.0%}: {verdict})."
        )
    return text
