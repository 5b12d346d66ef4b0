"""Kernels: arrays in, arrays out. The same functions for every kind of array, chosen here by the array's type.

`textbook` holds the definitions, `cpu` the fast NumPy versions, `gpu` those in CUDA C. ``of(x).conv2d(x, …)`` runs the
kernel for x's backend; ``with use(conv2d=mine):`` puts a learner's own in its place.

A device is where arrays live: "cpu" (NumPy), "gpu" (CuPy, a CUDA device) or "cuda-on-cpu", which runs the GPU's kernels
on the CPU, slowly, to learn from and to test. The last two are set up when an array is first moved there.
"""

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import cpu, gpu
from .gpu.launch import Device, switches

_numpy: dict[str, Callable] = {name: getattr(cpu, name) for name in cpu.__all__}

NAMES = tuple(_numpy)
DEVICES = ("cpu", "gpu", "cuda-on-cpu")

_tables: dict[type, dict[str, Callable]] = {np.ndarray: _numpy}  # the kernels for each type of array …
_swapped: list[dict[str, Callable]] = []  # … what `use` puts in their place, outermost first …
_backends: dict[type, SimpleNamespace] = {np.ndarray: SimpleNamespace(**_numpy)}  # … and what is in force
_devices: dict[type, Device] = {}  # by the type of their arrays; NumPy's own is not among them


def of(array: Any) -> SimpleNamespace:
    """The kernels for this kind of array, as attributes named like the functions of `minires.kernels.cpu`."""
    try:
        return _backends[type(array)]
    except KeyError:
        if _is_cupy(array):
            device("gpu")
            return _backends[type(array)]
        if isinstance(array, np.generic):  # what NumPy makes of an array of shape ()
            return _backends[np.ndarray]
        raise TypeError(f"kernels.of: got a {type(array).__name__}; expected a NumPy or CuPy array") from None


@contextlib.contextmanager
def use(**swaps: Callable) -> Iterator[None]:
    """Replace kernels by your own inside a ``with`` block: ``with kernels.use(conv2d=my_conv2d): train()``.

    A replacement has the signature of its namesake in `minires.kernels.textbook`. The swap holds for all threads.
    Raises ValueError for a name that is no kernel.
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
    """Make every backend what its table and the swaps in force say."""
    for array_type, table in _tables.items():
        vars(_backends.setdefault(array_type, SimpleNamespace())).update(table)
        for swaps in _swapped:
            vars(_backends[array_type]).update(swaps)


def device(name: str) -> Device | None:
    """What runs the kernels of a device, set up on first use; None for "cpu", which needs nothing.

    Raises ValueError for an unknown name, RuntimeError, with what to do, if there is no GPU, no CuPy or no g++.
    """
    if name not in DEVICES:
        raise ValueError(f"to_device: got device {name!r}; minires computes on {', '.join(DEVICES)}")
    if name == "cpu":
        return None
    for known in _devices.values():
        if known.name == name:
            return known
    from .gpu import devices  # needs the runner or CuPy, which importing minires does not

    new = devices.make_gpu() if name == "gpu" else devices.make_cuda_on_cpu()
    _tables[new.array_type], _devices[new.array_type] = gpu.table(new, NAMES), new
    _refresh()
    return new


def on_device(array: Any) -> bool:
    """Whether an array lives on another device than "cpu"."""
    return type(array) in _devices or (type(array) is not np.ndarray and _is_cupy(array))


def capturing(array: Any) -> bool:
    """Whether the work on this array's device is now being captured in a CUDA graph: nothing can be read back."""
    return type(array) in _devices and _devices[type(array)].capturing


def running_on(array: Any) -> Device | None:
    """The `Device` of an array; None for a NumPy array."""
    return None if device_of(array) == "cpu" else _devices[type(array)]


def device_of(array: Any) -> str:
    """Name of the device an array lives on."""
    if type(array) is np.ndarray:
        return "cpu"
    if _is_cupy(array):
        device("gpu")
    if type(array) in _devices:
        return _devices[type(array)].name
    if isinstance(array, np.ndarray):
        return "cpu"
    raise TypeError(f"device_of: got a {type(array).__name__}; expected a NumPy or CuPy array")


def to_device(array: Any, device_name: str) -> Any:
    """The array on another device (itself, if it is there already), lying in memory in the same order.

    Raises ValueError for an unknown device, RuntimeError for one that cannot be used here.
    """
    there = device(device_name)
    if device_of(array) == device_name:
        return array
    here = running_on(array)
    host = array if here is None else here.download(array)
    if there is None:
        return host
    if there.capturing:
        raise RuntimeError(
            f"to_device: got an array of shape {host.shape} to send to {device_name} while a step is captured in a "
            "CUDA graph, which would send the same one in every step; was it drawn at random? Use graph=False"
        )
    return there.upload(host)


@contextlib.contextmanager
def allow_tf32(allowed: bool = True) -> Iterator[None]:
    """Let float32 products (convolutions, linear layers, ``@``) run on tensor cores inside a ``with`` block.

    They round their operands to TF32, which has 10 bits of mantissa instead of 23: several times faster on large
    layers, with a relative error of about 5e-4 in each product. Off by default. Holds on every device but the CPU.
    """
    before, switches.tf32 = switches.tf32, allowed
    try:
        yield
    finally:
        switches.tf32 = before


def _is_cupy(array: Any) -> bool:
    return type(array).__module__.partition(".")[0] == "cupy"
