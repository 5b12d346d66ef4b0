"""Twins: a plain and a residual network that start from the same weights and differ by one flag."""

from typing import Any

from .resnet import ResNet, resnet_cifar


def twins(depth: int, width: int = 16, *, zero_init_residual: bool = False, **options: Any) -> tuple[ResNet, ResNet]:
    """(plain, residual), every weight they share equal at the start; options as for `resnet_cifar`.

    With the default, parameter-free shortcut (option "A") they share all weights. Options "B" and "C" give the residual
    twin projections as well; ``zero_init_residual`` concerns only the residual twin, as a plain network with γ = 0
    would output nothing.
    """
    residual = resnet_cifar(depth, width, **options)
    plain = resnet_cifar(depth, width, residual=False, **options)
    shared = residual.state_dict()
    plain.load_state_dict({name: shared[name] for name in plain.state_dict()})
    if zero_init_residual:
        residual.zero_branches()
    return plain, residual
