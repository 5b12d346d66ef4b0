"""The loss landscape around a model's weights, along random directions that are normalised filter by filter.

Li et al. 2018 (arXiv 1712.09913, section 4). Weights followed by a batch norm can be scaled without changing the
function, so a step of length 1 means nothing by itself. Each filter of a random direction therefore gets the norm of
the same filter of the weights: d ← d / ‖d‖ · ‖w‖. A step of 1 then moves every filter by its own length, and networks
can be compared on one scale. Biases and batch norms stay where they are, as in the authors' plots.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import autograd
from ..nn import Module, functional as F
from ..norms import norm
from ..progress import tqdm
from ..tensor import Tensor
from .keeping import keeping
from .measure import measure, pairs_of


@dataclass(frozen=True)
class Landscape:
    """Loss and accuracy on a grid around the weights, whose middle (0 or 0, 0) is the model itself.

    steps (points,): coordinates along each direction, in units of the filters' norms. loss, accuracy: (points,) along
    one direction, (points, points) over two, with the first index for the first direction. Accuracy is a share, NaN if
    the targets are not class indices. seed: of the directions.
    """

    steps: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    seed: int

    @property
    def dimensions(self) -> int:
        """1 or 2."""
        return self.loss.ndim


def landscape(
    model: Module,
    batches: Any,
    *,
    dimensions: int = 1,
    points: int = 21,
    span: float = 1.0,
    loss: Callable[..., Tensor] = F.cross_entropy,
    seed: int = 0,
    training: bool = False,
    progress: bool = True,
) -> Landscape:
    """Loss and accuracy at ``points`` (odd) steps from −span to span along one or two filter-normalised directions.

    batches: a `data.Dataset`, or pairs (x, y) of inputs (N, …) and targets. loss: the mean over a batch. Batch norm
    uses its running statistics, as the authors' does; with ``training``, those of each batch, for a network that has no
    running statistics yet. From one seed, networks with the same layers get the same random numbers. Every point costs
    a pass over the batches. The model is left exactly as it was. Where the loss overflows, it is inf or NaN.
    Raises ValueError or TypeError for arguments that do not fit.
    """
    if dimensions not in (1, 2):
        raise ValueError(f"landscape: got dimensions={dimensions!r}; expected 1 (a line) or 2 (a plane)")
    if points < 3 or points % 2 == 0:
        raise ValueError(f"landscape: got points={points!r}; expected an odd number of at least 3, to have a middle")
    if not 0 < span < np.inf:
        raise ValueError(f"landscape: got span={span!r}; expected a positive number, such as 1.0")
    steps = np.linspace(-span, span, points)
    steps[points // 2] = 0
    with keeping(model), autograd.switch(grad_enabled=False, recorder=None), np.errstate(all="ignore"):
        model.train(training)
        pairs = pairs_of("landscape", batches, model)
        weights = [(p, np.array(p.detach().numpy())) for p in model.parameters()]
        rng = np.random.default_rng(seed)
        directions = [[filter_normalised(w, rng) for _, w in weights] for _ in range(dimensions)]
        results = np.empty((points,) * dimensions + (2,))
        grid = list(np.ndindex(results.shape[:-1]))
        for index in tqdm(grid, desc="landscape", disable=not progress, unit="point", leave=False):
            for i, (p, w) in enumerate(weights):
                move = sum(steps[k] * direction[i] for k, direction in zip(index, directions))
                p.array[...] = Tensor(w + move).to(p.device).array
            results[index] = measure(model, pairs, loss)
    return Landscape(steps, results[..., 0], results[..., 1], seed)


def filter_normalised(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random normal direction, with each filter given the norm of the weight's; zero for a bias or a batch norm.

    A filter is ``weight[i]``: in a convolution (out, in, H, W) everything that makes one output channel, in a linear
    layer one row. Li et al. 2018, section 4, eq. 1.
    """
    if weight.ndim < 2:
        return np.zeros_like(weight)
    direction = rng.standard_normal(weight.shape)
    for filter_, move in zip(weight, direction):
        move *= norm(filter_) / norm(move)
    return direction.astype(weight.dtype)
