"""The residual block, from parts: two convolutions with batch norm, and a shortcut around them.

    out = relu(branch(x) + shortcut(x)),   branch = conv1 – bn1 – relu – conv2 – bn2

conv1 and conv2 are 3×3 with padding 1 and no bias; conv1 has the stride. Where the block changes the shape (a stride
other than 1, or another number of channels) x does not fit the branch's output, and the shortcut projects it: a 1×1
convolution with the same stride and no bias, and a batch norm. Everywhere else the shortcut is x itself (He et al.
2015, option B).

Part "parameters" (4 points): the layers, under the names conv1, bn1, conv2, bn2, and for the projection
``downsample`` = nn.Sequential(convolution, batch norm), or None.
Part "identity shortcut" (6 points), "projection shortcut" (6 points): forward, and through it the gradients.
Part "training" (4 points): a ResNet-8 made of your blocks learns to read digits, and the blocks are right.

Run this file to check yourself; ``minires grade residual_block.py`` for points.
"""

import numpy as np

import minires as mr
from minires import nn


class ResidualBlock(nn.Module):
    """(N, in_channels, H, W) -> (N, channels, ⌈H/stride⌉, ⌈W/stride⌉)."""

    def __init__(self, in_channels, channels, stride=1):
        super().__init__()
        raise NotImplementedError('part "parameters"')

    def forward(self, x):
        raise NotImplementedError('parts "identity shortcut" and "projection shortcut"')


if __name__ == "__main__":
    from minires.coursework import try_out

    def difference(*arguments):
        block, library = ResidualBlock(*arguments), mr.models.ResidualBlock(*arguments)
        block.load_state_dict(library.state_dict())
        x = mr.tensor(np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype(np.float32))
        return (block(x) - library(x)).abs().max().item()

    try_out(
        {
            "identity shortcut, largest difference from the library's block": lambda: difference(2, 2),
            "projection shortcut, largest difference": lambda: difference(2, 4, 2),
        }
    )
