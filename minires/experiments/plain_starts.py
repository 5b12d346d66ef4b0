"""Plain networks that train: starts that keep a deep plain network at the edge of chaos.

A plain stack of 44 layers without batch norm learns nothing from He's start. It is the start that fails:

- looks-linear (Balduzzi et al. 2017, arXiv 1702.08591, section 4): every weight is mirrored, [[W, −W], [−W, W]], so
  that ReLU(u) − ReLU(−u) = u, and all up to the last ReLU starts as a linear map;
- delta-orthogonal (Xiao et al. 2018, arXiv 1806.05393): all of a kernel is 0 but its centre, which is orthogonal, so
  that no border eats the signal, and the map keeps every length. The first kernel stays as He draws it, mirrored;
- tanh at the edge of chaos (Schoenholz et al. 2017, arXiv 1611.01232): delta-orthogonal, σ_w = 1 and no bias, where
  χ = 1;
- LSUV (Mishkin & Matas 2015, arXiv 1511.06422): orthogonal, and each layer divided by the standard deviation of its
  output. It sets the mean of σ², not their spread (see `isometry`), and helps some seeds and not others.

What they cost: half of the units, which mirror the others, or ReLU itself; and a small learning rate.
"""

import math
from typing import Any

import numpy as np

from .. import models, nn, random
from ..arguments import one_of
from ..tensor import Tensor
from ..train import evaluate
from .experiment import Experiment, Numbers, above, below
from .trained import scale_to_unit_variance
from .training import CHANCE, dataset, fit

STARTS = "He", "LSUV", "looks-linear", "tanh"


def plain(start: str, depth: int, width: int = 8, in_channels: int = 1) -> models.ResNet:
    """A plain pre-activation network without batch norm, with one of the `STARTS`."""
    model = models.plain_cifar(depth, width, in_channels=in_channels, block=models.SkipInitBlock)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if start == "LSUV":
        for convolution in convolutions:
            nn.init.orthogonal_(convolution.weight)
    elif start == "looks-linear":
        first, half = convolutions[0].weight.array, width // 2
        first[half:] = -first[:half]
        for convolution in convolutions[1:]:
            looks_linear_(convolution.weight)
    elif start == "tanh":
        for convolution in convolutions[1:]:
            delta_orthogonal_(convolution.weight)
        part: Any
        for part in (model, *model.blocks()):
            part.relu = nn.Tanh()
    elif start != "He":
        raise ValueError(f"plain: got start={start!r}; {one_of(start, STARTS)}")
    return model


def delta_orthogonal_(weight: Tensor, gain: float = 1.0) -> Tensor:
    """Fill a weight (out, in, …) with 0 but for the centre of its kernels, which is orthogonal. Xiao et al. 2018."""
    centre = Tensor(np.empty(weight.shape[:2], weight.dtype))
    nn.init.zeros_(weight)
    weight.array[(..., *(k // 2 for k in weight.shape[2:]))] = nn.init.orthogonal_(centre, gain).array
    return weight


def looks_linear_(weight: Tensor) -> Tensor:
    """Fill a weight (out, in, …) with [[W, −W], [−W, W]], W delta-orthogonal. Balduzzi et al. 2017."""
    out, inputs, *kernel = weight.shape
    w = delta_orthogonal_(Tensor(np.empty((out // 2, inputs // 2, *kernel), weight.dtype))).array
    upper = np.concatenate([w, -w], axis=1)
    weight.array[...] = np.concatenate([upper, -upper])
    return weight


def plain_starts(seed: int, variant: str, depth: int, data: str, lr: float = 0.01, steps: int = 440) -> Numbers:
    """Mean training loss of the last eighth of the steps, and test accuracy; what diverges counts as chance."""
    random.manual_seed(seed)
    split = dataset(data)
    model = plain(variant, depth, in_channels=split.train.pixels.shape[1])
    if variant == "LSUV":
        scale_to_unit_variance(model, Tensor(split.train.subset(256)[:][0]))
    losses = list(fit(model, data, seed, steps, lr))
    if not math.isfinite(losses[-1]):
        return {"loss": CHANCE, "accuracy": 0.1}
    return {"loss": float(np.mean(losses[-steps // 8 :])), "accuracy": evaluate(model, split.test).accuracy}


PLAIN_STARTS = Experiment(
    "plain-starts",
    "Without batch norm and shortcuts 44 layers learn nothing from He's start; started as a linear map, or with tanh "
    "at the edge of chaos, they do",
    "Balduzzi et al. 2017 (arXiv 1702.08591), section 4; Xiao et al. 2018 (arXiv 1806.05393)",
    plain_starts,
    {
        "loss, He-44": above(2.2),
        "loss, looks-linear-44": below(0.2),
        "loss, tanh-44": below(0.3),
    },
    variants=STARTS,
    depths=(44,),
    data=("digits", "c8"),
    pilot="looks-linear 0.14–0.17 and 91–93 %",
    remark="From LSUV some seeds begin to learn and others do not. At five times this rate no start learned (one seed, "
    "56 layers); at a fifth, looks-linear does, and tanh is at a loss of 0.9 after as many steps.",
    tested={"seeds": [0], "variants": ("He", "looks-linear"), "steps": 220},
    slow=True,
    second={"lr": 0.002},
    fails=("loss, tanh-44",),
)
