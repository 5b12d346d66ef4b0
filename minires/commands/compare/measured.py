"""What a comparison measured, as numbers: the table, the sentences and ``compare.json`` are written from it."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import __version__, flow
from ...experiments.watched import Watched

EARLY = slice(1, 10)  # the convolutions whose turning is told: the 2nd to the 10th
TAIL = 50  # the final training loss is the mean over this many last steps, or over the last fifth of a short run


@dataclass(frozen=True)
class Run:
    """One network from one seed; None for what is not finite or was not measured.

    last_losses: of the last steps, see `TAIL`. test_accuracy: from 0 to 1. ends: {step: ‖∂L/∂W‖ of the first
    convolution and of the last}. end_gradient: the median of ‖∂L/∂W‖ over the convolutions, at the last recorded step.
    fork_sum_error: the largest relative error of skip + branch at any fork; None without forks too. free: {step: the
    first over the last of ‖∂L/∂W‖·‖W‖}, which is free of scale. turns: {step: by how many degrees it turned the median
    kernel of the 2nd to the 10th convolution}.
    """

    seed: int
    steps: int
    last_losses: list[float]
    test_accuracy: float | None
    ends: dict[int, tuple[float, float]]
    end_gradient: float | None = None
    fork_sum_error: float | None = None
    free: dict[int, float | None] = field(default_factory=dict)
    turns: dict[int, float | None] = field(default_factory=dict)

    @property
    def train_loss(self) -> float | None:
        """The final training loss: the mean over the last steps."""
        return number(np.mean(self.last_losses)) if self.last_losses else None

    @property
    def ratios(self) -> dict[int, float | None]:
        """{step: ‖∂L/∂W‖ of the first convolution over that of the last}."""
        return {step: ratio(*ends) for step, ends in self.ends.items()}

    def turned(self, first: int, last: float = math.inf) -> float | None:
        """The median of the turns at the recorded steps from the first to the last; None if there are none."""
        return middle([turn for step, turn in self.turns.items() if first <= step <= last])


@dataclass(frozen=True)
class Network:
    """One of the two networks: how many numbers it learns, its runs, and the forks of the last recorded step of one."""

    parameters: int
    runs: list[Run]
    forks: list[flow.Fork] = field(default_factory=list)

    def values(self, what: Callable[[Run], Any]) -> list[Any]:
        """A number of each run."""
        return [what(run) for run in self.runs]

    @property
    def train_loss(self) -> float | None:
        """The median over the runs of the final training loss."""
        return middle(self.values(lambda run: run.train_loss))

    @property
    def test_accuracy(self) -> float | None:
        """The median over the runs."""
        return middle(self.values(lambda run: run.test_accuracy))

    @property
    def ends(self) -> dict[int, tuple[float, float]]:
        """{step: (first, last)} of the run whose ratio is the median one, at the steps that all runs recorded."""
        found = {}
        for step in set.intersection(*(set(run.ends) for run in self.runs)):
            ordered = sorted((run.ends[step] for run in self.runs), key=lambda ends: ratio(*ends) or 0.0)
            found[step] = ordered[(len(ordered) - 1) // 2]
        return dict(sorted(found.items()))

    @property
    def fork_sum_error(self) -> float | None:
        """The largest of all runs; None if it is not finite, or there are no forks."""
        errors = [run.fork_sum_error for run in self.runs if run.fork_sum_error is not None]
        return max(errors) if len(errors) == len(self.runs) else None


@dataclass(frozen=True)
class Comparison:
    """What a comparison measured.

    settings: all of them, as plain values. networks: the two, by name. steps: the fewest that a seed was trained.
    test_images: how many the accuracy is of. shared_weights: the share of the first network's weights that the second
    starts with too, from 0 to 1.
    """

    settings: dict[str, Any]
    networks: dict[str, Network]
    steps: int
    test_images: int
    shared_weights: float
    processes: int
    seconds: float
    interrupted: bool
    version: str = __version__

    @property
    def seeds(self) -> int:
        """How many seeds were measured."""
        return len(next(iter(self.networks.values())).runs)

    def to_json(self) -> str:
        """A JSON object with everything but the forks, as written to ``compare.json``."""
        top = ("depth", "width", "data", "device", "seed", "epochs")  # here since before there were all settings
        rest = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("version", "networks")
        }
        forked = [network for network in self.networks.values() if network.forks]
        errors = [network.fork_sum_error for network in forked if network.fork_sum_error is not None]
        document = {
            "version": self.version,
            **{name: self.settings[name] for name in top},
            **rest,
            "fork_sum_error": max(errors, default=None) if len(errors) == len(forked) else None,
            "networks": {name: _network(network) for name, network in self.networks.items()},
        }
        return json.dumps(document, indent=2)


def measure(seed: int, watched: Watched) -> Run:
    """The numbers of one run."""
    history, losses = watched.history, watched.losses
    norms, turns = history.convolution_norms, history.convolution_turns
    early = turns[:, EARLY if turns.shape[1] > 1 else slice(None)]
    return Run(
        seed,
        len(losses),
        losses[-min(TAIL, max(len(losses) // 5, 1)) :],
        number(watched.test_accuracy),
        {step: (float(row[0]), float(row[-1])) for step, row in zip(history.steps, norms)},
        number(np.median(norms[-1])),
        number(history.sum_error) if history.forks[-1] else None,
        dict(zip(history.steps, map(number, history.first_over_last(free_of_scale=True)))),
        dict(zip(history.steps, map(number, np.median(early, axis=1)))),
    )


def number(value: Any) -> float | None:
    """A float that JSON can hold; None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def ratio(first: float, last: float) -> float | None:
    """The first over the last; None if that is no finite number."""
    return number(first / last) if last and math.isfinite(last) else None


def middle(values: Sequence[float | None]) -> float | None:
    """The median; None if one of the values is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known and len(known) == len(values) else None


def _network(network: Network) -> dict[str, Any]:
    return {
        "parameters": network.parameters,
        "train_loss": network.train_loss,
        "test_accuracy": network.test_accuracy,
        "gradient_ratio": [{"step": step, "first_over_last": ratio(*ends)} for step, ends in network.ends.items()],
        "runs": [_run(run) for run in network.runs],
    }


def _run(run: Run) -> dict[str, Any]:
    rows = [
        {
            "step": step,
            "first": number(first),
            "last": number(last),
            "first_over_last": ratio(first, last),
            "free_of_scale": run.free.get(step),
            "degrees_turned": run.turns.get(step),
        }
        for step, (first, last) in run.ends.items()
    ]
    return {
        "seed": run.seed,
        "steps": run.steps,
        "train_loss": run.train_loss,
        "train_loss_steps": len(run.last_losses),
        "test_accuracy": run.test_accuracy,
        "fork_sum_error": run.fork_sum_error,
        "end_gradient": run.end_gradient,
        "gradient_ratio": rows,
    }
