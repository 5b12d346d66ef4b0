"""The recipe by which commands, experiments and `lesson.fit` train, so that their numbers can be compared."""

from collections.abc import Sequence

from ..nn import Module
from ..optim import SGD, LinearLR, MultiStepLR, SequentialLR

WARM_UP = 20  # steps


def recipe(
    model: Module,
    steps: int,
    lr: float = 0.1,
    *,
    warm_up: int | None = None,
    start_factor: float | None = None,
    drops: Sequence[float] = (0.7,),
) -> tuple[SGD, SequentialLR]:
    """SGD with momentum 0.9 and weight decay 1e-4, and its schedule, for a run of this many steps.

    The learning rate rises from ``start_factor``·lr (default 1/warm_up) to lr in ``warm_up`` steps (default 20, or a
    quarter of all if that is fewer), and is divided by 10 after each share of the steps in ``drops``. The schedule is
    stepped after every training step. Raises ValueError or TypeError for numbers out of range, as `SGD` and `LinearLR`
    do.

    Source: He et al. 2015 (arXiv 1512.03385), section 4.2; the warm-up: Goyal et al. 2017 (arXiv 1706.02677).

    >>> from minires import nn, train
    >>> optimizer, schedule = train.recipe(nn.Linear(2, 2), steps=400)
    >>> [round(schedule.values(t, 0)["lr"], 4) for t in (0, 10, 20, 279, 280)]
    [0.005, 0.0525, 0.1, 0.1, 0.01]
    """
    if steps < 1 or not all(0 < share < 1 for share in drops):
        raise ValueError(f"recipe: got steps={steps!r}, drops={drops!r}; expected at least 1 step, and shares below 1")
    if warm_up is not None and warm_up < 1:
        raise ValueError(f"recipe: got warm_up={warm_up!r}; expected at least 1 step, which has the full learning rate")
    if warm_up is None:
        warm_up = min(WARM_UP, max(steps // 4, 1))
    optimizer = SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)
    rise = LinearLR(optimizer, 1 / warm_up if start_factor is None else start_factor, total_iters=warm_up)
    drop = MultiStepLR(optimizer, [max(int(share * steps) - warm_up, 1) for share in drops])
    return optimizer, SequentialLR(optimizer, [rise, drop], [warm_up])
