"""Checkpoints: everything a training run needs to continue bit for bit, in one file that is either whole or absent.

The file is NumPy's ``.npz``, read without pickle, so that opening one from elsewhere runs no code. It holds the arrays
``model/<name>`` and ``optimizer/<number of the parameter>/<name>``, and ``meta``, a JSON string with the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from ..files import replacing
from ..nn import Module
from ..optim import LRScheduler, Optimizer

FORMAT, VERSION = "minires checkpoint", 1
START_ANEW = "move the file away (or pass resume=False) to start anew"


class CheckpointError(ValueError):
    """The file is damaged, not a checkpoint, or of another model, optimiser or run; nothing has changed."""


@dataclass
class Checkpoint:
    """The state of a run: `take` it, `save` it, `load` it, `restore` it.

    model: arrays by dotted name, as `Module.state_dict` gives them. optimizer, schedule: their state dicts, or None.
    random: state of `minires.random`. extra: whatever else JSON can hold.
    """

    model: dict[str, np.ndarray]
    optimizer: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    random: dict[str, Any] = field(default_factory=random.get_state)
    extra: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None  # where it was loaded from

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
            extra,
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the file; a kill at any moment, or a full disk, leaves a whole file: the old one or the new one."""
        arrays: dict[str, Any] = {f"model/{name}": array for name, array in self.model.items()}
        optimizer = None
        if self.optimizer is not None:
            counts: dict[str, dict[str, Any]] = {}
            for i, entry in self.optimizer["state"].items():
                for name, value in entry.items():
                    if isinstance(value, np.ndarray):
                        arrays[f"optimizer/{i}/{name}"] = value
                    else:
                        counts.setdefault(str(i), {})[name] = value
            optimizer = {**self.optimizer, "state": counts}
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "optimizer": optimizer,
            "schedule": self.schedule,
            "random": self.random,
            "extra": self.extra,
        }
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, meta=np.array(json.dumps(meta)), **arrays)
        _sync_folder(Path(path).absolute().parent)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Checkpoint:
        """Read and verify a file. Raises CheckpointError, saying what to do, if it is damaged or not a checkpoint."""
        path = Path(path)
        with open(path, "rb") as file:
            try:
                arrays, meta = _contents(file)
            except CheckpointError as error:
                raise CheckpointError(f"checkpoint {path}: {error}") from None
            except Exception as error:  # a damaged archive fails in many ways: zip, zlib, npy header, JSON …
                raise CheckpointError(
                    f"checkpoint {path}: damaged, cut short, or no .npz file ({type(error).__name__}: {error}); "
                    f"take an earlier copy, or {START_ANEW}"
                ) from error
        optimizer = meta["optimizer"]
        if optimizer is not None:
            state: dict[int, dict[str, Any]] = {int(i): entry for i, entry in optimizer["state"].items()}
            for key, array in arrays.items():
                if key.startswith("optimizer/"):
                    _, i, name = key.split("/", 2)
                    state.setdefault(int(i), {})[name] = array
            optimizer = {**optimizer, "state": state}
        model = {key.removeprefix("model/"): array for key, array in arrays.items() if key.startswith("model/")}
        return cls(model, optimizer, meta["schedule"], meta["random"], meta["extra"], path)

    def restore(self, model: Module, optimizer: Optimizer, schedule: LRScheduler | None = None) -> None:
        """Restore the model, the optimiser, the schedule and the random state.

        Raises CheckpointError, before anything is changed, if one of them is not what was saved. To load only the
        weights: ``model.load_state_dict(Checkpoint.load(path).model)``.
        """
        self._check_model(model)
        self._check_optimizer(model, optimizer)
        if (self.schedule is None) != (schedule is None):
            have, got = ("a schedule" if state is not None else "none" for state in (self.schedule, schedule))
            raise self._error(f"saved with {have}, restored with {got}; train with the schedule of the saved run")
        try:
            if schedule is not None:
                schedule.check_state(self.schedule or {})
            optimizer.load_state_dict(self.optimizer or {})  # checks all before it changes anything, as restore does
        except ValueError as error:
            raise self._error(str(error)) from error
        if schedule is not None and self.schedule is not None:
            schedule.load_state_dict(self.schedule)
        model.load_state_dict(self.model)
        random.set_state(self.random)

    def _check_model(self, model: Module) -> None:
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

    def _check_optimizer(self, model: Module, optimizer: Optimizer) -> None:
        if self.optimizer is None:
            raise self._error("saved without optimiser; load only the weights: model.load_state_dict(checkpoint.model)")
        for what, here in _identity(model, optimizer).items():
            if self.optimizer[what] != here:
                raise self._error(
                    f"of another optimiser: {what} was {_short(self.optimizer[what])}, here {_short(here)}; build the "
                    f"optimiser as it was, or {START_ANEW}"
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


def _contents(file: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays but ``meta``, and ``meta`` as a dict, after every checksum in the archive has been compared."""
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise CheckpointError("a single array and no checkpoint; pass the .npz file that was saved as a checkpoint")
    with archive:
        if "meta" not in archive.files:
            raise CheckpointError(
                f"a .npz file, but no checkpoint: it holds {', '.join(archive.files[:5])}; pass a file that was saved "
                f"as one, or {START_ANEW}"
            )
        assert archive.zip is not None
        damaged = archive.zip.testzip()
        if damaged:
            raise CheckpointError(f"damaged: the checksum of {damaged} is wrong; take an earlier copy, or {START_ANEW}")
        meta = json.loads(str(archive["meta"]))
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise CheckpointError(f"a .npz file of another program and no checkpoint; {START_ANEW}")
        if meta["version"] != VERSION:
            raise CheckpointError(f"of format {meta['version']}, this version reads {VERSION}; {START_ANEW}")
        return {name: archive[name] for name in archive.files if name != "meta"}, meta


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, on systems where a folder can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
