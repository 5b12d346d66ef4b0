"""A run of `fit` in its checkpoint file: whether it begins or goes on, and what is kept of it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from ..files import remove_abandoned
from ..folders import writable_folder
from ..nn import Module
from ..optim import LRScheduler, Optimizer
from ..ranks import Ranks
from . import fingerprint
from .checkpoint import START_ANEW, WEIGHTS_ALONE, Checkpoint, CheckpointError
from .history import History, Position, Tally


class Run:
    """What `fit` trains, how far it has come (``at``, ``history``), and the checkpoint file, if there is one.

    settings: what has to be the same for the run to go on from its file, see `fingerprint`. Rank 0 alone writes.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        schedule: LRScheduler | None,
        ranks: Ranks,
        checkpoint: str | os.PathLike | None,
        settings: dict[str, Any],
    ):
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.ranks, self.checkpoint, self.settings = ranks, checkpoint, settings
        self.at, self.history = Position(), History()

    def begin(self, resume: bool | str, epochs: int, steps: int, schedule_every: str) -> str:
        """Go on from the file, or begin anew and write it; returns what there is to say about that, "" if nothing.

        steps: of an epoch. Raises CheckpointError for the file of another run, ValueError for a schedule that ends too
        early, OSError for a file that cannot be written; nothing is changed then.
        """
        saved = self.ranks.first(lambda: self._load(resume))
        if saved is None or resume == "weights":
            last = 0 if self.schedule is None else self.schedule.last_epoch
            self._check_schedule(last, epochs, steps, schedule_every)
            if saved is not None:
                saved.restore_weights(self.model)
            self.save()
            return "" if saved is None else f"fit: a new run, from the weights in {self.checkpoint}"
        self.at, self.history = _position(saved, self.settings, steps, epochs)
        saved.check(self.model, self.optimizer, self.schedule)
        last = 0 if saved.schedule is None else saved.schedule["last_epoch"]
        self._check_schedule(last, epochs, steps, schedule_every)
        saved.restore(self.model, self.optimizer, self.schedule)
        if self.at.epoch >= epochs:
            return f"fit: {self.checkpoint} is complete"
        return f"fit: {self.checkpoint} goes on at epoch {self.at.epoch + 1}, step {self.at.batch + 1}"

    def save(self) -> None:
        """Write the checkpoint file, if there is one."""
        if self.checkpoint is not None and self.ranks.rank == 0:
            state = {"position": dataclasses.asdict(self.at), "history": dataclasses.asdict(self.history)}
            checkpoint = Checkpoint.take(self.model, self.optimizer, self.schedule, run=self.settings, **state)
            checkpoint.save(self.checkpoint)

    def way_on(self) -> str:
        """How to go on when the run has been interrupted, in words."""
        if self.checkpoint is None:
            return "With checkpoint=… it could go on."
        return f"The same call goes on from {self.checkpoint}."

    def _load(self, resume: bool | str) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        writable_folder(Path(os.path.realpath(self.checkpoint)).parent, "fit: checkpoint")
        remove_abandoned(self.checkpoint)
        wanted = resume == "weights" or (resume and Path(self.checkpoint).exists())
        return Checkpoint.load(self.checkpoint) if wanted else None

    def _check_schedule(self, last: int, epochs: int, steps: int, schedule_every: str) -> None:
        """Ask the schedule, now at ``last``, for its value at the end: one that is too short says so here."""
        if self.schedule is not None:
            done = self.at.epoch * steps + self.at.batch
            ahead = epochs * steps - done if schedule_every == "step" else epochs - self.at.epoch
            self.schedule.values(last + ahead, 0)


def _position(saved: Checkpoint, settings: dict[str, Any], steps: int, epochs: int) -> tuple[Position, History]:
    """How far this checkpoint's run had come; raises CheckpointError if it was another run, or one cannot tell."""

    def error(text: str) -> CheckpointError:
        return CheckpointError(f"checkpoint {saved.path}: {text}, or {START_ANEW}")

    there = saved.extra.get("run")
    if not isinstance(there, dict) or not {"position", "history"} <= saved.extra.keys():
        raise error(f"not written by fit; {WEIGHTS_ALONE}")
    if saved.architecture is None:
        raise error(
            "of minires 0.2.0 or before, and does not say what its network, loss and images are, so whether this run "
            f"is the same cannot be checked; {WEIGHTS_ALONE}"
        )
    there = {**fingerprint.ONE_RANK, **there}  # files of minires 0.3.0 do not say so
    for name, here in settings.items():
        if there.get(name) != here:
            raise error(
                f"of another run: {name} was {there.get(name)}, here {here}; repeat the call with the same settings, "
                f"{WEIGHTS_ALONE}"
            )
    try:
        position = saved.extra["position"]
        at = Position(**{**position, "tally": Tally(**position["tally"])})
        history = History(**saved.extra["history"])
        fits = at.fits(steps) and history.fits(at.epoch, at.epoch * steps + at.batch)
    except (TypeError, KeyError):
        fits = False
    if not fits:
        raise error("its position and history are not those of a run; take an earlier copy")
    if (at.epoch, at.batch) > (epochs, 0):
        raise error(
            f"already in epoch {at.epoch + 1}, step {at.batch + 1}, beyond epochs={epochs}; ask for more epochs"
        )
    return at, history
