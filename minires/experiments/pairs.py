"""Any two kinds of network that can be compared, from the same seed, and with the same weights where they can be."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import models, nn
from ..arguments import nearest
from ..models import ResNet
from ..random import manual_seed

PLAIN = "plain"  # beside the names in `models.VARIANTS`
KINDS = PLAIN, *models.VARIANTS


def pair(names: tuple[str, str], depth: int, width: int, **options: Any) -> dict[str, ResNet]:
    """{name: network} of two kinds; options as for `resnet_cifar`.

    names: two of `KINDS`. "plain" is the other's plain twin, if that has one, else the plain twin of "residual". The
    weights of all convolutions and of the linear layer that have the same name and shape are equal at the start, unless
    one of the two has rules of its own for how they start, as fixup has. Both draw from the generator, in turn.
    Raises ValueError for other names, for two that are the same, and as `resnet_cifar` does.
    """
    for name in names:
        if name not in KINDS:
            raise ValueError(f"pair: got {name!r}; expected two of {', '.join(KINDS)}{nearest(name, KINDS)}")
    if names[0] == names[1]:
        raise ValueError(f"pair: got {names[0]!r} twice; expected two kinds that differ")
    found = {name: _build(name, names, depth, width, options) for name in sorted(names, key=PLAIN.__eq__)}
    first, second = (found[name] for name in names)
    if not any(hasattr(_kind(model), "initialise") for model in (first, second)):
        weights = _weights(first)
        for name, weight in _weights(second).items():
            if name in weights and weights[name].shape == weight.shape:
                weight.array[...] = weights[name].array
    return {name: found[name] for name in names}


def twins(depth: int, width: int, **options: Any) -> dict[str, ResNet]:
    """{"plain": …, "residual": …}, the networks of `models.twins`."""
    return dict(zip(("plain", "residual"), models.twins(depth, width, **options)))


def shared_weights(networks: dict[str, ResNet]) -> float:
    """Which share of the first one's parameters the second has with the same name and the same values, from 0 to 1."""
    first, second = (dict(network.named_parameters()) for network in networks.values())
    same = sum(p.numel() for name, p in first.items() if name in second and np.array_equal(p.array, second[name].array))
    return same / sum(p.numel() for p in first.values())


def one_of(make: Callable[[], dict[str, ResNet]], seed: int, name: str) -> ResNet:
    """The network of this name among those that ``make()`` returns, from this seed; for a job of its own."""
    manual_seed(seed)
    return make()[name]


def _build(name: str, names: tuple[str, str], depth: int, width: int, options: dict[str, Any]) -> ResNet:
    if name != PLAIN:
        return models.VARIANTS[name].build(depth, width, **options)
    (other,) = set(names) - {PLAIN}
    try:
        return models.VARIANTS[other].build(depth, width, residual=False, **options)
    except ValueError:  # it has no plain twin
        return models.plain_cifar(depth, width, **options)


def _weights(model: nn.Module) -> dict[str, Any]:
    return {name: p for name, p in model.named_parameters() if len(p.shape) > 1 or name == "fc.bias"}


def _kind(model: ResNet) -> type:
    return type(model.blocks()[0])
