"""Schedules that go up and down, by t alone: warm restarts, one cycle, many cycles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..optimizers import Optimizer, Settings
from .base import Timetable
from .checks import an_optimizer, each, number, whole
from .decay import cosine, linear


class CosineAnnealingWarmRestarts(Timetable):
    """η(t) = η_min + (η₀ − η_min)·(1 + cos(π·T_cur / T_i)) / 2, T_cur steps after the last restart.

    The first period T_i has T_0 steps, and each period T_mult times as many as the one before. ``step(epoch)`` goes to
    any t, which may be a fraction: ``step(epoch + batch / batches)``. The argument ``last_epoch`` may lie in any
    period; PyTorch takes it for a step of the first.

    Source: Loshchilov & Hutter 2017 (arXiv 1608.03983), equation 5.
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_0, self.T_mult = (
            whole("CosineAnnealingWarmRestarts", name, value) for name, value in (("T_0", T_0), ("T_mult", T_mult))
        )
        self.eta_min = number("CosineAnnealingWarmRestarts", "eta_min", eta_min)
        self.fraction = 0.0  # of a step, past last_epoch
        super().__init__(optimizer, last_epoch, T_0=self.T_0, T_mult=self.T_mult, eta_min=self.eta_min)

    def values(self, t: int, group: int) -> Settings:
        return self._at(t, group)

    def _at(self, t: float, group: int) -> Settings:
        past, length = self._period(t)
        return {"lr": cosine(self.base_lrs[group], self.eta_min, past / length)}

    def _settings(self) -> list[Settings]:
        t = self.last_epoch + self.fraction
        self.T_cur, self.T_i = self._period(t)
        return [self._at(t, group) for group in range(len(self.optimizer.param_groups))]

    def step(self, epoch: float | None = None) -> None:
        if epoch is not None:
            if number("CosineAnnealingWarmRestarts.step", "epoch", epoch) < 0:
                raise ValueError(f"CosineAnnealingWarmRestarts.step: got epoch={epoch}; expected 0 or more")
            self.fraction = epoch % 1
        self._to(self.last_epoch + 1 if epoch is None else math.floor(epoch))

    def _period(self, t: float) -> tuple[float, int]:
        """(steps since the last restart, length of this period)."""
        if self.T_mult == 1:
            return t % self.T_0, self.T_0
        length = self.T_0
        while t >= length:
            t, length = t - length, length * self.T_mult
        return t, length

    def _memory(self) -> dict[str, Any]:
        return {**super()._memory(), "fraction": self.fraction}

    def _remember(self, state_dict: dict[str, Any]) -> None:
        super()._remember(state_dict)
        self.fraction = state_dict["fraction"]


class _Cycle(Timetable):
    """Base of the schedules in which the momentum (β₁ of Adam) goes down where the rate goes up."""

    def __init__(
        self,
        optimizer: Optimizer,
        last_epoch: int,
        cycle_momentum: bool,
        base_momentum: float | Sequence[float],
        max_momentum: float | Sequence[float],
        **settings: Any,
    ):
        name = type(self).__name__
        momentum = next((n for n in ("momentum", "betas") if n in optimizer.defaults), None)
        if cycle_momentum and momentum is None:
            raise ValueError(f"{name}: the optimiser has no momentum to cycle; pass cycle_momentum=False")
        if cycle_momentum and momentum:
            self.drives = ("lr", momentum)
        self.base_momentums = each(name, "base_momentum", optimizer, base_momentum)
        self.max_momentums = each(name, "max_momentum", optimizer, max_momentum)
        momenta = dict(base_momentum=self.base_momentums, max_momentum=self.max_momentums)
        super().__init__(optimizer, last_epoch, **settings, cycle_momentum=cycle_momentum, **momenta)

    def _with_momentum(self, lr: float, momentum: float, group: int) -> Settings:
        """The settings of a group: the rate and, if it is driven, the momentum."""
        if "momentum" in self.drives:
            return {"lr": lr, "momentum": momentum}
        if "betas" in self.drives:
            return {"lr": lr, "betas": (momentum, self.optimizer.param_groups[group]["betas"][1])}
        return {"lr": lr}


class OneCycleLR(_Cycle):
    """One cycle: from max_lr / div_factor up to max_lr in the first pct_start of the steps, then down to nearly 0.

    The last rate is max_lr / (div_factor·final_div_factor). With ``cycle_momentum`` the momentum (β₁ of Adam) runs the
    other way, between max_momentum and base_momentum. With ``three_phase`` the rate comes down as it went up before it
    falls to nearly 0. ``max_lr``, ``base_momentum`` and ``max_momentum`` may be lists, one number for each group. The
    length is total_steps, or epochs·steps_per_epoch; a step beyond it raises ValueError.

    Source: Smith & Topin 2018 (arXiv 1708.07120), Smith 2018 (arXiv 1803.09820); the default, two cosines, is fastai's.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ):
        an_optimizer("OneCycleLR", optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: got no length; give total_steps, or both epochs and steps_per_epoch")
            total_steps = whole("OneCycleLR", "epochs", epochs) * whole(
                "OneCycleLR", "steps_per_epoch", steps_per_epoch
            )
        self.total_steps = whole("OneCycleLR", "total_steps", total_steps)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'OneCycleLR: got anneal_strategy={anneal_strategy!r}; expected "cos" or "linear"')
        if not 0 <= number("OneCycleLR", "pct_start", pct_start) <= 1:
            raise ValueError(f"OneCycleLR: got pct_start={pct_start}; expected a share of the steps, from 0 to 1")
        for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if number("OneCycleLR", name, factor) <= 0:
                raise ValueError(f"OneCycleLR: got {name}={factor}; expected a positive number")
        self.max_lrs = each("OneCycleLR", "max_lr", optimizer, max_lr)
        self.anneal = cosine if anneal_strategy == "cos" else linear
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        # When each phase ends (t counts from 0, hence the − 1), and the points from which and to which it leads.
        up = pct_start * self.total_steps - 1
        self.phases = [(up, "start", "peak"), (self.total_steps - 1.0, "peak", "end")]
        if three_phase:
            down = 2 * pct_start * self.total_steps - 2
            self.phases = [(up, "start", "peak"), (down, "peak", "start"), (self.total_steps - 1.0, "start", "end")]
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, self.max_lrs):
                group["initial_lr"] = top / div_factor
        super().__init__(
            optimizer,
            last_epoch,
            cycle_momentum,
            base_momentum,
            max_momentum,
            max_lr=self.max_lrs,
            total_steps=self.total_steps,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
        )

    def values(self, t: int, group: int) -> Settings:
        if t > self.total_steps:
            raise ValueError(
                f"OneCycleLR: got step {t} of {self.total_steps}; total_steps must cover the whole training, "
                "epochs·batches where it is stepped after each batch"
            )
        i = next((i for i, (end, *_) in enumerate(self.phases) if t <= end), len(self.phases) - 1)
        begin = self.phases[i - 1][0] if i else 0.0
        end, source, target = self.phases[i]
        share = min((t - begin) / (end - begin), 1.0) if end != begin else 1.0
        top, high = self.max_lrs[group], self.max_momentums[group]
        start = top / self.div_factor
        lr = {"start": start, "peak": top, "end": start / self.final_div_factor}
        momentum = {"start": high, "peak": self.base_momentums[group], "end": high}
        return self._with_momentum(
            self.anneal(lr[source], lr[target], share), self.anneal(momentum[source], momentum[target], share), group
        )


class CyclicLR(_Cycle):
    """Up from base_lr to max_lr in step_size_up steps, down in step_size_down, and so on: a zigzag.

        η(t) = base_lr + (max_lr − base_lr)·h(t)·s,  where h goes from 0 to 1 and back in a cycle

    s is 1 (mode "triangular"), 1/2ⁿ in cycle n = 0, 1, … ("triangular2"), γᵗ ("exp_range"), or ``scale_fn`` of the
    number of the cycle, counted from 1, or, with scale_mode "iterations", of t. With ``cycle_momentum`` the momentum
    (β₁ of Adam) is max_momentum − (max_momentum − base_momentum)·h(t)·s. Rates and momenta may be lists, one number for
    each group. The state does not hold scale_fn.

    Source: Smith 2017 (arXiv 1506.01186).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ):
        an_optimizer("CyclicLR", optimizer)
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(
                f'CyclicLR: got mode={mode!r}; expected "triangular", "triangular2" or "exp_range", or a scale_fn'
            )
        if scale_mode not in ("cycle", "iterations"):
            raise ValueError(f'CyclicLR: got scale_mode={scale_mode!r}; expected "cycle" or "iterations"')
        self.lows, self.max_lrs = (
            each("CyclicLR", "base_lr", optimizer, base_lr),
            each("CyclicLR", "max_lr", optimizer, max_lr),
        )
        self.up = whole("CyclicLR", "step_size_up", step_size_up)
        self.down = self.up if step_size_down is None else whole("CyclicLR", "step_size_down", step_size_down)
        self.gamma, self.scale_fn = number("CyclicLR", "gamma", gamma), scale_fn
        self.mode, self.by_cycle = mode, scale_mode == "cycle"
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, self.lows):
                group["lr"] = low
        super().__init__(
            optimizer,
            last_epoch,
            cycle_momentum,
            base_momentum,
            max_momentum,
            base_lr=self.lows,
            max_lr=self.max_lrs,
            step_size_up=self.up,
            step_size_down=self.down,
            mode=mode,
            gamma=self.gamma,
            scale_mode=scale_mode,
        )
        self.base_lrs = list(self.lows)  # as in PyTorch, whatever the rate before the first schedule

    def values(self, t: int, group: int) -> Settings:
        cycle, at = divmod(t, self.up + self.down)
        height = at / self.up if at <= self.up else (self.up + self.down - at) / self.down
        if self.scale_fn is not None:
            height *= self.scale_fn(cycle + 1 if self.by_cycle else t)
        elif self.mode == "triangular2":
            height /= 2.0**cycle
        elif self.mode == "exp_range":
            height *= self.gamma**t
        low, high = self.lows[group], self.max_momentums[group]
        return self._with_momentum(
            low + (self.max_lrs[group] - low) * height, high - (high - self.base_momentums[group]) * height, group
        )
