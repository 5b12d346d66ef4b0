"""How steep the surroundings are: a plain network, and a residual one that was stopped at the same loss.

Compared as they are after equal training, a network that has learned stands against one that has not. At the same loss
the difference is small, and it is no law: see the second setting in the lesson on loss landscapes.
"""

import math
from collections.abc import Iterable

import numpy as np

from .. import flow, nn
from ..data import Dataset
from .experiment import Experiment, Numbers, above
from .training import dataset, fit, network

DIRECTIONS, MOVE = range(6), 0.2  # of each filter's own norm


def sharpness(seed: int, depth: int = 56, steps: int = 440, lr: float = 0.1) -> Numbers:
    """The rise of the loss when all filters move by a fifth of their norm: plain, and residual at the same loss."""
    plain, probe = network("plain", depth, seed, "digits"), dataset("digits").train.subset(256)
    for _ in fit(plain, "digits", seed, steps, lr):
        pass
    goal, rise = walk(plain, probe)
    residual = network("residual", depth, seed, "digits")
    for _ in fit(residual, "digits", seed, steps, lr / 5):
        loss, other = walk(residual, probe, directions=[0])
        if loss <= goal:
            break
    loss, other = walk(residual, probe)
    return {"loss": goal, "loss of the residual one": loss, "rise": rise, "rise of the residual one": other,
            "plain / residual": rise / other}  # fmt: skip


def walk(model: nn.Module, probe: Dataset, directions: Iterable[int] = DIRECTIONS) -> tuple[float, float]:
    """The loss on the probe, and how far it rises along random directions, both geometric means."""
    lines = [
        flow.landscape(model, [probe[:]], points=3, span=MOVE, seed=seed, training=True, progress=False).loss
        for seed in directions
    ]
    left, middle, right = np.exp(np.log(lines).mean(0))
    return float(middle), math.sqrt(left * right) - float(middle)


SHARPNESS = Experiment(
    "sharpness",
    "Around a plain network of 56 layers the loss rises faster than around a residual one of the same loss",
    "Li et al. 2018 (arXiv 1712.09913), who compare networks at the end of their training",
    sharpness,
    {"plain / residual": above(1.2)},
    remark="It depends on how far the plain network has come: the ratio is about 1 where that is still at a loss of "
    "1.4, and above 2 below a loss of 1.2. At a fifth of the rate, after as many steps, it is 1 on average.",
    shows=("rise", "rise of the residual one", "plain / residual"),
    tested={"seeds": [0]},
    slow=True,
    second={"lr": 0.02},
    fails=("plain / residual",),
)
