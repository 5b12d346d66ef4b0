"""Kernels: arrays in, arrays out. The same functions for every kind of array, chosen here by the array's type.

Each family has a folder with its definition and its fast versions in NumPy and CUDA C. `textbook` gathers the
definitions.
``of(x).conv2d(x, …)`` runs the kernel for x's device; ``with use(conv2d=mine):`` puts a learner's own in its place.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import augment, batchnorm, conv, elementwise, loss, pool, product, reduce, textbook
from .conv.cpu import exact
from .devices import CPU, DEVICES, Device, device, device_of, is_device, to_device
from .launch import allow_tf32

__all__ = [
    "DEVICES",
    "NAMES",
    "allow_tf32",
    "cpu",
    "device",
    "device_of",
    "exact",
    "is_device",
    "of",
    "textbook",
    "to_device",
    "use",
]

FAMILIES = {  # where each kernel is: cpu.py, gpu.py and definition.py of its family each have a function of its name
    augment: ("crop_flip", "take_images"),
    batchnorm: (
        "batch_norm",
        "batch_norm_backward",
        "batch_norm_eval",
        "batch_norm_eval_backward",
        "running_update",
    ),
    conv: ("conv2d", "conv2d_backward"),
    elementwise: ("add", "relu", "relu_backward"),
    loss: ("cross_entropy", "cross_entropy_backward", "one_hot"),
    pool: (
        "adaptive_avg_pool2d",
        "adaptive_avg_pool2d_backward",
        "avg_pool2d",
        "avg_pool2d_backward",
        "max_pool2d",
        "max_pool2d_backward",
    ),
    product: ("linear", "linear_backward", "matmul"),
    reduce: ("argmax", "argmin", "reduce_max", "reduce_min", "reduce_sum"),
}
NAMES = tuple(sorted(name for names in FAMILIES.values() for name in names))


def table(on: Device) -> dict[str, Callable]:
    """{name: kernel} for the arrays of one device."""
    return {
        name: getattr(family.cpu, name) if on.is_cpu else functools.partial(getattr(family.gpu, name), on)
        for family, names in FAMILIES.items()
        for name in names
    }


_tables: dict[type, dict[str, Callable]] = {np.ndarray: table(CPU)}  # the kernels for each type of array …
_swapped: list[dict[str, Callable]] = []  # … what `use` puts in their place, outermost first …
_in_force: dict[type, SimpleNamespace] = {np.ndarray: SimpleNamespace(**_tables[np.ndarray])}  # … and the outcome
cpu = SimpleNamespace(**_tables[np.ndarray])  # NumPy's kernels, whatever `use` has swapped


def of(array: Any) -> SimpleNamespace:
    """The kernels for this kind of array, as attributes: ``of(x).conv2d``. Raises TypeError for anything else."""
    try:
        return _in_force[type(array)]
    except KeyError:
        on = device_of(array, "kernels.of")
    if on.array_type not in _tables:
        _tables[on.array_type] = table(on)
        _refresh()
    return _in_force[on.array_type]


@contextlib.contextmanager
def use(**swaps: Callable) -> Iterator[None]:
    """Replace kernels with your own inside a ``with`` block: ``with kernels.use(conv2d=my_conv2d): train()``.

    A replacement has the signature of its namesake in `minires.kernels.textbook`. The swap holds for all threads.
    Raises ValueError for a name that is not a kernel's.
    """
    for name in swaps:
        if name not in NAMES:
            raise ValueError(f"kernels.use: got {name!r}, which is no kernel; there are {', '.join(NAMES)}")
    _swapped.append(swaps)
    try:
        _refresh()
        yield
    finally:
        _swapped[:] = [other for other in _swapped if other is not swaps]
        _refresh()


def _refresh() -> None:
    """Bring what is in force up to date with the tables and the swaps."""
    for array_type, kernels in _tables.items():
        vars(_in_force.setdefault(array_type, SimpleNamespace())).update(kernels)
        for swaps in _swapped:
            vars(_in_force[array_type]).update(swaps)
