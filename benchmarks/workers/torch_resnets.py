"""The networks of `minires.models` in PyTorch, with the same names, written as people write them there.

Their blocks add in place (``out += identity``) and have in-place ReLUs. In `forks_by_hand` the branch and the shortcut
of each block start from two views of its input, which retain their gradients.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Pad(nn.Module):
    """Option A: every ``stride``-th pixel, and zeros in the new channels."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.new, self.stride = out - channels, stride

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))


def shortcut(option, channels, out, stride, norm=True):
    changes = stride != 1 or channels != out
    if option == "C" or (option == "B" and changes):
        projection = nn.Conv2d(channels, out, 1, stride, bias=False)
        return nn.Sequential(projection, nn.BatchNorm2d(out)) if norm else projection
    return Pad(channels, out, stride) if changes else None


class Block(nn.Module):
    """What the kinds of blocks share: the fork by hand."""

    seen = None  # by hand: a list of what fork() has returned, in all blocks

    def fork(self, x):
        """(x for the branch, x for the shortcut): twice x itself, or two views of it."""
        if Block.seen is None or not x.requires_grad:
            return x, x
        ways = x.view_as(x), x.view_as(x)
        for way in ways:
            way.retain_grad()
        Block.seen.append(ways)
        return ways


class Basic(Block):
    expansion = 1

    def __init__(self, channels, width, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(option, channels, width, stride)

    def forward(self, x):
        x, identity = self.fork(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(identity)
        out += identity
        return self.relu(out)


class Bottleneck(Block):
    expansion = 4

    def __init__(self, channels, width, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(option, channels, 4 * width, stride)

    def forward(self, x):
        x, identity = self.fork(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(identity)
        out += identity
        return self.relu(out)


class PreAct(Block):
    expansion = 1

    def __init__(self, channels, width, stride, option):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.downsample = shortcut(option, channels, width, stride, norm=False)

    def forward(self, x):
        if self.downsample is None or isinstance(self.downsample, Pad):
            x, identity = self.fork(x)
            active = self.relu(self.bn1(x))
        else:  # the projection gets the activated input, so the fork is there
            active, identity = self.fork(self.relu(self.bn1(x)))
        out = self.conv2(self.relu(self.bn2(self.conv1(active))))
        out += identity if self.downsample is None else self.downsample(identity)
        return out


class ResNet(nn.Module):
    """``stem``: "cifar" or "imagenet"; ``option``: of the shortcuts, "A", "B" or "C"."""

    def __init__(self, block, counts, widths, stem="cifar", option="A", channels=3, classes=10):
        super().__init__()
        self.preact, out = block is PreAct, widths[0]
        first = (3, 1, 1) if stem == "cifar" else (7, 2, 3)
        self.conv1 = nn.Conv2d(channels, out, *first, bias=False)
        if not self.preact:
            self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        self.stages = len(counts)
        for stage, (count, width) in enumerate(zip(counts, widths)):
            blocks = []
            for i in range(count):
                blocks.append(block(out, width, 2 if stage and not i else 1, option))
                out = width * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        if self.preact:
            self.bn = nn.BatchNorm2d(out)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(out, classes)

    def blocks(self):
        return [block for stage in range(self.stages) for block in getattr(self, f"layer{stage + 1}")]

    def forward(self, x):
        x = self.conv1(x)
        x = self.maxpool(x if self.preact else self.relu(self.bn1(x)))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        if self.preact:
            x = self.relu(self.bn(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def cifar(depth, option="A", preact=False, width=16, channels=3):
    """The twin of ``resnet_cifar(depth, width, in_channels=channels, shortcut=option, preact=preact)``."""
    kind = PreAct if preact else Basic
    return ResNet(kind, [(depth - 2) // 6] * 3, [width, 2 * width, 4 * width], option=option, channels=channels)


def imagenet(depth):
    """The twin of ``minires.models.resnet18(num_classes=10)`` or of ``resnet50(num_classes=10)``."""
    kind, counts = {18: (Basic, [2, 2, 2, 2]), 50: (Bottleneck, [3, 4, 6, 3])}[depth]
    return ResNet(kind, counts, [64, 128, 256, 512], "imagenet", "B")


class EncoderLayer(nn.TransformerEncoderLayer, Block):
    """PyTorch's own, with its two forks: around the attention, and around the two linear layers."""

    def __init__(self, width, heads):
        super().__init__(width, heads, 2 * width, dropout=0.0, batch_first=True)

    def forward(self, x, **nothing):
        branch, skip = self.fork(x)
        x = self.norm1(skip + self._sa_block(branch, None, None))
        branch, skip = self.fork(x)
        return self.norm2(skip + self._ff_block(branch))


def forks_by_hand(backward):
    """[(skip, branch)], the gradients at every fork in forward order, by PyTorch's own `retain_grad` alone.

    ``backward()`` runs a network of such blocks forward and backward.
    """
    Block.seen = seen = []
    try:
        backward()
    finally:
        Block.seen = None
    return [(skip.grad, branch.grad) for branch, skip in seen if skip.grad is not None and branch.grad is not None]


def numbers(skip, branch):
    """(‖skip‖, ‖branch‖, ‖skip + branch‖, their cosine), in float64."""
    skip, branch = skip.double(), branch.double()
    norms = skip.norm(), branch.norm(), (skip + branch).norm()
    return (*map(float, norms), float((skip * branch).sum() / norms[0] / norms[1]))
