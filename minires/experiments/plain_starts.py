"""Plain networks that train: starts which keep a deep plain network at the edge between order and chaos.

A plain stack of 56 layers with He's start and no batch norm learns nothing. It is the start that fails, not the network:

- looks-linear (Balduzzi et al. 2017, arXiv 1702.08591, section 4): every second channel is the negative of another, and
  every weight is a mirrored [[W, −W], [−W, W]], so that ReLU(u) − ReLU(−u) = u and the network begins as a linear map;
- delta-orthogonal (Xiao et al. 2018, arXiv 1806.05393): all of a kernel is 0 but its centre, which is orthogonal, so
  that no border eats the signal and the linear map keeps every length;
- tanh at the edge of chaos (Schoenholz et al. 2017, arXiv 1611.01232; Xiao et al.): delta-orthogonal with σ_w = 1 and no
  bias, where χ = 1;
- LSUV (Mishkin & Matas 2015, arXiv 1511.06422): orthogonal, each layer then divided by the standard deviation of its
  output. The mean of σ² is right then, as in He's start, and nothing else.

What they cost: the mirrored half of the channels, a small learning rate, and a start that only linear or tanh layers
have.
"""

import math

import numpy as np

from .. import data, models, nn, random
from ..nn.examples import fit_to
from ..tensor import Tensor
from ..train import evaluate
from .efficiency import batches
from .seeds import Numbers
from .trained import scale_to_unit_variance
from .watched import Runner, no_overflow_warnings

STARTS = "He", "LSUV", "looks-linear", "tanh, edge of chaos"
DEPTH, STEPS = 56, 440


def plain(start: str, seed: int, depth: int = DEPTH, width: int = 8) -> models.ResNet:
    """A plain pre-activation network for digits, without batch norm, with one of the `STARTS`."""
    random.manual_seed(seed)
    model = models.plain_cifar(depth, width, in_channels=1, block=models.SkipInitBlock)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if start == "LSUV":
        for convolution in convolutions:
            nn.init.orthogonal_(convolution.weight)
        scale_to_unit_variance(model, Tensor(data.digits()[0].subset(256)[:][0]))
    elif start == "looks-linear":
        looks_linear_(convolutions[0].weight, first=True)
        for convolution in convolutions[1:]:
            looks_linear_(convolution.weight)
    elif start == "tanh, edge of chaos":
        for convolution in convolutions:
            delta_orthogonal_(convolution.weight)
        model.relu = nn.Tanh()
        for block in model.blocks():
            block.relu = nn.Tanh()
    elif start != "He":
        raise ValueError(f"plain_starts.plain: got start={start!r}; expected one of {', '.join(STARTS)}")
    return model


def delta_orthogonal_(weight: Tensor, gain: float = 1.0) -> Tensor:
    """Fill a weight (out, in, k, k) with 0 but for its centre, an orthogonal (out, in). Xiao et al. 2018, algorithm 1."""
    centre = Tensor(np.empty(weight.shape[:2], weight.dtype))
    nn.init.zeros_(weight)
    weight.array[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = nn.init.orthogonal_(centre, gain).array
    return weight


def looks_linear_(weight: Tensor, first: bool = False) -> Tensor:
    """Fill a weight (out, in, k, k) with [[W, −W], [−W, W]], W delta-orthogonal; for the ``first``, [[W], [−W]]."""
    out, inputs = weight.shape[0] // 2, weight.shape[1] if first else weight.shape[1] // 2
    w = delta_orthogonal_(Tensor(np.empty((out, inputs, *weight.shape[2:]), weight.dtype))).array
    mirrored = w if first else np.concatenate([w, -w], axis=1)
    weight.array[...] = np.concatenate([mirrored, -mirrored])
    return weight


def trained(model: models.ResNet, seed: int, lr: float, steps: int = STEPS) -> tuple[float, float]:
    """Mean training loss of the last 50 steps on digits, and test accuracy; chance where it diverged."""
    train, test = data.digits()
    runner = Runner.start(model, steps, lr)
    with no_overflow_warnings():
        for x, y in batches(train, seed, steps):
            runner.step(fit_to(model, x), fit_to(model, y), record=False)
            if not math.isfinite(runner.losses[-1]):
                return math.log(10), 0.1
        return float(np.mean(runner.losses[-50:])), evaluate(model, test).accuracy
