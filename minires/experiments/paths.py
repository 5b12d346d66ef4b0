"""The sum at a fork, and the paths that the gradient takes through residual networks at initialisation."""

import math
from collections.abc import Iterable

import numpy as np

from .. import autograd, flow, models, nn, random
from ..creation import randn
from ..nn import functional as F
from ..tensor import Tensor
from .seeds import BATCH, WIDTH, Numbers, noise


def conservation(seed: int) -> Numbers:
    """Row 1: the relative error of skip + branch, and of the sum over path lengths, in the worst of six networks."""
    found: Numbers = {}
    random.manual_seed(seed)
    x, y = randn(6, 3, 8, 8), Tensor(np.arange(6))
    networks = [models.resnet_cifar(14, 4, shortcut=option) for option in "ABC"]
    networks += [models.resnet_cifar(14, 4, preact=True, shortcut=option) for option in "AB"]
    networks.append(models.ResNet(models.Bottleneck, [2, 2], [4, 8]))
    for dtype in ("float64", "float32"):
        ends: dict[str, list[float]] = {"fork": [], "paths": []}
        for network in networks:
            network.to(dtype)
            ends["fork"].append(flow.record(network, x.to(dtype), y).sum_error)
            ends["paths"].append(flow.path_spectrum(network, x.to(dtype), y, progress=False).sum_error)
        found |= {f"{what}, {dtype}": max(errors) for what, errors in ends.items()}
    return found


class Doubling(nn.Module):
    """x + relu(x): for positive x both ways pass the gradient on unchanged, so it counts the paths."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(x)


def path_count(seed: int, blocks: int = 54) -> Numbers:
    """Row 2: the share of the 2⁵⁴ paths that cross 5–17 and 19–35 blocks, counted by the gradient itself."""
    x = np.random.default_rng(seed).uniform(0.5, 1, (1, 1))
    model = nn.Sequential(*[Doubling() for _ in range(blocks)])
    spectrum = flow.path_spectrum(model, x, x, lambda output, _: output.sum(), progress=False)
    share = 100 * spectrum.norms / spectrum.norms.sum()
    off_binomial = np.abs(spectrum.norms / spectrum.counts - 1).max()
    return {"5–17, %": share[5:18].sum(), "19–35, %": share[19:36].sum(), "off the binomial": off_binomial}


def branch_cost(seed: int, samples: int = 40, blocks: int = 27) -> Numbers:
    """Row 3: by what factor the gradient along a single path shrinks with each branch that the path crosses."""
    random.manual_seed(seed)
    model = models.mlp(2 * blocks + 2, WIDTH, residual=True)
    spectrum = flow.path_spectrum(model, *noise(BATCH), samples=samples, seed=seed, progress=False)
    assert spectrum.sampled is not None
    k, norms = np.arange(blocks + 1), np.log(spectrum.sampled / spectrum.counts)
    slope, _ = np.polyfit(k, norms, 1)
    return {
        "factor": math.exp(slope),
        "R²": np.corrcoef(k, norms)[0, 1] ** 2,
        "exact length": spectrum.effective_length,
        "sampled length": spectrum.sampled_length,
    }


def effective_length(seed: int, depths: Iterable[int] = (9, 18, 27, 54)) -> Numbers:
    """Row 4: the length of the paths that carry the gradient, exact, and derived from the ratios at the forks alone.

    If what the skip and the branch send back is uncorrelated, a branch carries r²/(1 + r²) of the squared norm at its
    fork.
    """
    found: Numbers = {}
    for blocks in depths:
        random.manual_seed(seed)
        model, (x, y) = models.mlp(2 * blocks + 2, WIDTH, residual=True), noise(128)
        exact = flow.path_spectrum(model, x, y, progress=False).effective_length
        estimate = sum(fork.share for fork in flow.record(model, x, y).forks)
        found |= {f"exact, {blocks}": exact, f"Σ, {blocks}": estimate, f"Σ/exact, {blocks}": estimate / exact}
        found[f"share of depth, {blocks}"] = exact / blocks
    return found


def length_without_batch_norm(seed: int, blocks: int = 27) -> Numbers:
    """Row 5: branches as large as their shortcut give binomial lengths; scaled by 1/√n they leave a length of 1."""
    found: Numbers = {}
    for name, scale in (("unscaled", 1.0), ("1/√n", blocks**-0.5)):
        random.manual_seed(seed)
        model = models.mlp(2 * blocks + 2, WIDTH, residual=True, norm=False, scale=scale)
        found[name] = flow.path_spectrum(model, *noise(BATCH), progress=False).effective_length
    return found


def scaled_shortcut(seed: int, blocks: int = 9) -> Numbers:
    """Row 16: what crosses no branch is λⁿ times the gradient at the end; returns the error relative to that."""
    found: Numbers = {}
    for scale in (0.5, 0.9, 1.1):
        random.manual_seed(seed)
        body = nn.Sequential(*[models.ScaledPreActBlock(4, 4, scale=scale) for _ in range(blocks)]).double()
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)).double()
        x, y = randn(8, 4, 6, 6).double(), Tensor(np.arange(8))
        spectrum = flow.path_spectrum(nn.Sequential(body, head), x, y, arrays=True, progress=False)
        end = Tensor(body(x).array, requires_grad=True)
        (g,) = autograd.grad(F.cross_entropy(head(end), y), end)
        assert spectrum.arrays is not None
        expected = scale**blocks * g.numpy()
        found[f"λ = {scale}"] = float(np.linalg.norm(spectrum.arrays[0] - expected) / np.linalg.norm(expected))
    return found
