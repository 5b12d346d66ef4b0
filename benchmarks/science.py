"""The page of the literature's statements: `minires.experiments` measured on five seeds."""

import math
import platform
from typing import Any

import numpy as np

import minires
from minires.experiments.rows import ROWS, measure

from . import harness

COMMAND = "MINIRES_CACHE=<folder that holds cifar-10-batches-bin> python -m benchmarks science"


def table(results: list[dict[str, Any]], seeds: int) -> str:
    """The Markdown page."""
    rows, beside = [], []
    for row in results:
        cells = [str(row["row"]), row["statement"], row["pilot"]]
        if "absent" in row:
            rows.append([*cells, f"absent: {row['absent']}", "", "", ""])
            continue
        values, bounds = row["values"], row["bounds"]
        measured = "<br>".join(f"{what}: {_spread(values[what])}" for what in bounds)
        criterion = "<br>".join(_criterion(*limits) for limits in bounds.values())
        holds = "<br>".join(_verdict(values[what], *limits) for what, limits in bounds.items())
        rows.append([*cells, measured, criterion, holds, f"{row['seconds']:.1f}"])
        others = "; ".join(f"{what}: {_spread(numbers)}" for what, numbers in values.items() if what not in bounds)
        if others:
            beside.append(f"- Row {row['row']}. {others}.")
    header = ["", "statement", "pilot", "measured: mean (range)", "criterion for the mean", "holds, in seeds", "s"]
    remarks = [f"- Row {row.number}. {row.remark}" for row in ROWS if row.remark]
    m = harness.machine()
    about = (
        f"Seeds 0–{seeds - 1}; rows 11–15 on CIFAR-10 at 8×8, 8,000 training images, widths 8/16/32, batch 64, 400 "
        f"steps (13 and 14: 1,200). {m['processor']}, {m['cores']} cores, shared with other programs; "
        f"Python {m['python']}, NumPy {np.__version__}, minires {minires.__version__}. Command: `{COMMAND}`."
    )
    sections = [harness.markdown(header, rows), about, "Also measured:\n\n" + "\n".join(beside)]
    return "\n\n".join([*sections, "Remarks:\n\n" + "\n".join(remarks)])


def _verdict(values: list[float], low: float, high: float) -> str:
    count = sum(low < value < high for value in values)
    return f"{'yes' if low < np.mean(values) < high else '**no**'}, {count}/{len(values)}"


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3g} ({min(values):.3g} … {max(values):.3g})".replace("-", "−")


def _criterion(low: float, high: float) -> str:
    if math.isinf(low):
        return f"< {high:.3g}".replace("-", "−")
    if math.isinf(high):
        return f"> {low:.3g}"
    return f"{low:.3g} … {high:.3g}".replace("-", "−")


def science(plan: harness.Plan) -> None:
    """Sixteen statements about plain and residual networks on five seeds (15 minutes; needs CIFAR-10 for some)."""
    seeds = 1 if plan.quick else min(plan.rounds, 5)
    results = measure(seeds)
    document = {"seeds": seeds, "numpy": np.__version__, "command": COMMAND, "system": platform.system()}
    rows = [
        row | {"bounds": {k: [None if math.isinf(v) else v for v in b] for k, b in row.get("bounds", {}).items()}}
        for row in results
    ]
    harness.save("science", plan, {**document, "rows": rows}, table(results, seeds))
