"""One wrong gradient, and all that a diagnosis may need to know about it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..ops import Op
from .report import Failure
from .subject import Subject

Diagnosis = tuple[str, str]


@dataclass
class Case:
    """One wrong gradient, that of array ``slot``: backward's ``grad``, the ``numeric`` one, and what they came from."""

    subject: Subject
    arrays: list[Any]
    slot: int
    cotangent: np.ndarray
    output: np.ndarray
    grad: np.ndarray
    numeric: np.ndarray
    noise: float
    second: Callable[[], tuple[np.ndarray, np.ndarray]]  # grad and numeric for another grad_output,
    other_cotangent: np.ndarray | None = None  # which is this
    check_alone: Callable[[Op, list[Any]], Failure | None] = lambda op, inputs: None  # the checker, for one op

    @cached_property
    def error(self) -> np.ndarray:
        """G − N."""
        return self.grad - self.numeric

    @cached_property
    def slack(self) -> float:
        """How far a hypothesis may lie from G."""
        return 1e-3 * float(np.abs(self.error).max(initial=0)) + self.noise

    def explains(self, hypothesis: np.ndarray, where: Any = ...) -> bool:
        """Whether a hypothesis is G, as far as differences can tell."""
        return bool(np.abs(self.grad[where] - hypothesis[where]).max(initial=0) <= self.slack)

    def pooled(self, axes: tuple[int, ...]) -> int:
        """How many entries lie along these axes."""
        return int(np.prod([self.grad.shape[a] for a in axes]))

    @property
    def x(self) -> np.ndarray:
        """The array whose gradient is wrong."""
        return self.arrays[self.slot]
