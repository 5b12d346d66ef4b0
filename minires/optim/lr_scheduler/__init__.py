"""Learning-rate schedules, with PyTorch's names, arguments and rates.

A schedule starts at t = 0 when it is made; `step()` advances to t + 1. Whether t counts training steps or epochs
depends on when you call it (see `minires.train.fit`). As in PyTorch, schedules compound: one that is stepped after
another, or after you have set ``group["lr"]`` by hand, goes on from the rate it finds.

PyTorch computes each rate from the last one, so that rounding errors add up: to 6e-13 of the rate in a LinearLR of
100,000 steps. Here a rate that nothing else has changed is computed from t alone; one that was changed, from the t and
the rate at which that happened.
"""

from .base import LRScheduler
from .combined import ChainedScheduler, SequentialLR
from .cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from .decay import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from .plateau import ReduceLROnPlateau

_LRScheduler = LRScheduler  # its older name in PyTorch

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
