"""The optimisers' update of all parameters in one launch of update.cu, and the tables that it reads."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..launch import BLOCK, c_name
from ..load import TYPES, Source

UPDATE = Source("update/update.cu", [(kernel, t) for kernel in ("sgd", "adam") for t in TYPES])

CHUNK, GRADIENT = 1024, 1  # as in update.cu: entries of a block; the gradient's column


class Row(NamedTuple):
    """One parameter: array, gradient, states (at most three), the row of its settings, whether its states are new."""

    weight: Any
    grad: Any
    states: Sequence[Any]
    settings: int
    first: bool = False


def _differ(a: Row, b: Row) -> bool:
    """Whether two rows differ in anything but the gradient."""
    same = a.weight is b.weight and a.settings == b.settings and a.first == b.first and len(a.states) == len(b.states)
    return not (same and all(map(operator.is_, a.states, b.states)))


class Update:
    """The tables of one update, kept on a device from step to step; only what has changed is sent.

    Nothing can be sent while a CUDA graph is captured: the table of addresses then follows after the capture, before
    the graph first runs. The settings are sent before each replay.
    """

    def __init__(self, on: Any, kernel: str, dtype: np.dtype):
        self.on, self.kernel, self.dtype = on, kernel, np.dtype(dtype)
        self._sent: dict[str, np.ndarray] = {}
        self._arrays: dict[str, Any] = {}
        self._rows: Sequence[Row] = ()
        self._blocks = self._table = np.empty((0, 2), np.int32)

    def send_settings(self, settings: Sequence[Sequence[float]]) -> None:
        """Send the numbers of the next step: one sequence for each set of settings, in the kernel's order."""
        self._send("settings", np.array(settings, self.dtype))

    def __call__(self, rows: Sequence[Row]) -> None:
        """Update all rows."""
        on, before = self.on, self._rows
        self._rows = rows  # a copied gradient must live until the kernel has run
        if len(before) != len(rows) or any(map(_differ, before, rows)):
            starts = [(i, start) for i, row in enumerate(rows) for start in range(0, row.weight.size, CHUNK)]
            self._blocks = np.array(starts, np.int32).reshape(-1, 2)
            self._table = np.array([self._row(row) for row in rows], np.int64)
        else:  # nothing but the gradients has moved
            self._table = self._table.copy()
            self._table[:, GRADIENT] = [on.address(row.grad) for row in rows]
        self._send("blocks", self._blocks)
        self._send("table", self._table)
        count = len(self._blocks)
        if on.capturing and on.launches_at_once:  # a rehearsal on the CPU: the table has not been sent yet
            on.after_capture.append(lambda: self._launch(count))
        elif count:
            self._launch(count)

    def _launch(self, blocks: int) -> None:
        arrays = (self._arrays[name] for name in ("table", "blocks", "settings"))
        self.on.launch(UPDATE, self.kernel, (c_name(self.dtype),), (blocks,), BLOCK, *arrays)

    def _send(self, name: str, values: np.ndarray) -> None:
        """Bring an array on the device up to date; its address there does not change unless its shape does."""
        sent = self._sent.get(name)
        if sent is not None and np.array_equal(sent, values):
            return
        fits = sent is not None and sent.shape == values.shape
        if self.on.capturing and not fits:
            raise RuntimeError("optimizer.step: got other parameters with a gradient in a captured step than before it")
        self._sent[name] = values
        if not fits:
            self._arrays[name] = self.on.upload(values)
        elif self.on.capturing:
            self.on.after_capture.append(lambda: self._overwrite(name))
        else:
            self._overwrite(name)

    def _overwrite(self, name: str) -> None:
        self._arrays[name][...] = self.on.upload(self._sent[name])

    def _row(self, row: Row) -> tuple[int, ...]:
        """The columns of the table that update.cu reads."""
        address = self.on.address
        states = [*(address(state) for state in row.states), 0, 0, 0][:3]
        return (address(row.weight), address(row.grad), *states, row.weight.size, row.settings, int(row.first))
