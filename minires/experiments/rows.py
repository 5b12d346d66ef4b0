"""The table of statements: what the literature says, a pilot's number, the criterion, and ours on a few seeds."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..progress import tqdm
from . import initialisation, paths, shattering, trained
from .seeds import Numbers, over_seeds


class Row(NamedTuple):
    """One statement. bounds: ``{what: (above, below)}``, for the mean over seeds of what ``measure`` returns."""

    number: int
    statement: str
    pilot: str
    bounds: dict[str, tuple[float, float]]
    measure: Callable[..., Numbers]
    trains: bool = False  # whether it needs CIFAR-10
    remark: str = ""


def below(high: float) -> tuple[float, float]:
    """An upper bound alone."""
    return -math.inf, high


def above(low: float) -> tuple[float, float]:
    """A lower bound alone."""
    return low, math.inf


RESPONSES = (
    "Missed for the mean over all layers: a response behind batch norm has the size of the layer's γ, which starts at "
    "1 in both networks, and in 1,200 steps only the last layers of the blocks, whose output meets the shortcut, have "
    "moved apart. Nor is it a law: after 6,000 steps, 48 epochs of the same 8,000 images, the ratio over all layers "
    "was 1.31 and 1.23 (two seeds); with all 50,000 images, 8 epochs, 0.94 and 0.95, in the last layers 0.89 and 0.92. "
    "He et al. train for 64,000 steps on 50,000 augmented images."
)

SKIP_INIT = (
    "What counts is the size of the branch: started at 1/√n, α trains at least as well as started at 0, while α = 1 "
    "starts with a loss far above chance (ln 10 = 2.30), and then diverges (counted as chance), stays at chance or "
    "learns late. The plain network loses its signal, because at 2×2 pixels most of a 3×3 kernel sees padding; but "
    "scaled so that every convolution starts with a variance of 1 it does not learn either."
)

ROWS = [
    Row(
        1,
        "The gradient at a fork is skip + branch, and the sum over all path lengths",
        "≤ 2e-15",
        {
            "fork, float64": below(1e-10),
            "paths, float64": below(1e-10),
            "fork, float32": below(1e-4),
            "paths, float32": below(1e-4),
        },
        paths.conservation,
    ),
    Row(
        2,
        "Of 2⁵⁴ paths, 0.45 % cross 5–17 blocks, and 98 % cross 19–35",
        "0.4537 %; 98.0 %",
        {"5–17, %": (0.44, 0.46), "19–35, %": (97.9, 98.1)},
        paths.path_count,
        remark="Veit et al. give 95 % for 19–35 blocks; the binomial has 98.0 % there.",
    ),
    Row(
        3,
        "Every branch on a path multiplies its gradient by the same factor below 1",
        "× 0.455 a branch, R² 0.9992",
        {"factor": below(0.7), "R²": above(0.98)},
        paths.branch_cost,
    ),
    Row(
        4,
        "Σ r²/(1 + r²) over the forks is the effective path length, a small part of the depth",
        "9/18/27/54 blocks: 2.99/4.28/5.10/6.61, exact 3.01/4.26/5.09/6.52",
        {
            **{f"Σ/exact, {blocks}": (0.95, 1.05) for blocks in (9, 18, 27, 54)},
            "share of depth, 54": below(0.15),
        },
        paths.effective_length,
    ),
    Row(
        5,
        "Without batch norm the lengths are binomial, n/2; branches scaled by 1/√n leave about 1",
        "n = 27: 13.6; 0.97",
        {"unscaled": (12, 15), "1/√n": (0.8, 1.2)},
        paths.length_without_batch_norm,
    ),
    Row(
        6,
        "Batch norm makes the gradient of a plain network explode, 1.211 per layer",
        "1.199",
        {"with BN": (1.17, 1.24), "with BN, width 256": (1.17, 1.24)},
        initialisation.explosion,
    ),
    Row(
        7,
        "Without it ln‖Jᵀu‖² is normal, mean −β/2 = −2.19, variance β, β = 5L/n",
        "mean −2.23, std 2.17 (theory 2.09)",
        {"mean": (-2.19 - 0.4, -2.19 + 0.4), "std": (2.09 - 0.4, 2.09 + 0.4)},
        initialisation.log_normal_gradient,
    ),
    Row(
        8,
        "Residual variance doubles with every block without batch norm, and grows by 1 with it",
        "log₂ slope 1.009; slope 0.985",
        {"log₂ slope without BN": (0.9, 1.1), "slope with BN": (0.9, 1.1)},
        initialisation.variance_growth,
    ),
    Row(
        9,
        "Gradients at two inputs correlate as 2^−L in plain networks, far more in residual ones",
        "plain 0.49/0.25/0.13/0.065 (L = 1–4), 0.0005 (L = 10); residual 0.278 (L = 10)",
        {
            **{f"plain, L = {n}": (2 ** (-n - 0.3), 2 ** (-n + 0.3)) for n in (1, 2, 3, 4)},
            "residual, L = 10": above(0.2),
        },
        shattering.correlation_between_inputs,
    ),
    Row(
        10,
        "Along a line of inputs, the slope of a deep plain network is white noise, of a residual one not",
        "lag-1 autocorrelation −0.03 (plain-24), 0.73 (residual-50)",
        {"plain-24": (-0.2, 0.2), "residual-50": above(0.5)},
        shattering.correlation_along_a_line,
    ),
    Row(
        11,
        "At initialisation the gradient of plain-56 is far larger in the first convolution than in the last",
        "plain 859–1280, residual 2.0–6.7",
        {"plain, step 0": above(100), "residual, step 0": below(20)},
        trained.gradient_profile,
        trains=True,
        remark="The explosion is over within ten steps; then the plain network's ratio is below 1. How far below "
        "depends on the seed, over more than an order of magnitude, and the residual network's varies as much.",
    ),
    Row(
        12,
        "Plain networks get worse with depth, residual ones far less",
        "plain-8/20/56 1.52/1.81/2.29; residual-8/20/56 1.46/1.53/1.66–2.04, with zero-γ 1.51–1.59",
        {"plain-56 − plain-8": above(0.5), "plain-56 − zero-γ-56": above(0.4)},
        trained.degradation,
        trains=True,
        remark="In 400 steps depth helps no network: residual ones lose a little too, 56 layers clearly unless γ "
        "starts at 0.",
    ),
    Row(
        13,
        "Deleting a block breaks a plain network, and hardly hurts a residual one",
        "residual 0.015–0.045 (stage change 0.07–0.10, first 0.12–0.16); plain: every block to chance",
        {"residual, median": below(0.08), "plain, median": above(0.18)},
        trained.lesion,
        trains=True,
    ),
    Row(
        14,
        "The layers of a residual network respond more weakly than those of its plain twin",
        "residual 0.62–1.14, plain 0.80–1.22",
        {"residual / plain, all": below(0.9), "residual / plain, last": below(0.9)},
        trained.layer_responses,
        trains=True,
        remark=RESPONSES,
    ),
    Row(
        15,
        "A branch scale that starts at 0 trains 56 layers without batch norm",
        "α = 0: 1.65; α = 1: 2.30; plain 2.30",
        {"plain − α = 0": above(0.4), "plain − α = 1/√n": above(0.4), "α = 1 − α = 0": above(0.4)},
        trained.skip_init,
        trains=True,
        remark=SKIP_INIT,
    ),
    Row(
        16,
        "Shortcuts scaled by λ multiply what crosses no branch by λⁿ",
        "exact",
        {f"λ = {scale}": below(1e-10) for scale in (0.5, 0.9, 1.1)},
        paths.scaled_shortcut,
    ),
]


def measure(seeds: int = 5) -> list[dict[str, Any]]:
    """All rows as plain values; those that need CIFAR-10 say so if it is absent."""
    try:
        c8, absent = trained.load_c8(), ""
    except FileNotFoundError as error:
        c8, absent = None, str(error)
    results = []
    with tqdm(total=len(ROWS) * seeds, unit="run") as bar:
        for row in ROWS:
            bar.set_description(f"row {row.number}")
            started, runs = time.perf_counter(), []
            result: dict[str, Any] = {"row": row.number, "statement": row.statement, "pilot": row.pilot}
            for seed in range(seeds):
                if c8 is not None or not row.trains:
                    data = (c8,) if row.trains else ()
                    runs.append(over_seeds(row.measure, *data, seeds=[seed]))
                bar.update()
            if runs:
                values = {what: [float(run[what][0]) for run in runs] for what in runs[0]}
                result |= {"values": values, "bounds": row.bounds, "seconds": time.perf_counter() - started}
            else:
                result["absent"] = absent
            results.append(result)
    return results
