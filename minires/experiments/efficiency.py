"""Training efficiency: what it costs to bring the loss down to a goal, in steps, seconds and floating-point operations.

That a deep network trains says little until the cost is counted. Every layer makes a step dearer; a network of many
layers is efficient if it needs no more steps than one of few, and a deep plain network needs more, or never arrives.
"""

import time

import numpy as np

from .. import nn
from .experiment import BATCH, Experiment, Numbers, above, below
from .training import dataset, fit, network

WINDOW, STEPS = 5, 660  # the loss is the mean over a window of steps


def efficiency(
    seed: int, variant: str, depth: int, data: str, goal: float = 0.5, steps: int = STEPS, lr: float = 0.1
) -> Numbers:
    """Steps, CPU seconds and GFLOPs until the training loss is at the goal, or until the steps are over.

    A step counts as three forward passes, because backward takes two, and a multiplication and an addition as two
    operations. arrived: 1 if the goal was reached, 0 if not; then the rest is what was spent in vain.
    """
    model, losses, arrived = network(variant, depth, seed, data), [], False
    started = time.process_time()
    for loss in fit(model, data, seed, steps, lr):
        losses.append(loss)
        arrived = len(losses) >= WINDOW and bool(np.mean(losses[-WINDOW:]) <= goal)
        if arrived:
            break
    seconds = time.process_time() - started
    operations = 3 * 2 * BATCH * nn.summary(model, dataset(data).train.pixels.shape[1:]).macs * len(losses)
    return {"arrived": arrived, "steps": len(losses), "seconds": seconds, "GFLOPs": operations / 1e9}


EFFICIENCY = Experiment(
    "efficiency",
    "To a training loss of 0.5, a residual network of 56 layers takes about the steps of one of 8; plain-56 never gets "
    "there",
    "He et al. 2015 (arXiv 1512.03385), section 4.1: shortcuts ease the optimisation by faster convergence",
    efficiency,
    {
        "arrived, plain-56": below(0.5),
        "arrived, residual-56": above(0.99),
        "steps, residual-56 / residual-8": below(2.5),
        "steps, plain-20 / plain-8": above(1.5),
        "steps, residual-20 / residual-8": below(1.5),
    },
    variants=("plain", "residual"),
    depths=(8, 20, 56),
    data=("digits", "c8"),
    derived={
        "steps, residual-56 / residual-8": lambda found: found["steps, residual-56"] / found["steps, residual-8"],
        "steps, plain-20 / plain-8": lambda found: found["steps, plain-20"] / found["steps, plain-8"],
        "steps, residual-20 / residual-8": lambda found: found["steps, residual-20"] / found["steps, residual-8"],
    },
    pilot="plain-8/20/56 41–43 / 74 / never in 660 steps; residual 37–40 / 38 / 45–56",
    remark="Counted is the mean loss over five steps, on handwritten digits. Where it does not arrive (0 in the first "
    "panel), all 660 steps were spent in vain. Steps are not all: one of 56 layers costs ten times the operations of "
    "one of 8, and about six times the seconds. At a fifth of the rate plain-20 takes 1.4 times the steps of plain-8, "
    "not twice as many; all else holds.",
    log=("steps", "seconds", "GFLOPs"),
    tested={"seeds": [0], "steps": 150},
    slow=True,
    second={"lr": 0.02},
    fails=("steps, plain-20 / plain-8",),
)
