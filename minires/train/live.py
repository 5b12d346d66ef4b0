"""`Live`: the curves of a training run, drawn while it runs."""

import itertools
import math
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, Self

from ..html import block
from ..progress import in_notebook, tqdm
from .history import History

EVERY = 0.5  # seconds from one drawing to the next
BARS = "▁▂▃▄▅▆▇█"


class Live:
    """Draws a `History` again and again: curves in a notebook, sparklines in a terminal, elsewhere nothing.

    on: whether at all. steps, epochs: how many there will be. row: the terminal's line, counted from that of the bar.
    """

    def __init__(self, on: bool, steps: int, epochs: int, row: int):
        self._steps, self._epochs = steps, epochs
        self._notebook = on and in_notebook()
        terminal = on and not self._notebook and sys.stderr.isatty()
        self._line = tqdm(bar_format="{desc}", position=row, disable=not terminal, dynamic_ncols=True, leave=True)
        self._next = 0.0 if self._notebook or terminal else math.inf
        self._shown: Any = None
        self._history = History()

    def __enter__(self) -> Self:
        if self._notebook:
            self._draw()  # at once, so that the bar comes below it
        return self

    def __exit__(self, *error: Any) -> None:
        """Draw the last state, which stays."""
        if self._next < math.inf:
            self._draw()
        self._line.close()

    def update(self, history: History) -> None:
        """Draw, unless it is too soon."""
        self._history = history
        start = time.monotonic()
        if start >= self._next:
            self._draw()
            end = time.monotonic()
            self._next = end + max(EVERY, 50 * (end - start))  # a fiftieth of the time at most, in long runs

    def _draw(self) -> None:
        line = sparklines(self._history, shutil.get_terminal_size().columns)
        if not self._notebook:
            self._line.set_description_str(line)
            return
        from IPython.display import display

        drawing = {"text/html": block(self._history.curves(self._steps, self._epochs)), "text/plain": line}
        if self._shown is None:
            self._shown = display(drawing, raw=True, display_id=True)
        else:
            self._shown.update(drawing, raw=True)


def sparklines(history: History, columns: int) -> str:
    """Loss, and accuracy in training and test, each in a few bars that end in the latest number; one line."""
    parts: list[tuple[str, list[float], str, float | None]] = [("loss", history.step_loss, "{:.3f}", None)]
    accuracies = ("accuracy", history.train_accuracy), ("test", history.test_accuracy)
    parts += [(name, values, "{:.1%}", 1.0) for name, values in accuracies if values and not math.isnan(values[-1])]
    room = max(min((columns - 18 * len(parts)) // len(parts), 32), 1)
    return "  ".join(
        f"{name} {sparkline(values, room, high)} {written.format(values[-1])}"
        for name, values, written, high in parts
        if values
    )


def sparkline(values: Sequence[float], width: int, high: float | None = None) -> str:
    """At most ``width`` bars, from 0 to ``high`` or the largest; several values share one, and give it their mean.

    A mean that is not finite is a cross, a negative one the lowest bar.
    """
    width = min(width, len(values))
    cuts = [len(values) * i // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    top = max([m for m in means if math.isfinite(m)], default=0.0) if high is None else high
    return "".join(
        BARS[min(max(int(mean / top * len(BARS)), 0), len(BARS) - 1) if top > 0 else 0] if math.isfinite(mean) else "×"
        for mean in means
    )
