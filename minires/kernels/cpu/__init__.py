"""Fast kernels in NumPy. Same names, arguments and results as `minires.kernels.textbook`."""

from . import memory
from .augment import crop_flip, take_images
from .batchnorm import batch_norm, batch_norm_backward, batch_norm_eval, batch_norm_eval_backward, batch_norm_relu
from .conv import conv2d, conv2d_backward
from .elementwise import add, relu, relu_backward
from .loss import cross_entropy, cross_entropy_backward, one_hot
from .pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from .products import linear, linear_backward, matmul
from .reduce import argmax, argmin, reduce_max, reduce_min, reduce_sum, running_update

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "add",
    "argmax",
    "argmin",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_eval",
    "batch_norm_eval_backward",
    "batch_norm_relu",
    "conv2d",
    "conv2d_backward",
    "crop_flip",
    "cross_entropy",
    "cross_entropy_backward",
    "linear",
    "linear_backward",
    "matmul",
    "max_pool2d",
    "max_pool2d_backward",
    "one_hot",
    "reduce_max",
    "reduce_min",
    "reduce_sum",
    "relu",
    "relu_backward",
    "running_update",
    "take_images",
]

memory.keep_freed_memory()
