"""Fast kernels in NumPy. Same names, arguments and results as `minires.kernels.textbook`."""

from . import memory
from .batchnorm import batch_norm, batch_norm_backward, batch_norm_eval, batch_norm_eval_backward, batch_norm_relu
from .conv import conv2d, conv2d_backward
from .elementwise import relu, relu_backward
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
    "batch_norm_relu",
    "conv2d",
    "conv2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "relu",
    "relu_backward",
]

memory.keep_freed_memory()
