"""One learning rate for all depths: residual branches scaled by 1/√L.

Without batch norm and without scaling the variance doubles with every block, and the best learning rate at one depth
makes a deeper network diverge. With 1/√L in front of each of the L branches both the signal and what a step changes in
it stay of order 1, and the best rate of 8 blocks is good for 128.
"""

import math

import numpy as np

from .. import models, random, train
from ..optim import SGD
from .experiment import WIDTH, Experiment, Found, Numbers, above, below
from .training import CHANCE, batches
from .watched import no_overflow_warnings

RATES = tuple(2.0**k for k in range(-9, 0))


def depth_scaling(seed: int, variant: str, depth: int, steps: int = 50, width: int = WIDTH) -> Numbers:
    """The mean training loss of the last ten steps on digits for each learning rate, and log₂ of the best of these.

    SGD with momentum 0.9 and a constant rate; residual blocks ReLU–Linear. variant: "1/√L", or "unscaled". What
    diverges counts as chance.
    """
    scale = depth**-0.5 if variant == "1/√L" else 1.0
    losses = [_loss(seed, scale, depth, rate, steps, width) for rate in RATES]
    found = {f"loss, lr {rate:g}": loss for rate, loss in zip(RATES, losses)}
    return found | {"log₂ of the best lr": _lowest(np.log2(RATES), np.log(losses)), "best loss": min(losses)}


def _loss(seed: int, scale: float, blocks: int, rate: float, steps: int, width: int) -> float:
    random.manual_seed(seed)
    model = models.mlp(blocks + 2, width, in_features=64, layers=1, residual=True, norm=False, scale=scale)
    optimizer, losses = SGD(model.parameters(), rate, momentum=0.9), []
    with no_overflow_warnings():
        for (x, y), _ in zip(batches("digits", seed), range(steps)):
            losses.append(train.train_step(model, optimizer, x.reshape(len(x), -1), y).loss)
            if not losses[-1] < 1e4:
                return CHANCE
    return min(float(np.mean(losses[-10:])), CHANCE)


def _lowest(x: np.ndarray, y: np.ndarray) -> float:
    """Where the parabola through the lowest point and its neighbours is lowest; an end, if that is the lowest."""
    i = int(np.argmin(y))
    if i in (0, len(y) - 1):
        return float(x[i])
    before, here, after = y[i - 1 : i + 2]
    return float(x[i] + 0.5 * (x[i + 1] - x[i]) * (before - after) / (before - 2 * here + after))


def _shift(found: Found, variant: str, depth: int) -> float:
    return found[f"log₂ of the best lr, {variant}-{depth}"] - found[f"log₂ of the best lr, {variant}-8"]


def _spread(found: Found, variant: str, depths: tuple[int, ...]) -> float:
    best = [found[f"log₂ of the best lr, {variant}-{depth}"] for depth in depths]
    return max(best) - min(best)


DEPTH_SCALING = Experiment(
    "depth-scaling",
    "With branches scaled by 1/√L the best learning rate of 8 blocks is that of 128, within a factor of 2; without, it "
    "falls, until nothing trains",
    "Bordelon et al. 2023 (arXiv 2309.16620); Yang et al. 2023, depth-µP (arXiv 2310.02244)",
    depth_scaling,
    {
        "shift, 1/√L, 8 to 128": (-1.0, 1.0),
        "best loss, 1/√L-32": below(0.5),
        "best loss, 1/√L-128": below(0.5),
        "shift, unscaled, 8 to 16": (-math.inf, -1.0),
        "best loss, unscaled-32": above(2.2),
    },
    variants=("1/√L", "unscaled"),
    depths=(8, 16, 32, 128),
    derived={
        "shift, 1/√L, 8 to 128": lambda found: _shift(found, "1/√L", 128),
        "shift, unscaled, 8 to 16": lambda found: _shift(found, "unscaled", 16),
        "spread, 1/√L": lambda found: _spread(found, "1/√L", (8, 16, 32, 128)),
    },
    remark="A shift is the logarithm to base 2 of the best rate at one depth over that of 8 blocks. In a single seed "
    "the best rates of four depths lie further apart (spread: the largest over the smallest), a factor of two: the "
    "lowest point of a flat curve is a matter of chance, and the criterion is for the mean. Unscaled, the best rate of "
    "16 blocks is the smallest that was tried.",
    along="lr",
    shows=("loss",),
    log=("lr",),
    tested={"seeds": [0], "depths": (8, 16, 32)},
    slow=True,
    second={"width": 32},
    least={"depth": 1},
)
