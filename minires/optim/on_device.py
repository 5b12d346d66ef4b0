"""An optimiser's step on a device with CUDA kernels: one launch for all parameters of the same type.

`Optimizer.rows` gives the arrays and the numbers of each parameter's next step. Here they become the tables that
kernels/update/update.cu reads; only what has changed is sent. A step that is captured in a CUDA graph has two halves:
`advance` on the host, before each replay, and `launch` in the graph.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..kernels.update import gpu as update

Launches = dict[tuple[type, Any], update.Update]  # by the type and dtype of the arrays


class Row(NamedTuple):
    """One parameter: weight, gradient and state arrays; the kernel's settings; whether the state is still undefined."""

    weight: Any
    grad: Any
    states: tuple[Any, ...]
    numbers: tuple[float, ...]
    first: bool = False


Rows = Iterable[tuple[int, Row]]  # (number of the group, row)


def step(kernel: str, rows: Rows, launches: Launches) -> None:
    """Update the parameters with the kernel of this name; what it needs on the device is kept in ``launches``."""
    for launch, kind, settings in _collected(kernel, rows, launches):
        launch.send_settings(settings)
        launch(kind)


def advance(kernel: str, rows: Rows, launches: Launches) -> list[tuple]:
    """The host's half of a step: send the settings of ``rows``, which have counted this step.

    Returns which arrays the device's half works on, with which settings: a graph is valid while these stay the same.
    """
    layout: list[tuple] = []
    for launch, kind, settings in _collected(kernel, rows, launches, to_launch=False):
        launch.send_settings(settings)
        layout += ((id(row.weight), *map(id, row.states), row.settings, row.first) for row in kind)
    return layout


def launch(kernel: str, rows: Rows, launches: Launches) -> None:
    """The device's half of a step: update the parameters with the settings that were sent."""
    for launch, kind, _ in _collected(kernel, rows, launches):
        launch(kind)


def check_alike(p: Any, *others: Any) -> None:
    """Raise ValueError unless gradient and state have the type, shape and dtype of the parameter."""
    shape, dtype, kind = p.shape, p.dtype, type(p)
    for array in others:
        if array.shape != shape or type(array) is not kind or (array.dtype is not dtype and array.dtype != dtype):
            where = "" if type(array) is kind else " on another device"
            raise ValueError(
                f"optimizer.step: got a parameter {dtype} {shape} with a gradient or state {array.dtype} "
                f"{array.shape}{where}; convert the model first, with model.to(…), and build the optimiser after it"
            )


def _collected(
    kernel: str, rows: Rows, launches: Launches, to_launch: bool = True
) -> Iterator[tuple[update.Update, list[update.Row], list]]:
    """(update, rows, settings) for each kind of array among the parameters; rows are checked if ``to_launch``."""
    kinds: dict[tuple[type, Any], tuple[list[update.Row], dict[tuple[float, ...], int]]] = {}
    for group, (weight, grad, states, own, first) in rows:
        if to_launch:
            check_alike(weight, grad, *states)
            if not all(array.flags.c_contiguous for array in (weight, *states)):
                raise ValueError(
                    f"optimizer.step: got a parameter of shape {weight.shape} on {kernels.device_of(weight).name} that "
                    "does not lie row by row in memory; make it anew: p.array = p.array.copy()"
                )
            grad = grad if grad.flags.c_contiguous else grad.copy()
        found, numbers = kinds.setdefault((type(weight), weight.dtype), ([], {}))
        # The group's number is part of the key: groups with equal settings now may differ in the next step.
        found.append(update.Row(weight, grad, states, numbers.setdefault((group, *own), len(numbers)), first))
    for kind, (found, numbers) in kinds.items():
        if kind not in launches:
            launches[kind] = update.Update(kernels.device_of(found[0].weight), kernel, np.dtype(kind[1]))
        yield launches[kind], found, [numbers_of_row for _, *numbers_of_row in numbers]
