"""The residual block, written out, beside the plain block it grows from.

A residual block computes ``out = branch + shortcut`` (He et al. 2015, arXiv 1512.03385, eq. 1–2): the branch learns
F(x) = H(x) − x, the shortcut carries x. Going back, the gradient of x is the sum of what the branch and the shortcut
send back, and the identity sends it back unchanged.

Each kind comes twice: a plain block holds the layers, and the residual block *is* that plain block plus a shortcut.
So the twins have the same layers, names and weights, and differ in one addition.
Parameter names are torchvision's, so that weights can be exchanged.
"""

from typing import Any

from .. import nn
from ..nn import functional as F
from ..tensor import Tensor


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3×3 convolution that keeps the size (at stride 1), without a bias, because a batch norm follows."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """1×1 convolution: a matrix product over channels, at every position."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


# ── shortcuts ───────────────────────────────────────────────────────────────────────────────────────────────────────


class PadShortcut(nn.Module):
    """Option A: take every ``stride``-th pixel and fill the new channels with zeros. No parameters.

    (N, C, H, W) -> (N, out, ⌈H/stride⌉, ⌈W/stride⌉). He et al. 2015, section 3.3.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        if out_channels < in_channels:
            raise ValueError(
                f"PadShortcut: got {in_channels} -> {out_channels} channels; padding cannot remove channels. "
                'Use shortcut="B"'
            )
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        new = self.out_channels - self.in_channels
        return F.pad(x, (0, 0, 0, 0, new // 2, new - new // 2)) if new else x

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}"


def make_shortcut(option: str, in_channels: int, out_channels: int, stride: int, norm: bool = True) -> nn.Module | None:
    """The shortcut of a block, or None for the identity. He et al. 2015, section 4.1, options A, B and C.

    A: identity, padded where shapes change. B: 1×1 convolution where shapes change. C: 1×1 convolution everywhere.
    ``norm`` adds a batch norm after the convolution (a pre-activation block has none there).
    """
    if option not in ("A", "B", "C"):
        raise ValueError(
            f'make_shortcut: got shortcut={option!r}; expected "A" (pad), "B" (project where shapes change) or "C" '
            "(project everywhere)"
        )
    changes = stride != 1 or in_channels != out_channels
    if option == "C" or (option == "B" and changes):
        projection = conv1x1(in_channels, out_channels, stride)
        return nn.Sequential(projection, nn.BatchNorm2d(out_channels)) if norm else projection
    return PadShortcut(in_channels, out_channels, stride) if changes else None


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class PlainBlock(nn.Module):
    """relu(branch(x)), the branch being conv–BN–ReLU–conv–BN: two layers of a plain network.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). A plain block ignores the option ``shortcut``.
    """

    expansion = 1
    preact = False

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "none"):
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def branch(self, x: Tensor) -> Tensor:
        """All layers of the block but the last ReLU."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        return self.relu(out)


class ResidualBlock(PlainBlock):
    """relu(branch(x) + shortcut(x)): the plain block, and a shortcut around it. torchvision's BasicBlock."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B"):
        super().__init__(in_channels, channels, stride)
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride)

    def shortcut(self, x: Tensor) -> Tensor:
        """x itself, or where shapes change, x padded or projected."""
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x) + self.shortcut(x)
        return self.relu(out)

    def zero_branch(self) -> None:
        """Make the branch 0, so that the block is its shortcut: γ = 0 in the last batch norm."""
        nn.init.zeros_(self.bn2.weight)


class PlainBottleneck(nn.Module):
    """relu(branch(x)), the branch being 1×1 (narrow) – 3×3 – 1×1 (wide again), each with BN.

    (N, in_channels, H, W) -> (N, 4·channels, H/stride, W/stride). He et al. 2015, fig. 5; as in torchvision ("v1.5")
    the stride is in the 3×3 convolution. A plain block ignores the option ``shortcut``.
    """

    expansion = 4
    preact = False

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "none"):
        super().__init__()
        self.conv1 = conv1x1(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, channels * self.expansion)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU()

    def branch(self, x: Tensor) -> Tensor:
        """All layers of the block but the last ReLU."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        return self.relu(out)


class Bottleneck(PlainBottleneck):
    """relu(branch(x) + shortcut(x)): the plain bottleneck, and a shortcut around it. torchvision's Bottleneck."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B"):
        super().__init__(in_channels, channels, stride)
        self.downsample = make_shortcut(shortcut, in_channels, channels * self.expansion, stride)

    def shortcut(self, x: Tensor) -> Tensor:
        """x itself, or where shapes change, x padded or projected."""
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x) + self.shortcut(x)
        return self.relu(out)

    def zero_branch(self) -> None:
        """Make the branch 0, so that the block is its shortcut: γ = 0 in the last batch norm."""
        nn.init.zeros_(self.bn3.weight)


class PlainPreActBlock(nn.Module):
    """branch(relu(bn(x))), with BN and ReLU *before* each convolution.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). A plain block ignores the option ``shortcut``. A
    subclass may replace batch norm with another layer, see `normfree`.
    """

    expansion = 1
    preact = True
    norm_layer: type[Any] = nn.BatchNorm2d

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "none"):
        super().__init__()
        self.bn1 = self.norm_layer(in_channels)
        self.relu = nn.ReLU()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = self.norm_layer(channels)
        self.conv2 = conv3x3(channels, channels)

    def branch(self, active: Tensor) -> Tensor:
        """The layers of the block after its first activation."""
        x = self.conv1(active)
        return self.conv2(self.relu(self.bn2(x)))

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        return self.branch(active)


class PreActBlock(PlainPreActBlock):
    """branch(relu(bn(x))) + shortcut(x): nothing touches the sum, so identity shortcuts form one unbroken path.

    He et al. 2016 (arXiv 1603.05027), fig. 4e. Where the shortcut projects, it starts from the activated input and has
    no batch norm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B"):
        super().__init__(in_channels, channels, stride)
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, norm=False)

    def shortcut(self, x: Tensor, active: Tensor) -> Tensor:
        """x itself; where shapes change, x padded, or the activated input projected."""
        if self.downsample is None:
            return x
        return self.downsample(x if isinstance(self.downsample, PadShortcut) else active)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        return self.branch(active) + self.shortcut(x, active)

    def zero_branch(self) -> None:
        """Make the branch 0, so that the block is its shortcut: the weight of its last convolution becomes 0."""
        nn.init.zeros_(self.conv2.weight)
