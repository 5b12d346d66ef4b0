"""Training a network while its gradient flow is recorded, and the data sets this is done on."""

import contextlib
import math
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import data, flow, optim
from ..jobs import Interrupted
from ..models import ResNet
from ..nn import functional as F
from ..nn.examples import accuracy, fit_to
from ..tensor import Tensor
from ..train import evaluate, recipe

CHANNELS = {"digits": 1, "cifar10": 3}  # of the images of each data set


@dataclass
class Runner:
    """One network in training: its optimiser, its losses so far, and the history of its gradient flow."""

    model: ResNet
    optimizer: optim.SGD
    schedule: optim.LRScheduler
    losses: list[float] = field(default_factory=list)
    history: flow.FlowHistory = field(default_factory=flow.FlowHistory)
    layers: dict[str, tuple[int, ...]] = field(default_factory=dict)  # shapes of all weights with axes, by layer
    correct: float = 0.0  # running mean of the batch accuracy, for the progress bar

    @classmethod
    def start(cls, model: ResNet, steps: int, lr: float = 0.1, dtype: Any = "float32", device: str = "cpu") -> "Runner":
        """Move the network to the dtype and device, and prepare `train.recipe` for this many steps."""
        shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if len(p.shape) > 1}
        layers = {name.removesuffix(".weight"): shape for name, shape in shapes.items()}
        return cls(model.to(dtype).to(device), *recipe(model, steps, lr), layers=layers)

    def step(self, x: Tensor, y: Tensor, record: bool) -> None:
        """One training step, with its gradient flow recorded or not (recording changes no bit of the result)."""
        self.optimizer.zero_grad()
        if record:
            with flow.recording(self.model) as recorder:
                logits, loss = self._forward_backward(x, y)
            self.history.add(len(self.losses), recorder, self.layers)
        else:
            logits, loss = self._forward_backward(x, y)
        with self.history.turning(self.model) if record else contextlib.nullcontext():
            self.optimizer.step()
        self.schedule.step()
        self.losses.append(loss)
        self.correct += 0.1 * (accuracy(logits, y.array) - self.correct)

    def _forward_backward(self, x: Tensor, y: Tensor) -> tuple[np.ndarray, float]:
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        return logits.array, loss.item()


class Task(NamedTuple):
    """A network to train by `watch`, and how. build: called where the job runs; it pickles. seed: of the batches."""

    build: Callable[[], ResNet]
    train: data.Dataset
    test: data.Dataset
    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.epochs * data.batch_count(self.train, self.batch_size, drop_last=True)


class Advance(NamedTuple):
    """What `watch` yields after each step: how many there were, the loss, the running mean of the batch accuracy."""

    steps: int
    loss: float
    correct: float


class Watched(NamedTuple):
    """What `watch` returns. test_accuracy: NaN if the training diverged or Ctrl-C came first."""

    parameters: int
    losses: list[float]
    history: flow.FlowHistory
    test_accuracy: float


def watch(task: Task) -> Generator[Advance, None, Watched]:
    """A job (see `minires.jobs`): train a network, with its gradient flow recorded at the steps `flow.is_due` names.

    Ctrl-C ends the training; the network is tested, and `Interrupted` hands over what was measured until then.
    """
    model, steps, interrupted = task.build(), task.steps, False
    runner, test_accuracy = Runner.start(model, steps, task.lr, task.dtype, task.device), float("nan")
    try:
        for epoch in range(task.epochs):
            batches = data.batches(task.train, task.batch_size, seed=task.seed, epoch=epoch, drop_last=True)
            for images, labels in batches:
                x, y = fit_to(model, images), fit_to(model, labels)
                with no_overflow_warnings():
                    runner.step(x, y, record=flow.is_due(len(runner.losses), last=steps - 1))
                yield Advance(len(runner.losses), runner.losses[-1], runner.correct)
    except KeyboardInterrupt:
        interrupted = True
    if not runner.losses:
        raise Interrupted(None)
    try:
        with no_overflow_warnings():
            tested = evaluate(model, task.test)
        test_accuracy = tested.accuracy if math.isfinite(tested.loss) else math.nan
    except KeyboardInterrupt:  # without the test images, the rest is still handed over
        interrupted = True
    parameters = sum(p.numel() for p in model.parameters())
    result = Watched(parameters, runner.losses, runner.history, test_accuracy)
    if interrupted:
        raise Interrupted(result)
    return result


@contextlib.contextmanager
def no_overflow_warnings() -> Iterator[None]:
    """Silence NumPy's warnings of overflow, for where a training that diverged is reported in another way.

    (Not `np.errstate`, which does not reach the kernels' threads.)
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
        yield


def load_data(
    name: str, root: str | None = None, download: bool = False, progress: bool = True
) -> tuple[data.Dataset, data.Dataset]:
    """(train, test) of "digits" or "cifar10", see `data.cifar10`. Raises ValueError for an unknown name."""
    if name == "digits":
        return data.digits()
    if name == "cifar10":
        return data.cifar10(root, download=download, progress=progress)
    raise ValueError(f'load_data: got data={name!r}; expected "digits" or "cifar10"')
