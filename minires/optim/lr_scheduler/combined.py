"""Schedules made of schedules: one after the other, or all at once."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

from ...arguments import described
from ..optimizers import Optimizer, Settings
from .base import LRScheduler
from .checks import whole
from .plateau import ReduceLROnPlateau


class _Combined(LRScheduler):
    """Base of both: its parts, ``schedulers``, and their states."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], last_epoch: int = -1, **settings: Any):
        name = type(self).__name__
        if last_epoch != -1:
            raise ValueError(f"{name}: got last_epoch={last_epoch}; its parts go on with load_state_dict only")
        for i, part in enumerate(schedulers):
            if not isinstance(part, LRScheduler):
                raise TypeError(f"{name}: got {described(part)} as scheduler {i}; expected a schedule")
            if isinstance(part, ReduceLROnPlateau):
                raise ValueError(
                    f"{name}: got ReduceLROnPlateau as scheduler {i}, whose step needs a metric; step it separately"
                )
            if part.optimizer is not optimizer:
                raise ValueError(f"{name}: scheduler {i} drives another optimiser; build all on the same one")
        self.schedulers = list(schedulers)
        self.drives = tuple(sorted({name for part in self.schedulers for name in part.drives}))
        super().__init__(optimizer, **settings, schedulers=self.schedulers)

    def config(self) -> dict[str, Any]:
        parts = [part.config() for part in self.schedulers]
        return {"name": type(self).__name__, "settings": {**self.settings, "schedulers": parts}}

    def check_state(self, state_dict: dict[str, Any]) -> None:
        super().check_state(state_dict)
        for part, state in zip(self.schedulers, state_dict["schedulers"]):
            part.check_state(state)

    def _memory(self) -> dict[str, Any]:
        return {"schedulers": [part.state_dict() for part in self.schedulers], "_last_lr": self._last_lr}

    def _remember(self, state_dict: dict[str, Any]) -> None:
        self._last_lr = state_dict["_last_lr"]
        for part, state in zip(self.schedulers, state_dict["schedulers"]):
            part.load_state_dict(state)

    def _rebase(self) -> None:
        for part in self.schedulers:
            part._rebase()

    def _greet(self) -> None:
        for part in self.schedulers:
            part._greet()

    def _stepped(self, t: int) -> None:
        self.last_epoch, self._last_lr = t, [group["lr"] for group in self.optimizer.param_groups]


class SequentialLR(_Combined):
    """One schedule after another: ``schedulers[i]`` starts, with its own t = 0, at step ``milestones[i − 1]``.

    Each of them starts from the rate before any schedule, whatever the rate is by then.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ):
        self.milestones = [whole("SequentialLR", "milestones", m) for m in milestones]
        if len(self.milestones) != len(schedulers) - 1 or self.milestones != sorted(set(self.milestones)):
            raise ValueError(
                f"SequentialLR: got {len(schedulers)} schedulers and milestones {list(milestones)}; expected one "
                "growing milestone for each change from a schedule to the next"
            )
        if any(isinstance(part, ChainedScheduler) for part in schedulers):
            raise ValueError(
                "SequentialLR: got a ChainedScheduler as a part, which has no rate of its own to start from; chain the "
                "sequences instead: ChainedScheduler([SequentialLR(…), SequentialLR(…)])"
            )
        super().__init__(optimizer, schedulers, last_epoch, milestones=self.milestones)

    def values(self, t: int, group: int) -> Settings:
        i, start = self._part(t)
        return self.schedulers[i].values(t - start, group)

    def step(self, epoch: int | None = None) -> None:
        if epoch is not None:
            return self._restart(epoch)
        t = self.last_epoch + 1
        i, start = self._part(t)
        if i and t == start:
            self.schedulers[i]._restart(0)
        else:
            self.schedulers[i].step()
        self._stepped(t)

    def _begin(self, last_epoch: int = -1) -> None:
        self._rebase()
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self.schedulers[0]._begin()
        self._stepped(0)

    def _restart(self, t: int) -> None:
        i, start = self._part(t)
        self.schedulers[i]._restart(t - start)
        self._stepped(t)

    def _part(self, t: int) -> tuple[int, int]:
        """(number of the part that runs at step t, the step at which it started)."""
        i = bisect.bisect_right(self.milestones, t)
        return i, self.milestones[i - 1] if i else 0


class ChainedScheduler(_Combined):
    """Several schedules at once: `step` steps each, in order, and their factors compound."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None):
        if not schedulers or not isinstance(schedulers[0], LRScheduler):
            raise ValueError(f"ChainedScheduler: got schedulers={schedulers!r}; expected a list of schedules")
        super().__init__(schedulers[0].optimizer if optimizer is None else optimizer, schedulers)

    def values(self, t: int, group: int) -> Settings:
        for part in self.schedulers:
            part.values(t, group)  # raises if it is too short
        return {}

    def step(self, epoch: int | None = None) -> None:
        if epoch is not None:
            raise ValueError("ChainedScheduler.step: got an epoch; its schedules compound only step by step")
        for part in self.schedulers:
            part.step()
        self._stepped(self.last_epoch + 1)

    def _begin(self, last_epoch: int = -1) -> None:
        self._stepped(self.schedulers[0].last_epoch)
