"""Order, chaos, and the edge between them: one number χ says how distances grow, and how gradients do.

In a wide network at initialisation the cosine c of two inputs goes through the same map, c ↦ C(c), in every layer, and
χ = C′(1) is by how much a layer multiplies a small squared distance on its way forward, and a squared gradient on its
way back (Poole et al. 2016, arXiv 1606.05340; Schoenholz et al. 2017, arXiv 1611.01232). χ > 1 is chaos: a copy with a
little noise ends up unlike its original, gradients explode, and gradients at different inputs have nothing in common.
χ < 1 is order: all inputs end up alike, and gradients vanish. Behind batch norm and ReLU χ = π/(π − 1) in a plain
network (Yang et al. 2019, arXiv 1902.08129). A shortcut brings χ down to 1 + 1/q in a block whose input has the
variance q, which grows with every block: residual networks live near the edge (Yang & Schoenholz 2017, arXiv
1712.08969).
"""

import math

import numpy as np

from .. import autograd, models, random
from ..creation import randn
from ..flow.inside import passages
from ..flow.keeping import keeping
from ..flow.shattering import freeze_statistics
from ..nn.examples import fit_to
from ..tensor import Tensor
from .experiment import BATCH, Experiment, Numbers, above, below
from .training import dataset, network

CLOSE = 0.1  # a copy differs from its original by a tenth of the standard deviation
SAYS = {
    "χ": "χ: growth of the squared gradient in a block",
    "gradient": "‖gradient‖, 1 at the end",
    "cosine": "cosine of an input and its noisy copy",
    "correlation": "cosine of the gradients at two inputs",
}
ADDED = 1 - 1 / math.pi  # the variance of a branch that ends in ReLU–Linear; its second moment is 1


def relu_map(c: float) -> float:
    """C(c) of BN–ReLU–Linear: the correlation of ReLU(u) and ReLU(v) if that of u and v is c. Cho & Saul 2009."""
    return (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c)) - 1) / (math.pi - 1)


def theory(residual: bool, layers: int = 24) -> dict[str, np.ndarray]:
    """What infinite width predicts of `along_depth`.

    Behind ℓ residual blocks the variance is q = 1 + ℓ·(1 − 1/π), and block ℓ + 1 multiplies the squared gradient by
    1 + 1/q. Of what a branch sends back at two unrelated inputs, one half went through the same ReLUs.
    """
    q, cosine, chi, alike = 1.0, [1 / math.hypot(1, CLOSE)], [], []
    for layer in range(layers):
        c = cosine[-1]
        if residual:
            chi.append(1 + 1 / q)
            alike.append((1 + 0.5 / q) / (1 + 1 / q))
            cosine.append((q * c + ADDED * relu_map(c)) / (q + ADDED))
            q += ADDED
        else:
            chi.append(1 / ADDED if layer else 1.0)  # the first gets what no ReLU has gone over
            alike.append(0.5)
            cosine.append(relu_map(c))
    gradient, correlation = (_from_the_end(factors) for factors in (np.sqrt(chi), np.array(alike)))
    return {"cosine": np.array(cosine), "χ": np.array(chi), "gradient": gradient, "correlation": correlation}


def along_depth(seed: int, residual: bool, layers: int = 24, width: int = 256) -> dict[str, np.ndarray]:
    """A network of layers BN–ReLU–Linear at initialisation, plain or with a shortcut around each; (layers + 1) each.

    cosine: between an input and its copy with noise, means taken away. χ (layers): by what factor each multiplies the
    squared gradient on its way back. gradient: its norm, 1 at the end. correlation: the mean cosine between the
    gradients at two unrelated inputs. Batch norm is frozen at the statistics of all inputs.
    """
    random.manual_seed(seed)
    model = models.mlp(layers + 2, width, layers=1, residual=residual)
    x = randn(BATCH, width)
    both = Tensor(np.concatenate([x.array, (x + CLOSE * randn(BATCH, width)).array]))
    with keeping(model):
        freeze_statistics(model, both)
        states = [Tensor(model.stem(both).array, requires_grad=True)]
        for block in model.blocks():
            states.append(block(states[-1]))
        found = autograd.grad((states[-1] * randn(width)).sum(), states)
    gradients = [g.numpy().astype(np.float64)[:BATCH] for g in found]
    squares = np.array([(g * g).sum(1).mean() for g in gradients])
    return {
        "cosine": np.array([_to_copies(state.array) for state in states]),
        "χ": squares[:-1] / squares[1:],
        "gradient": np.sqrt(squares / squares[-1]),
        "correlation": np.array([_between(g) for g in gradients]),
    }


def edge_of_chaos(seed: int, variant: str, depth: int) -> Numbers:
    """What `along_depth` measures, and how far the theory of infinite width is from it; depth: in layers.

    growth, off theory: of the logarithm of the gradient's norm, relative.
    """
    residual = variant == "residual"
    measured, expected = along_depth(seed, residual, depth), theory(residual, depth)
    found = {f"{SAYS[what]}, block {i}": n for what, values in measured.items() for i, n in enumerate(values)}
    off = {name: np.abs(measured[name] - expected[name]).max() for name in ("cosine", "correlation")}
    growth = math.log(measured["gradient"][0]) / math.log(expected["gradient"][0])
    return found | {
        "mean χ": measured["χ"][1:].mean(),
        "mean χ, last five": measured["χ"][-5:].mean(),
        "cosine, off theory": off["cosine"],
        "correlation, off theory": off["correlation"],
        "growth, off theory": abs(growth - 1),
    }


def chaos(seed: int, variant: str, depth: int, data: str, block: int = 18) -> Numbers:
    """The cosine of an image and its copy with noise behind a block, at initialisation."""
    model, x = network(variant, depth, seed, data), dataset(data).train.subset(BATCH)[:][0]
    both = np.concatenate([x, x + CLOSE * x.std() * randn(*x.shape).array])
    with keeping(model), passages({str(i): each for i, each in enumerate(model.blocks())}) as seen, autograd.no_grad():
        model(fit_to(model, both))
    return {"cosine": _to_copies(seen[min(block, len(seen)) - 1][2].array)}


def _from_the_end(factors: np.ndarray) -> np.ndarray:
    """The product of all factors from each on, and 1 at the end."""
    return np.append(np.cumprod(factors[::-1])[::-1], 1.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _to_copies(state: np.ndarray) -> float:
    """The mean cosine between features of each input and its copy's, (2N, …), the means over all taken away."""
    h = state.reshape(len(state), -1).astype(np.float64)
    first, second = np.split(_unit(h - h.mean(0)), 2)
    return float((first * second).sum(1).mean())


def _between(rows: np.ndarray) -> float:
    """The mean cosine between every two rows."""
    unit = _unit(rows)
    return float((unit @ unit.T)[np.triu_indices(len(unit), 1)].mean())


CHAOS = Experiment(
    "chaos",
    "Behind 18 blocks of plain-56 an image and its copy with a tenth of noise are strangers; of residual-56, not",
    "Schoenholz et al. 2017 (arXiv 1611.01232); Yang & Schoenholz 2017 (arXiv 1712.08969)",
    chaos,
    {"cosine, plain-56": below(0.2), "cosine, residual-56": above(0.7)},
    variants=("plain", "residual"),
    depths=(56,),
    data=("digits", "c8"),
    pilot="0.05; 0.85",
    remark="The cosine is that between the features of an image and of its copy, the means over all images taken away.",
)

EDGE_OF_CHAOS = Experiment(
    "edge-of-chaos",
    "One number χ tells how distances grow forward and gradients back: π/(π − 1) in plain networks, 1 + 1/q in "
    "residual ones",
    "Schoenholz et al. 2017 (arXiv 1611.01232); Yang et al. 2019 (arXiv 1902.08129); our derivation with shortcuts",
    edge_of_chaos,
    {
        "mean χ, plain-24": (1.4, 1.55),
        "mean χ, last five, residual-24": (1.03, 1.1),
        "cosine, off theory, plain-24": below(0.2),
        "cosine, off theory, residual-24": below(0.01),
        "correlation, off theory, plain-24": below(0.05),
        "correlation, off theory, residual-24": below(0.06),
        "growth, off theory, plain-24": below(0.1),
        "growth, off theory, residual-24": below(0.1),
    },
    variants=("plain", "residual"),
    depths=(24,),
    remark="Width 256, batches of 64 inputs and their copies.",
    along="block",
    shows=tuple(SAYS.values()),
    log=(SAYS["gradient"],),
    least={"depth": 2},
)
