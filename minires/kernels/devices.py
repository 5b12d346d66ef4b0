"""Devices: where arrays live and kernels run. `device` finds one by name, `device_of` by an array; `to_device` moves.

"cpu" is NumPy; "gpu" is CuPy on a CUDA device; "cuda-on-cpu" runs the GPU's kernels on the CPU, slowly, for learning
and testing. The last two are set up when they are first asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arguments import described
from ..state import current
from .launch import LARGEST, MOST_LAYERS, check_size
from .load import Loader, Source, instance, read as packaged

DEVICES = ("cpu", "gpu", "cuda-on-cpu")
MOST_PLANS = 4096  # launches that are kept ready
CUDA = ("cuda", "cuda:0")  # what PyTorch calls the GPU
INSTALL = "python -m pip install -e '.[cuda13]', in the folder of the repository"


@dataclass
class Device:
    """One kind of array, and how kernels reach it.

    array_type: the type of its arrays. allocate(shape, dtype) makes a new array, upload copies one from NumPy, download
    copies one to NumPy. address: where an array's first entry is in the device's memory. add_at(array, key, values):
    ``array[key] += values``, where an entry that the key names several times gets all its values (on a GPU, in any
    order).
    load: a `load.Loader` (None on the CPU, which needs none). multiprocessors: at least this many blocks run side by
    side. ampere: whether it is an Ampere (2020) or newer, which can do what pipelined.cu and tensor_core.cuh ask for.
    launches_at_once: whether a launch has finished when it returns. capturing: whether launches are now recorded into a
    CUDA graph, so that nothing may be read back or sent; what must be sent waits in after_capture. by_value: makes a
    kernel's argument of a NumPy array of shape (). plans: what is ready for the launches seen so far.
    """

    name: str
    array_type: type
    allocate: Callable[..., Any]
    upload: Callable[[np.ndarray], Any]
    download: Callable[[Any], np.ndarray]
    address: Callable[[Any], int]
    add_at: Callable[[Any, Any, Any], None] = np.add.at
    load: Loader | None = None
    multiprocessors: int = 0
    ampere: bool = True
    launches_at_once: bool = False
    capturing: bool = False
    after_capture: list[Callable[[], None]] = field(default_factory=list)
    by_value: Callable[[np.ndarray], Any] = lambda array: array
    plans: dict[tuple, tuple] = field(default_factory=dict)

    @property
    def is_cpu(self) -> bool:
        """Whether its arrays are NumPy's and its kernels those in ``cpu.py``."""
        return self.load is None

    @property
    def tf32(self) -> bool:
        """Whether products of float32 now run on its tensor cores."""
        return self.ampere and current().tf32

    def empty(self, shape: Any, dtype: Any) -> Any:
        """A new array, row by row, contents undefined. Raises ValueError for more entries than 32 bits can count."""
        array = self.allocate(shape, dtype)
        if array.size >= LARGEST:
            check_size(array)
        return array

    def launch(
        self, source: Source, kernel: str, template: tuple, grid: tuple, block: int, *arrays: Any, numbers: tuple = ()
    ) -> None:
        """Launch ``kernel<template>`` of a file on arrays, with all numbers in one struct (or one number by itself).

        Whole numbers are C's int, others of their own type. What depends on no array is prepared once and kept.
        """
        key = source, kernel, template, grid, block, numbers
        try:
            run, grid, threads, last = self.plans[key]
        except KeyError:
            run, grid, threads, last = self._plan(*key)
        run(grid, threads, arrays + last)

    def _plan(
        self, source: Source, kernel: str, template: tuple, grid: tuple, block: int, numbers: tuple
    ) -> tuple[Callable[..., None], tuple, tuple, tuple]:
        """What a launch needs besides arrays: the kernel, its grid and block, and the argument for its numbers."""
        assert self.load is not None
        if max(grid[1:], default=1) > MOST_LAYERS:
            raise ValueError(
                f"gpu kernels: got a {kernel} in a grid of {grid} blocks, of which CUDA counts up to "
                f"{MOST_LAYERS:,} along the last two axes: use fewer channels or groups, or a smaller stride"
            )
        if len(self.plans) >= MOST_PLANS:  # as when a momentum changes in every step
            self.plans.clear()
        last = (self.by_value(packed(numbers)),) if numbers else ()
        plan = self.load(source, instance(kernel, *template)), grid, (block,), last
        self.plans[source, kernel, template, grid, block, numbers] = plan
        return plan


def packed(numbers: tuple) -> np.ndarray:
    """Numbers as C lays them out in a struct, in an array of shape (); a single one as it is."""
    typed = [np.int32(number) if isinstance(number, bool | int) else number for number in numbers]
    if len(typed) == 1:
        return np.array(typed[0])
    struct = np.dtype([(f"f{i}", number.dtype) for i, number in enumerate(typed)], align=True)
    return np.array(tuple(typed), struct)


def _itself(array: np.ndarray) -> np.ndarray:
    return array


CPU = Device("cpu", np.ndarray, np.empty, upload=_itself, download=_itself, address=lambda array: array.ctypes.data)
by_type: dict[type, Device] = {np.ndarray: CPU}  # the devices set up so far, by the type of their arrays
_one_at_a_time = threading.Lock()  # two threads must not set up the same device twice


def device(name: str, function: str = "device") -> Device:
    """The device of this name, set up on first use.

    Raises ValueError for an unknown name, and RuntimeError, with what to do, if there is no GPU, no CuPy or no g++.
    The messages begin with ``function``.
    """
    name = "gpu" if name in CUDA else name
    if name not in DEVICES:
        raise ValueError(f"{function}: got device {name!r}; minires computes on {', '.join(DEVICES)}")
    with _one_at_a_time:
        for known in by_type.values():
            if known.name == name:
                return known
        new = make_gpu() if name == "gpu" else make_cuda_on_cpu()
        by_type[new.array_type] = new
        return new


def is_device(name: Any) -> bool:
    """Whether this names a device, also in PyTorch's way: "cuda" is the GPU."""
    return isinstance(name, str) and name in (*DEVICES, *CUDA)


def device_of(array: Any, function: str = "device_of") -> Device:
    """The device an array lives on. Raises TypeError, in the name of ``function``, for what is not a device's array."""
    known = by_type.get(type(array))
    if known is not None:
        return known
    if type(array).__module__.partition(".")[0] == "cupy":
        return device("gpu")
    if isinstance(array, np.ndarray | np.generic):  # a memmap, or the scalar that NumPy returns for shape ()
        return CPU
    raise TypeError(f"{function}: got {described(array)}; expected a NumPy or CuPy array")


def to_device(array: Any, name: str) -> Any:
    """The array on another device, in the same memory order; the array itself if it is already there.

    Raises ValueError for an unknown device, RuntimeError for one that cannot be used here.
    """
    here, there = device_of(array, "to_device"), device(name, "to_device")
    if here is there:
        return array
    host = here.download(array)
    if there.capturing:
        raise RuntimeError(
            f"to_device: got an array of shape {host.shape} to send to {name} while a step is captured in a CUDA "
            "graph, which would send the same one in every step; was it drawn at random? Use graph=False"
        )
    return there.upload(host)


# ── the two that are set up on first use ────────────────────────────────────────────────────────────────────────────


def make_cuda_on_cpu(read: Callable[[str], str] = packaged, multiprocessors: int = 4, ampere: bool = True) -> Device:
    """The device for learning and testing; ``read`` gives a kernel file's text. Raises RuntimeError without g++."""
    from .. import cuda_on_cpu
    from ..cuda_on_cpu.array import CudaOnCpuArray, add_at

    if not cuda_on_cpu.available():
        raise RuntimeError(f"device cuda-on-cpu: {cuda_on_cpu.why_not()}")
    return Device(
        name="cuda-on-cpu",
        array_type=CudaOnCpuArray,
        allocate=lambda shape, dtype: np.empty(shape, dtype).view(CudaOnCpuArray),
        upload=lambda array: np.array(array, order="K").view(CudaOnCpuArray),
        download=lambda array: np.array(array, order="K", subok=False),
        address=lambda array: array.__array_interface__["data"][0],
        add_at=add_at,
        load=Loader(cuda_on_cpu.RawModule, read),
        multiprocessors=multiprocessors,
        ampere=ampere,
        launches_at_once=True,
    )


def make_gpu() -> Device:
    """The GPU that CuPy computes on. Raises RuntimeError, with what to do, if there is none or CuPy is missing."""
    reason = why_no_gpu()
    if reason is not None:
        raise RuntimeError(f"device gpu: {reason}")
    import cupy

    return Device(
        name="gpu",
        array_type=cupy.ndarray,
        allocate=cupy.empty,
        upload=_upload,
        download=_download,
        address=lambda array: array.data.ptr,
        add_at=cupy.add.at,  # np.add.at hands it over only if the key is an array by itself (14.2)
        load=Loader(cupy.RawModule),
        by_value=getattr(cupy.cuda.function, "CNumpyArray", _itself),  # ready; CuPy would make one in every launch
        multiprocessors=cupy.cuda.Device().attributes["MultiProcessorCount"],
        ampere=int(cupy.cuda.Device().compute_capability) >= 80,
    )


def why_no_gpu() -> str | None:
    """None if the GPU can be used; otherwise one sentence that says what is missing and what to do."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported ({error}); install it: {INSTALL} (or cuda12, as your driver has it)"
    except OSError as error:  # it makes a folder for itself in the home folder
        return f"CuPy cannot be imported ({error}); set CUPY_CACHE_DIR and HOME to folders that can be written"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return f"CuPy {cupy.__version__} finds no GPU; look at nvidia-smi, or use device cpu"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__} finds no usable GPU ({error}); look at nvidia-smi, or use device cpu"
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # its type depends on how CuPy looked for the library
        return f"CuPy {cupy.__version__} finds no compiler ({error}); install it: {INSTALL}"
    if no_headers():
        return f"CuPy {cupy.__version__} finds no headers of CUDA, with which it compiles; install them: {INSTALL}"
    return None


def no_headers() -> bool:
    """Whether CuPy would look in vain for CUDA's headers, asked of what CuPy asks; False if that is not there."""
    try:
        from cuda import pathfinder
    except ImportError:
        return False
    return pathfinder.find_nvidia_header_directory("cudart") is None


def _upload(array: np.ndarray) -> Any:
    """A NumPy array, copied to the GPU in the same memory order."""
    import cupy

    if array.flags.c_contiguous or array.flags.f_contiguous:
        return cupy.array(array, order="K")
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    back = sorted(range(array.ndim), key=order.__getitem__)
    return cupy.array(np.ascontiguousarray(array.transpose(order))).transpose(back)


def _download(array: Any) -> np.ndarray:
    """A GPU array, copied to NumPy in the same memory order."""
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    back = sorted(range(array.ndim), key=order.__getitem__)
    return array.transpose(order).get().transpose(back)
