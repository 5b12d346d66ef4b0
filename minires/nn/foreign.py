"""Arrays of other libraries, above all PyTorch's tensors, which are recognised without importing PyTorch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..tensor import Tensor


def is_torch(value: Any) -> bool:
    """Whether this is a PyTorch tensor. If nobody has imported PyTorch, it is not."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_numpy(value: Any) -> np.ndarray:
    """A tensor or array of minires, PyTorch, NumPy or CuPy, or numbers, as a NumPy array.

    A PyTorch tensor may need gradients, be on any device, and be of any real dtype: bfloat16 and the 8-bit ones become
    float32, which holds them exactly. Raises TypeError for what has no dense array of numbers.
    """
    if isinstance(value, Tensor):
        return value.numpy()
    if is_torch(value):
        return _from_torch(value)
    if hasattr(value, "get") and hasattr(value, "__cuda_array_interface__"):  # CuPy's
        value = value.get()
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever a foreign class raises
        raise TypeError(f"a {type(value).__name__}, which does not give an array ({error})") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a {type(value).__name__} of dtype {array.dtype}; expected numbers")
    return array


def _from_torch(tensor: Any) -> np.ndarray:
    torch = sys.modules["torch"]
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
        what = "sparse" if tensor.layout != torch.strided else "meta" if tensor.is_meta else kind
        raise TypeError(f"a {what} tensor of PyTorch; expected a dense one of real numbers, with values")
    if tensor.is_floating_point() and kind not in ("float16", "float32", "float64"):
        tensor = tensor.float()
    try:
        array: np.ndarray = tensor.numpy(force=True)
    except Exception as error:  # of a subclass of Tensor that is spread over processes, say
        raise TypeError(f"a {type(tensor).__name__} of PyTorch, which does not give an array ({error})") from error
    return array
