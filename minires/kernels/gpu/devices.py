"""The two devices that run the kernels: "gpu", with CuPy, and "cuda-on-cpu", with our runner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import cuda_on_cpu
from .launch import Device
from .load import Loader, source as packaged_source

INSTALL = "python -m pip install 'minires[cuda13]'"


class CudaOnCpuArray(np.ndarray):
    """A NumPy array that counts as living on the device "cuda-on-cpu".

    What is computed from it lives there too, results of shape () included, as with CuPy's arrays; and as there, an
    operation that would mix it with a NumPy array raises TypeError.
    """

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        out = options.pop("out", ())
        _check_one_device(ufunc.__name__, (*inputs, *out))
        if out:
            options["out"] = tuple(_plain(a) for a in out)
        result = getattr(ufunc, method)(*map(_plain, inputs), **{k: _plain(v) for k, v in options.items()})
        if out:
            return out[0] if len(out) == 1 else out
        return _living_here(result)

    def __array_function__(self, function, types, args, kwargs):
        _check_one_device(function.__name__, args)
        return _living_here(function(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()}))

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return _living_here(array)

    def __getitem__(self, key):
        return _living_here(super().__getitem__(key))

    def __setitem__(self, key, value):
        _check_one_device("assignment", (value,))
        super().__setitem__(key, value)

    def argmax(self, axis=None, out=None, *, keepdims=False):
        return _living_here(super().argmax(axis, out, keepdims=keepdims))

    def argmin(self, axis=None, out=None, *, keepdims=False):
        return _living_here(super().argmin(axis, out, keepdims=keepdims))

    # What a GPU could not tell while its work is being captured in a graph: `reading_back` is False then.
    reading_back = True

    def item(self, *args):
        _check_reading_back()
        return super().item(*args)

    def __bool__(self):
        _check_reading_back()
        return super().__bool__()

    def __float__(self):
        _check_reading_back()
        return super().__float__()

    def __int__(self):
        _check_reading_back()
        return super().__int__()


def _check_reading_back() -> None:
    if not CudaOnCpuArray.reading_back:
        raise RuntimeError("a value was read back from the device while its work was being captured in a graph")


def _living_here(value: Any) -> Any:
    """What NumPy returned, its arrays and scalars as arrays of the device."""
    if isinstance(value, list | tuple):
        return type(value)(map(_living_here, value))
    if isinstance(value, np.ndarray | np.generic) and type(value) is not CudaOnCpuArray:
        return np.asarray(value).view(CudaOnCpuArray)
    return value


def _plain(value: Any) -> Any:
    """The same memory as a NumPy array."""
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value.view(np.ndarray) if isinstance(value, CudaOnCpuArray) else value


def _check_one_device(function: str, values: Any) -> None:
    for value in values:
        if isinstance(value, list | tuple):
            _check_one_device(function, value)
        elif type(value) is np.ndarray and value.ndim:
            raise TypeError(
                f"{function}: got a NumPy array of shape {value.shape} together with one on the device cuda-on-cpu; "
                "move one of them: minires.kernels.to_device(array, device)"
            )


def make_cuda_on_cpu(source: Callable[[str], str] = packaged_source, multiprocessors: int = 4) -> Device:
    """The teaching and testing device; ``source`` gives the text of a kernel file. RuntimeError if there is no g++."""
    if not cuda_on_cpu.available():
        raise RuntimeError(f"device cuda-on-cpu: {cuda_on_cpu.why_not()}")
    return Device(
        name="cuda-on-cpu",
        array_type=CudaOnCpuArray,
        allocate=lambda shape, dtype: np.empty(shape, dtype).view(CudaOnCpuArray),
        upload=lambda array: np.array(array, order="K").view(CudaOnCpuArray),
        download=lambda array: np.array(array, order="K", subok=False),
        address=lambda array: array.ctypes.data,
        load=Loader(cuda_on_cpu.RawModule, source),
        multiprocessors=multiprocessors,
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
        load=Loader(cupy.RawModule),
        multiprocessors=cupy.cuda.Device().attributes["MultiProcessorCount"],
    )


def why_no_gpu() -> str | None:
    """None if the GPU can be used; else one sentence that says what is missing and what to do."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported ({error}); install it: {INSTALL} (or cuda12, as your driver has it)"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return f"CuPy {cupy.__version__} finds no GPU; look at nvidia-smi, or use device cpu"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__} finds no usable GPU ({error}); look at nvidia-smi, or use device cpu"
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # of several kinds, by how CuPy looked for the library
        return f"CuPy {cupy.__version__} finds no compiler ({error}); install it: {INSTALL}"
    return None


def _upload(array: np.ndarray) -> Any:
    """A NumPy array on the GPU, lying in memory as before."""
    import cupy

    if array.flags.c_contiguous or array.flags.f_contiguous:
        return cupy.array(array, order="K")
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    back = sorted(range(array.ndim), key=order.__getitem__)
    return cupy.array(np.ascontiguousarray(array.transpose(order))).transpose(back)


def _download(array: Any) -> np.ndarray:
    """An array of the GPU as NumPy's, lying in memory as before."""
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    back = sorted(range(array.ndim), key=order.__getitem__)
    return array.transpose(order).get().transpose(back)
