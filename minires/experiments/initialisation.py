"""The size of gradients and activations at initialisation, plain and residual."""

import math
from functools import partial

import numpy as np

from .. import autograd, flow, models, norms, random
from ..creation import randn
from ..nn import functional as F
from ..tensor import Tensor
from .experiment import WIDTH, Experiment, Numbers, noise


def explosion(seed: int, depth: int = 56) -> Numbers:
    """By what factor the gradient of a plain network grows, layer by layer, on its way back."""
    found: Numbers = {}
    for name, width, norm in (("with BN", WIDTH, True), ("with BN, width 256", 256, True), ("without", WIDTH, False)):
        random.manual_seed(seed)
        model, (x, y) = models.mlp(depth, width, layers=1, norm=norm), noise(128, width)
        profile = flow.variance_profile(model, x, partial(F.cross_entropy, target=y))
        found[name] = 2 ** (-profile.gradient_log2_slope / 2)  # norms, not variances
    return found


EXPLOSION = Experiment(
    "explosion",
    "Batch norm makes the gradient of a plain network explode, 1.211 per layer",
    "Yang et al. 2019 (arXiv 1902.08129): √(π/(π − 1))",
    explosion,
    {"with BN": (1.17, 1.24), "with BN, width 256": (1.17, 1.24), "without": (0.9, 1.1)},
    pilot="1.199",
)


def log_normal_gradient(seed: int, networks: int = 400, depth: int = 56, width: int = WIDTH) -> Numbers:
    """Mean and standard deviation over networks of ln‖Jᵀu‖², plain, without batch norm, ‖u‖ = 1."""
    logs = []
    for i in range(networks):
        random.manual_seed(seed * networks + i)
        layers = models.mlp(depth + 2, width, layers=1, norm=False).hidden  # without stem and readout
        x, u = Tensor(randn(1, width).array, requires_grad=True), randn(1, width)
        (g,) = autograd.grad((layers(x) * (u / float(np.linalg.norm(u.array)))).sum(), x)
        logs.append(2 * math.log(norms.norm(g.array)))
    return {"mean": float(np.mean(logs)), "std": float(np.std(logs))}


LOG_NORMAL_GRADIENT = Experiment(
    "log-normal-gradient",
    "Without it ln‖Jᵀu‖² is normal, mean −β/2 = −2.19, variance β, β = 5L/n",
    "Hanin & Nica 2018 (arXiv 1812.05994)",
    log_normal_gradient,
    {"mean": (-2.19 - 0.4, -2.19 + 0.4), "std": (2.09 - 0.4, 2.09 + 0.4)},
    pilot="mean −2.23, std 2.17 (theory 2.09)",
    tested={"networks": 80},
    slow=True,
)


def variance_growth(seed: int, width: int = 256, blocks: int = 10) -> Numbers:
    """Variance of residual activations: doublings per block without batch norm, growth per block with it."""
    random.manual_seed(seed)
    x = randn(128, width)
    without = flow.variance_profile(models.mlp(2 * blocks + 2, width, residual=True, norm=False), x)
    normed = flow.variance_profile(models.mlp(2 * blocks + 2, width, residual=True), x)
    return {"log₂ slope without BN": without.log2_slope, "slope with BN": normed.slope}


VARIANCE_GROWTH = Experiment(
    "variance-growth",
    "Residual variance doubles with every block without batch norm, and grows by 1 with it",
    "De & Smith 2020 (arXiv 2002.10444): 2^ℓ against ℓ + 1",
    variance_growth,
    {"log₂ slope without BN": (0.9, 1.1), "slope with BN": (0.9, 1.1)},
    pilot="log₂ slope 1.009; slope 0.985",
)
