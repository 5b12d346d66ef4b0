"""An optimiser's step on a device with kernels: all parameters in one launch.

`Optimizer.row` gives, for each parameter, the arrays and the numbers of its next step. Here they become the tables that
kernels/update/update.cu reads, and only what has changed is sent. A step that is captured in a CUDA graph has two
halves: `advance` on the host, before each replay, and `launch` in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import kernels
from ..kernels.update import gpu as update

if TYPE_CHECKING:
    from .optimizers import Optimizer

Launches = dict[tuple[type, Any], update.Update]  # by the arrays' type and dtype


class Row(NamedTuple):
    """One parameter: weight, gradient and state arrays; the kernel's settings; whether the state is still undefined."""

    weight: Any
    grad: Any
    states: tuple[Any, ...]
    numbers: tuple[float, ...]
    first: bool = False


def step(optimizer: Optimizer) -> None:
    """Update every parameter that has a gradient and lives on a device with kernels."""
    for launch, rows, settings in _collected(optimizer, advance=True):
        launch.send_settings(settings)
        launch(rows)


def advance(optimizer: Optimizer) -> list[tuple]:
    """The host's half: count the step, and send its settings.

    Returns which arrays the device's half works on, and by which settings: a graph holds as long as these are the same.
    """
    layout: list[tuple] = []
    for launch, rows, settings in _collected(optimizer, advance=True, to_launch=False):
        launch.send_settings(settings)
        layout += ((id(row.weight), *map(id, row.states), row.settings, row.first) for row in rows)
    return layout


def launch(optimizer: Optimizer) -> None:
    """The device's half: update every parameter by the settings that were sent."""
    for launch, rows, _ in _collected(optimizer, advance=False):
        launch(rows)


def check_alike(p: Any, *others: Any) -> None:
    """Raise ValueError unless gradient and state have the type, shape and dtype of the parameter."""
    for array in others:
        if array.shape != p.shape or array.dtype != p.dtype or type(array) is not type(p):
            where = "" if type(array) is type(p) else " on another device"
            raise ValueError(
                f"optimizer.step: got a parameter {p.dtype} {p.shape} with a gradient or state {array.dtype} "
                f"{array.shape}{where}; convert the model first, with model.to(…), and build the optimiser after it"
            )


def _collected(
    optimizer: Optimizer, advance: bool, to_launch: bool = True
) -> Iterator[tuple[update.Update, list[update.Row], list]]:
    """(launch, rows, settings) for each kind of array among the parameters; rows not `to_launch` are not checked."""
    kinds: dict[tuple[type, Any], tuple[list[update.Row], dict[tuple[float, ...], int]]] = {}
    for i, group in enumerate(optimizer.param_groups):  # groups that are alike now may differ in the next step
        for p in group["params"]:
            if p.grad is None or kernels.device_of(p.data).is_cpu:
                continue
            weight, grad, states, own, first = optimizer.row(p, optimizer.state.setdefault(p, {}), group, advance)
            if to_launch:
                check_alike(weight, grad, *states)
                if not all(array.flags.c_contiguous for array in (weight, *states)):
                    raise ValueError(
                        f"optimizer.step: got a parameter of shape {p.shape} on {p.device} that does not lie row by "
                        "row in memory; make it anew: p.data = p.data.copy()"
                    )
                grad = grad if grad.flags.c_contiguous else grad.copy()
            rows, numbers = kinds.setdefault((type(weight), weight.dtype), ([], {}))
            rows.append(update.Row(weight, grad, states, numbers.setdefault((i, *own), len(numbers)), first))
    for kind, (rows, numbers) in kinds.items():
        if kind not in optimizer.launches:
            assert optimizer.kernel is not None
            on = kernels.device_of(rows[0].weight)
            optimizer.launches[kind] = update.Update(on, optimizer.kernel, np.dtype(kind[1]))
        yield optimizer.launches[kind], rows, [numbers_of_row for _, *numbers_of_row in numbers]
