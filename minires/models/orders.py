"""The order of BN and ReLU: He et al. 2016 (arXiv 1603.05027), table 2 and figure 4.

    original               x + [conv BN ReLU conv BN], ReLU        `blocks.ResidualBlock`
    BN after addition      x + [conv BN ReLU conv], BN ReLU
    ReLU before addition   x + [conv BN ReLU conv BN ReLU]
    ReLU-only              x + [ReLU conv BN ReLU conv BN]
    full pre-activation    x + [BN ReLU conv BN ReLU conv]         `blocks.PreActBlock`

All five have the same layers. In the last three nothing follows the addition.
"""

from .. import nn
from ..tensor import Tensor
from .blocks import ResidualBlock


class BNAfterAdditionBlock(ResidualBlock):
    """relu(bn(branch(x) + shortcut(x))): the second batch norm is on the shortcut's path too, figure 4b.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride).
    """

    def branch(self, x: Tensor) -> Tensor:
        """The layers up to the addition."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.conv2(x)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x) + self.shortcut(x)
        return self.relu(self.bn2(out))

    def zero_branch(self) -> None:
        """Make the branch 0: it ends in a convolution, whose weight becomes 0."""
        nn.init.zeros_(self.conv2.weight)


class ReLUBeforeAdditionBlock(ResidualBlock):
    """relu(bn(…)) + shortcut(x): a branch that can only add, so the signal only grows, figure 4c.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride).
    """

    def branch(self, x: Tensor) -> Tensor:
        """All layers of the block."""
        return self.relu(super().branch(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)

    def zero_branch(self) -> None:
        """Raises ValueError: after γ = 0 this ReLU would get zeros, where its derivative is 0, and γ would stay 0."""
        raise ValueError(
            "ReLUBeforeAdditionBlock: its branch ends in a ReLU, which lets no gradient back to a branch that starts "
            "at 0; leave out zero_init_residual"
        )


class ReLUOnlyPreActBlock(ResidualBlock):
    """branch(relu(x)) + shortcut(x), the branch ending in BN: ReLU-only pre-activation, figure 4d.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). The network around it is that of full pre-activation:
    BN and ReLU come after the last block, not after the stem.
    """

    preact = True

    def branch(self, x: Tensor) -> Tensor:
        """All layers of the block."""
        x = self.bn1(self.conv1(self.relu(x)))
        return self.bn2(self.conv2(self.relu(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)
