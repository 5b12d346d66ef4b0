"""The page ``tune``: every tuned constant next to its neighbours, and which value is fastest here.

Each constant is varied alone, with all others at their values in force. What is timed is kernel calls: those of the
networks on the page ``step``, or, if the constant is a threshold, a grid of shapes around it. The measure is the
geometric mean, over these calls, of the time relative to the value in force. Winograd's points are those with the
smallest error.
"""

import itertools
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from minires.kernels.conv import winograd

from .harness import Plan, about, alternate, markdown, program, save

CLEARLY = 0.98  # of the time with the value in force: what counts as faster, as whole runs differ by a percent


class Constant(NamedTuple):
    """module and name of the constant; the calls to time, see ``workers/minires_tune.py``; factors of the value."""

    module: str
    name: str
    calls: str
    factors: tuple[float, ...] = (0.25, 0.5, 1, 2, 4)


CONSTANTS = (
    Constant("kernels.product.cpu", "SMALL", "networks"),
    Constant("kernels.product.cpu", "LEAST", "networks", (1, 2, 4, 8)),
    Constant("kernels.product.cpu", "LEAST_SUM", "networks"),
    Constant("kernels.conv.cpu", "FEW", "networks"),
    Constant("kernels.conv.im2col", "BLOCK_POSITIONS", "networks"),
    Constant("kernels.conv.im2col", "BLOCK_BYTES", "networks"),
    Constant("kernels.conv.im2col", "WHOLE_BYTES", "networks"),
    Constant("kernels.conv.winograd", "BLOCK_BYTES", "networks"),
    Constant("kernels.conv.winograd", "COLUMNS", "networks"),
    Constant("kernels.conv.winograd", "WEIGHT", "networks", (0.1, 0.3, 1, 3, 10)),
    Constant("kernels.conv.winograd", "CHANNELS", "thresholds", (0.5, 0.75, 1, 1.5, 2)),
    Constant("kernels.conv.winograd", "GAIN", "thresholds"),
    Constant("kernels.conv.winograd", "ROW", "thresholds"),
    Constant("kernels.conv.planes", "ROW", "thresholds"),
    Constant("kernels.conv.whole", "BATCH", "thresholds"),
    Constant("kernels.conv.whole", "CHANNELS", "thresholds"),
    Constant("threads", "PARALLEL_WORK", "thresholds"),
    Constant("threads", "RUNS_PER_THREAD", "networks", (0.25, 0.5, 1, 2)),
    Constant("threads", "PARALLEL_BYTES", "rows"),
    Constant("threads", "BLOCK_BYTES", "rows"),
    Constant("kernels.elementwise.cpu", "PARALLEL_SIZE", "rows"),
    Constant("kernels.elementwise.cpu", "ZEROS", "rows"),
    Constant("kernels.elementwise.cpu", "BUFFER", "rows", (0.25, 0.5, 1, 2)),
    Constant("kernels.elementwise.cpu", "MANY", "rows"),
    Constant("kernels.reduce.cpu", "RUN", "rows", (0.5, 1, 2)),
    Constant("kernels.reduce.cpu", "PRODUCTS", "rows", (0.5, 1, 2)),
    Constant("kernels.reduce.cpu", "SMALL", "sums"),
    Constant("optim.optimizers", "RUN", "parameters"),
)


def tune(plan: Plan) -> None:
    """Every tuned constant of the CPU kernels next to its neighbours (10 minutes a round)."""
    results: dict[str, Any] = {}
    rows = []
    for constant in CONSTANTS[:2] if plan.quick else CONSTANTS:
        label = f"{constant.module}.{constant.name}"
        factors = ",".join(map(str, constant.factors))
        worker = program("minires_tune", constant.module, constant.name, constant.calls, factors)
        found = alternate({label: worker}, plan)[label]
        results[label] = found
        relative = dict(zip(found["values"], found["ms"]))
        best = min(relative, key=relative.__getitem__)
        verdict = "as good as any" if relative[best] > CLEARLY else f"**{best:,}** is faster"
        cells = ", ".join(f"{value:,}: {time:.3f}" for value, time in relative.items() if value != found["in_force"])
        rows.append([f"`{label}`", f"{found['in_force']:,}", cells, constant.calls, verdict])
    header = ["constant", "in force", "other values: time relative to it", "calls", "verdict"]
    text = f"{markdown(header, rows)}\n\n{points()}\n\n{about(plan, results.values())}"
    save("tune", plan, {"constants": results}, text)


def points() -> str:
    """Winograd's points in force, next to the best of all simple fractions; 0 and ∞ are always among them."""
    fractions = sorted({sign * Fraction(a, b) for a in range(1, 5) for b in range(1, 5) for sign in (1, -1)})
    best = min(itertools.combinations(fractions, winograd.TILE), key=lambda four: amplified((0, *four)))
    in_force = ", ".join(f"{float(p):.4g}" for p in winograd.POINTS)
    return (
        f"Winograd's points in force are {in_force}; they amplify squared rounding errors "
        f"{amplified(winograd.POINTS):.1f}-fold (mean of a tile's outputs). Of all fractions a/b with a and b up to 4, "
        f"the best are 0, {', '.join(map(str, best))}: {amplified((0, *best)):.1f}-fold."
    )


def amplified(chosen: tuple) -> float:
    """How much the six products' squared rounding errors count in an output: mean over rows of Σᵢ Aᵢ²·‖Gᵢ‖²·‖Bᵢ‖²."""
    at, g, bt = winograd.transforms(np.dtype(np.float64), tuple(map(float, chosen)))
    return float((at**2 @ ((g**2).sum(1) * (bt**2).sum(1))).mean())
