"""The page of the literature's statements: every experiment of `minires.experiments.registry` on five seeds."""

import math
import platform
import time
from typing import Any

import numpy as np

import minires
from minires.experiments.registry import EXPERIMENTS
from minires.progress import tqdm

from . import harness

COMMAND = "MINIRES_CACHE=<folder that holds cifar-10-batches-bin> python -m benchmarks science"


def measure(seeds: int) -> list[dict[str, Any]]:
    """What each experiment found, as plain values; those that need CIFAR-10 say so if it is absent."""
    results = []
    for name, experiment in (bar := tqdm(EXPERIMENTS.items(), unit="experiment")):
        bar.set_description(name)
        started = time.perf_counter()
        result: dict[str, Any] = {"name": name, "statement": experiment.statement, "source": experiment.source}
        try:
            found = experiment.over_seeds(range(seeds))
        except FileNotFoundError as error:
            result["absent"] = str(error)
        else:
            values = {what: numbers.tolist() for what, numbers in found.items()}
            result |= {"values": values, "bounds": dict(experiment.bounds), "seconds": time.perf_counter() - started}
        results.append(result)
    return results


def table(results: list[dict[str, Any]], seeds: int) -> str:
    """The Markdown page."""
    rows, beside = [], []
    for result in results:
        experiment = EXPERIMENTS[result["name"]]
        cells = [result["name"], f"{experiment.statement}. {experiment.source}", experiment.pilot]
        if "absent" in result:
            rows.append([*cells, f"absent: {result['absent']}", "", "", ""])
            continue
        values, bounds = result["values"], result["bounds"]
        measured = "<br>".join(f"{what}: {_spread(values[what])}" for what in bounds)
        criterion = "<br>".join(_criterion(*limits) for limits in bounds.values())
        holds = "<br>".join(_verdict(values[what], *limits) for what, limits in bounds.items())
        rows.append([*cells, measured, criterion, holds, f"{result['seconds']:.1f}"])
        others = "; ".join(f"{what}: {_spread(numbers)}" for what, numbers in values.items() if what not in bounds)
        if others:
            beside.append(f"- {result['name']}. {others}.")
    header = ["experiment", "statement", "pilot", "measured: mean (range)", "criterion for the mean", "holds, in seeds"]
    remarks = [f"- {name}. {experiment.remark}" for name, experiment in EXPERIMENTS.items() if experiment.remark]
    m = harness.machine()
    about = (
        f"Seeds 0–{seeds - 1}; those that train, on CIFAR-10 at 8×8 unless they say otherwise: 8,000 training images, "
        f"widths 8/16/32, batch 64. {m['processor']}, {m['cores']} cores, shared with other programs; "
        f"Python {m['python']}, NumPy {np.__version__}, minires {minires.__version__}. Command: `{COMMAND}`."
    )
    sections = [harness.markdown([*header, "s"], rows), about, "Also measured:\n\n" + "\n".join(beside)]
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
    """The literature's statements about plain and residual networks on five seeds (minutes; CIFAR-10 for some)."""
    seeds = 1 if plan.quick else min(plan.rounds, 5)
    results = measure(seeds)
    document = {"seeds": seeds, "numpy": np.__version__, "command": COMMAND, "system": platform.system()}
    rows = [
        row | {"bounds": {k: [None if math.isinf(v) else v for v in b] for k, b in row.get("bounds", {}).items()}}
        for row in results
    ]
    harness.save("science", plan, {**document, "rows": rows}, table(results, seeds))
