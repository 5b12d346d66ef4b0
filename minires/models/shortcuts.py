"""Residual blocks whose shortcut does more than carry x: He et al. 2016 (arXiv 1603.05027), table 1 and figure 2.

Each differs from the standard `ResidualBlock` only in its forward pass. In a chain of them the gradient that crosses no
branch is multiplied by every shortcut on its way (equation 8), so all of them obstruct it, and all did worse than the
identity. The 1×1 convolution of table 1 is option "C" of every block.
"""

import numpy as np

from .. import nn
from ..nn import Parameter
from ..tensor import Tensor
from .blocks import PreActBlock, ResidualBlock


class ScaledBlock(ResidualBlock):
    """relu(branch_scale·branch(x) + scale·shortcut(x)): constant scaling, figure 2b.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). He et al. 2016, table 1: scale 0.5, with branch_scale 1
    or 0.5.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: str = "B",
        scale: float = 0.5,
        branch_scale: float = 1.0,
    ):
        super().__init__(in_channels, channels, stride, shortcut)
        self.scale, self.branch_scale = scale, branch_scale

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch_scale * self.branch(x) + self.scale * self.shortcut(x)
        return self.relu(out)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, branch_scale={self.branch_scale}"


class ScaledPreActBlock(PreActBlock):
    """branch(relu(bn(x))) + scale·shortcut(x): the scale is all there is on the shortcut's path.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). n blocks multiply what crosses no branch by scaleⁿ: He
    et al. 2016, section 3, equation 8.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B", scale: float = 0.5):
        super().__init__(in_channels, channels, stride, shortcut)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        return self.branch(active) + self.scale * self.shortcut(x, active)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class ShortcutGateBlock(ResidualBlock):
    """relu(branch(x) + (1 − gate(x))·shortcut(x)): shortcut-only gating, figure 2d.

    gate(x) = σ(W·x + b), a 1×1 convolution, (N, channels, H/stride, W/stride). b starts at ``gate_bias``: at −6 the
    gate is nearly closed, and the shortcut nearly the identity. He et al. 2016, section 3.1.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B", gate_bias: float = -6.0):
        super().__init__(in_channels, channels, stride, shortcut)
        self.gate_conv = nn.Conv2d(in_channels, channels, 1, stride)
        self.gate_conv.bias = Parameter(np.full(channels, gate_bias, np.float32))

    def gate(self, x: Tensor) -> Tensor:
        """What the branch gains and the shortcut loses, between 0 and 1."""
        return self.gate_conv(x).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x) + (1 - self.gate(x)) * self.shortcut(x)
        return self.relu(out)


class ExclusiveGateBlock(ShortcutGateBlock):
    """relu(gate(x)·branch(x) + (1 − gate(x))·shortcut(x)): exclusive gating, figure 2c.

    What opens the shortcut closes the branch, as in a highway network (Srivastava et al. 2015, arXiv 1505.00387).
    The gate is that of `ShortcutGateBlock`. It is computed twice, so that x is the only fork of the block: in a
    recording, the gate's gradient then counts as part of the branch's.
    """

    def forward(self, x: Tensor) -> Tensor:
        out = self.gate(x) * self.branch(x) + (1 - self.gate(x)) * self.shortcut(x)
        return self.relu(out)


class DropoutShortcutBlock(ResidualBlock):
    """relu(branch(x) + dropout(shortcut(x))), figure 2f.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). He et al. 2016, table 1, drop half of the values,
    which scales the shortcut by 0.5 in expectation; `nn.Dropout` scales the rest by 1/(1 − p), so that here it is 1.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B", p: float = 0.5):
        super().__init__(in_channels, channels, stride, shortcut)
        self.dropout = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x) + self.dropout(self.shortcut(x))
        return self.relu(out)
