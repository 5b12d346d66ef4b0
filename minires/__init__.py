"""minires: a residual-network laboratory. Autograd, kernels and residual blocks, written to be read.

    import minires as mr

Names follow PyTorch wherever it has the thing.
"""

from numpy import bool_ as bool  # noqa: A004  (dtypes carry PyTorch's names)
from numpy import float32, float64, int64

from . import data, kernels, models, nn
from .autograd import detect_anomaly, grad, no_grad
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
from .kernels.cpu.threads import get_num_threads, set_num_threads
from .nn.functional import relu, sigmoid, softmax, tanh
from .ops import Op
from .random import manual_seed
from .tensor import Tensor, apply

__version__ = "0.1.0"
