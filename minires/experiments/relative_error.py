"""Why a residual is easier to learn: the maps H(x) = x + ε·R(x), learned by a plain block and by a residual one.

A plain block has to learn x and ε·R(x) together, and what it gets wrong of x hides a small ε·R(x). A residual block is
given x. Where a plain block *starts* as the identity it does as well: what helps is what the error is relative to, not
the addition as such. And the addition alone is not enough: a branch that starts as large as x must be unlearned first.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn, random, train
from ..autograd import no_grad
from ..creation import randn
from ..nn import functional as F
from ..tensor import Tensor
from .experiment import BATCH, Experiment, Found, Numbers, above, below

SIZES = 0.01, 0.03, 0.1, 0.3, 1.0  # ε


class Block(nn.Module):
    """branch(x), or x + branch(x), (N, width) -> (N, width); the branch: Linear–ReLU–Linear, 2·width in between.

    identity: start as x, a residual block with a branch of 0, a plain one with x = ReLU(x) − ReLU(−x).
    """

    def __init__(self, width: int, residual: bool = False, identity: bool = False):
        super().__init__()
        self.residual = residual
        self.fc1, self.fc2 = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        nn.init.normal_(self.fc1.weight, std=width**-0.5)
        nn.init.kaiming_normal_(self.fc2.weight)
        if identity and residual:
            nn.init.zeros_(self.fc2.weight)
        elif identity:
            both = np.concatenate([np.eye(width), -np.eye(width)])
            self.fc1.weight.array[...], self.fc2.weight.array[...] = both, both.T

    def forward(self, x: Tensor) -> Tensor:
        out = self.fc2(F.relu(self.fc1(x)))
        return x + out if self.residual else out


BLOCKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "plain from x": {"identity": True},
    "residual": {"residual": True},
    "residual from x": {"residual": True, "identity": True},
}


def relative_error(seed: int, variant: str, steps: int = 100, lr: float = 0.05) -> Numbers:
    """The error that is left of each H(x), and how it goes with ε: the slope of their logarithms."""
    left = errors(seed, variant, steps, lr)
    found = {f"error, ε {size:g}": error for size, error in zip(SIZES, left)}
    return found | {"slope": float(np.polyfit(np.log(SIZES), np.log(left), 1)[0])}


def errors(seed: int, variant: str, steps: int = 100, lr: float = 0.05, width: int = 32) -> np.ndarray:
    """‖f(x) − H(x)‖/‖H(x)‖ for each ε after some steps on ½‖f(x) − H(x)‖², a fresh batch at every step; (5).

    R is a random block of the same form, ‖R(x)‖ = ‖x‖ on average. The blocks of one seed see the same R and the same
    batches.
    """
    return np.array([_error(seed, size, BLOCKS[variant], steps, lr, width) for size in SIZES])


def _error(seed: int, size: float, block: dict[str, Any], steps: int, lr: float, width: int) -> float:
    random.manual_seed(seed)
    perturbation, model, x = Block(width), Block(width, **block), randn(1024, width)
    size /= float(np.linalg.norm(perturbation(x).array) / np.linalg.norm(x.array))
    optimizer, schedule = train.recipe(model, steps, lr)
    for _ in range(steps):
        x = randn(BATCH, width)
        with no_grad():
            wanted = x + size * perturbation(x)
        optimizer.zero_grad()
        (((model(x) - wanted) ** 2).sum() / (2 * BATCH)).backward()
        optimizer.step()
        schedule.step()
    with no_grad():
        x = randn(1024, width)
        wanted = x + size * perturbation(x)
        return float(np.linalg.norm((model(x) - wanted).array) / np.linalg.norm(wanted.array))


def _over(other: str) -> Callable[[Found], float]:
    return lambda found: found["error, ε 0.01, plain"] / found[f"error, ε 0.01, {other}"]


RELATIVE_ERROR = Experiment(
    "relative-error",
    "Of H(x) = x + ε·R(x), what a residual block gets wrong shrinks with ε; what a plain one does, does not",
    "He et al. 2015 (arXiv 1512.03385), section 3.1",
    relative_error,
    {
        "slope, plain": below(0.2),
        "slope, residual from x": above(0.6),
        "slope, plain from x": above(0.6),
        "error, ε 0.01, plain / residual": above(4),
        "error, ε 0.01, plain / residual from x": above(20),
    },
    variants=tuple(BLOCKS),
    derived={f"error, ε 0.01, plain / {other}": _over(other) for other in ("residual", "residual from x")},
    remark="A plain block that starts as the identity does as well as a residual one where ε is small, and worse where "
    "R counts as much as x. A residual block with a branch of full size at the start has to unlearn it; at a fifth of "
    "the rate it is slower to, and a third of a plain block's error is left, not a tenth.",
    along="ε",
    shows=("error",),
    log=("error", "ε"),
    tested={"seeds": range(2)},
    second={"lr": 0.01},
    fails=("error, ε 0.01, plain / residual",),
)
