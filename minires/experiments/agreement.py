"""Whether mini-batches agree on where to go: the cosine between their gradients, before the first step.

Sankararaman et al. 2020 (arXiv 1904.06963) call the opposite gradient confusion: where the gradients of two mini-batches
point in unrelated directions, a step for one does nothing for the other. Confusion grows with depth in plain networks;
shortcuts hold it down.
"""

import itertools

import numpy as np

from .. import data, models, nn, random
from ..autograd import grad
from ..flow.keeping import keeping
from ..nn import functional as F
from ..nn.examples import fit_to
from .seeds import BATCH, Numbers


def agreement(seed: int, depths: tuple[int, ...] = (8, 20, 56), batches: int = 8) -> Numbers:
    """Row 17: the mean cosine between the gradients of two mini-batches of digits, at the start, plain and residual."""
    found: Numbers = {}
    train, _ = data.digits()
    some = list(itertools.islice(data.batches(train, BATCH, seed=seed, drop_last=True), batches))
    for depth in depths:
        random.manual_seed(seed)
        for name, model in zip(("plain", "residual"), models.twins(depth, 8, in_channels=1)):
            found[f"{name}-{depth}"] = mean_cosine(model, some)
    return found


def mean_cosine(model: nn.Module, batches: list) -> float:
    """The mean cosine between the gradients, with respect to all weights, of every two of the batches (x, y)."""
    directions = []
    parameters = list(model.parameters())
    with keeping(model):
        for x, y in batches:
            gradients = grad(F.cross_entropy(model(fit_to(model, x)), fit_to(model, y)), parameters)
            flat = np.concatenate([g.numpy().ravel() for g in gradients]).astype(np.float64)
            directions.append(flat / np.linalg.norm(flat))
    cosines = np.stack(directions) @ np.stack(directions).T
    return float(cosines[np.triu_indices(len(directions), 1)].mean())
