"""A recording over ranks: from what each rank measured on its share to what one process measures on the whole batch.

Rank r computes with its share's mean loss, so its gradients are those of the whole batch's loss, divided by n_r/N. What
comes back to an activation belongs to the examples of one share, and is apart from that of any other rank; so inner
products add, and with them norms, cosines and shares. A few numbers of each tensor are all that is sent:

    ⟨a, b⟩ = Σ_r (n_r/N)²·⟨a_r, b_r⟩

What comes back to a parameter does not add so: the arrays themselves are averaged over the ranks, then measured. The
same holds for tensors made from parameters and numbers alone, and for single numbers such as the loss: a mean over each
share, as its gradients are. (A Sum over examples has 1/n_r where the whole batch's has 1/N.) Any other tensor is taken
for a share; one that sums up the examples to more than a single number is measured as if it were apart on each rank.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..nn import Parameter
from ..norms import Moments
from ..ops import Op
from .summands import Measured, from_products

Numbers = Sequence[float]


class OverRanks:
    """Collects what is measured in a walk back; `meet`, at its end, exchanges it. ranks: a `minires.ranks.Ranks`."""

    def __init__(self, ranks: Any):
        self.ranks = ranks
        self._same: set[int] = set()  # serials of the ops whose outputs are the same on all ranks
        self._sums: set[int] = set()  # and of those that sum up a share to a single number
        self._waiting: list[tuple[Callable[[], Numbers], Callable[..., Any], list[Any]]] = []

    def forward(self, op: Op, inputs: Sequence[Any]) -> None:
        """Note whether an op works on parameters and numbers alone."""
        sources = zip(op.inputs, inputs)
        if all(self.is_same(source) if source is not None else not hasattr(a, "shape") for source, a in sources):
            self._same.add(op.serial)
        elif op.name == "Sum" and op.shape == ():
            self._sums.add(op.serial)

    def is_same(self, source: Any) -> bool:
        """Whether a tensor is the same on all ranks, not a share: an op's output, or a leaf tensor."""
        if isinstance(source, Op):
            return source.serial in self._same or source.shape == ()
        return isinstance(source, Parameter)

    def averaged(self, source: Any, arrays: Sequence[Any]) -> list[Any]:
        """Of gradients that came back to such a tensor: each array's mean over the ranks."""
        means = [self.ranks.mean_of(array) for array in arrays]
        if isinstance(source, Op) and source.serial in self._sums:
            for mean in means:
                mean /= self.ranks.size
        return means

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a whole batch's tensor, from that of this rank's share."""
        rows, rest = divmod(shape[0] * self.ranks.total, self.ranks.count) if shape else (0, 1)
        return shape if rest else (rows, *shape[1:])

    def measured(self, own: Measured | Callable[[], Measured]) -> Callable[[], Measured]:
        """What the whole batch's summands measure, to be read after the walk; ``own``: what this rank's do."""

        def numbers() -> Numbers:
            m = own() if callable(own) else own
            return [*m.norms, *m.cosines.ravel(), *itertools.chain(*m.others), m.norm, m.error]

        return self._later(numbers, _add_products)

    def moments(self, op: Op, own: Moments | Callable[[], Moments]) -> Callable[[], Moments]:
        """Mean, standard deviation and zeros of the whole batch's values, to be read after the walk."""
        combine = _add_sums if op.serial in self._sums else _mean if op.shape == () else _add_moments
        return self._later(lambda: own() if callable(own) else own, combine)

    def _later(self, numbers: Callable[[], Numbers], combine: Callable[..., Any]) -> Callable[[], Any]:
        found: list[Any] = []
        self._waiting.append((numbers, combine, found))
        return lambda: found[0]

    def meet(self) -> None:
        """Exchange what was measured; all ranks call this at the end of the same walk."""
        waiting, self._waiting = self._waiting, []
        own = [numbers() for numbers, _, _ in waiting]
        counts, rows = self.ranks.meet("a recording", list(itertools.chain(*own)))
        ends = [0, *itertools.accumulate(map(len, own))]
        for (_, combine, found), start, end in zip(waiting, ends, ends[1:]):
            found.append(combine(counts / counts.sum(), rows[:, start:end]))


def _add_products(weights: np.ndarray, rows: np.ndarray) -> Measured:
    """Weights (R), and for each rank what `OverRanks.measured` sends: k norms, k² cosines, 2k others, norm, error."""
    count = round(math.sqrt(rows.shape[1] + 0.25) - 1.5)  # k² + 3k + 2 numbers
    norms, cosines, others, ends = np.split(rows, [count, count + count**2, rows.shape[1] - 2], axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = np.hstack([norms, others[:, ::2], ends[:, :1]]) * weights[:, None]
        scale = sizes.max()
        scale = float(scale) if 0 < scale < math.inf else 1.0  # so that no square leaves float64's range
        a, rest, whole = np.split(sizes / scale, [count, 2 * count], axis=1)
        gram = (a[:, :, None] * a[:, None, :] * cosines.reshape(-1, count, count)).sum(0)
        pairs = np.stack([rest**2, a * rest * others[:, 1::2]], 2).sum(0) if count > 1 else np.empty(0)
        wrong = np.where(ends[:, 1] == 0, 0, ends[:, 1] * whole[:, 0])
        error = float((wrong**2).sum())
        return from_products(scale, float((whole**2).sum()), [*gram.ravel(), *pairs.ravel()], error, count)


def _add_sums(weights: np.ndarray, rows: np.ndarray) -> Moments:
    """The same of a single number that sums up the examples of a share."""
    total = float(rows[:, 0].sum())
    return Moments(total, 0.0, float(total == 0))


def _mean(weights: np.ndarray, rows: np.ndarray) -> Moments:
    """The same of any other single number, such as the loss: a mean over the examples of a share."""
    return _add_sums(weights, weights[:, None] * rows)


def _add_moments(weights: np.ndarray, rows: np.ndarray) -> Moments:
    """Weights (R), and for each rank mean, standard deviation and share of zeros (R, 3)."""
    mean, std, zeros = rows.T
    with np.errstate(invalid="ignore", over="ignore"):
        middle = weights @ mean
        return Moments(float(middle), math.sqrt(weights @ (std**2 + (mean - middle) ** 2)), float(weights @ zeros))
