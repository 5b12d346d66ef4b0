"""Dynamical isometry: all singular values of the Jacobian from the input to the last layer, not only their mean.

He's start keeps the mean of σ² near 1 in a plain network, but the values spread, until a handful of directions carry
everything. Orthogonal weights keep a *linear* network isometric at any depth (Saxe et al. 2013, arXiv 1312.6120) and a
tanh network nearly so; they do not help ReLU, which drops one half of the directions in every layer (Pennington et al.
2017, arXiv 1711.04735), unless its units are mirrored, so that the network starts as a linear map. A shortcut keeps
directions apart as well, if the branches are small.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from .. import autograd, cat, models, nn, random
from ..creation import randn
from ..flow.chain import Chain
from ..tensor import Tensor
from .experiment import WIDTH, Experiment, Numbers, above, below
from .plain_starts import looks_linear_

FLOOR = 1e-6  # below it, a direction is lost

NETWORKS = "plain", "plain orthogonal", "plain tanh orthogonal", "plain looks-linear", "residual", "residual 1/√L"


def stack(variant: str, depth: int, width: int = WIDTH) -> Callable[[Tensor], Tensor]:
    """One of the `NETWORKS`, without batch norm, of ``depth`` layers, (N, width) -> (N, width)."""
    mlp = partial(models.mlp, depth + 2, width, layers=1, norm=False)
    if variant == "plain tanh orthogonal":
        return Chain([part for _ in range(depth) for part in (_linear(width, nn.init.orthogonal_), nn.Tanh())])
    if variant == "plain looks-linear":  # of x and −x; the first half of the result
        mirrored = Chain([part for _ in range(depth) for part in (nn.ReLU(), _linear(2 * width, looks_linear_))])
        return lambda x: mirrored(cat([x, -x], 1))[:, :width]
    found = {
        "plain": mlp,
        "plain orthogonal": partial(mlp, init=partial(nn.init.orthogonal_, gain=math.sqrt(2))),
        "residual": partial(mlp, residual=True),
        "residual 1/√L": partial(mlp, residual=True, scale=depth**-0.5),
    }
    return found[variant]().hidden


def singular_values(function: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    """All singular values of the Jacobian at one input x (width), descending: each copy of x gives a row of it."""
    copies = Tensor(np.tile(x, (len(x), 1)), requires_grad=True)
    (rows,) = autograd.grad(function(copies), copies, Tensor(np.eye(len(x), dtype=x.dtype)))
    return np.linalg.svd(rows.numpy().astype(np.float64), compute_uv=False)


def spectrum(seed: int, variant: str, depth: int) -> np.ndarray:
    """The singular values of one of the `NETWORKS` at a normal input, (64), descending."""
    random.manual_seed(seed)
    return singular_values(stack(variant, depth), randn(WIDTH).array)


def isometry(seed: int, variant: str, depth: int) -> Numbers:
    """How many of the 64 directions carry the gradient, (Σσ²)²/Σσ⁴, the mean of σ², and σ itself, floored."""
    values = spectrum(seed, variant, depth)
    squares = values**2
    directions = squares.sum() ** 2 / (squares**2).sum() if squares.any() else 0.0
    found = {f"singular value σ, direction {i + 1}": max(float(values[i]), FLOOR) for i in range(0, WIDTH, 7)}
    return found | {"directions": directions, "mean σ²": squares.mean()}


def _linear(width: int, init: Callable[[Tensor], Tensor]) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    init(layer.weight)
    return layer


ISOMETRY = Experiment(
    "isometry",
    "Behind 32 layers a plain ReLU network passes one to three of 64 directions, however it starts, unless it starts "
    "linear; small residual branches pass many",
    "Saxe et al. 2013 (arXiv 1312.6120); Pennington et al. 2017 (arXiv 1711.04735)",
    isometry,
    {
        "directions, plain-32": below(5),
        "directions, plain orthogonal-32": below(5),
        "directions, plain tanh orthogonal-32": above(15),
        "directions, plain looks-linear-32": above(63.9),
        "directions, residual-32": below(5),
        "directions, residual 1/√L-32": above(12),
    },
    variants=NETWORKS,
    remark="σ is how much longer a direction becomes on its way through: every seventh of 64 is drawn, and 1e-6 where "
    "σ is less. The criterion counts the directions that carry the gradient, (Σσ²)²/Σσ⁴.",
    depths=(32,),
    along="direction",
    shows=("singular value σ",),
    log=("singular value σ",),
    least={"depth": 1},
)
