"""Residual blocks that start as their shortcut and therefore need no batch norm.

Batch norm makes the branch of block l smaller than its shortcut by about √l, so a deep residual network starts close to
the identity (De & Smith 2020, arXiv 2002.10444). A scalar or a weight that starts at 0 does the same.

Without batch norm nothing in the network normalises, so the images themselves must have mean 0 and variance 1. The
shift of each batch norm remains as a learned bias, in the stem and after the last block too.
"""

import numpy as np

from .. import nn
from ..nn import Parameter
from ..tensor import Tensor
from .blocks import PlainPreActBlock, PreActBlock, ResidualBlock, conv3x3, make_shortcut


class ReZeroBlock(ResidualBlock):
    """relu(α·branch(x) + shortcut(x)), with a learned scalar α that starts at 0: the standard block plus one number.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). Bachlechner et al. 2020 (arXiv 2003.04887), equation 1.
    The branch keeps its batch norms here; `SkipInitBlock` has none.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B", alpha: float = 0.0):
        super().__init__(in_channels, channels, stride, shortcut)
        self.alpha = Parameter(np.array([alpha], np.float32))

    def forward(self, x: Tensor) -> Tensor:
        out = self.alpha * self.branch(x) + self.shortcut(x)
        return self.relu(out)

    def zero_branch(self) -> None:
        """α = 0, where it starts anyway. (If γ were 0 as well, neither would ever get a gradient.)"""
        nn.init.zeros_(self.alpha)


# ── without batch norm ──────────────────────────────────────────────────────────────────────────────────────────────


class Bias(nn.Module):
    """x + b, one learned b per channel, at first 0: what is left of a batch norm that neither normalises nor scales.

    (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.bias = Parameter(np.zeros(channels, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.reshape(-1, 1, 1)


class ScalarBias(nn.Module):
    """x + b, one learned b for all channels, at first 0: the bias of Fixup. (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int = 1):
        super().__init__()
        self.bias = Parameter(np.zeros(1, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class PlainNormFreeBlock(PlainPreActBlock):
    """branch(relu(x + b)): the plain pre-activation block with a bias in place of each batch norm."""

    norm_layer = Bias


class SkipInitBlock(PreActBlock):
    """α·branch(relu(x + b)) + shortcut(x): pre-activation without batch norm; α is learned and starts at 0.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). De & Smith 2020 (arXiv 2002.10444). With α = 1
    nothing restrains a network without batch norm, and its variance doubles with every block.
    """

    norm_layer = Bias

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B", alpha: float = 0.0):
        super().__init__(in_channels, channels, stride, shortcut)
        self.alpha = Parameter(np.array([alpha], np.float32))

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        return self.alpha * self.branch(active) + self.shortcut(x, active)

    def zero_branch(self) -> None:
        """α = 0, where it starts anyway."""
        nn.init.zeros_(self.alpha)


class FixupBlock(nn.Module):
    """relu(branch(x) + shortcut(x)) without batch norm: scalar biases, one scalar scale, and a careful start.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). Zhang et al. 2019 (arXiv 1901.09321), section 3, in a
    network of L blocks with m = 2 convolutions each:
    1. the classifier, and the last convolution of every branch, start at 0;
    2. the other convolutions of the branches start as usual, times L^(−1/(2m − 2));
    3. every convolution, linear layer and activation has a scalar bias before it, and every branch a scalar scale.
    Rule 1 means that at the first step only the classifier gets a gradient.
    The names and the place of each bias follow the authors' code (github.com/hongyi-zhang/Fixup), which trains biases
    and scales with a tenth of the learning rate.
    """

    expansion = 1
    preact = False
    norm_layer = ScalarBias
    layers = 2  # m

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B"):
        super().__init__()
        self.bias1a = Parameter(np.zeros(1, np.float32))
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bias1b = Parameter(np.zeros(1, np.float32))
        self.relu = nn.ReLU()
        self.bias2a = Parameter(np.zeros(1, np.float32))
        self.conv2 = conv3x3(channels, channels)
        self.scale = Parameter(np.ones(1, np.float32))
        self.bias2b = Parameter(np.zeros(1, np.float32))
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, norm=False)

    def branch(self, shifted: Tensor) -> Tensor:
        """The layers of the block after its first bias."""
        x = self.relu(self.conv1(shifted) + self.bias1b)
        return self.scale * self.conv2(x + self.bias2a) + self.bias2b

    def forward(self, x: Tensor) -> Tensor:
        shifted = x + self.bias1a
        shortcut = x if self.downsample is None else self.downsample(shifted)
        out = self.branch(shifted) + shortcut
        return self.relu(out)

    def zero_branch(self) -> None:
        """Make the branch 0, as it starts anyway: the weight of its last convolution becomes 0."""
        nn.init.zeros_(self.conv2.weight)

    @staticmethod
    def initialise(model: nn.Module) -> None:
        """Apply rules 1 and 2 after all weights are drawn as usual, and add the bias before the classifier."""
        blocks = model.blocks()
        for block in blocks:
            block.conv1.weight.array *= len(blocks) ** (-1 / (2 * block.layers - 2))
            block.zero_branch()
        model.avgpool = nn.Sequential(model.avgpool, ScalarBias())
        nn.init.zeros_(model.fc.weight)
        nn.init.zeros_(model.fc.bias)
