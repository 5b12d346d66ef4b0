"""minires: a residual-network laboratory. Autograd, kernels and residual blocks, written to be read.

    import minires as mr

Names follow PyTorch wherever it has an equivalent.
"""

from typing import Any

from numpy import float32, float64, int64

from . import cuda, data, flow, kernels, models, nn, optim, train
from .autograd import Recorder, detect_anomaly, enable_grad, grad, inference_mode, no_grad
from .creation import (
    arange,
    cat,
    device,
    flatten,
    from_numpy,
    full,
    linspace,
    maximum,
    minimum,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randperm,
    stack,
    tensor,
    where,
    zeros,
    zeros_like,
)
from .export import export_onnx
from .functions import (
    abs,
    add,
    argmax,
    argmin,
    chunk,
    div,
    einsum,
    eq,
    exp,
    is_tensor,
    log,
    matmul,
    max,
    mean,
    min,
    mul,
    norm,
    split,
    sqrt,
    sub,
    sum,
    topk,
)
from .installed import warn_of_other_package
from .kernels import exact
from .nn.functional import relu, sigmoid, softmax, tanh
from .nn.weights import load_weights, save_weights
from .ops import Op
from .random import manual_seed
from .recompute import checkpoint
from .state import set_grad_enabled
from .tensor import Tensor, apply
from .threads import get_num_threads, set_num_threads

__version__ = "0.3.0"
warn_of_other_package()

__all__ = [
    "Op",
    "Recorder",
    "Tensor",
    "abs",
    "add",
    "apply",
    "arange",
    "argmax",
    "argmin",
    "cat",
    "checkpoint",
    "chunk",
    "cuda",
    "data",
    "detect_anomaly",
    "device",
    "div",
    "einsum",
    "enable_grad",
    "eq",
    "exact",
    "exp",
    "export_onnx",
    "flatten",
    "float32",
    "float64",
    "flow",
    "from_numpy",
    "full",
    "get_num_threads",
    "grad",
    "inference_mode",
    "int64",
    "is_tensor",
    "kernels",
    "linspace",
    "load_weights",
    "log",
    "manual_seed",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "models",
    "mul",
    "nn",
    "no_grad",
    "norm",
    "ones",
    "ones_like",
    "optim",
    "rand",
    "randint",
    "randn",
    "randperm",
    "relu",
    "save_weights",
    "set_grad_enabled",
    "set_num_threads",
    "sigmoid",
    "softmax",
    "split",
    "sqrt",
    "stack",
    "sub",
    "sum",
    "tanh",
    "tensor",
    "topk",
    "train",
    "where",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    """Say what to do about PyTorch's functions that are only methods here."""
    if not name.startswith("_") and callable(getattr(Tensor, name, None)):
        raise AttributeError(f"minires has no function {name}; it is a method of a tensor: x.{name}(…)")
    raise AttributeError(f"module 'minires' has no attribute {name!r}")
