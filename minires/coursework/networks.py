"""The small networks of the assignments, the same in the grader and beside a submission."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import data, models, nn, optim, random, train
from ..ops import Op
from ..tensor import Tensor

STEPS, BATCH, WIDTH, RATE = 60, 32, 8, 0.05
GOOD = 0.75  # share of the test digits a trained network reads; the reference is above this on every seed tried

BLOCKS: dict[str, Any] = {"basic": models.ResidualBlock, "bottleneck": models.Bottleneck}


def resnet8(pool: bool = False, block: Callable[..., nn.Module] = models.ResidualBlock, seed: int = 0) -> models.ResNet:
    """A ResNet-8 of width 8 for digits; with ``pool``, a max pool of size 3 and stride 2 after its first ReLU."""
    random.manual_seed(seed)
    model = models.ResNet(block, (1, 1, 1), (WIDTH, 2 * WIDTH, 4 * WIDTH), in_channels=1, shortcut="B")
    if pool:
        model.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
    return model


def digit_batches(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of training digits, each drawn without replacement."""
    digits, rng = data.digits()[0], np.random.default_rng(seed)
    return [digits[rng.choice(len(digits), BATCH, replace=False)] for _ in range(STEPS)]


def train_on(model: nn.Module, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """One step of SGD with momentum on each batch, the learning rate falling to 0; the losses."""
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=len(batches))
    losses = []
    for x, y in batches:
        losses.append(train.train_step(model, optimizer, x, y).loss)
        schedule.step()
    return losses


def test_accuracy(model: nn.Module) -> float:
    """Share of the test digits that the network reads."""
    return train.evaluate(model, data.digits()[1]).accuracy


def twin(kind: str, depth: int, seed: int) -> models.ResNet:
    """The "plain" or "residual" network of a pair of twins, of width 8, for digits, in float64.

    In float32 a deep plain network's gradients depend on the order of sums: two right measurements differ by 0.2 %.
    """
    random.manual_seed(seed)
    plain, residual = models.twins(depth, width=8, in_channels=1)
    return {"plain": plain, "residual": residual}[kind].double()


def ops_behind(output: Tensor) -> list[Op]:
    """The ops that led to a tensor, in the order of creation."""
    found: dict[int, Op] = {}
    stack: list[Any] = [output.op]
    while stack:
        op = stack.pop()
        if isinstance(op, Op) and op.serial not in found:
            found[op.serial] = op
            stack += op.inputs
    return [found[serial] for serial in sorted(found)]
