"""Schedules in general: how a formula for the rate at step t becomes the rates in the optimiser's groups."""

from __future__ import annotations

import copy
import operator
from typing import Any, ClassVar

from ..optimizers import Optimizer, Settings
from .checks import alike, an_optimizer, whole


class LRScheduler:
    """Base of the schedules: counts steps and writes the rates.

    A subclass defines `lr`, the rate at step t of a group that started from a given rate: a multiple of that rate, to
    which something may be added. Or, as in PyTorch, it defines `get_lr`, which returns the rates of all groups at
    `last_epoch`.

    optimizer: its groups are driven; a group that is added later is driven from then on. settings: what makes it this
    schedule, by name. last_epoch: t, named as in PyTorch; as an argument, the last t of a run that continues here,
    whose groups have an "initial_lr". (A saved state is restored with `load_state_dict`.)

    base_lrs: the rate each group had before its first schedule. anchors: for each group, the rate and the t from which
    its rate is computed: those before the first step (t = −1), or those at which something else changed the rate.
    drives: the names of the group settings that it writes.

    Raises TypeError or ValueError for settings that are not numbers or out of range.
    """

    base_lrs: list[float]
    anchors: list[list[Any]]
    _last_lr: list[float]
    drives: tuple[str, ...] = ("lr",)
    jumps: ClassVar[bool] = False  # with last_epoch=, whether the drop at the first step is still to be made
    takes_new_groups: ClassVar[bool] = True

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1, **settings: Any):
        self.optimizer, self.settings = an_optimizer(type(self).__name__, optimizer), settings
        last_epoch = whole(type(self).__name__, "last_epoch", last_epoch, least=-1)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])  # earlier schedules on this optimiser started from it, too
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{type(self).__name__}: got last_epoch={last_epoch}, but group {i} has no initial_lr to start "
                    "from; load the state of the optimiser first, or leave out last_epoch"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._begin(last_epoch)

    def lr(self, t: int, base_lr: float) -> float:
        """The rate at step t of a group that started from ``base_lr``, alone; defined by each schedule."""
        raise TypeError(f"{type(self).__name__}: a schedule must define lr(self, t, base_lr), or get_lr(self)")

    def ratio(self, since: int, t: int) -> float:
        """What the rate is multiplied by between two steps, apart from what is added; 1 where it was 0 before."""
        before, now = (self.lr(s, 1.0) - self.lr(s, 0.0) for s in (since, t))
        return now / before if before else 1.0

    def get_lr(self) -> list[float]:
        """The rates of all groups at `last_epoch`, from those they have now."""
        return [self._next(i, group["lr"]) for i, group in enumerate(self.optimizer.param_groups)]

    def values(self, t: int, group: int) -> Settings:
        """The settings of a group at step t, by name, if nothing else changes them; {} if only stepping can tell."""
        return {} if type(self).lr is LRScheduler.lr else {"lr": self._rate(group, t)}

    def step(self, epoch: int | None = None) -> None:
        """Advance to the next t; or to ``epoch``, as if nothing else had changed the rates (deprecated in PyTorch)."""
        if epoch is None:
            self._to(self.last_epoch + 1)
        else:
            self._restart(epoch)

    def get_last_lr(self) -> list[float]:
        """The rate of each group after the last step."""
        return list(self._last_lr)

    # ── state ──
    def state_dict(self) -> dict[str, Any]:
        """All that it needs to continue, with the schedule's name and settings, in plain values that JSON can hold."""
        self._greet()
        groups = self.optimizer.param_groups
        return {
            **self.config(),
            "last_epoch": self.last_epoch,
            **copy.deepcopy(self._memory()),
            "in_force": [{name: group[name] for name in self.drives} for group in groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises ValueError, and changes nothing, if another schedule made it.

        Unlike PyTorch's, it writes the rates into the groups, whether or not the optimiser's state is loaded as well;
        and it does not adopt the saved settings: a longer cosine is another schedule.
        """
        self.check_state(state_dict)
        self.last_epoch = operator.index(state_dict["last_epoch"])
        self._remember(copy.deepcopy(state_dict))
        for group, values in zip(self.optimizer.param_groups, state_dict["in_force"]):
            group.update({name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})

    def check_state(self, state_dict: dict[str, Any]) -> None:
        """Raise ValueError unless the state is of a schedule with this name and these settings, at a possible step."""
        for name, here in self.config().items():
            if state_dict.get(name) != here:
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: got the state of a schedule with {name} = "
                    f"{state_dict.get(name)}, this one has {here}; build it as it was when the state was saved"
                )
        here = self.state_dict()
        missing = here.keys() - state_dict.keys()
        if missing:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: got a state without {', '.join(sorted(missing))}, as an "
                "earlier version of minires saved it; start the schedule anew"
            )
        for name in here.keys() - self.config().keys():
            if not alike(here[name], state_dict[name]):
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: got {name}={state_dict[name]!r}, expected something like "
                    f"{here[name]!r}; start the schedule anew"
                )
        whole(f"{type(self).__name__}.load_state_dict", "last_epoch", state_dict["last_epoch"], least=0)

    def config(self) -> dict[str, Any]:
        """What makes it this schedule: its name, its settings and the rates it started from."""
        self._greet()
        settings = {name: _as_json(value) for name, value in self.settings.items()}
        return {"name": type(self).__name__, "settings": settings, "base_lrs": list(self.base_lrs)}

    def _memory(self) -> dict[str, Any]:
        """What changes from step to step besides `last_epoch`."""
        return {"anchors": self.anchors, "_last_lr": self._last_lr}

    def _remember(self, state_dict: dict[str, Any]) -> None:
        self.anchors, self._last_lr = state_dict["anchors"], state_dict["_last_lr"]

    # ── writing ──
    def _begin(self, last_epoch: int = -1) -> None:
        """Make the first step, from the rates in force."""
        since = last_epoch if last_epoch < 0 or self.jumps else last_epoch + 1
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        self.anchors = [[lr, since] for lr in self._last_lr]
        self.last_epoch, self._is_initial = last_epoch, True  # named as in PyTorch
        try:
            self._to(last_epoch + 1)
        finally:
            self._is_initial = False

    def _restart(self, t: int) -> None:
        """Go to step t of a run that starts from `base_lrs`, whatever the rates are now."""
        self._rebase()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        self._to(t)

    def _rebase(self) -> None:
        self._greet()
        self.anchors = [[base, -1] for base in self.base_lrs]

    def _greet(self) -> None:
        """Take in the groups that have been added since the last step."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            if not self.takes_new_groups:
                raise ValueError(
                    f"{type(self).__name__}: got {len(self.optimizer.param_groups)} parameter groups, but it was made "
                    f"for {len(self.base_lrs)}; call add_param_group before making the schedule"
                )
            group.setdefault("initial_lr", group["lr"])
            self.base_lrs.append(group["initial_lr"])
            self.anchors.append([group["lr"], self.last_epoch])
            self._last_lr.append(group["lr"])

    def _to(self, t: int) -> None:
        self._greet()
        before, self.last_epoch = self.last_epoch, t
        try:
            new = self._settings()
        except BaseException:
            self.last_epoch = before
            raise
        for group, values in zip(self.optimizer.param_groups, new, strict=True):
            group.update(values)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _settings(self) -> list[Settings]:
        """All settings of all groups at `last_epoch`."""
        return [{"lr": lr} for lr in self.get_lr()]

    def _next(self, i: int, lr: float) -> float:
        """The rate of group i at `last_epoch`, if it is ``lr`` now."""
        if lr != self._last_lr[i]:  # another schedule, or you, changed it
            self.anchors[i] = [lr, self.last_epoch - 1]
        return self._rate(i, self.last_epoch)

    def _rate(self, i: int, t: int) -> float:
        """The rate of group i at step t, from its anchor."""
        rate, since = self.anchors[i]
        if since == t:
            return rate
        if since < 0:
            return self.lr(t, rate)
        return self.lr(t, 0.0) + (rate - self.lr(since, 0.0)) * self.ratio(since, t)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({settings})"


def _as_json(value: Any) -> Any:
    """A copy of a setting as it is read again from JSON, where tuples become lists."""
    if isinstance(value, dict):
        return {name: _as_json(part) for name, part in value.items()}
    return [_as_json(part) for part in value] if isinstance(value, list | tuple) else value


class Timetable(LRScheduler):
    """Base of the schedules whose settings at step t are a pure function of t: they overwrite whatever is there.

    A subclass defines `values` or `lr`. Groups cannot be added later.
    """

    takes_new_groups = False

    def check_state(self, state_dict: dict[str, Any]) -> None:
        super().check_state(state_dict)
        self.values(state_dict["last_epoch"], 0)

    def values(self, t: int, group: int) -> Settings:
        return {"lr": self.lr(t, self.base_lrs[group])}

    def get_lr(self) -> list[float]:
        return [values["lr"] for values in self._settings()]

    def _settings(self) -> list[Settings]:
        return [self.values(self.last_epoch, i) for i in range(len(self.optimizer.param_groups))]
