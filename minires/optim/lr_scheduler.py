"""Learning-rate schedules: each is a formula for the rate at step t, which is written into the optimiser's groups.

Names and arguments are PyTorch's. A schedule starts at t = 0 when it is made; `step()` advances to t + 1. Whether t
counts training steps or epochs depends on when you call it (see `minires.train.fit`). Every formula is in closed form,
so the rate depends on t alone: a schedule is resumed from its t, and two schedules on one optimiser do not compound
(`SequentialLR` runs one after the other).
"""

from __future__ import annotations

import bisect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from .optimizers import Optimizer


class LRScheduler:
    """Base of the schedules: counts steps and writes the rates; subclasses define `lr`, a pure function of t.

    optimizer: its groups are driven. base_lrs: the rate each group started from. last_epoch: t, named as in PyTorch.
    drives: names of the group settings it writes.

    Raises TypeError or ValueError for settings that are not numbers or out of range.
    """

    drives: tuple[str, ...] = ("lr",)

    def __init__(self, optimizer: Optimizer, **settings: Any):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: got a {type(optimizer).__name__}; the first argument is the optimiser"
            )
        self.optimizer, self.settings, self.last_epoch = optimizer, settings, 0
        self.base_lrs: list[float] = []
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # earlier schedules on this optimiser started from it, too
            self.base_lrs.append(group["initial_lr"])
        self._write()

    def lr(self, t: int, base_lr: float) -> float:
        """The rate at step t of a group that started from ``base_lr``; defined by each schedule."""
        raise TypeError(f"{type(self).__name__}: a schedule must define lr(self, t, base_lr)")

    def values(self, t: int, group: int) -> dict[str, Any]:
        """All settings of a group at step t, by name."""
        return {"lr": self.lr(t, self.base_lrs[group])}

    def step(self) -> None:
        """Advance to the next t."""
        self._write(self.last_epoch + 1)

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """t, with the name and settings of the schedule it belongs to, in plain values that JSON can hold."""
        return {**self.config(), "last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises ValueError, and changes nothing, if another schedule made it.

        Unlike PyTorch's, it does not take over the saved settings: a longer cosine is another schedule.
        """
        self.check_state(state_dict)
        self._write(operator.index(state_dict["last_epoch"]))

    def check_state(self, state_dict: dict[str, Any]) -> None:
        """Raise ValueError unless the state is of a schedule with this name and these settings, at a step it has."""
        for name, here in self.config().items():
            if state_dict.get(name) != here:
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: got the state of a schedule with {name} = "
                    f"{state_dict.get(name)}, this one has {here}; build it as it was when the state was saved"
                )
        self.values(_whole(f"{type(self).__name__}.load_state_dict", "last_epoch", state_dict.get("last_epoch"), 0), 0)

    def config(self) -> dict[str, Any]:
        """What makes it this schedule: its name, its settings and the rates it started from."""
        return {"name": type(self).__name__, "settings": self.settings, "base_lrs": self.base_lrs}

    def _write(self, t: int = 0) -> None:
        values = [self.values(t, i) for i in range(len(self.optimizer.param_groups))]
        for group, new in zip(self.optimizer.param_groups, values):
            group.update(new)
        self.last_epoch = t

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({settings})"


class LambdaLR(LRScheduler):
    """η(t) = η₀·f(t) for a function f of your own. The state holds the name of f, which must be the same on loading."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]):
        if not callable(lr_lambda):
            raise TypeError(
                f"LambdaLR: got lr_lambda={lr_lambda!r}; expected a function of t, such as lambda t: 0.95**t"
            )
        self.lr_lambda = lr_lambda
        super().__init__(optimizer, lr_lambda=getattr(lr_lambda, "__qualname__", type(lr_lambda).__name__))

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * float(self.lr_lambda(t))


class StepLR(LRScheduler):
    """η(t) = η₀·γ^⌊t / step_size⌋."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size, self.gamma = _whole("StepLR", "step_size", step_size), _number("StepLR", "gamma", gamma)
        super().__init__(optimizer, step_size=self.step_size, gamma=self.gamma)

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """η(t) = η₀·γ^(number of milestones ≤ t). He et al. 2015 (section 4.2) divide by 10 at 32k and 48k steps."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1):
        self.milestones = sorted(_whole("MultiStepLR", "milestones", m, least=0) for m in milestones)
        self.gamma = _number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, milestones=self.milestones, gamma=self.gamma)

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * self.gamma ** bisect.bisect_right(self.milestones, t)


class CosineAnnealingLR(LRScheduler):
    """η(t) = η_min + (η₀ − η_min)·(1 + cos(π·t / T_max)) / 2; beyond T_max it rises again.

    Source: Loshchilov & Hutter 2017 (arXiv 1608.03983), equation 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max = _whole("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = _number("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer, T_max=self.T_max, eta_min=self.eta_min)

    def lr(self, t: int, base_lr: float) -> float:
        return _cosine(base_lr, self.eta_min, t / self.T_max)


class LinearLR(LRScheduler):
    """Linear warm-up: η(t) = η₀·(start_factor + (end_factor − start_factor)·min(t / total_iters, 1)).

    Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.2, "gradual warmup". To continue with another schedule:
    ``SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=20), CosineAnnealingLR(optimizer, 380)], [20])``.
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
    ):
        self.start_factor = _number("LinearLR", "start_factor", start_factor)
        self.end_factor = _number("LinearLR", "end_factor", end_factor)
        self.total_iters = _whole("LinearLR", "total_iters", total_iters)
        if not 0 < self.start_factor <= 1 or not 0 <= self.end_factor <= 1:
            raise ValueError(
                f"LinearLR: got start_factor={start_factor}, end_factor={end_factor}; expected factors of the "
                "optimiser's rate from 0 to 1, and a start above 0"
            )
        super().__init__(
            optimizer, start_factor=self.start_factor, end_factor=self.end_factor, total_iters=self.total_iters
        )

    def lr(self, t: int, base_lr: float) -> float:
        return base_lr * _linear(self.start_factor, self.end_factor, min(t / self.total_iters, 1.0))


class OneCycleLR(LRScheduler):
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
    ):
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: got no length; give total_steps, or both epochs and steps_per_epoch")
            total_steps = _whole("OneCycleLR", "epochs", epochs) * _whole(
                "OneCycleLR", "steps_per_epoch", steps_per_epoch
            )
        self.total_steps = _whole("OneCycleLR", "total_steps", total_steps)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'OneCycleLR: got anneal_strategy={anneal_strategy!r}; expected "cos" or "linear"')
        if not 0 <= _number("OneCycleLR", "pct_start", pct_start) <= 1:
            raise ValueError(f"OneCycleLR: got pct_start={pct_start}; expected a share of the steps, from 0 to 1")
        for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if _number("OneCycleLR", name, factor) <= 0:
                raise ValueError(f"OneCycleLR: got {name}={factor}; expected a positive number")
        momentum = next((n for n in ("momentum", "betas") if n in getattr(optimizer, "defaults", ())), None)
        if cycle_momentum and momentum is None:
            raise ValueError("OneCycleLR: the optimiser has no momentum to cycle; pass cycle_momentum=False")
        if cycle_momentum and momentum:
            self.drives = ("lr", momentum)
        self.max_lrs = _each("OneCycleLR", "max_lr", optimizer, max_lr)
        self.base_momentums = _each("OneCycleLR", "base_momentum", optimizer, base_momentum)
        self.max_momentums = _each("OneCycleLR", "max_momentum", optimizer, max_momentum)
        self.anneal = _cosine if anneal_strategy == "cos" else _linear
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        # When each phase ends (t counts from 0, hence the − 1), and the points from which and to which it leads.
        up = pct_start * self.total_steps - 1
        self.phases = [(up, "start", "peak"), (self.total_steps - 1.0, "peak", "end")]
        if three_phase:
            down = 2 * pct_start * self.total_steps - 2
            self.phases = [(up, "start", "peak"), (down, "peak", "start"), (self.total_steps - 1.0, "start", "end")]
        super().__init__(
            optimizer,
            max_lr=self.max_lrs,
            total_steps=self.total_steps,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            cycle_momentum=cycle_momentum,
            base_momentum=self.base_momentums,
            max_momentum=self.max_momentums,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
        )

    def values(self, t: int, group: int) -> dict[str, Any]:
        if t > self.total_steps:
            raise ValueError(
                f"OneCycleLR: got step {t} of {self.total_steps}; total_steps must cover the whole training, "
                "epochs·batches where it is stepped after each batch"
            )
        i = next((i for i, (end, *_) in enumerate(self.phases) if t <= end), len(self.phases) - 1)
        begin = self.phases[i - 1][0] if i else 0.0
        end, source, target = self.phases[i]
        share = min((t - begin) / (end - begin), 1.0) if end != begin else 1.0
        top = self.max_lrs[group]
        start = top / self.div_factor
        lr = {"start": start, "peak": top, "end": start / self.final_div_factor}
        new: dict[str, Any] = {"lr": self.anneal(lr[source], lr[target], share)}
        high = self.max_momentums[group]
        mass = {"start": high, "peak": self.base_momentums[group], "end": high}
        momentum = self.anneal(mass[source], mass[target], share)
        if "momentum" in self.drives:
            new["momentum"] = momentum
        elif "betas" in self.drives:
            new["betas"] = (momentum, self.optimizer.param_groups[group]["betas"][1])
        return new


class SequentialLR(LRScheduler):
    """One schedule after another: ``schedulers[i]`` starts, with its own t = 0, at step ``milestones[i − 1]``."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]):
        self.schedulers = list(schedulers)
        self.milestones = [_whole("SequentialLR", "milestones", m) for m in milestones]
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(set(self.milestones)):
            raise ValueError(
                f"SequentialLR: got {len(self.schedulers)} schedulers and milestones {list(milestones)}; expected one "
                "growing milestone for each change from a schedule to the next"
            )
        for i, schedule in enumerate(self.schedulers):
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: scheduler {i} drives another optimiser; build all on the same one")
        self.drives = tuple(sorted({name for schedule in self.schedulers for name in schedule.drives}))
        super().__init__(
            optimizer, milestones=self.milestones, schedulers=[schedule.config() for schedule in self.schedulers]
        )

    def values(self, t: int, group: int) -> dict[str, Any]:
        i = bisect.bisect_right(self.milestones, t)
        return self.schedulers[i].values(t - (self.milestones[i - 1] if i else 0), group)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _whole(function: str, name: str, value: Any, least: int = 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{function}: got {name}={value!r}; expected a whole number, use int(…)") from None
    if number < least:
        raise ValueError(f"{function}: got {name}={number}; expected a whole number of at least {least}")
    return number


def _number(function: str, name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{function}: got {name}={value!r}; expected a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{function}: got {name}={value!r}; expected a finite number")
    return number


def _each(function: str, name: str, optimizer: Optimizer, value: Any) -> list[float]:
    """One number for each parameter group."""
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise ValueError(f"{function}: got {len(values)} values of {name} for {groups} parameter groups")
    return [_number(function, name, v) for v in values]
