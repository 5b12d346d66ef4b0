"""One learning rate for all depths: residual branches scaled by 1/√L.

Without scaling and without batch norm the variance doubles with every block, and what is the best learning rate at one
depth is far too large at another. With 1/√L in front of the L branches both the signal and the change that a step makes
stay of order 1 as L grows, and the best rate at 8 blocks is the best at 128: Bordelon et al. 2023 (arXiv 2309.16620),
Yang et al. 2023 (arXiv 2310.02244, depth-µP).
"""

import math

import numpy as np

from .. import data, models, random
from ..optim import SGD
from ..train import train_step
from .efficiency import batches
from .seeds import Numbers, WIDTH
from .watched import no_overflow_warnings

RATES = tuple(2.0**k for k in range(-10, 1))
DEPTHS = 8, 16, 32, 64, 128


def losses_by_rate(
    seed: int, blocks: int, scaled: bool, rates: tuple[float, ...] = RATES, steps: int = 60
) -> np.ndarray:
    """Mean training loss of the last ten steps of SGD on digits, for each learning rate; inf where it diverged.

    The network: `blocks` residual blocks ReLU–Linear of width 64 without batch norm, times 1/√blocks if ``scaled``.
    """
    found = []
    for lr in rates:
        random.manual_seed(seed)
        model = models.mlp(blocks + 2, WIDTH, layers=1, residual=True, norm=False, scale=blocks**-0.5 if scaled else 1.0)
        optimizer = SGD(model.parameters(), lr, momentum=0.9)
        losses: list[float] = []
        with no_overflow_warnings():
            for x, y in batches(data.digits()[0], seed, steps):
                losses.append(train_step(model, optimizer, x.reshape(len(x), -1), y).loss)
                if not losses[-1] < 1e4:
                    break
        found.append(float(np.mean(losses[-10:])) if len(losses) == steps else math.inf)
    return np.array(found)
