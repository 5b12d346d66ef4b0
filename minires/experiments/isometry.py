"""Dynamical isometry: all singular values of the Jacobian from the input to the last block, not only their mean.

He initialisation keeps the mean of σ² at 1, in a plain network too; but its singular values spread, until most
directions are crushed and a few stretched. Orthogonal weights keep a *linear* network perfectly isometric at any depth
(Saxe et al. 2013, arXiv 1312.6120), and a tanh network near it; ReLU, which drops half of the directions, spoils it for
any weights (Pennington et al. 2017, arXiv 1711.04735). A shortcut around every block keeps all of them near 1 if branches are small.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from .. import autograd, models, nn, random
from ..creation import randn
from ..flow.chain import Chain
from ..tensor import Tensor
from .seeds import WIDTH, Numbers

DEPTH = 32

orthogonal_relu = partial(nn.init.orthogonal_, gain=math.sqrt(2))


def networks(depth: int = DEPTH, width: int = WIDTH) -> dict[str, Callable[[Tensor], Tensor]]:
    """Stacks of ``depth`` layers (N, width) -> (N, width) without batch norm, by name."""
    scale = depth**-0.5
    mlp = partial(models.mlp, depth + 2, width, layers=1, norm=False)
    return {
        "plain, He": mlp().hidden,
        "plain, orthogonal": mlp(init=orthogonal_relu).hidden,
        "plain tanh, orthogonal": Chain([layer for _ in range(depth) for layer in (_orthogonal(width), nn.Tanh())]),
        "residual, branches 1": mlp(residual=True).hidden,
        "residual, branches 1/√n": mlp(residual=True, scale=scale).hidden,
    }


def singular_values(function: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    """All singular values of the Jacobian at one input x (width), descending: a row of it for each copy of x."""
    copies = Tensor(np.tile(x, (len(x), 1)), requires_grad=True)
    (rows,) = autograd.grad(function(copies), copies, Tensor(np.eye(len(x), dtype=x.dtype)))
    return np.linalg.svd(rows.numpy().astype(np.float64), compute_uv=False)


def spectra(seed: int, depth: int = DEPTH, width: int = WIDTH) -> dict[str, np.ndarray]:
    """The singular values of each of the `networks` at one normal input, (width) each."""
    random.manual_seed(seed)
    x = randn(width).array
    return {name: singular_values(network, x) for name, network in networks(depth, width).items()}


def isometry(seed: int) -> Numbers:
    """Row 20: how many of the 64 directions carry the gradient, (Σσ²)²/Σσ⁴, and the median σ over the largest."""
    found: Numbers = {}
    for name, values in spectra(seed).items():
        squares = values**2
        found[f"{name}, directions"] = float(squares.sum() ** 2 / (squares**2).sum())
        found[f"{name}, median/largest"] = float(np.median(values) / values[0])
        found[f"{name}, mean square"] = float(squares.mean())
    return found


def _orthogonal(width: int) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    nn.init.orthogonal_(layer.weight)
    return layer
