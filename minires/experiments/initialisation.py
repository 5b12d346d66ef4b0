"""The size of gradients and activations at initialisation, plain and residual."""

import math
from functools import partial

import numpy as np

from .. import autograd, flow, models, norms, random
from ..creation import randn
from ..nn import functional as F
from ..tensor import Tensor
from .seeds import WIDTH, Numbers, noise


def explosion(seed: int, depth: int = 56) -> Numbers:
    """Row 6: by what factor the gradient of a plain network grows, layer by layer, on its way back."""
    found: Numbers = {}
    for name, width, norm in (("with BN", WIDTH, True), ("with BN, width 256", 256, True), ("without", WIDTH, False)):
        random.manual_seed(seed)
        model, (x, y) = models.mlp(depth, width, layers=1, norm=norm), noise(128, width)
        profile = flow.variance_profile(model, x, partial(F.cross_entropy, target=y))
        found[name] = 2 ** (-profile.gradient_log2_slope / 2)  # norms, not variances
    return found


def log_normal_gradient(seed: int, networks: int = 400, depth: int = 56, width: int = WIDTH) -> Numbers:
    """Row 7: mean and standard deviation over networks of ln‖Jᵀu‖², plain, without batch norm, ‖u‖ = 1."""
    logs = []
    for i in range(networks):
        random.manual_seed(seed * networks + i)
        layers = models.mlp(depth + 2, width, layers=1, norm=False).hidden  # without stem and readout
        x, u = Tensor(randn(1, width).array, requires_grad=True), randn(1, width)
        (g,) = autograd.grad((layers(x) * (u / float(np.linalg.norm(u.array)))).sum(), x)
        logs.append(2 * math.log(norms.norm(g.array)))
    return {"mean": float(np.mean(logs)), "std": float(np.std(logs))}


def variance_growth(seed: int, width: int = 256, blocks: int = 10) -> Numbers:
    """Row 8: variance of residual activations: doublings per block without batch norm, growth per block with it."""
    random.manual_seed(seed)
    x = randn(128, width)
    without = flow.variance_profile(models.mlp(2 * blocks + 2, width, residual=True, norm=False), x)
    normed = flow.variance_profile(models.mlp(2 * blocks + 2, width, residual=True), x)
    return {"log₂ slope without BN": without.log2_slope, "slope with BN": normed.slope}
