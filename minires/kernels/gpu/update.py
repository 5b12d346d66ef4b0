"""The optimisers' update of all parameters in one launch of optim.cu: the table of addresses that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .launch import BLOCK, Device, c_name

CHUNK = 1024  # as in optim.cu


class Row(NamedTuple):
    """One parameter: its array, gradient, state arrays (none, one or two), group, and whether its state is new."""

    weight: Any
    grad: Any
    states: Sequence[Any]
    group: int
    first: bool = False


class Update:
    """Keeps table and settings on a device from step to step, and sends only what has changed.

    While a CUDA graph is captured nothing can be sent: the table is then sent when the capture has ended, before the
    graph first runs. The settings are the caller's to `send` before each replay.
    """

    def __init__(self, on: Device, kernel: str, dtype: np.dtype):
        self.on, self.kernel, self.dtype = on, kernel, np.dtype(dtype)
        self._sent: dict[str, np.ndarray] = {}
        self._arrays: dict[str, Any] = {}

    def __call__(self, rows: Sequence[Row], settings: Sequence[Sequence[float]]) -> None:
        """Update all rows; ``settings`` has one sequence of numbers for each group, in the order of the kernel."""
        on = self.on
        self.send("settings", np.array(settings, self.dtype))
        self.send("table", np.array([self._row(row) for row in rows], np.int64))
        starts = [(i, start) for i, row in enumerate(rows) for start in range(0, row.weight.size, CHUNK)]
        self.send("blocks", np.array(starts, np.int32))
        if starts:
            arrays = (self._arrays[name] for name in ("table", "blocks", "settings"))
            on.launch("optim", self.kernel, (c_name(self.dtype),), (len(starts),), BLOCK, *arrays)

    def send(self, name: str, values: np.ndarray) -> None:
        """Bring an array on the device up to date; its address there stays as long as its shape does."""
        sent = self._sent.get(name)
        if sent is not None and np.array_equal(sent, values):
            return
        self._sent[name] = values
        if sent is None or sent.shape != values.shape:
            if self.on.capturing:
                raise RuntimeError(f"optimizer.step: got other parameters with a gradient ({name}) than before capture")
            self._arrays[name] = self.on.upload(values)
        elif self.on.capturing:
            self.on.after_capture.append(lambda: self._overwrite(name))
        else:
            self._overwrite(name)

    def _overwrite(self, name: str) -> None:
        self._arrays[name][...] = self.on.upload(self._sent[name])

    def _row(self, row: Row) -> tuple[int, ...]:
        address = self.on.address
        states = [*(address(state) for state in row.states), 0, 0][:2]
        return (address(row.weight), address(row.grad), *states, row.weight.size, row.group, int(row.first))
