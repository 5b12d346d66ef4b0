"""Fast kernels in NumPy. Same names, arguments and results as `minires.kernels.textbook`."""

from .batchnorm import batch_norm, batch_norm_backward, batch_norm_eval, batch_norm_eval_backward
from .conv import conv2d, conv2d_backward
from .elementwise import relu, relu_backward
from .memory import keep_freed_memory
from .pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_eval",
    "batch_norm_eval_backward",
    "conv2d",
    "conv2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "relu",
    "relu_backward",
]

keep_freed_memory()
