"""The networks that are exported to ONNX: every one that `minires.models` builds, and the recurrent layers.

The tests compare them with ONNX Runtime, small; `python -m benchmarks onnx` writes the table of all, at full size.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from minires import Tensor, models, nn


class Network(NamedTuple):
    """How a network is built, the shape of one sample, and where its batch stands."""

    build: Callable[[], nn.Module]
    sample: tuple[int, ...]
    dim: int = 0
    large: bool = False


def image(build: Callable[..., nn.Module], *arguments, **options) -> Network:
    """A network of the CIFAR kind."""
    return Network(partial(build, *arguments, **options), (3, 32, 32))


NETWORKS: dict[str, Network] = {
    **{name: image(variant.build, 20) for name, variant in models.VARIANTS.items()},
    **{f"residual, option {option}": image(models.resnet_cifar, 20, shortcut=option) for option in "ABC"},
    **{f"preact, option {option}": image(models.resnet_cifar, 20, shortcut=option, preact=True) for option in "ABC"},
    "recompute_every": image(models.resnet_cifar, 20, recompute_every=3),
    "plain": image(models.plain_cifar, 20),
    "plain, preact": image(models.plain_cifar, 20, preact=True),
    "plain, norm-free": image(models.plain_cifar, 20, block=models.SkipInitBlock),
    "bottleneck": image(models.ResNet, models.Bottleneck, [2, 2, 2], [16, 32, 64]),
    "bottleneck, option C": image(models.ResNet, models.Bottleneck, [2, 2, 2], [16, 32, 64], shortcut="C"),
    "plain bottleneck": image(models.ResNet, models.Bottleneck, [2, 2, 2], [16, 32, 64], residual=False),
    **{
        f"mlp, {'residual' if residual else 'plain'}{'' if norm else ', without batch norm'}": Network(
            partial(models.mlp, 20, 64, residual=residual, norm=norm, bias=not norm, scale=0.3), (64,)
        )
        for residual in (False, True)
        for norm in (True, False)
    },
    "transformer, pre": Network(partial(models.transformer, 4), (1, 8, 8)),
    "transformer, post": Network(partial(models.transformer, 4, norm="post"), (1, 8, 8)),
    "RNN": Network(partial(nn.RNN, 8, 16, 2), (12, 8), 1),
    "RNN, relu, batch first": Network(partial(nn.RNN, 8, 16, 2, "relu", batch_first=True), (12, 8)),
    "ResidualRNN": Network(partial(models.ResidualRNN, 8, 16, 2, scale=0.1), (12, 8), 1),
    "GRU": Network(partial(nn.GRU, 8, 16, 2), (12, 8), 1),
    "LSTM": Network(partial(nn.LSTM, 8, 16, 2), (12, 8), 1),
    "LSTM, batch first": Network(partial(nn.LSTM, 8, 16, 2, batch_first=True), (12, 8)),
    **{
        build.__name__: Network(build, (3, 224, 224), large=True)
        for build in (models.resnet18, models.resnet34, models.resnet50, models.resnet101, models.resnet152)
    },
}


def batch(network: Network, size: int, seed: int = 0) -> np.ndarray:
    """Random samples in float32, along the network's axis of the batch."""
    shape = (*network.sample[: network.dim], size, *network.sample[network.dim :])
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def lively(model: nn.Module, x: np.ndarray, gamma: tuple[float, float] = (0.05, 0.25)) -> nn.Module:
    """The model with weights as a trained one has them: no parameter all 0, γ within bounds, batch norm's statistics.

    A branch times 0, or a classifier of zeros, would be exported correctly whatever it computes. With γ = 1 throughout,
    rounding errors grow from block to block, here as in ONNX Runtime: see the last row of the benchmark's table.
    """
    rng = np.random.default_rng(1)
    for parameter in model.parameters():
        if not np.ptp(parameter.array):
            parameter.array[...] = rng.uniform(-0.5, 0.5, parameter.shape)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.momentum = None  # the mean over all batches: here, this one's
            module.weight.array[...] = rng.uniform(*gamma, module.weight.shape)
    model.train()(Tensor(x))
    return model
