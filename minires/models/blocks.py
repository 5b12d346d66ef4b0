"""The residual block, written out, and the blocks it is compared with.

A residual block computes ``out = branch + shortcut`` (He et al. 2015, arXiv 1512.03385, eq. 1–2): the branch learns
F(x) = H(x) − x, the shortcut carries x. Going back, the gradient of x is the sum of what the branch returns and what the
shortcut returns, and the identity returns it unchanged.

Parameter names are torchvision's, so that weights can be exchanged.
"""

from .. import nn
from ..nn import functional as F
from ..tensor import Tensor


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3×3 convolution that keeps the size (at stride 1); no bias, because a batch norm follows."""
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
    ``norm`` puts a batch norm behind the convolution (a pre-activation block has none there).
    """
    if option not in ("A", "B", "C"):
        raise ValueError(f'make_shortcut: got shortcut={option!r}; expected "A" (pad), "B" (project where needed) or "C"')
    changes = stride != 1 or in_channels != out_channels
    if option == "C" or (option == "B" and changes):
        projection = conv1x1(in_channels, out_channels, stride)
        return nn.Sequential(projection, nn.BatchNorm2d(out_channels)) if norm else projection
    return PadShortcut(in_channels, out_channels, stride) if changes else None


# ── blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class ResidualBlock(nn.Module):
    """relu(branch(x) + shortcut(x)), the branch being conv–BN–ReLU–conv–BN. torchvision's BasicBlock.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride).
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B"):
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        shortcut = x if self.downsample is None else self.downsample(x)
        out = branch + shortcut
        return self.relu(out)


class PlainBlock(nn.Module):
    """The residual block's plain twin: the same layers and names, and no shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "none"):
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out)


class PreActBlock(nn.Module):
    """branch(x) + shortcut(x), BN and ReLU standing *before* each convolution, so that nothing touches the sum.

    He et al. 2016 (arXiv 1603.05027), fig. 4e. Where the shortcut projects, it starts from the activated input.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B"):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, norm=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        branch = self.conv1(active)
        branch = self.conv2(self.relu(self.bn2(branch)))
        if self.downsample is None:
            shortcut = x
        elif isinstance(self.downsample, PadShortcut):
            shortcut = self.downsample(x)
        else:
            shortcut = self.downsample(active)
        return branch + shortcut


class PlainPreActBlock(nn.Module):
    """The pre-activation block's plain twin: the same layers and names, and no shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "none"):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.relu(self.bn1(x)))
        return self.conv2(self.relu(self.bn2(out)))


class Bottleneck(nn.Module):
    """relu(branch(x) + shortcut(x)), the branch being 1×1 (narrow) – 3×3 – 1×1 (wide again). torchvision's Bottleneck.

    (N, in_channels, H, W) -> (N, 4·channels, H/stride, W/stride). He et al. 2015, fig. 5; as in torchvision ("v1.5")
    the stride is in the 3×3 convolution.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B"):
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = conv1x1(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        shortcut = x if self.downsample is None else self.downsample(x)
        out = branch + shortcut
        return self.relu(out)


class PlainBottleneck(nn.Module):
    """The bottleneck's plain twin: the same layers and names, and no shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "none"):
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = conv1x1(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out)
