"""Fully connected networks, plain and residual: the smallest that show what the theory of residual networks says.

They have the shape of a pre-activation ResNet (He et al. 2016, arXiv 1603.05027): a linear stem, blocks of
BN–ReLU–Linear, BN–ReLU and a linear readout. Read from ReLU to ReLU, the plain one is the usual Linear–BN–ReLU stack.

    plain     x ↦ branch(x)
    residual  x ↦ x + scale·branch(x)

Weights are drawn so that the variance stays the same: 2/fan_in after a ReLU (He et al. 2015, arXiv 1502.01852),
1/fan_in in the stem, whose input no ReLU has halved.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..tensor import Tensor


class PlainMLPBlock(nn.Module):
    """``layers`` times BN–ReLU–Linear, (N, width) -> (N, width); ``norm=False`` leaves BN out."""

    def __init__(self, width: int, layers: int = 2, norm: bool = True, bias: bool = False):
        super().__init__()
        for i in range(1, layers + 1):
            if norm:
                self.add_module(f"bn{i}", nn.BatchNorm1d(width))
            self.add_module(f"relu{i}", nn.ReLU())
            self.add_module(f"fc{i}", nn.Linear(width, width, bias))

    def branch(self, x: Tensor) -> Tensor:
        """All layers of the block."""
        for layer in self.children():
            x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x)


class ResidualMLPBlock(PlainMLPBlock):
    """x + scale·branch(x): the plain block, and an identity shortcut around it."""

    def __init__(self, width: int, layers: int = 2, norm: bool = True, bias: bool = False, scale: float = 1.0):
        super().__init__(width, layers, norm, bias)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        if self.scale != 1:
            branch = self.scale * branch
        return x + branch

    def extra_repr(self) -> str:
        return f"scale={self.scale:.4g}" if self.scale != 1 else ""


class MLP(nn.Module):
    """Linear stem, blocks, BN–ReLU–Linear. (N, in_features) -> (N, out_features); see `mlp`."""

    def __init__(
        self, in_features: int, width: int, out_features: int, blocks: list[nn.Module], norm: bool, bias: bool
    ):
        super().__init__()
        self.stem = nn.Linear(in_features, width, bias)
        self.hidden = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.relu = nn.ReLU()
        self.fc = nn.Linear(width, out_features, bias)

    def blocks(self) -> list[Any]:
        """The blocks, in order."""
        return list(self.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(self.stem(x))
        return self.fc(self.relu(self.bn(x)))


def mlp(
    depth: int,
    width: int,
    *,
    in_features: int | None = None,
    out_features: int = 10,
    residual: bool = False,
    layers: int = 2,
    norm: bool = True,
    bias: bool = False,
    scale: float = 1.0,
    init: Callable[[Tensor], Any] = nn.init.kaiming_normal_,
) -> MLP:
    """A fully connected network of ``depth`` weight layers: stem, blocks of ``layers`` each, readout.

    in_features: ``width`` if not given. residual: put an identity shortcut around every block. norm: batch norm before
    every ReLU. bias: in all linear layers, drawn as PyTorch does. scale: of the residual branches; 1/√blocks keeps a
    network without batch norm from growing. init: fills the weights that follow a ReLU.
    Raises ValueError if the depth is not 2 + a multiple of ``layers``, or a size is not a whole number of at least 1.

    Sources: plain and residual networks of this kind with width 200, Balduzzi et al. 2017 (arXiv 1702.08591), section
    3; without batch norm and with scaled branches, De & Smith 2020 (arXiv 2002.10444).
    """
    in_features = width if in_features is None else in_features
    for name, n in (("width", width), ("in_features", in_features), ("out_features", out_features), ("layers", layers)):
        if not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"mlp: got {name}={n!r}; expected a whole number of at least 1")
    if not isinstance(depth, int | np.integer) or depth < 2 or (depth - 2) % layers:
        raise ValueError(
            f"mlp: got depth {depth!r}; with {layers} layers in a block, legal depths are {layers}n+2 from 2 on "
            "(stem and readout count). layers=1 allows every depth"
        )
    blocks: list[nn.Module] = []
    for _ in range((depth - 2) // layers):
        blocks.append(
            ResidualMLPBlock(width, layers, norm, bias, scale) if residual else PlainMLPBlock(width, layers, norm, bias)
        )
    model = MLP(in_features, width, out_features, blocks, norm, bias)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            init(module.weight)
    nn.init.normal_(model.stem.weight, std=1 / math.sqrt(in_features))
    return model


def mlp_twins(depth: int, width: int, **options: Any) -> tuple[MLP, MLP]:
    """(plain, residual) with all weights equal at the start; options as for `mlp`."""
    residual = mlp(depth, width, residual=True, **options)
    plain = mlp(depth, width, residual=False, **options)
    plain.load_state_dict(residual.state_dict())
    return plain, residual
