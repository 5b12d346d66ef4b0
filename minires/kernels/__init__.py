"""Kernels: arrays in, arrays out. The same functions for every kind of array, chosen here by the array's type.

Each family has a folder with its definition and its fast versions in NumPy and CUDA C. `textbook` gathers the
definitions.
``of(x).conv2d(x, …)`` runs the kernel for x's device; ``with use(conv2d=mine):`` puts a learner's own in its place.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from ..blocks import contextmanager
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
    "replaced",
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
        "batch_norm_input_gradient",
        "batch_norm_statistics",
        "running_update",
    ),
    conv: ("conv2d", "conv2d_backward"),
    elementwise: ("add", "relu", "relu_backward"),
    loss: ("count_labels", "cross_entropy", "cross_entropy_backward", "one_hot"),
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


_swapped: dict[object, dict[str, Callable]] = {}  # what each open `use` puts in the place of others, outermost first …
_in_force: dict[type, SimpleNamespace] = {}  # … and the outcome for each type of array that was seen since
cpu = SimpleNamespace(**table(CPU))  # NumPy's kernels, whatever `use` has swapped


def of(array: Any) -> SimpleNamespace:
    """The kernels for this kind of array, as attributes: ``of(x).conv2d``. Raises TypeError for anything else."""
    try:
        return _in_force[type(array)]
    except KeyError:
        on = device_of(array, "kernels.of")
    swapped = None
    while swapped != (swapped := list(_swapped.values())):  # again if another thread has swapped meanwhile
        kernels = SimpleNamespace(**functools.reduce(operator.or_, swapped, table(on)))
        _in_force[type(array)] = kernels
    return kernels


def replaced(*names: str) -> bool:
    """Whether `use` has put another kernel in the place of one of these."""
    return any(name in swaps for swaps in list(_swapped.values()) for name in names)


@contextmanager
def use(**swaps: Callable) -> Iterator[None]:
    """Replace kernels with your own inside a ``with`` block: ``with kernels.use(conv2d=my_conv2d): train()``.

    A replacement has the signature of its namesake in `minires.kernels.textbook`. The swap holds for all threads.
    Raises ValueError for a name that is not a kernel's.
    """
    for name in swaps:
        if name not in NAMES:
            raise ValueError(f"kernels.use: got {name!r}, which is no kernel; there are {', '.join(NAMES)}")
    block = object()
    end = itertools.starmap(operator.call, [(_swapped.pop, block, None), (_in_force.clear,)])
    try:
        _swapped[block] = swaps
        _in_force.clear()
        yield
    finally:
        list(end)  # in one C call, so that no interrupt comes between
