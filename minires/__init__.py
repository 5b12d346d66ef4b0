"""minires: a residual-network laboratory. Autograd, kernels and residual blocks, written to be read.

    import minires as mr

Names follow PyTorch wherever it has an equivalent.
"""

from numpy import float32, float64, int64

from . import data, flow, kernels, models, nn, optim, train
from .autograd import Recorder, detect_anomaly, grad, no_grad
from .creation import (
    arange,
    cat,
    flatten,
    full,
    maximum,
    minimum,
    ones,
    ones_like,
    rand,
    randn,
    stack,
    tensor,
    where,
    zeros,
    zeros_like,
)
from .installed import warn_of_other_package
from .kernels import exact
from .nn.functional import relu, sigmoid, softmax, tanh
from .ops import Op
from .random import manual_seed
from .recompute import checkpoint
from .tensor import Tensor, apply
from .threads import get_num_threads, set_num_threads

__version__ = "0.3.0"
warn_of_other_package()

__all__ = [
    "Op",
    "Recorder",
    "Tensor",
    "apply",
    "arange",
    "cat",
    "checkpoint",
    "data",
    "detect_anomaly",
    "exact",
    "flatten",
    "float32",
    "float64",
    "flow",
    "full",
    "get_num_threads",
    "grad",
    "int64",
    "kernels",
    "manual_seed",
    "maximum",
    "minimum",
    "models",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "optim",
    "rand",
    "randn",
    "relu",
    "set_num_threads",
    "sigmoid",
    "softmax",
    "stack",
    "tanh",
    "tensor",
    "train",
    "where",
    "zeros",
    "zeros_like",
]
