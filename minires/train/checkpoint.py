"""Checkpoints: everything a training run needs to continue bit for bit, in one file that is either whole or absent.

The file is NumPy's ``.npz``, see `archive`. It holds the arrays ``model/<name>`` and ``optimizer/<number of the
parameter>/<name>``, and ``meta``, a JSON string with the rest. All of a file is checked before anything changes.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from ..nn import Module
from ..optim import LRScheduler, Optimizer
from . import archive, fingerprint
from .archive import START_ANEW, CheckpointError

WEIGHTS_ALONE = 'take the weights alone (restore_weights, or fit(…, resume="weights"))'
# What meta holds; version 1 had no architecture.
META = {"architecture": list | None, "optimizer": dict | None, "schedule": dict | None, "random": dict, "extra": dict}


@dataclass
class Checkpoint:
    """The state of a run: `take` it, `save` it, `load` it, `restore` it.

    model: arrays by dotted name, as `Module.state_dict` gives them. optimizer, schedule: their state dicts, or None.
    random: state of `minires.random`. extra: whatever else JSON can hold. architecture: what each module is, see
    `fingerprint`; None if it is not known.
    """

    model: dict[str, np.ndarray]
    optimizer: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    random: dict[str, Any] = field(default_factory=random.get_state)
    extra: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None  # where it was loaded from
    architecture: fingerprint.Architecture | None = None

    @classmethod
    def take(
        cls, model: Module, optimizer: Optimizer | None = None, schedule: LRScheduler | None = None, **extra: Any
    ) -> Checkpoint:
        """A copy of everything as it is now, the random state included."""
        return cls(
            model.state_dict(),
            None if optimizer is None else _optimizer_state(model, optimizer),
            None if schedule is None else schedule.state_dict(),
            random.get_state(),
            copy.deepcopy(extra),
            architecture=fingerprint.architecture(model),
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the file; a kill at any moment, or a full disk, leaves a whole file: the old one or the new one.

        A link stays a link, and the file keeps its permissions. Raises OSError, naming the file, if it cannot be
        written, and TypeError for something that neither JSON nor an array of numbers can hold.
        """
        arrays: dict[str, Any] = {f"model/{name}": array for name, array in self.model.items()}
        optimizer = None
        if self.optimizer is not None:
            counts: dict[str, dict[str, Any]] = {}
            for i, entry in self.optimizer["state"].items():
                counts[str(i)] = {}
                for name, value in entry.items():
                    if isinstance(value, np.ndarray):
                        arrays[f"optimizer/{i}/{name}"] = value
                    else:
                        counts[str(i)][name] = value
            optimizer = {**self.optimizer, "state": counts}
        meta = {
            "architecture": self.architecture,
            "optimizer": optimizer,
            "schedule": self.schedule,
            "random": self.random,
            "extra": self.extra,
        }
        archive.write(path, meta, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Checkpoint:
        """Read a file, and verify every byte of it.

        Raises CheckpointError, saying what to do, if it is damaged or not a checkpoint. Files from minires 0.2.0 can be
        read too; they do not say what the network is.
        """
        path = Path(path)
        meta, arrays = archive.read(path)
        loaded = cls({}, path=path)
        for name, kind in META.items():
            value = meta.get(name)
            if not isinstance(value, kind):
                raise loaded._error(f"its {name} is a {type(value).__name__}, which it never is; {START_ANEW}")
            setattr(loaded, name, value)
        state = {} if loaded.optimizer is None else loaded.optimizer.get("state")
        if not isinstance(state, dict) or not all(isinstance(entry, dict) for entry in state.values()):
            raise loaded._error(f"its optimizer has no state; {START_ANEW}")
        for name, array in arrays.items():
            where, _, key = name.partition("/")
            i, _, what = key.partition("/")
            if where == "model":
                loaded.model[key] = array
            elif where == "optimizer" and loaded.optimizer is not None and what:
                state.setdefault(i, {})[what] = array
            else:
                raise loaded._error(f"holds {name}, which is of no model and no optimiser; {START_ANEW}")
        if loaded.optimizer is not None:
            loaded.optimizer["state"] = {int(i) if i.isdecimal() else i: entry for i, entry in state.items()}
        return loaded

    def restore(self, model: Module, optimizer: Optimizer, schedule: LRScheduler | None = None) -> None:
        """Restore the model, the optimiser, the schedule and the random state.

        Raises CheckpointError, before anything is changed, if one of them is not what was saved. `restore_weights`
        loads the weights alone, also into another architecture with the same names and shapes.
        """
        self.check(model, optimizer, schedule)
        optimizer.load_state_dict(self.optimizer or {})
        if schedule is not None and self.schedule is not None:
            schedule.load_state_dict(self.schedule)
        model.load_state_dict(self.model)
        random.set_state(self.random)

    def check(self, model: Module, optimizer: Optimizer, schedule: LRScheduler | None = None) -> None:
        """Raise CheckpointError if `restore` would; nothing is changed."""
        try:
            self._check_weights(model)
            self._check_architecture(model)
            self._check_optimizer(model, optimizer)
            if (self.schedule is None) != (schedule is None):
                have, got = ("a schedule" if state is not None else "none" for state in (self.schedule, schedule))
                raise self._error(f"saved with {have}, restored with {got}; train with the schedule of the saved run")
            if schedule is not None:
                schedule.check_state(self.schedule or {})
            random.check_state(self.random)
        except CheckpointError:
            raise
        except Exception as error:  # the file may hold values of any type
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise self._error(f"does not fit: {what}; {START_ANEW}") from error

    def restore_weights(self, model: Module) -> None:
        """Load parameters and buffers alone. Raises CheckpointError if names, shapes or dtypes differ."""
        self._check_weights(model)
        model.load_state_dict(self.model)

    def _check_weights(self, model: Module) -> None:
        own, name = model.state_dict(), type(model).__name__
        different = [n for n in {**own, **self.model} if n not in own or n not in self.model]
        if different:
            which = "the saved one" if different[0] in self.model else f"this {name}"
            raise self._error(
                f"of another architecture: {different[0]} is only in {which} ({len(different)} such names); build the "
                f"model it was saved from, or {START_ANEW}"
            )
        for n, array in own.items():
            got = self.model[n]
            if (got.shape, got.dtype) != (array.shape, array.dtype):
                raise self._error(
                    f"of another architecture: {n} is {got.dtype} {got.shape} in the file, {array.dtype} {array.shape} "
                    f"in this {name}; build the model with the same widths, convert it with model.to({got.dtype}), "
                    f"or {START_ANEW}"
                )

    def _check_architecture(self, model: Module) -> None:
        if self.architecture is None:
            return
        found = fingerprint.differences(self.architecture, fingerprint.architecture(model))
        if found:
            more = f" (and {len(found) - 3} more differences)" if len(found) > 3 else ""
            raise self._error(
                f"of another architecture: {'; '.join(found[:3])}{more}. Build the model it was saved from (a number "
                "that changes in training belongs in a buffer, or under a name that begins with _), "
                f"{WEIGHTS_ALONE}, or {START_ANEW}"
            )

    def _check_optimizer(self, model: Module, optimizer: Optimizer) -> None:
        if self.optimizer is None:
            raise self._error(f"saved without optimiser; {WEIGHTS_ALONE}")
        for what, here in _identity(model, optimizer).items():
            if self.optimizer[what] != here:
                raise self._error(
                    f"of another optimiser: {what} was {_short(self.optimizer[what])}, here {_short(here)}; build the "
                    f"optimiser as it was, {WEIGHTS_ALONE}, or {START_ANEW}"
                )
        optimizer.check_state(self.optimizer)
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for i, entry in self.optimizer["state"].items():
            for name, array in entry.items():
                if isinstance(array, np.ndarray) and array.dtype != params[i].dtype:
                    raise self._error(
                        f"of another optimiser: {name} of parameter {i} is {array.dtype} in the file, and "
                        f"{params[i].dtype} here; {START_ANEW}"
                    )

    def _error(self, message: str) -> CheckpointError:
        return CheckpointError(f"checkpoint{f' {self.path}' if self.path else ''}: {message}")


def _optimizer_state(model: Module, optimizer: Optimizer) -> dict[str, Any]:
    return {**_identity(model, optimizer), **optimizer.state_dict()}


def _identity(model: Module, optimizer: Optimizer) -> dict[str, Any]:
    """What must match when an optimiser's state is restored: its kind, and the number of each parameter."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        "name": type(optimizer).__name__,
        "parameters": [[names.get(id(p)) for p in group["params"]] for group in optimizer.param_groups],
    }


def _short(value: Any) -> str:
    return value if isinstance(value, str) else f"{sum(map(len, value))} parameters in {len(value)} groups"
