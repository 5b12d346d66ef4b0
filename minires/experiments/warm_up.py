"""The warm-up of ResNet-110: what the first steps do without it.

He et al. 2015 (arXiv 1512.03385), section 4.2: with a learning rate of 0.1 from the start, ResNet-110 takes long to
begin to learn, so they start with 0.01. Gradients are largest before the first step, and behind batch norm a large step
turns the weights far; with the rate rising from a twentieth, the first steps turn them little.
"""

import math

import numpy as np

from .. import data, models, random, train
from .efficiency import batches
from .seeds import Numbers

STEPS = 20


def first_losses(seed: int, warm: bool, depth: int = 110, steps: int = STEPS, lr: float = 0.1) -> np.ndarray:
    """The training losses of the first steps on digits, at the full learning rate or rising to it, (steps)."""
    random.manual_seed(seed)
    model = models.resnet_cifar(depth, 8, in_channels=1)
    optimizer, schedule = train.recipe(model, 1000, lr, warm_up=STEPS if warm else 1, start_factor=1 / 20 if warm else 1)
    losses = []
    for x, y in batches(data.digits()[0], seed, steps):
        losses.append(train.train_step(model, optimizer, x, y).loss)
        schedule.step()
    return np.array(losses)


def warm_up(seed: int) -> Numbers:
    """Row 23: the largest loss in the first 20 steps of residual-110, with and without warm-up, and at a fifth of lr."""
    found: Numbers = {}
    for name, warm, lr in (("without", False, 0.1), ("with", True, 0.1), ("without, lr 0.02", False, 0.02)):
        largest = first_losses(seed, warm, lr=lr).max()
        found[f"{name}"] = float(largest) if math.isfinite(largest) else math.inf
    return found
