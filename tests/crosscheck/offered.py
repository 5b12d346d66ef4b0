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


def einsum(operands, equation):
    """With the equation second, as in the database."""
    return mr.einsum(equation, *operands)


OPS = {
    # arithmetic
    "add": [operator.add, Tensor.add, mr.add],
    "sub": [operator.sub, Tensor.sub, mr.sub],
    "mul": [operator.mul, Tensor.mul, mr.mul],
    "div.no_rounding_mode": [operator.truediv, Tensor.div, mr.div],
    "true_divide": [operator.truediv, Tensor.div, mr.div],
    "pow": [operator.pow, Tensor.pow, mr.pow],
    "neg": [operator.neg, Tensor.neg, mr.neg],
    "__radd__": [Tensor.__radd__],
    "__rsub__": [Tensor.__rsub__],
    "__rmul__": [Tensor.__rmul__],
    "__rdiv__": [Tensor.__rtruediv__],
    "__rpow__": [rpow],
    "__rmatmul__": [Tensor.__rmatmul__],
    "matmul": [operator.matmul, Tensor.matmul, mr.matmul],
    "mm": [operator.matmul, Tensor.mm, mr.mm],
    "bmm": [operator.matmul, Tensor.bmm, mr.bmm],
    "mv": [operator.matmul],
    "outer": [Tensor.outer, mr.outer],
    "einsum": [einsum],
    "dot": [operator.matmul, Tensor.dot, mr.dot],
    # truth values and bits
    "bitwise_not": [operator.invert],
    "bitwise_and": [operator.and_],
    "bitwise_or": [operator.or_],
    "bitwise_xor": [operator.xor],
    "logical_not": [Tensor.logical_not, mr.logical_not],
    "isnan": [Tensor.isnan, mr.isnan],
    "isinf": [Tensor.isinf, mr.isinf],
    "isfinite": [Tensor.isfinite, mr.isfinite],
    "any": [Tensor.any, mr.any],
    "all": [Tensor.all, mr.all],
    "allclose": [Tensor.allclose, mr.allclose],
    "equal": [Tensor.equal, mr.equal],
    # comparisons
    "eq": [operator.eq, Tensor.eq, mr.eq],
    "ne": [operator.ne, Tensor.ne, mr.ne],
    "lt": [operator.lt, Tensor.lt, mr.lt],
    "le": [operator.le, Tensor.le, mr.le],
    "gt": [operator.gt, Tensor.gt, mr.gt],
    "ge": [operator.ge, Tensor.ge, mr.ge],
    # elementwise functions
    "abs": [Tensor.abs, mr.abs],
    "exp": [Tensor.exp, mr.exp],
    "log": [Tensor.log, mr.log],
    "sqrt": [Tensor.sqrt, mr.sqrt],
    "log1p": [Tensor.log1p, mr.log1p],
    "rsqrt": [Tensor.rsqrt, mr.rsqrt],
    "square": [Tensor.square, mr.square],
    "reciprocal": [Tensor.reciprocal, mr.reciprocal],
    "sign": [Tensor.sign, mr.sign],
    "floor": [Tensor.floor, mr.floor],
    "ceil": [Tensor.ceil, mr.ceil],
    "round": [Tensor.round, mr.round],
    "round.decimals_0": [Tensor.round, mr.round],
    "round.decimals_3": [Tensor.round, mr.round],
    "round.decimals_neg_3": [Tensor.round, mr.round],
    "clamp": [Tensor.clamp, mr.clamp],
    "sigmoid": [Tensor.sigmoid, mr.sigmoid, F.sigmoid],
    "tanh": [Tensor.tanh, mr.tanh, F.tanh],
    "nn.functional.relu": [Tensor.relu, mr.relu, F.relu],
    "nn.functional.leaky_relu": [F.leaky_relu],
    "nn.functional.relu6": [F.relu6],
    "nn.functional.elu": [F.elu],
    "nn.functional.gelu": [F.gelu],
    "nn.functional.silu": [F.silu],
    "nn.functional.hardswish": [F.hardswish],
    "nn.functional.prelu": [F.prelu],
    "masked_fill": [Tensor.masked_fill, mr.masked_fill],
    "maximum": [Tensor.maximum, mr.maximum],
    "minimum": [Tensor.minimum, mr.minimum],
    "where": [where],
    # reductions
    "sum": [Tensor.sum, mr.sum],
    "mean": [Tensor.mean, mr.mean],
    "var": [Tensor.var, mr.var],
    "var.unbiased": [Tensor.var, mr.var],
    "std": [Tensor.std, mr.std],
    "std.unbiased": [Tensor.std, mr.std],
    "prod": [Tensor.prod, mr.prod],
    "cumsum": [Tensor.cumsum, mr.cumsum],
    "norm": [Tensor.norm, mr.norm],
    "norm.fro": [Tensor.norm],
    "norm.inf": [Tensor.norm],
    "amax": [Tensor.amax, mr.amax],
    "amin": [Tensor.amin, mr.amin],
    "argmax": [Tensor.argmax, mr.argmax],
    "argmin": [Tensor.argmin, mr.argmin],
    "max.binary": [Tensor.max, mr.max],
    "max.reduction_no_dim": [Tensor.max, mr.max],
    "max.reduction_with_dim": [Tensor.max, mr.max],
    "min.binary": [Tensor.min, mr.min],
    "min.reduction_no_dim": [Tensor.min, mr.min],
    "min.reduction_with_dim": [Tensor.min, mr.min],
    "softmax": [Tensor.softmax, mr.softmax, F.softmax],
    "softmax.with_dtype": [Tensor.softmax, mr.softmax, F.softmax],
    "log_softmax": [Tensor.log_softmax, mr.log_softmax, F.log_softmax],
    "log_softmax.with_dtype": [Tensor.log_softmax, mr.log_softmax, F.log_softmax],
    # shape
    "reshape": [Tensor.reshape, mr.reshape],
    "view": [Tensor.view],
    "flatten": [Tensor.flatten, mr.flatten],
    "permute": [Tensor.permute, mr.permute],
    "transpose": [Tensor.transpose, mr.transpose],
    "T": [transposed],
    "squeeze": [Tensor.squeeze, mr.squeeze],
    "squeeze.multiple": [Tensor.squeeze, mr.squeeze],
    "unsqueeze": [Tensor.unsqueeze, mr.unsqueeze],
    "flip": [Tensor.flip, mr.flip],
    "expand": [Tensor.expand],
    "expand_as": [Tensor.expand_as],
    "view_as": [Tensor.view_as],
    "repeat": [Tensor.repeat],
    "t": [Tensor.t, mr.t],
    "__getitem__": [operator.getitem],
    "narrow": [Tensor.narrow, mr.narrow],
    "split": [Tensor.split, mr.split],
    "split.list_args": [Tensor.split, mr.split],
    "chunk": [Tensor.chunk, mr.chunk],
    "unbind": [Tensor.unbind, mr.unbind],
    "gather": [Tensor.gather, mr.gather],
    "sort": [Tensor.sort, mr.sort],
    "argsort": [Tensor.argsort, mr.argsort],
    "topk": [Tensor.topk, mr.topk],
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
    "half": [Tensor.half],
    "short": [Tensor.short],
    "int": [Tensor.int],
    "bool": [Tensor.bool],
    "clone": [Tensor.clone, mr.clone],
    "contiguous": [Tensor.contiguous],
    "new_zeros": [Tensor.new_zeros],
    "new_ones": [Tensor.new_ones],
    "new_full": [Tensor.new_full],
    "zeros": [mr.zeros],
    "ones": [mr.ones],
    "full": [mr.full],
    "arange": [mr.arange],
    "linspace": [mr.linspace],
    "zeros_like": [mr.zeros_like],
    "ones_like": [mr.ones_like],
    "full_like": [mr.full_like],
    "eye": [mr.eye],
    # layers and losses
    "nn.functional.linear": [F.linear],
    "nn.functional.conv1d": [F.conv1d],
    "nn.functional.conv2d": [F.conv2d],
    "nn.functional.conv_transpose2d": [F.conv_transpose2d],
    "nn.functional.max_pool1d": [F.max_pool1d],
    "nn.functional.avg_pool1d": [F.avg_pool1d],
    "nn.functional.adaptive_avg_pool1d": [F.adaptive_avg_pool1d],
    "nn.functional.adaptive_max_pool1d": [F.adaptive_max_pool1d],
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
OTHER_NAMES = {
    "truediv": {"div"},
    "rtruediv": {"div"},
    "dot": {"matmul"},
    "view_as": {"reshape"},
    "expand_as": {"expand"},
    "conv1d": {"conv2d"},
    "max_pool1d": {"max_pool2d"},
    "avg_pool1d": {"avg_pool2d"},
    "adaptive_avg_pool1d": {"adaptive_avg_pool2d"},
    "adaptive_max_pool1d": {"adaptive_max_pool2d"},
}

RANDOM = {"rand", "rand_like", "randint", "randn", "randn_like", "empty", "empty_like"}  # nothing to compare

# The functions that do the work of a module, or of an operator of ONNX.
FUNCTIONS = {
    "AveragePool": {"avg_pool2d"},
    "MaxPool": {"max_pool2d"},
    "ConvTranspose": {"conv_transpose2d"},
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
    "Conv1d": {"conv1d", "conv2d"},
    "BatchNorm2d": {"batch_norm"},
    "CrossEntropyLoss": {"cross_entropy"},
    "LeakyReLU": {"leaky_relu"},
    "AdaptiveAvgPool1d": {"adaptive_avg_pool1d", "adaptive_avg_pool2d"},
    "AdaptiveMaxPool1d": {"adaptive_max_pool1d", "adaptive_max_pool2d"},
    "AvgPool1d": {"avg_pool1d", "avg_pool2d"},
    "ConvTranspose2d": {"conv_transpose2d"},
    "MaxPool1d": {"max_pool1d", "max_pool2d"},
    "MaxPool2d": {"max_pool2d"},
    "MSELoss": {"mse_loss"},
    "NLLLoss": {"nll_loss"},
}
