"""What training measured: the history of a run, and how far the run has come."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from .. import html


class Result(NamedTuple):
    """Mean loss and accuracy (0 to 1; NaN unless the targets are class indices) over a batch or a data set."""

    loss: float
    accuracy: float


@dataclass
class History:
    """What a training run measured: ``step_loss`` has one number per step, the other lists one per epoch.

    train_loss and train_accuracy are means over the epoch, taken in training mode, from the network as it was at each
    step. test_loss and test_accuracy are empty without test data. lr: of the first group, at the last step of the
    epoch. Equality leaves out ``seconds``. ``print(history)`` gives a table.
    """

    step_loss: list[float] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list, compare=False)

    def add_epoch(self, at: Position, test: Result | None) -> None:
        """Add an epoch that was trained and, if there is test data, evaluated."""
        train = at.tally.mean()
        self.train_loss.append(train.loss)
        self.train_accuracy.append(train.accuracy)
        if test is not None:
            self.test_loss.append(test.loss)
            self.test_accuracy.append(test.accuracy)
        self.lr.append(at.lr)
        self.seconds.append(at.seconds)

    def fits(self, epochs: int, steps: int) -> bool:
        """Whether these are the numbers of this many epochs and steps."""
        lists = dataclasses.asdict(self)
        if not all(isinstance(vs, list) and all(type(v) in (int, float) for v in vs) for vs in lists.values()):
            return False
        lengths = {name: len(values) for name, values in lists.items()}
        tests = {lengths.pop("test_loss"), lengths.pop("test_accuracy")}
        return lengths.pop("step_loss") == steps and set(lengths.values()) == {epochs} and tests in ({0}, {epochs})

    def to_json(self) -> str:
        """The lists as a JSON object; NaN and infinity, which JSON does not have, become null."""
        lists = dataclasses.asdict(self)
        return json.dumps({k: [v if math.isfinite(v) else None for v in vs] for k, vs in lists.items()}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> History:
        """The history that `to_json` wrote; null becomes NaN. Every finite number survives bit for bit."""
        return cls(**{k: [math.nan if v is None else v for v in vs] for k, vs in json.loads(text).items()})

    def brief(self, at: Position) -> str:
        """The line behind the progress bar."""
        mean = at.tally.mean()
        parts = [f"loss {mean.loss:.3f}"] + [f"accuracy {mean.accuracy:.1%}"] * (not math.isnan(mean.accuracy))
        parts += [f"test {self.test_accuracy[-1]:.1%}"] if self.test_accuracy else []
        return ", ".join([*parts, f"lr {at.lr:.2g}"])

    def __repr__(self) -> str:
        last = {name: text.format(values[-1]) for name, (text, values) in self._columns().items()}
        parts = [f"{name} {value}" for name, value in last.items() if name.startswith(("train", "test"))]
        return f"History({', '.join([f'{len(self.train_loss)} epochs, {len(self.step_loss)} steps', *parts])})"

    def _repr_html_(self) -> str:
        columns = self._columns()
        rows = [
            [str(i + 1), *(text.format(values[i]) for text, values in columns.values())]
            for i in range(len(self.train_loss))
        ]
        table = html.table(["epoch", *columns], rows, "print shows all") if rows else ""
        return html.block(html.line(repr(self)), self.curves(), table)

    def curves(self, steps: int = 0, epochs: int = 0) -> str:
        """Loss over steps, and accuracy over epochs, drawn small, as HTML; with room for so many of them."""
        each = max(-(-max(steps, len(self.step_loss)) // 200), 1)  # so many steps become one point
        points = [sum(self.step_loss[i : i + each]) / each for i in range(0, len(self.step_loss) - each + 1, each)]
        of = f", means of {each}" if each > 1 else ""
        drawn = [html.profile({"training loss": points}, f"step{of}", width=steps // each)]
        both = {"training accuracy": self.train_accuracy, "test accuracy": self.test_accuracy}
        shown = {name: values for name, values in both.items() if not all(map(math.isnan, values))}
        if shown:
            drawn.append(html.profile(shown, "epoch", high=1, width=epochs))
        return "".join(drawn)

    def _columns(self) -> dict[str, tuple[str, list[float]]]:
        """For each column of the table that has numbers, how they are written, and the numbers."""
        columns = {
            "train loss": ("{:.4f}", self.train_loss),
            "train acc": ("{:.1%}", self.train_accuracy),
            "test loss": ("{:.4f}", self.test_loss),
            "test acc": ("{:.1%}", self.test_accuracy),
            "lr": ("{:.3g}", self.lr),
            "seconds": ("{:.1f}", self.seconds),
        }
        return {name: column for name, column in columns.items() if column[1]}

    def __str__(self) -> str:
        shown = self._columns()
        lines = ["epoch" + "".join(f"{name:>12}" for name in shown)]
        for i in range(len(self.train_loss)):
            cells = "".join(f"{text.format(values[i]):>12}" for text, values in shown.values())
            lines.append(f"{i + 1:>5}{cells}")
        return "\n".join(lines)


@dataclass
class Tally:
    """A running mean over examples."""

    loss: float = 0.0
    right: float = 0.0
    examples: int = 0

    def add(self, result: Result, examples: int) -> None:
        """Count a batch."""
        right = result.accuracy * examples
        self.loss += result.loss * examples
        counted = not math.isnan(right) and abs(right - round(right)) < 1e-6  # else there are several targets in each
        self.right += round(right) if counted else right
        self.examples += examples

    def mean(self) -> Result:
        """The means so far."""
        n = max(self.examples, 1)
        return Result(self.loss / n, self.right / n)


@dataclass
class Position:
    """How far a run has come: ``batch`` batches into an epoch, their results, the last learning rate and the time."""

    epoch: int = 0
    batch: int = 0
    tally: Tally = field(default_factory=Tally)
    lr: float = math.nan
    seconds: float = 0.0

    def fits(self, steps: int) -> bool:
        """Whether a run with this many steps per epoch can be here."""
        counts, numbers = (self.epoch, self.batch, self.tally.examples), (self.tally.loss, self.tally.right)
        return (
            all(type(count) is int and count >= 0 for count in counts)
            and all(type(number) in (int, float) for number in (*numbers, self.lr, self.seconds))
            and self.batch < steps
        )
