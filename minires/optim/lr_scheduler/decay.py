"""Schedules that multiply the rate: in jumps, little by little, or by a function of your own."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Sequence

from ..optimizers import Optimizer
from .base import LRScheduler, Timetable
from .checks import functions, name_of, number, whole

Lambda = Callable[[int], float]


class LambdaLR(Timetable):
    """η(t) = η₀·f(t) for a function f of your own, or one for each group. The state holds their names.

    η₀ is the rate before the first schedule, and whatever the rate is now is overwritten, as in PyTorch.
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Lambda | Sequence[Lambda], last_epoch: int = -1):
        self.lr_lambdas = functions("LambdaLR", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch, lr_lambda=[name_of(f) for f in self.lr_lambdas])

    def values(self, t: int, group: int) -> dict[str, float]:
        return {"lr": self.base_lrs[group] * float(self.lr_lambdas[group](t))}


class MultiplicativeLR(LRScheduler):
    """η(t) = η(t − 1)·f(t) for a function f of your own, or one for each group. The state holds their names."""

    takes_new_groups = False

    def __init__(self, optimizer: Optimizer, lr_lambda: Lambda | Sequence[Lambda], last_epoch: int = -1):
        self.lr_lambdas = functions("MultiplicativeLR", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch, lr_lambda=[name_of(f) for f in self.lr_lambdas])

    def get_lr(self) -> list[float]:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return rates if self._is_initial else [r * float(f(self.last_epoch)) for r, f in zip(rates, self.lr_lambdas)]


class StepLR(LRScheduler):
    """η(t) = η₀·γ^⌊t / step_size⌋."""

    jumps = True

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = whole("StepLR", "step_size", step_size), number("StepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch, step_size=self.step_size, gamma=self.gamma)

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """η(t) = η₀·γ^(number of milestones ≤ t). He et al. 2015 (section 4.2) divide by 10 at 32k and 48k steps."""

    jumps = True

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones = sorted(whole("MultiStepLR", "milestones", m, least=0) for m in milestones)
        self.gamma = number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch, milestones=self.milestones, gamma=self.gamma)

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * self.gamma ** bisect.bisect_right(self.milestones, t)


class ConstantLR(LRScheduler):
    """η(t) = η₀·factor before total_iters, η₀ from then on."""

    jumps = True

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1):
        self.factor, self.total_iters = (
            _share("ConstantLR", "factor", factor),
            whole("ConstantLR", "total_iters", total_iters),
        )
        super().__init__(optimizer, last_epoch, factor=self.factor, total_iters=self.total_iters)

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * self.factor if t < self.total_iters else base_lr


class LinearLR(LRScheduler):
    """Linear warm-up: η(t) = η₀·(start_factor + (end_factor − start_factor)·min(t / total_iters, 1)).

    Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.2, "gradual warmup". To continue with another schedule:
    ``SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=20), CosineAnnealingLR(optimizer, 380)], [20])``; or
    step the other one as well, which then counts from the start.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        self.start_factor = _share("LinearLR", "start_factor", start_factor)
        self.end_factor = _share("LinearLR", "end_factor", end_factor)
        self.total_iters = whole("LinearLR", "total_iters", total_iters)
        if self.start_factor == 0:
            raise ValueError("LinearLR: got start_factor=0; expected a start above 0")
        settings = dict(start_factor=self.start_factor, end_factor=self.end_factor, total_iters=self.total_iters)
        super().__init__(optimizer, last_epoch, **settings)

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * linear(self.start_factor, self.end_factor, min(t / self.total_iters, 1.0))


class ExponentialLR(LRScheduler):
    """η(t) = η₀·γᵗ."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = number("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch, gamma=self.gamma)

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * self.gamma**t

    def ratio(self, since: int, t: int) -> float:
        return self.gamma ** (t - since)  # also where γᵗ itself is too small for a float


class PolynomialLR(LRScheduler):
    """η(t) = η₀·(1 − min(t / total_iters, 1))^power."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        self.total_iters, self.power = (
            whole("PolynomialLR", "total_iters", total_iters),
            number("PolynomialLR", "power", power),
        )
        if self.power <= 0:
            raise ValueError(f"PolynomialLR: got power={power}; expected a positive number")
        super().__init__(optimizer, last_epoch, total_iters=self.total_iters, power=self.power)

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * (1 - min(t / self.total_iters, 1.0)) ** self.power


class CosineAnnealingLR(LRScheduler):
    """η(t) = η_min + (η₀ − η_min)·(1 + cos(π·t / T_max)) / 2; beyond T_max it rises again.

    At the bottom, nothing is left of other schedules' factors: from there it rises towards η₀, the rate before the
    first schedule, as in PyTorch.

    Source: Loshchilov & Hutter 2017 (arXiv 1608.03983), equation 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max = whole("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer, last_epoch, T_max=self.T_max, eta_min=self.eta_min)

    def lr(self, t: int, base_lr: float) -> float:
        return cosine(base_lr, self.eta_min, t / self.T_max)

    def _next(self, i: int, lr: float) -> float:
        t, base = self.last_epoch, self.base_lrs[i]
        alone = self.anchors[i] == [base, -1] and lr == self._last_lr[i]
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0 and not alone and not self._is_initial:
            on_top = lr - self.eta_min  # what was set by hand at the bottom
            self.anchors[i] = [self.lr(t, base) + on_top, t] if on_top else [base, -1]
            return self._rate(i, t)
        return super()._next(i, lr)


def cosine(start: float, end: float, share: float) -> float:
    """From start to end as share goes from 0 to 1, slowly at both."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def linear(start: float, end: float, share: float) -> float:
    """From start to end as share goes from 0 to 1."""
    return start + (end - start) * share


def _share(function: str, name: str, value: float) -> float:
    share = number(function, name, value)
    if not 0 <= share <= 1:
        raise ValueError(f"{function}: got {name}={value}; expected a factor of the optimiser's rate, from 0 to 1")
    return share
