"""Small networks in training, on "C8": CIFAR-10 pooled to 8×8 pixels.

8,000 training and 2,000 test images, widths 8, 16 and 32, batches of 64.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import data, flow, models, nn, random, train
from ..autograd import no_grad
from ..tensor import Tensor
from .seeds import BATCH, Numbers


class C8(NamedTuple):
    """The two data sets of rows 11 to 15."""

    train: data.Dataset
    test: data.Dataset


def load_c8(root: str | Path | None = None) -> C8:
    """CIFAR-10 as rows 11 to 15 want it. Raises FileNotFoundError if it is neither in ``root`` nor in the cache."""
    parts = []
    for part, n in zip(data.cifar10(root), (8000, 2000)):
        part = part.subset(n)
        parts.append(dataclasses.replace(part, pixels=data.average_pool(part.pixels, 4)))
    return C8(*parts)


def batches(dataset: data.Dataset, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Full batches without end."""
    epoch = 0
    while True:
        yield from data.batches(dataset, BATCH, seed=seed, epoch=epoch, drop_last=True)
        epoch += 1


def fit(model: nn.Module, c8: C8, seed: int, steps: int = 400, lr: float = 0.1) -> Iterator[float]:
    """Train by `train.recipe`; yields the loss of each step."""
    optimizer, schedule = train.recipe(model, steps, lr)
    model.train()
    for _, (x, y) in zip(range(steps), batches(c8.train, seed)):
        yield train.train_step(model, optimizer, x, y).loss
        schedule.step()


CHANCE = math.log(10)  # the loss of a network that knows nothing


def final_loss(model: nn.Module, c8: C8, seed: int, lr: float = 0.1) -> float:
    """Mean training loss of the last 50 of 400 steps; a run that diverged counts as chance."""
    loss = float(np.mean(list(fit(model, c8, seed, lr=lr))[-50:]))
    return loss if math.isfinite(loss) else CHANCE


def gradient_profile(seed: int, c8: C8, steps: tuple[int, ...] = (0, 3, 10, 100), depth: int = 56) -> Numbers:
    """Row 11: ‖dL/dW‖ of the first convolution over that of the last, at some steps of the training."""
    random.manual_seed(seed)
    found: Numbers = {}
    probe = next(batches(c8.train, seed))
    for name, model in zip(("plain", "residual"), models.twins(depth, 8)):
        history, losses = flow.FlowHistory(), fit(model, c8, seed)
        for step in range(steps[-1] + 1):
            if step in steps:
                history.add(step, flow.record(model, *probe))
            if step < steps[-1]:
                next(losses)
        found |= {f"{name}, step {step}": ratio for step, ratio in zip(steps, history.first_over_last())}
    return found


def degradation(seed: int, c8: C8, depths: tuple[int, ...] = (8, 20, 56), zero_only: bool = False) -> Numbers:
    """Row 12: final training loss against depth. ``zero_only``: of the residual networks, only the one with γ = 0."""
    found: Numbers = {}
    for depth in depths:
        random.manual_seed(seed)
        plain, residual = models.twins(depth, 8)
        zero = models.resnet_cifar(depth, 8)
        zero.load_state_dict(residual.state_dict())
        zero.zero_branches()
        found[f"plain-{depth}"] = final_loss(plain, c8, seed)
        if not zero_only:
            found[f"residual-{depth}"] = final_loss(residual, c8, seed)
        if depth == max(depths):
            found[f"zero-γ-{depth}"] = final_loss(zero, c8, seed)
    small, large = min(depths), max(depths)
    found[f"plain-{large} − plain-{small}"] = found[f"plain-{large}"] - found[f"plain-{small}"]
    found[f"plain-{large} − zero-γ-{large}"] = found[f"plain-{large}"] - found[f"zero-γ-{large}"]
    return found


@functools.cache
def trained_twins(seed: int, c8: C8, depth: int = 20, steps: int = 1200) -> dict[str, models.ResNet]:
    """A plain and a residual network after 1,200 steps."""
    random.manual_seed(seed)
    twins = dict(zip(("plain", "residual"), models.twins(depth, 8)))
    for model in twins.values():
        for _ in fit(model, c8, seed, steps):
            pass
    return twins


def lesion(seed: int, c8: C8) -> Numbers:
    """Row 13: test accuracy lost when a block is deleted."""
    found: Numbers = {}
    for name, model in trained_twins(seed, c8).items():
        result = flow.lesion(model, c8.test, progress=False)
        ordinary = ~result.stage_change
        ordinary[0] = False
        found |= {
            f"{name}, median": float(np.median(result.drop)),
            f"{name}, first": float(result.drop[0]),
            f"{name}, stage change": float(result.drop[result.stage_change].mean()),
            f"{name}, ordinary": float(result.drop[ordinary].mean()),
            f"{name}, intact accuracy": result.intact_accuracy,
            f"{name}, accuracy left at best": float(result.accuracy.max()),
        }
    return found


def layer_responses(seed: int, c8: C8) -> Numbers:
    """Row 14: standard deviation of the responses of 3×3 layers: mean over all, and over the last in each block."""
    found: Numbers = {}
    for name, model in trained_twins(seed, c8).items():
        result = flow.responses(model.eval(), c8.test[:512][0])
        last = [layer.endswith("conv2") for layer in result.names]
        found |= {f"{name}, all": float(result.std.mean()), f"{name}, last": float(result.std[last].mean())}
    for layers in ("all", "last"):
        found[f"residual / plain, {layers}"] = found[f"residual, {layers}"] / found[f"plain, {layers}"]
    return found


def skip_init(seed: int, c8: C8, alphas: tuple[str, ...] = ("0", "1/√n", "1"), depth: int = 56) -> Numbers:
    """Row 15: final training loss without batch norm, plain and residual, with different scales α of the branches.

    α is learned and starts at 0, at 1/√n for n blocks, which keeps the variance bounded, or at 1. The control is the
    plain network with every convolution scaled so that its output starts with a variance of 1.
    """
    random.manual_seed(seed)
    plain, residual = models.twins(depth, 8, block=models.SkipInitBlock)
    state, start = residual.state_dict(), plain.state_dict()
    found = {"plain": final_loss(plain, c8, seed, lr=0.02)}
    plain.load_state_dict(start)
    scale_to_unit_variance(plain, Tensor(c8.train[:256][0]))
    found["plain, unit variance"] = final_loss(plain, c8, seed, lr=0.02)
    values = {"0": 0.0, "1/√n": len(residual.blocks()) ** -0.5, "1": 1.0}
    probe = next(batches(c8.train, seed))
    for alpha in alphas:
        residual.load_state_dict(state)
        for block in residual.blocks():
            nn.init.constant_(block.alpha, values[alpha])
        loss = flow.record(residual, *probe).loss
        assert loss is not None
        found[f"α = {alpha}, step 0"] = loss
        found[f"α = {alpha}"] = final_loss(residual, c8, seed, lr=0.02)
        found[f"plain − α = {alpha}"] = found["plain"] - found[f"α = {alpha}"]
        if alpha == "1":
            found["α = 1 − α = 0"] = found["α = 1"] - found["α = 0"]
    return found


def scale_to_unit_variance(plain: models.ResNet, x: Tensor) -> None:
    """Divide each convolution's weight in a plain pre-activation network by the standard deviation of its output."""
    with no_grad():
        x = scaled(plain.conv1, x)
        for block in plain.blocks():
            x = scaled(block.conv1, block.relu(block.bn1(x)))
            x = scaled(block.conv2, block.relu(block.bn2(x)))


def scaled(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution's output, once its weight is divided by the standard deviation of that output."""
    convolution.weight.array /= convolution(x).array.std()
    return convolution(x)
