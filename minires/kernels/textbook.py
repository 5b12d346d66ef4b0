"""The definitions of all kernels in one place: plain loops and formulas, slow on purpose, for the fast ones to match.

Each function has the same name, arguments and result as the fast kernel beside it (``conv/definition.py`` and
``conv/cpu.py``, …). So must a replacement that you give to `minires.kernels.use`.
Images are (N, C, H, W); pairs such as ``stride`` are (vertical, horizontal).
"""

from .augment.definition import crop_flip, take_images
from .batchnorm.definition import (
    all_but_channels,
    batch_norm,
    batch_norm_backward,
    batch_norm_eval,
    batch_norm_eval_backward,
    batch_norm_input_gradient,
    batch_norm_statistics,
    per_channel,
    running_update,
)
from .conv.definition import conv2d, conv2d_backward, taps
from .elementwise.definition import add, relu, relu_backward
from .loss.definition import count_labels, cross_entropy, cross_entropy_backward, one_hot
from .pool.definition import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    regions,
    windows,
)
from .product.definition import linear, linear_backward, matmul
from .reduce.definition import argmax, argmin, reduce_max, reduce_min, reduce_sum

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "add",
    "all_but_channels",
    "argmax",
    "argmin",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_eval",
    "batch_norm_eval_backward",
    "batch_norm_input_gradient",
    "batch_norm_statistics",
    "conv2d",
    "conv2d_backward",
    "count_labels",
    "crop_flip",
    "cross_entropy",
    "cross_entropy_backward",
    "linear",
    "linear_backward",
    "matmul",
    "max_pool2d",
    "max_pool2d_backward",
    "one_hot",
    "per_channel",
    "reduce_max",
    "reduce_min",
    "reduce_sum",
    "regions",
    "relu",
    "relu_backward",
    "running_update",
    "take_images",
    "taps",
    "windows",
]
