"""What becomes of the distance between two inputs, layer by layer: order, chaos, or the edge between them.

In a wide network at initialisation the cosine c of two activations follows a map c ↦ C(c), the same in every layer
(Poole et al. 2016, arXiv 1606.05340; Schoenholz et al. 2017, arXiv 1611.01232). What happens near c = 1 is decided by
χ = C′(1): a small difference grows by √χ per layer, and so does a gradient on its way back. χ > 1 is chaos, and
gradients explode; χ < 1 is order, and they vanish; χ = 1 is the edge. Behind batch norm and ReLU χ = π/(π − 1) in a
plain network (Yang et al. 2019, arXiv 1902.08129), and a shortcut brings it down to 1 + O(1/ℓ) in block ℓ (Yang &
Schoenholz 2017, arXiv 1712.08969).
"""

import math

import numpy as np

from .. import autograd, data, models, random
from ..creation import randn
from ..flow.inside import passages
from ..flow.keeping import keeping
from ..flow.shattering import freeze_statistics
from ..tensor import Tensor
from .seeds import BATCH, Numbers

WIDTH, CLOSE = 256, 0.1  # the copy differs from its original by a tenth of its size


def relu_map(c: np.ndarray | float) -> np.ndarray | float:
    """C(c) of Linear–BN–ReLU: the correlation of ReLU(u) and ReLU(v), batch means taken away, for corr(u, v) = c.

    Cho & Saul 2009, the arc-cosine kernel: E[ReLU(u)ReLU(v)] = (√(1 − c²) + c(π − arccos c))/2π; E[ReLU]² = 1/2π.
    """
    c = np.clip(c, -1, 1)
    return (np.sqrt(1 - c**2) + c * (math.pi - np.arccos(c)) - 1) / (math.pi - 1)


def theory(blocks: int, residual: bool) -> dict[str, np.ndarray]:
    """What infinite width predicts for `along_depth`, with one layer per block.

    A branch adds the second moment 1, and the variance 1 − 1/π: behind ℓ residual blocks the variance is
    q = 1 + ℓ(1 − 1/π). A block multiplies the squared gradient by 1 + 1/q, and of what a branch sends back at two
    inputs, the share 1 − arccos(c)/π comes through the same ReLUs.
    """
    added = 1 - 1 / math.pi
    q, close = 1.0, 1 / math.hypot(1, CLOSE)
    cosine, grown, alike = [close], [], []
    for _ in range(blocks):
        c, branch = cosine[-1], added * relu_map(cosine[-1])
        if residual:
            grown.append(1 + 1 / q)
            alike.append((1 + 0.5 / q) / (1 + 1 / q))
            cosine.append((q * c + branch) / (q + added))
            q += added
        else:
            grown.append(1 / added if len(grown) else 1.0)
            alike.append(0.5)
            cosine.append(relu_map(c))
    return {
        "cosine": np.array(cosine),
        "chi": np.array(grown),
        "gradient": _from_the_end(np.sqrt(grown)),
        "correlation": _from_the_end(np.array(alike)),
    }


def along_depth(seed: int, blocks: int = 24, residual: bool = False, width: int = WIDTH) -> dict[str, np.ndarray]:
    """One network at initialisation, seen at its first block's input and behind every block, (blocks + 1) or (blocks).

    cosine: between an input and its copy with `CLOSE` noise, means taken away. chi: by what factor each block multiplies
    the squared gradient on its way back. gradient: its norm, that at the end being 1. correlation: the mean cosine
    between the gradients at two unrelated inputs.
    """
    random.manual_seed(seed)
    model = models.mlp(blocks + 2, width, layers=1, residual=residual)
    x = randn(BATCH, width)
    both = Tensor(np.concatenate([x.array, x.array + CLOSE * randn(BATCH, width).array]))
    with keeping(model):
        freeze_statistics(model, both)
        states = [Tensor(model.stem(both).array, requires_grad=True)]
        for block in model.blocks():
            states.append(block(states[-1]))
        gradients = autograd.grad((states[-1] * randn(width)).sum(), states)
    gradients = [g.numpy().astype(np.float64)[:BATCH] for g in gradients]
    squares = np.array([(g**2).sum(1).mean() for g in gradients])
    return {
        "cosine": np.array([_alike(state.array) for state in states]),
        "chi": squares[:-1] / squares[1:],
        "gradient": np.sqrt(squares / squares[-1]),
        "correlation": np.array([_between(g) for g in gradients]),
    }


def chaos(seed: int, block: int = 18) -> Numbers:
    """Row 18: the cosine of a digit and its noisy copy behind a block of plain-56 and residual-56, and the theory's χ.

    With it, in fully connected networks of 24 layers: χ, and how far the theory is from what is measured at all depths.
    """
    found: Numbers = {}
    random.manual_seed(seed)
    train, _ = data.digits()
    x = train.subset(BATCH)[:][0]
    both = Tensor(np.concatenate([x, x + CLOSE * x.std() * randn(*x.shape).array]).astype(np.float32))
    for name, model in zip(("plain", "residual"), models.twins(56, 8, in_channels=1)):
        blocks = {f"{i + 1}": each for i, each in enumerate(model.blocks())}
        with keeping(model), passages(blocks) as seen, autograd.no_grad():
            model(both)
        found[f"{name}-56, cosine"] = _alike(seen[block - 1][2].array)
    for name in ("plain", "residual"):
        measured, expected = along_depth(seed, residual=name == "residual"), theory(24, name == "residual")
        found[f"{name}, χ"] = float(measured["chi"][1:].mean())
        found[f"{name}, off theory"] = float(np.abs(measured["cosine"] - expected["cosine"]).max())
    return found


def _from_the_end(factors: np.ndarray) -> np.ndarray:
    """The product of all factors from each on, and 1 at the end."""
    return np.append(np.cumprod(factors[::-1])[::-1], 1.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _alike(state: np.ndarray) -> float:
    """The mean cosine between each input's features (2N, …) and its copy's, the means over all taken away."""
    h = state.reshape(len(state), -1).astype(np.float64)
    first, second = np.split(_unit(h - h.mean(0)), 2)
    return float((first * second).sum(1).mean())


def _between(rows: np.ndarray) -> float:
    """The mean cosine between every two rows."""
    unit = _unit(rows)
    return float((unit @ unit.T)[np.triu_indices(len(unit), 1)].mean())
