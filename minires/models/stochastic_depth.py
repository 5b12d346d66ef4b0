"""Stochastic depth (Huang et al. 2016, arXiv 1603.09382): a network that is short in training, deep in evaluation."""

from .. import nn
from ..random import generator
from ..tensor import Tensor
from .blocks import ResidualBlock


class StochasticDepthBlock(ResidualBlock):
    """relu(b·branch(x) + shortcut(x)), b being 1 with probability ``survival`` for each batch in training, else 0.

    (N, in_channels, H, W) -> (N, channels, H/stride, W/stride). In evaluation the branch is multiplied by survival
    (section 3). A network of L blocks gives block l the survival 1 − l/L·(1 − last), the paper's linear decay.
    A dropped branch does not run: it costs nothing, its weights get no gradient, its batch norms see no batch, and a
    recording finds no fork. b is drawn from the library's generator, see `manual_seed`.
    Raises ValueError unless ``last`` is a probability.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str = "B", last: float = 0.5):
        super().__init__(in_channels, channels, stride, shortcut)
        if not 0 <= last <= 1:
            raise ValueError(f"StochasticDepthBlock: got last={last}; expected a probability between 0 and 1")
        self.last = self.survival = last  # a network sets survival by the block's place

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        if not self.training:
            out = self.survival * self.branch(x) + shortcut
        elif generator().random() < self.survival:
            out = self.branch(x) + shortcut
        else:
            out = shortcut
        return self.relu(out)

    def extra_repr(self) -> str:
        return f"survival={self.survival:.4g}"

    @staticmethod
    def initialise(model: nn.Module) -> None:
        """The linear decay of the survival probability, from the first block to the last."""
        blocks = model.blocks()
        for l, block in enumerate(blocks, start=1):
            block.survival = 1 - l / len(blocks) * (1 - block.last)
