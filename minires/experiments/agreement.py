"""Whether mini-batches agree on where to go: the cosine between their gradients, before the first step."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import nn
from ..autograd import grad
from ..flow.keeping import keeping
from ..nn import functional as F
from ..nn.examples import fit_to
from .experiment import Experiment, Numbers, above, below
from .training import batches, network


def agreement(seed: int, variant: str, depth: int, data: str, count: int = 8) -> Numbers:
    """The mean cosine between the gradients of every two of so many mini-batches."""
    return {"cosine": mean_cosine(network(variant, depth, seed, data), itertools.islice(batches(data, seed), count))}


def mean_cosine(model: nn.Module, some: Iterable[tuple[Any, Any]]) -> float:
    """The mean cosine between the gradients, with respect to all weights, of every two of these batches (x, y)."""
    directions, parameters = [], list(model.parameters())
    with keeping(model):
        for x, y in some:
            gradients = grad(F.cross_entropy(model(fit_to(model, x)), fit_to(model, y)), parameters)
            whole = np.concatenate([g.numpy().ravel() for g in gradients]).astype(np.float64)
            directions.append(whole / np.linalg.norm(whole))
    cosines = np.stack(directions) @ np.stack(directions).T
    return float(cosines[np.triu_indices(len(directions), 1)].mean())


AGREEMENT = Experiment(
    "agreement",
    "Mini-batches of a deep plain network ask for unrelated steps; those of a residual one agree",
    "Sankararaman et al. 2020 (arXiv 1904.06963), who call the opposite gradient confusion",
    agreement,
    {"cosine, plain-56": (-0.05, 0.05), "cosine, residual-56": above(0.2), "plain-56 − plain-8": below(-0.15)},
    variants=("plain", "residual"),
    depths=(8, 20, 56),
    data=("digits", "c8"),
    derived={"plain-56 − plain-8": lambda found: found["cosine, plain-56"] - found["cosine, plain-8"]},
    pilot="plain-8/20/56 0.28/0.06/0.00, residual 0.50/0.44/0.34",
    remark="The mean cosine between the gradients, of all weights together, of every two of eight mini-batches.",
    tested={"seeds": range(3), "depths": (8, 56), "count": 4},
    least={"count": 2},
)
