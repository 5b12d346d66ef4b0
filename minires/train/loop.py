"""The training loop: one step, evaluation, and `fit`; what `fit` keeps in its checkpoint is in `run`."""

from __future__ import annotations

import itertools
import operator
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from ..autograd import no_grad
from ..blocks import contextmanager
from ..data import batch_count, batches
from ..data.dataset import Augment, Dataset
from ..nn import Module, functional as F
from ..nn.examples import fit_to, read, share_right
from ..optim import LRScheduler, Optimizer
from ..progress import tqdm
from ..ranks import Ranks, parallel
from ..tensor import Tensor
from . import fingerprint
from .cuda_graph import GraphedStep
from .history import History, Position, Result, Tally
from .live import Live
from .run import Run

Loss = Callable[[Tensor, Tensor], Tensor]


class Step(NamedTuple):
    """What `fit` passes to ``on_step`` after each training step; numbers count from 0, ``step`` over all epochs."""

    epoch: int
    batch: int
    step: int
    loss: float
    accuracy: float
    lr: float


def train_step(model: Module, optimizer: Optimizer, x: Any, y: Any, loss: Loss = F.cross_entropy) -> Result:
    """One step on a batch, x (N, …) and y (N), arrays or tensors; floating ones are converted to the model's dtype.

    The modules stay in the mode they are in. Loss and accuracy are those of the parameters before the step.
    """
    inputs, targets = fit_to(model, x), fit_to(model, y)
    optimizer.zero_grad()
    outputs = model(inputs)
    value = loss(outputs, targets)
    value.backward()
    optimizer.step()
    return Result(*read(value.array, share_right(outputs.array, targets.array)))


def evaluate(model: Module, dataset: Dataset, batch_size: int = 256, loss: Loss = F.cross_entropy) -> Result:
    """Loss and accuracy on a data set, in evaluation mode and without a graph; every module gets its mode back.

    ``loss`` must be the mean over a batch; the result is the mean over all examples.
    """
    return _tally(model, dataset, batch_size, loss).mean()


def fit(
    model: Module,
    train_data: Dataset,
    optimizer: Optimizer,
    *,
    epochs: int,
    batch_size: int,
    test_data: Dataset | None = None,
    schedule: LRScheduler | None = None,
    schedule_every: str = "step",
    loss: Loss = F.cross_entropy,
    augment: Augment | None = None,
    seed: int = 0,
    drop_last: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: bool | str = True,
    progress: bool = True,
    live: bool = False,
    on_step: Callable[[Step], Any] | None = None,
    graph: bool = False,
    fuse: bool = True,
    comm: Any = None,
    batch_norm: str | None = None,
) -> History:
    """Train for ``epochs`` passes over ``train_data``; returns the `History`.

    test_data: evaluated after every epoch. schedule: stepped after every training step, or after every epoch with
    ``schedule_every="epoch"``. loss: the mean over a batch. augment, seed, drop_last: as in `data.batches`, which
    draws the order of an epoch from ``(seed, epoch)`` alone. on_step: called with a `Step` after each one.

    checkpoint: a file written at the start, after every epoch, and every ``checkpoint_every`` steps; each run needs its
    own file. If it exists, the same call continues from it, unless ``resume=False``. A run that was interrupted
    anywhere and resumed (with the same number of threads) equals an uninterrupted one bit for bit: weights,
    optimiser, random state and history, except for the seconds. ``epochs`` may grow from call to call; anything else
    that differs, in the network as it computes, the loss, the images or the settings, is an error (see `fingerprint`).
    ``resume="weights"`` begins a new run from the weights in the file, which it then overwrites; only names and shapes
    must agree.

    live: draw the curves while training, in a notebook as they are, in a terminal as sparklines, elsewhere not at all.
    graph: capture a training step in a CUDA graph and launch it as a whole, which is faster; for a model on a GPU that
    draws no random numbers. ``train_data.to("gpu")`` keeps the images there. fuse: let such a step compute batch norm,
    addition and ReLU in one kernel (kernel fusion), and batch norm's statistics in the convolution before it. The
    results are then those of eager steps up to rounding; with ``fuse=False``, bit for bit.

    comm: an mpi4py communicator, over whose ranks the training goes (see `parallel`). Each takes its share of every
    batch, and evaluates its share of the test data; the history is the same on all. Rank 0 alone prints and writes
    files, and a run goes on only with as many ranks. batch_norm: "sync" or "local", for a model with batch norm.
    on_step is called on all ranks.

    Ctrl-C raises KeyboardInterrupt as usual; the last checkpoint stays valid, and the message says what it contains.
    Raises ValueError or TypeError for arguments that do not fit, CheckpointError (nothing changed) for a checkpoint
    of another model, optimiser, schedule or run, OSError if the file cannot be written, FileNotFoundError if
    ``resume="weights"`` finds none, and with comm what `parallel` raises.
    """
    steps = batch_count(train_data, batch_size, drop_last=drop_last)
    batches(train_data, batch_size, seed=seed, drop_last=drop_last)  # checks seed
    if test_data is not None:
        batch_count(test_data, batch_size)  # checks it now, not after an epoch
    _check_arguments(model, optimizer, epochs, schedule, schedule_every, loss, checkpoint, checkpoint_every, resume)
    if graph and comm is not None:
        raise ValueError("fit: got graph=True with comm; a CUDA graph cannot wait for other ranks: use graph=False")
    graphed = GraphedStep(model, optimizer, loss, train_step, fuse) if graph else None
    over = nullcontext(Ranks(model, optimizer)) if comm is None else parallel(model, optimizer, comm, batch_norm)
    with over as ranks:
        ranks.check_batches(train_data, batch_size, drop_last)
        progress, live = progress and ranks.rank == 0, live and ranks.rank == 0
        settings: dict[str, Any] = {}
        if checkpoint is not None or ranks.size > 1:
            settings = fingerprint.of_run(
                train_data, test_data, optimizer, schedule, schedule_every, batch_size, drop_last, seed, loss, augment
            )
            settings |= fingerprint.of_ranks(ranks)
            ranks.check_alike("run", [f"{name} {value}" for name, value in settings.items()])
        run = Run(model, optimizer, schedule, ranks, checkpoint, settings)
        begun = run.begin(resume, epochs, steps, schedule_every)
        at, history = run.at, run.history

        with (
            Live(live, epochs * steps, epochs, row=int(progress)) as drawing,
            tqdm(
                total=epochs * steps,
                initial=at.epoch * steps + at.batch,
                disable=not progress,
                unit="step",
                dynamic_ncols=True,
            ) as bar,
        ):
            if begun and progress:
                bar.write(begun, file=sys.stderr)
            try:
                while at.epoch < epochs:
                    bar.set_description(f"epoch {at.epoch + 1}/{epochs}", refresh=False)
                    clock = time.perf_counter()
                    order: dict[str, Any] = dict(seed=seed, epoch=at.epoch, start=at.batch, drop_last=drop_last)
                    with _mode(model, training=True):
                        for x, y in ranks.batches(train_data, batch_size, augment=augment, **order):
                            at.lr = optimizer.param_groups[0]["lr"]
                            if graphed is None:
                                result = train_step(model, optimizer, x, y, loss)
                            else:
                                result = graphed(fit_to(model, x), fit_to(model, y))
                            result = Result(*ranks.mean(*result))
                            history.step_loss.append(result.loss)
                            at.tally.add(result, ranks.total)
                            if schedule is not None and schedule_every == "step":
                                schedule.step()
                            if on_step is not None:
                                on_step(Step(at.epoch, at.batch, len(history.step_loss) - 1, *result, at.lr))
                            at.batch += 1
                            at.seconds, clock = at.seconds + time.perf_counter() - clock, time.perf_counter()
                            if checkpoint_every and at.batch < steps and len(history.step_loss) % checkpoint_every == 0:
                                run.save()
                            bar.set_postfix_str(history.brief(at), refresh=False)
                            bar.update()
                            drawing.update(history)
                    ranks.check_equal_weights()
                    test = None if test_data is None else _evaluated(model, test_data, batch_size, loss, ranks)
                    at.seconds += time.perf_counter() - clock
                    history.add_epoch(at, test)
                    bar.set_postfix_str(history.brief(at))
                    if schedule is not None and schedule_every == "epoch":
                        schedule.step()
                    at = run.at = Position(at.epoch + 1)
                    run.save()
            except KeyboardInterrupt as stop:
                stop.add_note(f"fit: stopped in epoch {at.epoch + 1}, step {at.batch + 1}. {run.way_on()}")
                raise
        return history


# ── details ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tally(model: Module, dataset: Dataset, batch_size: int, loss: Loss, part: tuple[int, int] = (0, 1)) -> Tally:
    """Loss and accuracy on a part of each batch."""
    tally = Tally()
    with _mode(model, training=False), no_grad():
        for x, y in batches(dataset, batch_size, shuffle=False, part=part):
            if len(y):
                inputs, targets = fit_to(model, x), fit_to(model, y)
                outputs = model(inputs)
                tally.add(
                    Result(*read(loss(outputs, targets).array, share_right(outputs.array, targets.array))), len(y)
                )
    return tally


def _evaluated(model: Module, dataset: Dataset, batch_size: int, loss: Loss, ranks: Ranks) -> Result:
    """`evaluate`, in which each rank takes its share; running statistics are those of rank 0."""
    ranks.send_buffers()
    own = _tally(model, dataset, batch_size, loss, (ranks.rank, ranks.size))
    total, right, examples = ranks.sum(own.loss, own.right, own.examples)
    return Tally(total, right, int(examples)).mean()


@contextmanager
def _mode(model: Module, training: bool) -> Iterator[None]:
    """Put every module in training or evaluation mode inside the block; each gets back the mode it had."""
    before = itertools.starmap(operator.setitem, [(vars(m), "training", m.training) for m in model.modules()])
    try:
        model.train(training)
        yield
    finally:
        list(before)  # in one C call, so that no interrupt comes between


def _check_arguments(model, optimizer, epochs, schedule, schedule_every, loss, checkpoint, checkpoint_every, resume):
    for name, value in (("epochs", epochs), ("checkpoint_every", 1 if checkpoint_every is None else checkpoint_every)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"fit: got {name}={value!r}; expected a whole number of at least 1")
    if checkpoint_every is not None and checkpoint is None:
        raise ValueError('fit: got checkpoint_every without checkpoint; name the file: checkpoint="run.npz"')
    if resume not in (True, False, "weights"):
        raise ValueError(f'fit: got resume={resume!r}; expected True, False, or "weights" (those alone, for a new run)')
    if resume == "weights" and checkpoint is None:
        raise ValueError('fit: got resume="weights" without checkpoint; name the file: checkpoint="run.npz"')
    for name, value, kind in (("optimizer", optimizer, Optimizer), ("schedule", schedule, LRScheduler | None)):
        if not isinstance(value, kind):
            raise TypeError(
                f"fit: got {name}={value!r:.60}; build one: SGD(model.parameters(), …), CosineAnnealingLR(optimizer, …)"
            )
    if not callable(loss):
        raise TypeError(f"fit: got loss={loss!r}; expected a function of output and target, such as F.cross_entropy")
    own = {id(p) for p in model.parameters()}
    strangers = sum(id(p) not in own for group in optimizer.param_groups for p in group["params"])
    if strangers:
        raise ValueError(
            f"fit: got an optimiser with {strangers} parameters that are not the model's; build it from this model: "
            f"{type(optimizer).__name__}(model.parameters(), …)"
        )
    if schedule_every not in ("step", "epoch"):
        raise ValueError(f'fit: got schedule_every={schedule_every!r}; expected "step" or "epoch"')
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("fit: the schedule drives another optimiser; build it on the one that is passed")
