"""History: how the gradient's flow changes while a network learns."""

import math

import numpy as np

from .record import Fork, Recording


def is_due(step: int, last: int | None = None, dense: int = 10, per_decade: int = 10) -> bool:
    """Whether a log schedule records this step: all of the first ``dense``, then ``per_decade`` a decade, and the last."""
    if step < dense or step == last:
        return True
    nearest = round(math.log10(step) * per_decade)
    return step == round(10 ** (nearest / per_decade))


class History:
    """Gradient norms of all weight layers, and the forks, at some steps of a training run."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.layers: list[str] = []
        self._norms: list[list[float]] = []
        self._kernels: list[bool] = []
        self.forks: list[list[Fork]] = []
        self.sum_error = 0.0  # the largest seen at any fork

    def add(self, step: int, recording: Recording) -> None:
        """Keep the norms of one recording. Raises ValueError if it is of another network."""
        names = [layer.name for layer in recording.layers]
        if self.layers and names != self.layers:
            raise ValueError(f"History.add: got layers {names[:3]}…, expected {self.layers[:3]}…; one history, one network")
        self.layers = names
        self._kernels = [len(layer.shape) == 4 for layer in recording.layers]
        self.steps.append(step)
        self._norms.append([layer.weight_gradient for layer in recording.layers])
        self.forks.append(recording.forks)
        self.sum_error = max(self.sum_error, recording.sum_error)

    @property
    def norms(self) -> np.ndarray:
        """‖∂L/∂W‖, (steps, layers)."""
        return np.array(self._norms)

    @property
    def convolutions(self) -> list[str]:
        """Names of the convolutions among the layers."""
        return [name for name, kernel in zip(self.layers, self._kernels) if kernel]

    @property
    def convolution_norms(self) -> np.ndarray:
        """‖∂L/∂W‖ of the convolutions, (steps, convolutions)."""
        return self.norms[:, self._kernels]

    def first_over_last(self) -> np.ndarray:
        """‖∂L/∂W‖ of the first convolution over that of the last, at each recorded step."""
        norms = self.convolution_norms
        with np.errstate(divide="ignore", invalid="ignore"):
            return norms[:, 0] / norms[:, -1]
