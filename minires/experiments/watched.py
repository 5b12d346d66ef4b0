"""Training a network while its gradient flow is recorded, and the data sets this is done on."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import data, flow, optim
from ..models import ResNet
from ..nn import functional as F
from ..nn.examples import accuracy
from ..tensor import Tensor
from ..train import recipe

CHANNELS = {"digits": 1, "cifar10": 3}  # of the images of each data set


@dataclass
class Runner:
    """One network in training: its optimiser, its losses so far, and the history of its gradient flow."""

    model: ResNet
    optimizer: optim.SGD
    schedule: optim.LRScheduler
    losses: list[float] = field(default_factory=list)
    history: flow.FlowHistory = field(default_factory=flow.FlowHistory)
    correct: float = 0.0  # running mean of the batch accuracy, for the progress bar
    test_accuracy: float = float("nan")

    @classmethod
    def start(cls, model: ResNet, steps: int, lr: float = 0.1, dtype: Any = "float32", device: str = "cpu") -> "Runner":
        """Move the network to the dtype and device, and prepare `train.recipe` for this many steps."""
        return cls(model.to(dtype).to(device), *recipe(model, steps, lr))

    def step(self, x: Tensor, y: Tensor, record: bool) -> None:
        """One training step, with its gradient flow recorded or not (recording changes no bit of the result)."""
        self.optimizer.zero_grad()
        if record:
            with flow.recording(self.model) as recorder:
                logits, loss = self._forward_backward(x, y)
            self.history.add(len(self.losses), recorder)
        else:
            logits, loss = self._forward_backward(x, y)
        self.optimizer.step()
        self.schedule.step()
        self.losses.append(loss)
        self.correct += 0.1 * (accuracy(logits, y.array) - self.correct)

    def _forward_backward(self, x: Tensor, y: Tensor) -> tuple[np.ndarray, float]:
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        return logits.array, loss.item()


def load_data(
    name: str, root: str | None = None, download: bool = False, progress: bool = True
) -> tuple[data.Dataset, data.Dataset]:
    """(train, test) of "digits" or "cifar10", see `data.cifar10`. Raises ValueError for an unknown name."""
    if name == "digits":
        return data.digits()
    if name == "cifar10":
        return data.cifar10(root, download=download, progress=progress)
    raise ValueError(f'load_data: got data={name!r}; expected "digits" or "cifar10"')
