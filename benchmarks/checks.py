"""What a gradient check costs: one passing call of `minires.testing.gradcheck`, for each kind of op."""

import statistics
import time
from collections.abc import Callable

import numpy as np

from minires.models.blocks import ResidualBlock
from minires.nn import functional as F
from minires.testing import gradcheck

from .harness import Plan, machine, markdown, save


def cases() -> dict[str, Callable[[], object]]:
    """A check for each op, on arrays as small as coursework's."""
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4)
    gamma, beta, rows = rng.standard_normal(3), rng.standard_normal(3), rng.standard_normal((5, 7))
    labels, weight = np.arange(5) % 7, rng.standard_normal((4, 7))
    block = ResidualBlock(3, 4, stride=2)
    return {
        "conv2d (x, w, b)": lambda: gradcheck(lambda x, w, b: F.conv2d(x, w, b, padding=1), x, w, b),
        "batch norm, training (x, γ, β)": lambda: gradcheck(
            lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True), x, gamma, beta
        ),
        "ReLU": lambda: gradcheck(F.relu, x),
        "max pool 2×2": lambda: gradcheck(lambda x: F.max_pool2d(x, 2), x),
        "linear (x, w)": lambda: gradcheck(lambda x, w: F.linear(x, w), rows, weight),
        "cross-entropy": lambda: gradcheck(F.cross_entropy, rows, labels),
        "x + b, broadcast": lambda: gradcheck(lambda a, b: a + b, x, rng.standard_normal((3, 1, 1))),
        "residual block with projection (x, 9 parameters)": lambda: gradcheck(block, x),
    }


def checks(plan: Plan) -> None:
    """Milliseconds of a gradient check that passes, op by op."""
    measured = {}
    for name, check in cases().items():
        check()
        times = []
        for _ in range(5 * plan.rounds):
            start = time.perf_counter()
            check()
            times.append(1e3 * (time.perf_counter() - start))
        measured[name] = {"ms": statistics.median(times), "ms_range": [min(times), max(times)]}
    rows = [[name, f"{r['ms']:.1f} ms", "{:.1f}–{:.1f}".format(*r["ms_range"])] for name, r in measured.items()]
    table = markdown(["one call of gradcheck, float64", "median", "range"], rows)
    m = machine()
    where = f"{m['processor']}, {m['cores']} cores, Python {m['python']}, NumPy {np.__version__}"
    save("checks", plan, {"checks": measured}, f"{table}\n\nMedian of {5 * plan.rounds} calls in one process; {where}.")
