"""Why a residual is easier to learn: the maps H(x) = x + ε·R(x), learned by a plain block and by a residual one.

He et al. 2015 (arXiv 1512.03385), section 3.1: "if an optimal function is closer to an identity mapping than to a zero
mapping, it should be easier for the solver to find the perturbations with reference to an identity mapping". A plain
block has to learn x and ε·R(x) together, so that what it gets wrong of x hides a small ε·R(x). A residual block is
given x. What remains is measured relative to ‖H(x)‖ here, and relative to the part that was to be learned.

Where a plain block *starts* at the identity, it is as good: the reference is what helps, not the addition.
"""

import numpy as np

from .. import nn, random, train
from ..autograd import no_grad
from ..creation import randn
from ..nn import functional as F
from ..tensor import Tensor
from .seeds import Numbers

SIZES = 0.01, 0.03, 0.1, 0.3, 1.0  # ε
WIDTH, STEPS = 32, 300
STARTS = "plain", "plain, starts at the identity", "residual", "residual, starts at the identity"


class Block(nn.Module):
    """branch(x) or x + branch(x), (N, width) -> (N, width), the branch being Linear–ReLU–Linear, 2·width in between."""

    def __init__(self, width: int, residual: bool = False, identity: bool = False):
        super().__init__()
        self.residual = residual
        self.fc1, self.fc2 = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        nn.init.normal_(self.fc1.weight, std=width**-0.5)
        nn.init.kaiming_normal_(self.fc2.weight)
        if identity and residual:
            nn.init.zeros_(self.fc2.weight)
        elif identity:  # x = ReLU(x) − ReLU(−x)
            one = np.eye(width, dtype=np.float32)
            self.fc1.weight.array[...] = np.concatenate([one, -one])
            self.fc2.weight.array[...] = np.concatenate([one, -one], axis=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.fc2(F.relu(self.fc1(x)))
        return x + out if self.residual else out


def left(seed: int, size: float, start: str, steps: int = STEPS, width: int = WIDTH, lr: float = 0.05) -> float:
    """The error that is left after some steps, ‖f(x) − H(x)‖ / ‖H(x)‖ over new x, for ε = ``size``.

    R is a random block of the same form, scaled to ‖R(x)‖ = ‖x‖ on average. SGD with momentum on ½‖f(x) − H(x)‖², a
    fresh batch of 64 at every step; the blocks of one seed see the same R and the same batches.
    """
    random.manual_seed(seed)
    perturbation, model = Block(width), Block(width, start.startswith("residual"), "identity" in start)
    random.manual_seed(seed + 1000)
    unit = float(np.linalg.norm(perturbation(x := randn(1024, width)).array) / np.linalg.norm(x.array))
    optimizer, schedule = train.recipe(model, steps, lr)
    for _ in range(steps):
        x = randn(64, width)
        with no_grad():
            wanted = x + size / unit * perturbation(x)
        optimizer.zero_grad()
        loss = ((model(x) - wanted) ** 2).sum() / (2 * 64)
        loss.backward()
        optimizer.step()
        schedule.step()
    with no_grad():
        x = randn(1024, width)
        wanted = x + size / unit * perturbation(x)
        return float(np.linalg.norm((model(x) - wanted).array) / np.linalg.norm(wanted.array))


def relative_error(seed: int) -> Numbers:
    """Row 21: the error left of H(x) = x + ε·R(x) after 300 steps, and how it goes with ε: the slope in logarithms."""
    found: Numbers = {}
    for start in STARTS:
        errors = [left(seed, size, start) for size in SIZES]
        found |= {f"{start}, ε = {size:g}": error for size, error in zip(SIZES, errors)}
        found[f"{start}, slope"] = float(np.polyfit(np.log(SIZES), np.log(errors), 1)[0])
    return found
