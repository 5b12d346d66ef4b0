"""What experiments that train have in common: small networks, and data sets for them.

"c8" is CIFAR-10 pooled to 8×8 pixels, 8,000 training and 2,000 test images; "digits" are the handwritten digits, of the
same size, which need no download. Widths 8, 16 and 32, batches of 64.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import data, models, nn, random, train
from ..arguments import one_of
from .experiment import BATCH
from .watched import no_overflow_warnings

DATA = "c8", "digits"
CHANCE = math.log(10)  # the loss of a network that knows nothing


class Split(NamedTuple):
    """A data set's two parts."""

    train: data.Dataset
    test: data.Dataset


@functools.cache
def dataset(name: str, download: bool = False) -> Split:
    """One of `DATA`. Raises FileNotFoundError for "c8" if CIFAR-10 is not in the cache, unless it may ``download``."""
    if name == "digits":
        return Split(*data.digits())
    if name != "c8":
        raise ValueError(f"dataset: got {name!r}; {one_of(name, DATA)}")
    parts = []
    for part, n in zip(data.cifar10(download=download), (8000, 2000)):
        part = part.subset(n)
        parts.append(dataclasses.replace(part, pixels=data.average_pool(part.pixels, 4)))
    return Split(*parts)


def network(variant: str, depth: int, seed: int, name: str, width: int = 8, **options: Any) -> models.ResNet:
    """The "plain" or "residual" twin, or the residual one that starts with γ = 0, "zero-gamma"; weights by the seed.

    All three share every weight that they have in common. name: of the data set. options: of `models.twins`.
    """
    random.manual_seed(seed)
    plain, residual = models.twins(depth, width, in_channels=dataset(name).train.pixels.shape[1], **options)
    if variant not in ("plain", "residual", "zero-gamma"):
        raise ValueError(f"network: got variant={variant!r}; expected plain, residual or zero-gamma")
    if variant == "zero-gamma":
        residual.zero_branches()
    return plain if variant == "plain" else residual


def batches(name: str, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Full batches of training images without end."""
    epoch = 0
    while True:
        yield from data.batches(dataset(name).train, BATCH, seed=seed, epoch=epoch, drop_last=True)
        epoch += 1


def fit(model: nn.Module, name: str, seed: int, steps: int = 400, lr: float = 0.1) -> Iterator[float]:
    """Train by `train.recipe`; yields the loss of each step."""
    optimizer, schedule = train.recipe(model, steps, lr)
    model.train()
    for _, (x, y) in zip(range(steps), batches(name, seed)):
        with no_overflow_warnings():
            loss = train.train_step(model, optimizer, x, y).loss
        yield loss
        schedule.step()


def final_loss(model: nn.Module, name: str, seed: int, steps: int = 400, lr: float = 0.1) -> float:
    """Mean training loss of the last eighth of the steps; a run that diverged counts as chance."""
    loss = float(np.mean(list(fit(model, name, seed, steps, lr))[-max(steps // 8, 1) :]))
    return loss if math.isfinite(loss) else CHANCE
