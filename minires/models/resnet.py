"""The residual networks of He et al. 2015 (arXiv 1512.03385), and their plain twins.

``resnet_cifar(depth)`` is section 4.2: 6n+2 layers in three stages. ``resnet18`` … ``resnet152`` are table 1.
Module names are torchvision's: conv1, bn1, layer1.0.conv1, …, fc.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import nn
from ..recompute import checkpoint
from ..tensor import Tensor
from .blocks import Bottleneck, PlainBlock, PlainBottleneck, PlainPreActBlock, PreActBlock, ResidualBlock, conv3x3
from .normfree import PlainNormFreeBlock, SkipInitBlock

PLAIN_TWIN: dict[type[nn.Module], type[nn.Module]] = {
    ResidualBlock: PlainBlock,
    PreActBlock: PlainPreActBlock,
    Bottleneck: PlainBottleneck,
    SkipInitBlock: PlainNormFreeBlock,
}


class ResNet(nn.Module):
    """Stem, stages of blocks, global average pooling, one linear layer.

    block: a residual block class, such as `ResidualBlock`, or a `functools.partial` that sets options of one.
    ``residual=False`` takes its plain twin instead. A class of your own is called as
    ``block(in_channels, channels, stride, shortcut)`` and has ``expansion`` (its output has expansion·channels) and
    ``preact`` (whether BN and ReLU stand before the convolutions). It may have ``norm_layer``, called with the number
    of channels, which also replaces batch norm outside the blocks, and, for what depends on the whole network, a static
    method ``initialise(model)``, called after all weights are drawn.
    blocks: number of blocks in each stage. widths: channels of each stage (times the block's expansion).
    stem: "cifar" (3×3 convolution) or "imagenet" (7×7 with stride 2, then max pooling).
    shortcut: option "A", "B" or "C", see `blocks.make_shortcut`.
    zero_init_residual: start the last batch norm of every branch at γ = 0, so that each block starts as its shortcut
    (Goyal et al. 2017, arXiv 1706.02677, section 5.1).
    recompute_every: during backward, compute this many blocks at a time again instead of keeping what is inside them,
    see `minires.checkpoint`; about √(number of blocks) takes the least memory. 0 keeps everything. checkpoint_every:
    its old name, which warns.
    """

    def __init__(
        self,
        block: Callable[..., nn.Module],
        blocks: Sequence[int],
        widths: Sequence[int],
        *,
        stem: str = "cifar",
        in_channels: int = 3,
        num_classes: int = 10,
        shortcut: str = "B",
        residual: bool = True,
        zero_init_residual: bool = False,
        recompute_every: int = 0,
        checkpoint_every: int | None = None,
    ):
        super().__init__()
        recompute_every = _renamed(recompute_every, checkpoint_every)
        if stem not in ("cifar", "imagenet"):
            raise ValueError(f'ResNet: got stem={stem!r}; expected "cifar" or "imagenet"')
        kind: Any = block.func if isinstance(block, partial) else block
        if not residual and kind not in PLAIN_TWIN:
            raise ValueError(
                f"ResNet: got residual=False for {kind.__name__}; plain twins are known of "
                f"{', '.join(known.__name__ for known in PLAIN_TWIN)}"
            )
        if len(blocks) != len(widths):
            raise ValueError(
                f"ResNet: got {len(blocks)} stages of blocks {list(blocks)} and {len(widths)} widths {list(widths)}; "
                "each stage has a number of blocks and a width"
            )
        if not isinstance(recompute_every, int | np.integer) or recompute_every < 0:
            raise ValueError(
                f"ResNet: got recompute_every={recompute_every!r}; expected a number of blocks, or 0 (keep all)"
            )
        if not residual:
            block = kind = PLAIN_TWIN[kind]
        norm_layer = getattr(kind, "norm_layer", nn.BatchNorm2d)
        self.residual, self.preact, self.recompute_every = residual, kind.preact, recompute_every
        channels = widths[0]
        if stem == "cifar":
            self.conv1 = conv3x3(in_channels, channels)
        else:
            self.conv1 = nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
        if not self.preact:
            self.bn1 = norm_layer(channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        self.stages = len(blocks)
        for stage, (count, width) in enumerate(zip(blocks, widths), start=1):
            layers = []
            for i in range(count):
                stride = 2 if i == 0 and stage > 1 else 1
                layers.append(block(channels, width, stride, shortcut))
                channels = width * kind.expansion
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        if self.preact:
            self.bn = norm_layer(channels)  # which pre-activation leaves for the end
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if hasattr(kind, "initialise"):
            kind.initialise(self)
        if zero_init_residual and residual:
            self.zero_branches()

    def zero_branches(self) -> None:
        """Reduce every block to its shortcut, see `ResidualBlock.zero_branch`."""
        for block in self.blocks():
            block.zero_branch()

    def blocks(self) -> list[Any]:
        """The blocks of all stages, in order."""
        return [block for stage in range(self.stages) for block in getattr(self, f"layer{stage + 1}")]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if not self.preact:
            x = self.relu(self.bn1(x))
        x = self.maxpool(x)
        if every := self.recompute_every:
            blocks = self.blocks()
            for i in range(0, len(blocks), every):
                x = checkpoint(nn.Sequential(*blocks[i : i + every]), x)
        else:
            for stage in range(self.stages):
                x = getattr(self, f"layer{stage + 1}")(x)
        if self.preact:
            x = self.relu(self.bn(x))
        x = self.avgpool(x)
        return self.fc(x.flatten(1))


def resnet_cifar(
    depth: int,
    width: int = 16,
    *,
    in_channels: int = 3,
    num_classes: int = 10,
    block: Callable[..., nn.Module] | None = None,
    shortcut: str = "A",
    preact: bool = False,
    residual: bool = True,
    zero_init_residual: bool = False,
    recompute_every: int = 0,
    checkpoint_every: int | None = None,
) -> ResNet:
    """The CIFAR networks: depth = 6n+2 layers, three stages of n blocks with ``width``, 2·width and 4·width channels.

    (N, in_channels, H, W) -> (N, num_classes). block: by default `ResidualBlock`, or with ``preact`` `PreActBlock`;
    otherwise as for `ResNet`, such as one of the blocks in `VARIANTS`. ResNet-1202 at batch 128 fits a small machine
    with ``recompute_every=10``, see `ResNet`.
    Raises ValueError, naming the nearest legal depths, for any other depth, and for ``block`` together with ``preact``.
    """
    if not isinstance(depth, int | np.integer) or depth < 8 or (depth - 2) % 6:
        raise ValueError(f"resnet_cifar: got depth {depth!r}; legal depths are 6n+2, from 8 on{_nearest(depth)}")
    if not isinstance(width, int | np.integer) or width < 1:
        raise ValueError(f"resnet_cifar: got width {width!r}; expected a whole number of at least 1")
    if block is not None and preact:
        raise ValueError("resnet_cifar: got preact=True and a block; the block says itself where BN and ReLU stand")
    return ResNet(
        block or (PreActBlock if preact else ResidualBlock),
        [(depth - 2) // 6] * 3,
        [width, 2 * width, 4 * width],
        in_channels=in_channels,
        num_classes=num_classes,
        shortcut=shortcut,
        residual=residual,
        zero_init_residual=zero_init_residual,
        recompute_every=_renamed(recompute_every, checkpoint_every),
    )


def _renamed(recompute_every: int, checkpoint_every: int | None) -> int:
    """``recompute_every``, also where it goes by its old name."""
    if checkpoint_every is None:
        return recompute_every
    if recompute_every:
        raise TypeError("ResNet: got recompute_every and checkpoint_every, which is its old name; leave the latter out")
    warnings.warn("ResNet: checkpoint_every is now called recompute_every", DeprecationWarning, stacklevel=3)
    return checkpoint_every


def _nearest(depth: Any) -> str:
    if not isinstance(depth, int | np.integer):
        return "; for example 20"
    below = (depth - 2) // 6 * 6 + 2
    return "; the nearest: 8" if below < 8 else f"; the nearest: {below} and {below + 6}"


def plain_cifar(depth: int, width: int = 16, **options: Any) -> ResNet:
    """The same network without shortcuts; options as for `resnet_cifar`."""
    return resnet_cifar(depth, width, residual=False, **options)


def _imagenet(block: type[nn.Module], blocks: Sequence[int], options: dict[str, Any]) -> ResNet:
    asked = {name: options.pop(name, None) for name in ("weights", "pretrained")}  # as torchvision calls them
    for name, value in asked.items():
        if value:
            raise ValueError(
                f"ResNet: got {name}={value!r}, but nothing is downloaded; minires.load_weights(model, path) reads a "
                "file of weights, also of torchvision's"
            )
    return ResNet(block, blocks, [64, 128, 256, 512], **{"stem": "imagenet", "num_classes": 1000, **options})


def resnet18(**options: Any) -> ResNet:
    """ResNet-18, table 1: 1.8 GMACs, 11.7 M parameters. ``residual=False`` gives plain-18."""
    return _imagenet(ResidualBlock, [2, 2, 2, 2], options)


def resnet34(**options: Any) -> ResNet:
    """ResNet-34, table 1: 3.6 GMACs, 21.8 M parameters. ``residual=False`` gives plain-34."""
    return _imagenet(ResidualBlock, [3, 4, 6, 3], options)


def resnet50(**options: Any) -> ResNet:
    """ResNet-50, table 1: bottleneck blocks, 25.6 M parameters."""
    return _imagenet(Bottleneck, [3, 4, 6, 3], options)


def resnet101(**options: Any) -> ResNet:
    """ResNet-101, table 1: bottleneck blocks, 44.5 M parameters."""
    return _imagenet(Bottleneck, [3, 4, 23, 3], options)


def resnet152(**options: Any) -> ResNet:
    """ResNet-152, table 1: bottleneck blocks, 60.2 M parameters."""
    return _imagenet(Bottleneck, [3, 8, 36, 3], options)
