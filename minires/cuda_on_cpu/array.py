"""Arrays of the device "cuda-on-cpu": in NumPy's memory, but behaving like a GPU's arrays."""

from typing import Any

import numpy as np


class CudaOnCpuArray(np.ndarray):
    """A NumPy array that counts as living on the device "cuda-on-cpu".

    As with CuPy's arrays, what is computed from it lives there too, results of shape () included, and an operation that
    would mix it with a NumPy array raises TypeError.
    """

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if any(isinstance(value, list | tuple) for value in inputs):  # the key of `np.add.at`
            return NotImplemented
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
        if function in (np.concatenate, np.stack) and len(args[0]) > 8 and not CudaOnCpuArray.reading_back:
            raise RuntimeError(f"{function.__name__}: CuPy would send addresses while a graph is being captured")
        return _living_here(function(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()}))

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return _living_here(array)

    def __getitem__(self, key):
        try:
            return _living_here(super().__getitem__(key))
        except IndexError:
            return _living_here(super().__getitem__(_without_positions(key)))

    def __setitem__(self, key, value):
        _check_one_device("assignment", (value,))
        try:
            super().__setitem__(key, value)
        except IndexError:
            super().__setitem__(_without_positions(key), value)

    def argmax(self, axis=None, out=None, *, keepdims=False):
        return _living_here(super().argmax(axis, out, keepdims=keepdims))

    def argmin(self, axis=None, out=None, *, keepdims=False):
        return _living_here(super().argmin(axis, out, keepdims=keepdims))

    def nonzero(self):
        return _living_here(super().nonzero())

    # Values that a GPU could not give while its work is captured in a graph; `reading_back` is False meanwhile.
    reading_back = True

    def item(self, *args):
        _check_reading_back()
        return super().item(*args)

    def tolist(self):
        _check_reading_back()
        return super().tolist()

    def __bool__(self):
        _check_reading_back()
        return super().__bool__()

    def __float__(self):
        _check_reading_back()
        return super().__float__()

    def __int__(self):
        _check_reading_back()
        return super().__int__()


def _without_positions(key: Any) -> tuple:
    """The key with all positions 0: where they leave the array, CuPy takes others within it, without an error."""
    parts = key if isinstance(key, tuple) else (key,)
    return tuple([k * 0 if getattr(k, "ndim", 0) and k.dtype.kind in "iu" else k for k in parts])


def add_at(array: CudaOnCpuArray, key: Any, values: CudaOnCpuArray) -> None:
    """``array[key] += values``, with all values of an entry that the key names several times."""
    np.add.at(_plain(array), _plain(key), _plain(values))


def _check_reading_back() -> None:
    if not CudaOnCpuArray.reading_back:
        raise RuntimeError("a value was read back from the device while its work was being captured in a graph")


def _living_here(value: Any) -> Any:
    """What NumPy returned, with its arrays and scalars made arrays of the device."""
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
