"""PyTorch's optim_db, and all its schedules, beside ours: the same gradients, step by step, and the same rates."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from crosscheck import known
from crosscheck.outcomes import AGREES, FAULTS, WRONG, Verdict, one_line, outcome_of, report, unequal
from crosscheck.verdicts import Copies, array, described, torch

from minires import nn, optim

needs = "PyTorch's test databases need a package: python -m pip install expecttest"
optimisers = pytest.importorskip("torch.testing._internal.common_optimizers", reason=needs, exc_type=ImportError)

INFOS = {info.optim_cls.__name__: info for info in optimisers.optim_db}
STEPS = 6
RATES = 0.1, 0.2  # of two groups of parameters
SCHEDULES = {
    "LambdaLR": [dict(lr_lambda=lambda t: 0.9**t), dict(lr_lambda=[lambda t: 0.9**t, lambda t: 1 / (t + 1)])],
    "MultiplicativeLR": [dict(lr_lambda=lambda t: 0.9)],
    "StepLR": [dict(step_size=3), dict(step_size=2, gamma=0.5)],
    "MultiStepLR": [dict(milestones=[2, 5]), dict(milestones=[3, 3, 7], gamma=0.3), dict(milestones=[5, 2])],
    "ConstantLR": [dict(), dict(factor=0.5, total_iters=3)],
    "LinearLR": [dict(), dict(start_factor=0.1, total_iters=4), dict(start_factor=1.0, end_factor=0.0, total_iters=9)],
    "ExponentialLR": [dict(gamma=0.9)],
    "PolynomialLR": [dict(), dict(total_iters=8, power=2.0)],
    "CosineAnnealingLR": [dict(T_max=10), dict(T_max=4, eta_min=0.01)],
    "CosineAnnealingWarmRestarts": [dict(T_0=3), dict(T_0=2, T_mult=2, eta_min=0.01)],
    "CyclicLR": [dict(base_lr=0.01, max_lr=0.1, step_size_up=3), dict(base_lr=0.01, max_lr=0.1, mode="exp_range")],
    "OneCycleLR": [dict(max_lr=1.0, total_steps=21), dict(max_lr=[1.0, 0.5], epochs=3, steps_per_epoch=7)],
}


class Cell(NamedTuple):
    """One optimiser in one dtype, or one schedule."""

    name: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}-{self.dtype}"


CELLS = [Cell(name, dtype) for name in INFOS if hasattr(optim, name) for dtype in ("float32", "float64")]
SCHEDULE_CELLS = [Cell(name, "rates") for name in SCHEDULES if hasattr(optim, name)]


def verdicts(cell: Cell) -> Iterator[Verdict]:
    """How every set of options came out: the parameters after each of a few steps."""
    for sample in INFOS[cell.name].optim_inputs_func(device="cpu"):
        rng, case = np.random.default_rng(0), described((), sample.kwargs)
        starts = [rng.standard_normal(shape).astype(cell.dtype) for shape in ((10, 5), (10,))]
        theirs = [torch.nn.Parameter(torch.tensor(a)) for a in starts]
        their_optimiser = INFOS[cell.name].optim_cls(theirs, **sample.kwargs)
        ours = [nn.Parameter(a.copy()) for a in starts]
        try:
            our_optimiser = getattr(optim, cell.name)(ours, **Copies().of(sample.kwargs))
        except Exception as error:
            yield Verdict(outcome_of(error, {cell.name.lower()}), one_line(error), case)
            continue
        why = None
        for step in range(STEPS):
            for p, q in zip(theirs, ours):
                q.grad = rng.standard_normal(q.shape).astype(cell.dtype)
                p.grad = torch.tensor(q.grad.numpy())
            their_optimiser.step()
            our_optimiser.step()
            for p, q in zip(theirs, ours):
                found = unequal(q.array, array(p))
                why = why or (found and f"after step {step}: {found}")
        yield Verdict(WRONG, why, case) if why else Verdict(AGREES, "", case)


def schedule_verdicts(cell: Cell) -> Iterator[Verdict]:
    """How every set of options came out: the rate and momentum of both parameter groups, step by step."""
    for options in SCHEDULES[cell.name]:
        try:
            got = rates(optim, lambda: nn.Parameter(np.zeros(2)), cell.name, options)
        except Exception as error:
            yield Verdict(outcome_of(error, {cell.name.lower()}), one_line(error), str(options))
            continue
        expected = rates(torch.optim, lambda: torch.nn.Parameter(torch.zeros(2)), cell.name, options)
        why = unequal(got, expected)
        yield Verdict(WRONG, why, str(options)) if why else Verdict(AGREES, "", str(options))


def rates(library, parameter: Callable, name: str, options: dict) -> np.ndarray:
    """(step, setting): the rate and momentum of both groups before each step."""
    groups = [{"params": [parameter()], "lr": lr} for lr in RATES]
    optimiser = library.SGD(groups, momentum=0.9)
    schedule = getattr(library.lr_scheduler, name)(optimiser, **options)
    found = []
    for _ in range(12):
        found.append([group[key] for group in optimiser.param_groups for key in ("lr", "momentum")])
        optimiser.step()
        schedule.step()
    return np.array(found)


@pytest.mark.parametrize("cell", known.marked(CELLS, known.OPTIMISERS))
def test_every_optimiser_takes_the_same_steps(cell):
    found = list(verdicts(cell))
    assert found and not [v for v in found if v.outcome in FAULTS], report(found)


@pytest.mark.parametrize("cell", known.marked(SCHEDULE_CELLS, known.OPTIMISERS))
def test_every_schedule_gives_the_same_rates(cell):
    found = list(schedule_verdicts(cell))
    assert found and not [v for v in found if v.outcome in FAULTS], report(found)


def test_every_known_fault_names_a_cell():
    assert known.unused(CELLS + SCHEDULE_CELLS, known.OPTIMISERS) == []


def test_every_schedule_of_pytorch_is_tried():
    """But those that are made of others, or that follow a measured quantity."""
    others = {"LRScheduler", "_LRScheduler", "SequentialLR", "ChainedScheduler", "ReduceLROnPlateau"}
    base = torch.optim.lr_scheduler.LRScheduler
    found = {n for n, c in vars(torch.optim.lr_scheduler).items() if isinstance(c, type) and issubclass(c, base)}
    assert found - others == SCHEDULES.keys()
