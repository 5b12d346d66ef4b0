"""The schedule that watches a metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..optimizers import Optimizer, Settings
from .base import LRScheduler
from .checks import an_optimizer, each, number, whole


class ReduceLROnPlateau(LRScheduler):
    """η ← max(η·factor, min_lr) when a metric has not improved for more than ``patience`` steps.

    ``step(metrics)`` is given the metric: a loss (mode "min") or an accuracy ("max"). A loss improves below
    best·(1 − threshold), or with threshold_mode "abs" below best − threshold; an accuracy above best·(1 + threshold),
    or best + threshold. After a reduction, the next ``cooldown`` steps do not count. A reduction of eps or less is not
    made. ``min_lr`` may be a list, one number for each group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ):
        name = "ReduceLROnPlateau"
        self.optimizer = an_optimizer(name, optimizer)
        if mode not in ("min", "max"):
            raise ValueError(f'{name}: got mode={mode!r}; expected "min" or "max"')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'{name}: got threshold_mode={threshold_mode!r}; expected "rel" or "abs"')
        if number(name, "factor", factor) >= 1:
            raise ValueError(f"{name}: got factor={factor}; expected a factor below 1")
        self.mode, self.factor, self.threshold_mode = mode, factor, threshold_mode
        self.threshold, self.eps = number(name, "threshold", threshold), number(name, "eps", eps)
        self.patience, self.cooldown = whole(name, "patience", patience, 0), whole(name, "cooldown", cooldown, 0)
        self.min_lr = list(min_lr) if isinstance(min_lr, list | tuple) else min_lr
        each(name, "min_lr", optimizer, self.min_lr)
        self.settings = dict(
            mode=mode,
            factor=factor,
            patience=self.patience,
            threshold=self.threshold,
            threshold_mode=threshold_mode,
            cooldown=self.cooldown,
            min_lr=self.min_lr,
            eps=self.eps,
        )
        self.last_epoch, self.best = 0, math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Look at the metric, a number or a tensor with one entry, and reduce the rates if it is time to."""
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            for group, least in zip(
                self.optimizer.param_groups, each("ReduceLROnPlateau", "min_lr", self.optimizer, self.min_lr)
            ):
                new = max(group["lr"] * self.factor, least)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def values(self, t: int, group: int) -> Settings:
        raise ValueError(
            "ReduceLROnPlateau: its rates depend on the metrics that step(metrics) is given; step it in a loop of your "
            "own, or in fit's on_step, and pass fit no schedule"
        )

    def config(self) -> dict[str, Any]:
        return {"name": "ReduceLROnPlateau", "settings": self.settings}

    def _is_better(self, a: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        margin = sign * self.threshold
        limit = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        return sign * a > sign * limit

    def _memory(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best", "num_bad_epochs", "cooldown_counter", "_last_lr")}

    def _remember(self, state_dict: dict[str, Any]) -> None:
        for name in ("best", "num_bad_epochs", "cooldown_counter", "_last_lr"):
            setattr(self, name, state_dict[name])

    def _greet(self) -> None:
        """Nothing to do: a group that is added is reduced from then on, like the others."""
