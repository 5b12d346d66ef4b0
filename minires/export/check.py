"""`difference`: what ONNX Runtime makes of an exported network, beside what the network itself makes of it."""

from typing import Any

import numpy as np

from ..autograd import no_grad
from ..flow.keeping import keeping
from ..nn import Module
from ..tensor import Tensor
from ..threads import get_num_threads
from .model import tensors_in


def difference(model: Module, proto: Any, *inputs: np.ndarray) -> tuple[float, float]:
    """The largest |ONNX Runtime's − the model's| of all outputs, in evaluation mode, and the model's largest |output|.

    proto: what `onnx_model` returns. Raises ImportError if onnxruntime is missing, ValueError for other shapes; NaN is
    equal to NaN alone.
    """
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = get_num_threads()
    session = runtime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {wanted.name: x for wanted, x in zip(session.get_inputs(), inputs)})
    with keeping(model), no_grad():
        ours = [y.numpy() for y in tensors_in(model.eval()(*map(Tensor, inputs)))]
    if [y.shape for y in theirs] != [y.shape for y in ours]:
        raise ValueError(f"difference: ONNX Runtime returns {[y.shape for y in theirs]}, not {[y.shape for y in ours]}")
    pairs = list(zip(theirs, ours))
    if any((np.isnan(a) != np.isnan(b)).any() for a, b in pairs):
        return np.inf, np.inf
    return max(_largest(a - b) for a, b in pairs), max(_largest(b) for _, b in pairs)


def _largest(x: np.ndarray) -> float:
    """Of the absolute values, NaN aside."""
    return float(np.nanmax(np.abs(x), initial=0))


def import_onnxruntime() -> Any:
    """The package onnxruntime. Raises ImportError, which says how to install it, if it is missing."""
    try:
        import onnxruntime  # an optional dependency
    except ImportError:
        raise ImportError(
            "difference: needs ONNX Runtime, which is not installed: python -m pip install onnxruntime"
        ) from None
    return onnxruntime
