"""What a gradient check found: a `Report` with one `Failure` for each input whose gradient is wrong."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

KINDS = (
    "raises",  # forward or backward raised an error, or there are too few or too many gradients
    "not_deterministic",  # two calls, two results
    "input_changed",  # forward or backward wrote into an array it was given
    "accumulates",  # calling the same backward again gives another gradient
    "no_gradient",  # None, or zeros, where there is a gradient
    "wrong_dtype",
    "wrong_shape",
    "missing_broadcast_sum",  # not summed over the axes along which the input was broadcast
    "ignores_grad_output",  # the same gradient for every grad_output
    "not_linear",  # not linear in grad_output
    "sign",  # −1 times the gradient
    "constant_factor",
    "per_channel_factor",
    "transposed",  # the result, or an array that backward used
    "flipped",
    "shifted",
    "missing_mean_term",  # the error is constant along the axes of a mean
    "missing_variance_term",  # the error is proportional to the centred input
    "wrong_statistics",  # another mean and variance than forward's, such as the running ones
    "edge_overwritten",  # at a fork, the last contribution replaced the others
    "edge_missing",
    "edge_counted_twice",
    "edge_sign",
    "lstm",  # an LSTM's gate, or what goes back through time
    "wrong_op",  # one op of several: its backward is wrong by itself
    "memory_layout",  # another gradient for the same grad_output in a strided view, or in Fortran order
    "wrong_at_kink",  # right everywhere but at a kink, where it is not between the slopes on the two sides
    "wrong_target",  # of a loss: the entries that the targets name
    "swapped_operands",  # another array, or 1, stands in an operand's place, or another input's gradient was returned
    "missing_sum_term",  # what reaches an input through other outputs, as in softmax
    "wrong_derivative",  # grad_output times something that is not the function's derivative
    "partly_wrong",  # none of these: how many entries, and where
    "float32",  # right in float64, too far off in float32
    "too_many_kinks",  # no direction is smooth enough to measure
)


class GradCheckError(AssertionError):
    """A gradient is wrong. ``report`` is the whole `Report`."""

    report: "Report"


class VacuousCheckWarning(UserWarning):
    """The expected gradient is 0 everywhere, so many wrong gradients would pass."""


@dataclass(frozen=True)
class Failure:
    """One input whose gradient is wrong.

    input: index of the input, or name of the parameter (None where the whole function is at fault). kind: one of
    `KINDS`. likely: the diagnosis in words. worst_index, backward, numeric: the entry with the largest error and its
    two values (None where they could not be compared). grad, numeric_grad: the whole arrays, where they were computed.
    """

    input: int | str | None
    kind: str
    likely: str
    message: str
    worst_index: tuple[int, ...] | None = None
    backward: float | None = None
    numeric: float | None = None
    grad: np.ndarray | None = field(default=None, repr=False, compare=False)
    numeric_grad: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Measurement:
    """One directional derivative: backward's value beside that of the differences.

    order is the observed order of the centred difference, 2 for a smooth function (None where rounding hides it);
    step and noise are the step h and the noise floor ε·|f|/h.
    """

    input: int | str
    backward: float
    numeric: float
    bound: float
    order: float | None
    step: float
    noise: float


@dataclass
class Report:
    """The outcome of `gradcheck`: true if all gradients are right; ``print(report)`` says what was found.

    failures, measurements: lists. notes: what else a reader should know, such as kinks that were met.
    skipped: number of directions or coordinates that could not be measured because of a kink.
    """

    name: str
    seed: int
    failures: list[Failure] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: int = 0

    def __bool__(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        if self.failures:
            return "\n".join([f.message for f in self.failures] + [f"  note: {note}" for note in self.notes])
        worst = max((abs(m.backward - m.numeric) / (m.bound or 1) for m in self.measurements), default=0.0)
        noise = max((m.noise for m in self.measurements), default=0.0)
        inputs = len({m.input for m in self.measurements})
        lines = [
            f"{self.name}: right. {inputs} gradients along {len(self.measurements)} directions, worst error "
            f"{worst:.2g} of its bound, noise floor {noise:.1e}   seed {self.seed}"
        ]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def raise_if_wrong(self) -> None:
        """Raise GradCheckError with all messages if there is a failure."""
        if self.failures:
            error = GradCheckError(str(self))
            error.report = self
            raise error


def describe_factor(factor: float) -> str:
    """A factor for a message; one that is nearly 1 as 1 + 5e-06."""
    off = factor - 1
    return f"1 {'+' if off > 0 else '−'} {abs(off):.2g}" if abs(off) < 1e-3 else describe(factor)


def describe(value: Any) -> str:
    """A number for a message, its sign always shown."""
    return f"{value:+.4g}"


def describe_both(one: float, other: float) -> tuple[str, str]:
    """Two numbers for a message, with as many digits as show that they differ."""
    pairs = ((f"{one:+.{digits}g}", f"{other:+.{digits}g}") for digits in range(4, 18))
    return next((pair for pair in pairs if pair[0] != pair[1]), (describe(one), describe(other)))
