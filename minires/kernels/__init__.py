"""Kernels: arrays in, arrays out. The same functions for every kind of array, chosen here by the array's type.

`textbook` holds the definitions, `cpu` the fast NumPy versions. ``of(x).conv2d(x, …)`` runs the kernel for x's backend;
``with use(conv2d=mine):`` puts a learner's own in its place.
"""

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import cpu

NAMES = cpu.__all__
DEVICES = ("cpu",)

_backends: dict[type, SimpleNamespace] = {
    np.ndarray: SimpleNamespace(**{name: getattr(cpu, name) for name in NAMES}),
}


def of(array: Any) -> SimpleNamespace:
    """The kernels for this kind of array, as attributes named like the functions of `minires.kernels.cpu`."""
    try:
        return _backends[type(array)]
    except KeyError:
        raise TypeError(f"kernels.of: got a {type(array).__name__}; expected a NumPy array") from None


@contextlib.contextmanager
def use(**swaps: Callable) -> Iterator[None]:
    """Replace kernels by your own inside a ``with`` block: ``with kernels.use(conv2d=my_conv2d): train()``.

    A replacement has the signature of its namesake in `minires.kernels.textbook`. The swap holds for all threads.
    Raises ValueError for a name that is no kernel.
    """
    for name in swaps:
        if name not in NAMES:
            raise ValueError(f"kernels.use: got {name!r}, which is no kernel; there are {', '.join(NAMES)}")
    before = [(backend, dict(vars(backend))) for backend in _backends.values()]
    try:
        for backend, _ in before:
            vars(backend).update(swaps)
        yield
    finally:
        for backend, kernels in before:
            vars(backend).update(kernels)


def device_of(array: Any) -> str:
    """Name of the device an array lives on."""
    if isinstance(array, np.ndarray):
        return "cpu"
    raise TypeError(f"device_of: got a {type(array).__name__}; expected a NumPy array")


def to_device(array: Any, device: str) -> Any:
    """The array on another device (itself, if it is there already). Raises ValueError for an unknown device."""
    if device not in DEVICES:
        raise ValueError(f"to_device: got device {device!r}; this version computes on {', '.join(DEVICES)}")
    return array
