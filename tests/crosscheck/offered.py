"""What minires offers of PyTorch's functions, and what its errors call them.

`OPS` maps PyTorch's name of an op in its database to ours, by every way to it.
"""

import operator

import minires as mr
from minires.nn import functional as F
from minires.tensor import Tensor


def transposed(x):
    return x.T


def where(a, condition, b):
    """With the condition second, as in the database."""
    return mr.where(condition, a, b)


def rpow(exponent, base):
    """base ** exponent: the database has the right operand first."""
    return base**exponent


OPS = {
    # arithmetic
    "add": [operator.add],
    "sub": [operator.sub],
    "mul": [operator.mul],
    "div.no_rounding_mode": [operator.truediv],
    "true_divide": [operator.truediv],
    "pow": [operator.pow],
    "neg": [operator.neg, Tensor.neg],
    "__radd__": [Tensor.__radd__],
    "__rsub__": [Tensor.__rsub__],
    "__rmul__": [Tensor.__rmul__],
    "__rdiv__": [Tensor.__rtruediv__],
    "__rpow__": [rpow],
    "__rmatmul__": [Tensor.__rmatmul__],
    "matmul": [operator.matmul],
    "mm": [operator.matmul],
    "bmm": [operator.matmul],
    "mv": [operator.matmul],
    "dot": [operator.matmul],
    # comparisons
    "eq": [operator.eq],
    "ne": [operator.ne],
    "lt": [operator.lt],
    "le": [operator.le],
    "gt": [operator.gt],
    "ge": [operator.ge],
    # elementwise functions
    "abs": [Tensor.abs],
    "exp": [Tensor.exp],
    "log": [Tensor.log],
    "sqrt": [Tensor.sqrt],
    "clamp": [Tensor.clamp],
    "sigmoid": [Tensor.sigmoid, F.sigmoid],
    "tanh": [Tensor.tanh, F.tanh],
    "nn.functional.relu": [Tensor.relu, F.relu],
    "nn.functional.leaky_relu": [F.leaky_relu],
    "nn.functional.relu6": [F.relu6],
    "nn.functional.elu": [F.elu],
    "nn.functional.gelu": [F.gelu],
    "nn.functional.silu": [F.silu],
    "nn.functional.hardswish": [F.hardswish],
    "nn.functional.prelu": [F.prelu],
    "maximum": [mr.maximum],
    "minimum": [mr.minimum],
    "where": [where],
    # reductions
    "sum": [Tensor.sum],
    "mean": [Tensor.mean],
    "var": [Tensor.var],
    "var.unbiased": [Tensor.var],
    "amax": [Tensor.amax],
    "amin": [Tensor.amin],
    "argmax": [Tensor.argmax],
    "argmin": [Tensor.argmin],
    "max.binary": [Tensor.max],
    "max.reduction_no_dim": [Tensor.max],
    "max.reduction_with_dim": [Tensor.max],
    "min.binary": [Tensor.min],
    "min.reduction_no_dim": [Tensor.min],
    "min.reduction_with_dim": [Tensor.min],
    "softmax": [F.softmax],
    "softmax.with_dtype": [F.softmax],
    "log_softmax": [F.log_softmax],
    "log_softmax.with_dtype": [F.log_softmax],
    # shape
    "reshape": [Tensor.reshape],
    "view": [Tensor.view],
    "flatten": [Tensor.flatten, mr.flatten],
    "permute": [Tensor.permute],
    "transpose": [Tensor.transpose],
    "T": [transposed],
    "squeeze": [Tensor.squeeze],
    "squeeze.multiple": [Tensor.squeeze],
    "unsqueeze": [Tensor.unsqueeze],
    "expand": [Tensor.expand],
    "__getitem__": [operator.getitem],
    "cat": [mr.cat],
    "stack": [mr.stack],
    "nn.functional.pad.constant": [F.pad],
    "nn.functional.pad.reflect": [F.pad],
    "nn.functional.pad.replicate": [F.pad],
    "nn.functional.pad.circular": [F.pad],
    # creation and conversion
    "item": [Tensor.item],
    "to": [Tensor.to],
    "float": [Tensor.float],
    "double": [Tensor.double],
    "long": [Tensor.long],
    "zeros": [mr.zeros],
    "ones": [mr.ones],
    "full": [mr.full],
    "arange": [mr.arange],
    "zeros_like": [mr.zeros_like],
    "ones_like": [mr.ones_like],
    # layers and losses
    "nn.functional.linear": [F.linear],
    "nn.functional.conv1d": [F.conv1d],
    "nn.functional.conv2d": [F.conv2d],
    "nn.functional.max_pool2d": [F.max_pool2d],
    "nn.functional.avg_pool2d": [F.avg_pool2d],
    "nn.functional.adaptive_avg_pool2d": [F.adaptive_avg_pool2d],
    "nn.functional.adaptive_max_pool2d": [F.adaptive_max_pool2d],
    "nn.functional.interpolate.nearest": [F.interpolate],
    "nn.functional.batch_norm": [F.batch_norm],
    "nn.functional.group_norm": [F.group_norm],
    "nn.functional.layer_norm": [F.layer_norm],
    "nn.functional.instance_norm": [F.instance_norm],
    "nn.functional.dropout": [F.dropout],
    "nn.functional.dropout2d": [F.dropout2d],
    "nn.functional.one_hot": [F.one_hot],
    "nn.functional.cross_entropy": [F.cross_entropy],
    "nn.functional.nll_loss": [F.nll_loss],
    "nn.functional.mse_loss": [F.mse_loss],
}

# What errors call a function besides its own name: an operator, or the function that does its work.
OTHER_NAMES = {"truediv": {"div"}, "rtruediv": {"div"}, "conv1d": {"conv2d"}}

RANDOM = {"rand", "randn"}  # nothing to compare

# The functions that do the work of a module, or of an operator of ONNX.
FUNCTIONS = {
    "AveragePool": {"avg_pool2d"},
    "MaxPool": {"max_pool2d"},
    "ReduceMax": {"amax"},
    "ReduceMin": {"amin"},
    "AvgPool2d": {"avg_pool2d"},
    "AdaptiveAvgPool2d": {"adaptive_avg_pool2d"},
    "AdaptiveMaxPool2d": {"adaptive_max_pool2d"},
    "GroupNorm": {"group_norm"},
    "InstanceNorm2d": {"instance_norm"},
    "LayerNorm": {"layer_norm"},
    "LogSoftmax": {"log_softmax"},
    "BatchNorm1d": {"batch_norm"},
    "Conv1d": {"conv2d"},
    "BatchNorm2d": {"batch_norm"},
    "CrossEntropyLoss": {"cross_entropy"},
    "LeakyReLU": {"leaky_relu"},
    "MaxPool2d": {"max_pool2d"},
    "MSELoss": {"mse_loss"},
    "NLLLoss": {"nll_loss"},
}
