"""Networks: residual blocks in the open, the networks built from them, and twins to compare."""

from .blocks import (
    Bottleneck,
    PadShortcut,
    PlainBlock,
    PlainBottleneck,
    PlainPreActBlock,
    PreActBlock,
    ResidualBlock,
)
from .mlp import MLP, mlp, mlp_twins
from .resnet import ResNet, plain_cifar, resnet18, resnet34, resnet50, resnet101, resnet152, resnet_cifar
from .twins import twins

__all__ = [
    "MLP",
    "Bottleneck",
    "PadShortcut",
    "PlainBlock",
    "PlainBottleneck",
    "PlainPreActBlock",
    "PreActBlock",
    "ResNet",
    "ResidualBlock",
    "mlp",
    "mlp_twins",
    "plain_cifar",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet_cifar",
    "twins",
]
