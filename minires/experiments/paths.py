"""The sum at a fork, and the paths that the gradient takes through residual networks at initialisation."""

import math

import numpy as np

from .. import autograd, flow, models, nn, random
from ..creation import randn
from ..nn import functional as F
from ..tensor import Tensor
from .experiment import BATCH, WIDTH, Experiment, Numbers, above, below, noise


def conservation(seed: int) -> Numbers:
    """The relative error of skip + branch, and of the sum over path lengths, in the worst of six networks."""
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


CONSERVATION = Experiment(
    "conservation",
    "The gradient at a fork is skip + branch, and the sum over all path lengths",
    "He et al. 2016 (arXiv 1603.05027), equation 5; Veit et al. 2016 (arXiv 1605.06431), section 3",
    conservation,
    {
        "fork, float64": below(1e-10),
        "paths, float64": below(1e-10),
        "fork, float32": below(1e-4),
        "paths, float32": below(1e-4),
    },
    pilot="≤ 2e-15",
)


class Doubling(nn.Module):
    """x + relu(x): for positive x both ways pass the gradient on unchanged, so it counts the paths."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(x)


def path_count(seed: int, blocks: int = 54) -> Numbers:
    """The share of the 2⁵⁴ paths that cross 5–17 and 19–35 blocks, counted by the gradient itself."""
    x = np.random.default_rng(seed).uniform(0.5, 1, (1, 1))
    model = nn.Sequential(*[Doubling() for _ in range(blocks)])
    spectrum = flow.path_spectrum(model, x, x, lambda output, _: output.sum(), progress=False)
    share = 100 * spectrum.norms / spectrum.norms.sum()
    off_binomial = np.abs(spectrum.norms / spectrum.counts - 1).max()
    return {"5–17, %": share[5:18].sum(), "19–35, %": share[19:36].sum(), "off the binomial": off_binomial}


PATH_COUNT = Experiment(
    "path-count",
    "Of 2⁵⁴ paths, 0.45 % cross 5–17 blocks, and 98 % cross 19–35",
    "Veit et al. 2016 (arXiv 1605.06431), section 5",
    path_count,
    {"5–17, %": (0.44, 0.46), "19–35, %": (97.9, 98.1), "off the binomial": (-1e-12, 1e-12)},
    pilot="0.4537 %; 98.0 %",
    remark="Veit et al. give 95 % for 19–35 blocks; the binomial has 98.0 % there.",
)


def branch_cost(seed: int, samples: int = 40, blocks: int = 27) -> Numbers:
    """By what factor the gradient along a single path shrinks with each branch that the path crosses."""
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


BRANCH_COST = Experiment(
    "branch-cost",
    "Every branch on a path multiplies its gradient by the same factor below 1",
    "Veit et al. 2016 (arXiv 1605.06431), section 5 and figure 6",
    branch_cost,
    {"factor": below(0.7), "R²": above(0.98)},
    pilot="× 0.455 a branch, R² 0.9992",
    tested={"samples": 8},  # 40 paths of each length in all
    slow=True,
    least={"blocks": 2},
)


def effective_length(seed: int, depth: int) -> Numbers:
    """The length of the paths that carry the gradient, exact, and derived from the ratios at the forks alone.

    If what the skip and the branch send back is uncorrelated, a branch carries r²/(1 + r²) of the squared norm at its
    fork. depth: in blocks.
    """
    random.manual_seed(seed)
    model, (x, y) = models.mlp(2 * depth + 2, WIDTH, residual=True), noise(128)
    exact = flow.path_spectrum(model, x, y, progress=False).effective_length
    estimate = sum(fork.share for fork in flow.record(model, x, y).forks)
    return {"exact": exact, "Σ": estimate, "Σ/exact": estimate / exact, "share of depth": exact / depth}


EFFECTIVE_LENGTH = Experiment(
    "effective-length",
    "Σ r²/(1 + r²) over the forks is the effective path length, a small part of the depth",
    "Veit et al. 2016 (arXiv 1605.06431), section 5",
    effective_length,
    {**{f"Σ/exact, {blocks}": (0.95, 1.05) for blocks in (9, 18, 27, 54)}, "share of depth, 54": below(0.15)},
    depths=(9, 18, 27, 54),
    pilot="9/18/27/54 blocks: 2.99/4.28/5.10/6.61, exact 3.01/4.26/5.09/6.52",
    slow=True,
    least={"depth": 1},
)


def length_without_batch_norm(seed: int, blocks: int = 27) -> Numbers:
    """Branches as large as their shortcut give binomial lengths; scaled by 1/√n they leave a length of 1."""
    found: Numbers = {}
    for name, scale in (("unscaled", 1.0), ("1/√n", blocks**-0.5)):
        random.manual_seed(seed)
        model = models.mlp(2 * blocks + 2, WIDTH, residual=True, norm=False, scale=scale)
        found[name] = flow.path_spectrum(model, *noise(BATCH), progress=False).effective_length
    return found


LENGTH_WITHOUT_BATCH_NORM = Experiment(
    "length-without-bn",
    "Without batch norm the lengths are binomial, n/2; branches scaled by 1/√n leave about 1",
    "De & Smith 2020 (arXiv 2002.10444)",
    length_without_batch_norm,
    {"unscaled": (12, 15), "1/√n": (0.8, 1.2)},
    pilot="n = 27: 13.6; 0.97",
)


def scaled_shortcut(seed: int, blocks: int = 9) -> Numbers:
    """What crosses no branch is λⁿ times the gradient at the end; returns the error relative to that."""
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


SCALED_SHORTCUT = Experiment(
    "scaled-shortcut",
    "Shortcuts scaled by λ multiply what crosses no branch by λⁿ",
    "He et al. 2016 (arXiv 1603.05027), section 3, equation 8",
    scaled_shortcut,
    {f"λ = {scale}": below(1e-10) for scale in (0.5, 0.9, 1.1)},
    pilot="exact",
)
