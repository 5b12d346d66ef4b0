"""What the literature says of plain and residual networks, as experiments that end in a few numbers.

Each function is called with a seed and returns ``{what: number}``; all randomness comes from the seed. `science` runs
them on five seeds and holds them against their criteria, and so do the tests in ``tests/science``. Nothing is arranged
in favour of one network: twins share every weight, data and order, and all are initialised as usual.

The first half looks at networks at initialisation and needs no data. The second half trains small networks on "C8":
CIFAR-10 pooled to 8×8 pixels, 8,000 training and 2,000 test images, widths 8, 16 and 32, batches of 64.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minires as mr
from minires import Tensor, autograd, data, flow, models, nn, optim, random, train
from minires.nn import functional as F
from minires.threads import one_blas_thread

Numbers = dict[str, float]

BATCH = 64
WIDTH = 64  # of the fully connected networks, and their number of inputs


def noise(n: int, width: int = WIDTH, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Normal inputs (n, width) and their classes (n)."""
    return mr.randn(n, width), Tensor(np.arange(n) % classes)


def over_seeds(
    measure: Callable[..., Numbers], *args: Any, seeds: Iterable[int] = range(5), **options: Any
) -> dict[str, np.ndarray]:
    """{what: its numbers, one for each seed}. The matrices here are too small to share between BLAS threads."""
    with one_blas_thread():
        runs = [measure(seed, *args, **options) for seed in seeds]
    return {what: np.array([run[what] for run in runs]) for what in runs[0]}


# ── the sum at a fork, and the paths ────────────────────────────────────────────────────────────────────────────────


def conservation(seed: int) -> Numbers:
    """Row 1: the relative error of skip + branch, and of the sum over path lengths, in the worst of six networks."""
    found: Numbers = {}
    random.manual_seed(seed)
    x, y = mr.randn(6, 3, 8, 8), Tensor(np.arange(6))
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
    """x + relu(x): for positive x both ways pass the gradient as it is, so that it counts the paths."""

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
    """Row 4: the length of the paths that carry the gradient, exact, and from the ratios at the forks alone.

    If what skip and branch return is uncorrelated, a branch carries r²/(1 + r²) of the squared norm at its fork.
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
    """Row 16: what crosses no branch is the gradient at the end times λⁿ; the error relative to that."""
    found: Numbers = {}
    for scale in (0.5, 0.9, 1.1):
        random.manual_seed(seed)
        body = nn.Sequential(*[models.ScaledPreActBlock(4, 4, scale=scale) for _ in range(blocks)]).double()
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)).double()
        x, y = mr.randn(8, 4, 6, 6).double(), Tensor(np.arange(8))
        spectrum = flow.path_spectrum(nn.Sequential(body, head), x, y, arrays=True, progress=False)
        end = Tensor(body(x).data, requires_grad=True)
        (g,) = autograd.grad(F.cross_entropy(head(end), y), end)
        assert spectrum.arrays is not None
        expected = scale**blocks * g
        found[f"λ = {scale}"] = np.linalg.norm(spectrum.arrays[0] - expected) / np.linalg.norm(expected)
    return found


# ── the size of gradients and activations at initialisation ─────────────────────────────────────────────────────────


def explosion(seed: int, depth: int = 56) -> Numbers:
    """Row 6: by what factor the gradient of a plain network grows, layer by layer, on its way back."""
    found: Numbers = {}
    for name, width, norm in (("with BN", WIDTH, True), ("with BN, width 256", 256, True), ("without", WIDTH, False)):
        random.manual_seed(seed)
        model, (x, y) = models.mlp(depth, width, layers=1, norm=norm), noise(128, width)
        profile = flow.variance_profile(model, x, lambda output, y=y: F.cross_entropy(output, y))
        found[name] = 2 ** (-profile.gradient_log2_slope / 2)  # norms, not variances
    return found


def log_normal_gradient(seed: int, networks: int = 400, depth: int = 56, width: int = WIDTH) -> Numbers:
    """Row 7: mean and standard deviation over networks of ln‖Jᵀu‖², plain, without batch norm, ‖u‖ = 1."""
    logs = []
    for i in range(networks):
        random.manual_seed(seed * networks + i)
        layers = models.mlp(depth + 2, width, layers=1, norm=False).hidden  # without stem and readout
        x, u = Tensor(mr.randn(1, width).data, requires_grad=True), mr.randn(1, width)
        (g,) = autograd.grad((layers(x) * (u / float(np.linalg.norm(u.data)))).sum(), x)
        logs.append(math.log(float((g**2).sum())))
    return {"mean": float(np.mean(logs)), "std": float(np.std(logs))}


def variance_growth(seed: int, width: int = 256, blocks: int = 10) -> Numbers:
    """Row 8: residual activations: doublings of the variance per block without batch norm, growth per block with."""
    random.manual_seed(seed)
    x = mr.randn(128, width)
    without = flow.variance_profile(models.mlp(2 * blocks + 2, width, residual=True, norm=False), x)
    normed = flow.variance_profile(models.mlp(2 * blocks + 2, width, residual=True), x)
    return {"log₂ slope without BN": without.log2_slope, "slope with BN": normed.slope}


# ── shattered gradients ─────────────────────────────────────────────────────────────────────────────────────────────


def correlation_between_inputs(seed: int, width: int = 200) -> Numbers:
    """Row 9: mean cosine between the gradients at two inputs, L layers BN–ReLU–Linear, plain and residual."""
    found: Numbers = {}
    for name, layers in (("plain", 1), ("plain", 2), ("plain", 3), ("plain", 4), ("plain", 10), ("residual", 10)):
        random.manual_seed(seed)
        model = models.mlp(layers + 2, width, layers=1, residual=name == "residual").hidden
        found[f"{name}, L = {layers}"] = flow.gradient_correlation(model, mr.randn(BATCH, width))
    return found


def correlation_along_a_line(seed: int, width: int = 200) -> Numbers:
    """Row 10: lag-1 autocorrelation of the slope at 256 points in [−2, 2]."""
    found: Numbers = {}
    for name, depth in (("plain", 24), ("residual", 50)):
        random.manual_seed(seed)
        model = models.mlp(
            depth, width, in_features=1, out_features=1, layers=1, bias=True, residual=name == "residual"
        )
        found[f"{name}-{depth}"] = flow.shattering(model).autocorrelation[1]
    return found


# ── trained on C8 ───────────────────────────────────────────────────────────────────────────────────────────────────


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
    """Train: 20 steps of warm-up, a tenth of the learning rate after 70 % of the steps; yields each step's loss."""
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)
    rise = optim.LinearLR(optimizer, start_factor=1 / 20, total_iters=20)
    drop = optim.MultiStepLR(optimizer, [int(0.7 * steps) - 20])
    schedule = optim.SequentialLR(optimizer, [rise, drop], [20])
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
    """Row 12: final training loss against depth. ``zero_only`` leaves out the residual networks but that with γ = 0."""
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
    """Plain and residual network after 1,200 steps."""
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
    """Row 14: standard deviation of the responses of 3×3 layers: mean of all, and of the last in each block."""
    found: Numbers = {}
    for name, model in trained_twins(seed, c8).items():
        result = flow.responses(model.eval(), c8.test[:512][0])
        last = [layer.endswith("conv2") for layer in result.names]
        found |= {f"{name}, all": float(result.std.mean()), f"{name}, last": float(result.std[last].mean())}
    for layers in ("all", "last"):
        found[f"residual / plain, {layers}"] = found[f"residual, {layers}"] / found[f"plain, {layers}"]
    return found


def skip_init(seed: int, c8: C8, alphas: tuple[str, ...] = ("0", "1/√n", "1"), depth: int = 56) -> Numbers:
    """Row 15: final training loss without batch norm: plain, and residual with different scales α of the branches.

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
        found[f"α = {alpha}, step 0"] = flow.record(residual, *probe).loss
        found[f"α = {alpha}"] = final_loss(residual, c8, seed, lr=0.02)
        found[f"plain − α = {alpha}"] = found["plain"] - found[f"α = {alpha}"]
        if alpha == "1":
            found["α = 1 − α = 0"] = found["α = 1"] - found["α = 0"]
    return found


def scale_to_unit_variance(plain: models.ResNet, x: Tensor) -> None:
    """Divide the weight of every convolution of a plain pre-activation network by the deviation of its output."""
    with mr.no_grad():
        x = scaled(plain.conv1, x)
        for block in plain.blocks():
            x = scaled(block.conv1, block.relu(block.bn1(x)))
            x = scaled(block.conv2, block.relu(block.bn2(x)))


def scaled(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution's output, once its weight is divided by the deviation of that output."""
    convolution.weight.data /= convolution(x).data.std()
    return convolution(x)
