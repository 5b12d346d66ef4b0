"""A small transformer whose residual branches are normalised before the branch (Pre-LN) or after the sum (Post-LN).

    post    x ↦ LN(x + branch(x))        Vaswani et al. 2017 (arXiv 1706.03762), section 3.1
    pre     x ↦ x + branch(LN(x))        Xiong et al. 2020 (arXiv 2002.04745), figure 1

There are two residual branches in every block, attention and two linear layers. Pre-LN is the pre-activation of
He et al. 2016: nothing touches the sum, so the identity path is unbroken.
"""

import math
from typing import Any

import numpy as np

from .. import nn
from ..nn import functional as F
from ..tensor import Tensor

NORMS = "pre", "post"


class Attention(nn.Module):
    """Multi-head self-attention, (N, T, width) -> (N, T, width). Vaswani et al. 2017, section 3.2.

    In each of the heads: softmax(QKᵀ/√d)·V, with Q, K and V of d = width/heads features.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"Attention: got width {width} for {heads} heads; expected a multiple of the heads")
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        weights = F.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)  # (N, heads, T, T)
        together = (weights @ v).transpose(1, 2).reshape(x.shape)
        return self.out(together)

    def split(self, x: Tensor) -> Tensor:
        """(N, T, width) -> (N, heads, T, width/heads)."""
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class TransformerBlock(nn.Module):
    """Attention and two linear layers, each a residual branch with a layer norm; (N, T, width) -> (N, T, width).

    norm: "pre" or "post", see the top of the file.
    """

    def __init__(self, width: int, heads: int = 4, norm: str = "pre"):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f'TransformerBlock: got norm={norm!r}; expected "pre" or "post"')
        self.norm = norm
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        if self.norm == "pre":
            x = x + self.attention(self.ln1(x))
            return x + self.mlp(self.ln2(x))
        x = self.ln1(x + self.attention(x))
        return self.ln2(x + self.mlp(x))


class Transformer(nn.Module):
    """Classifies images whose rows are the tokens: (N, 1, T, features) -> (N, num_classes); see `transformer`."""

    def __init__(self, depth: int, width: int, heads: int, norm: str, tokens: int, features: int, num_classes: int):
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.position = nn.Parameter(np.zeros((tokens, width), np.float32))
        self.layers = nn.Sequential(*[TransformerBlock(width, heads, norm) for _ in range(depth)])
        self.ln = nn.LayerNorm(width) if norm == "pre" else nn.Identity()  # which Pre-LN leaves for the end
        self.fc = nn.Linear(width, num_classes)

    def blocks(self) -> list[Any]:
        """The blocks, in order."""
        return list(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(1, 2)) + self.position
        return self.fc(self.ln(self.layers(x)).mean(1))


def transformer(
    depth: int,
    width: int = 32,
    *,
    heads: int = 4,
    norm: str = "pre",
    tokens: int = 8,
    features: int = 8,
    num_classes: int = 10,
) -> Transformer:
    """A transformer of ``depth`` blocks for images of ``tokens`` rows, by default the 8×8 digits.

    All matrices start as in Xiong et al. 2020, section 3.2: Xavier, and biases at 0; positions start at random, with a
    tenth of the embedding's size. Raises ValueError for another norm, or a width that is no multiple of the heads.
    """
    model = Transformer(depth, width, heads, norm, tokens, features, num_classes)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.position, std=0.1)
    return model
