"""Training efficiency: what it costs to bring the loss down to a goal, in steps, seconds and floating-point operations.

That a deep network trains says little until the cost is counted. Every layer makes a step dearer; a network of many
layers is efficient if it needs no more steps than one of few, and a deep plain network needs more, or never arrives.
"""

import math
import time
from typing import NamedTuple

import numpy as np

from .. import data, models, nn, random, train
from .seeds import BATCH, Numbers

GOAL, WINDOW, STEPS = 0.5, 5, 660  # the loss is the mean over a window of steps


class Cost(NamedTuple):
    """What it cost to reach the goal, infinite if it was not reached; losses: of every step taken."""

    steps: float
    seconds: float
    gflops: float
    losses: np.ndarray


def efficiency(seed: int, depths: tuple[int, ...] = (8, 20, 56), steps: int = STEPS) -> Numbers:
    """Row 19: steps, CPU seconds and GFLOPs until the training loss on digits is 0.5, plain and residual twins."""
    found: Numbers = {}
    for depth in depths:
        random.manual_seed(seed)
        for name, model in zip(("plain", "residual"), models.twins(depth, 8, in_channels=1)):
            cost = cost_to_goal(model, data.digits()[0], seed, steps)
            found |= {f"{name}-{depth}, {what}": getattr(cost, what) for what in ("steps", "seconds", "gflops")}
    return found


def cost_to_goal(
    model: nn.Module, dataset: data.Dataset, seed: int, steps: int = STEPS, goal: float = GOAL, lr: float = 0.1
) -> Cost:
    """Train by `train.recipe` for this many steps, or until the loss has come down to the goal.

    A step is counted as three forward passes (backward takes two), and a multiplication and an addition as two
    operations. Seconds are those of this process, of all its threads together.
    """
    optimizer, schedule = train.recipe(model, steps, lr)
    model.train()
    losses: list[float] = []
    started, reached = time.process_time(), False
    for x, y in batches(dataset, seed, steps):
        losses.append(train.train_step(model, optimizer, x, y).loss)
        schedule.step()
        reached = len(losses) >= WINDOW and bool(np.mean(losses[-WINDOW:]) <= goal)
        if reached:
            break
    operations = 3 * 2 * BATCH * nn.summary(model, dataset.pixels.shape[1:]).macs * len(losses)
    if not reached:
        return Cost(math.inf, math.inf, math.inf, np.array(losses))
    return Cost(len(losses), time.process_time() - started, operations / 1e9, np.array(losses))


def batches(dataset: data.Dataset, seed: int, steps: int):
    per_epoch = data.batch_count(dataset, BATCH, drop_last=True)
    for epoch in range(math.ceil(steps / per_epoch)):
        for i, batch in enumerate(data.batches(dataset, BATCH, seed=seed, epoch=epoch, drop_last=True)):
            if epoch * per_epoch + i < steps:
                yield batch
