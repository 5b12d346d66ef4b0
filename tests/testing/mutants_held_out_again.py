"""A second held-out set: mistakes of learners in elementwise functions, products, softmax, losses and norms.

Written before the diagnoses "wrong_derivative", "swapped_operands", "missing_sum_term" and "wrong_target".
"partly_wrong" counts as a name only where a mistake is in some entries and nowhere else.
"""

import numpy as np
from testing import subjects as s
from testing.subjects import Pair, channels, mean, normal, softmax, x_hat

from minires.kernels import cpu

GEOMETRY = (1, 1), (1, 1), (1, 1), 1


def _sum_to(g, shape):
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(k for k, n in enumerate(shape) if n == 1), keepdims=True)


def _apart(*shapes):
    """Numbers away from 0."""
    return lambda rng: [np.sign(a) * (0.5 + np.abs(a)) for a in (rng.standard_normal(shape) for shape in shapes)]


def _positive(*shapes):
    return lambda rng: [rng.uniform(0.5, 2, shape) for shape in shapes]


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _length(x):
    return np.sqrt((x * x).sum(-1, keepdims=True))


def _layer_norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True))


def _layer_norm_backward(g, x, with_mean=1, with_var=1):
    y, std = _layer_norm(x), np.sqrt(x.var(-1, keepdims=True))
    terms = with_mean * g.mean(-1, keepdims=True) + with_var * y * (g * y).mean(-1, keepdims=True)
    return (g - terms) / std


multiply = Pair("multiply", lambda a, b: a * b, lambda g, a, b: (g * b, g * a), normal((3, 4), (3, 4)))
stretched = Pair(
    "multiply, broadcast",
    lambda a, b: a * b,
    lambda g, a, b: (_sum_to(g * b, a.shape), _sum_to(g * a, b.shape)),
    normal((2, 3, 4), (3, 1)),
)
divide = Pair("divide", lambda a, b: a / b, lambda g, a, b: (g / b, -g * a / b**2), _apart((3, 4), (3, 4)))
matmul = Pair("matmul", lambda a, b: a @ b, lambda g, a, b: (g @ b.T, a.T @ g), normal((4, 4), (4, 4)))
subtract = Pair("subtract", lambda a, b: a - b, lambda g, a, b: (g, -g), normal((3, 4), (3, 4)))
exp = Pair("exp", np.exp, lambda g, x: (g * np.exp(x),), normal((3, 4)))
tanh = Pair("tanh", np.tanh, lambda g, x: (g * (1 - np.tanh(x) ** 2),), normal((3, 4)))
sigmoid = Pair("sigmoid", _sigmoid, lambda g, x: (g * _sigmoid(x) * (1 - _sigmoid(x)),), normal((3, 4)))
log = Pair("log", np.log, lambda g, x: (g / x,), _positive((3, 4)))
sqrt = Pair("sqrt", np.sqrt, lambda g, x: (g / (2 * np.sqrt(x)),), _positive((3, 4)))
square = Pair("square", lambda x: x**2, lambda g, x: (2 * g * x,), normal((3, 4)))
cube = Pair("cube", lambda x: x**3, lambda g, x: (3 * g * x**2,), normal((3, 4)))
power = Pair(
    "power", lambda x, p: x**p, lambda g, x, p: (g * p * x ** (p - 1), g * x**p * np.log(x)), _positive((3, 4), (3, 4))
)
soft = Pair(
    "softmax", softmax, lambda g, z: (softmax(z) * (g - (g * softmax(z)).sum(-1, keepdims=True)),), normal((5, 4))
)
log_soft = Pair(
    "log-softmax",
    lambda z: np.log(softmax(z)),
    lambda g, z: (g - softmax(z) * g.sum(-1, keepdims=True),),
    normal((5, 4)),
)
unit = Pair(
    "x / length",
    lambda x: x / _length(x),
    lambda g, x: ((g - x / _length(x) ** 2 * (g * x).sum(-1, keepdims=True)) / _length(x),),
    normal((5, 4)),
)
layer_norm = Pair("layer norm", _layer_norm, lambda g, x: (_layer_norm_backward(g, x),), normal((5, 6)))
row_mean = Pair("mean of rows", lambda x: x.mean(1), lambda g, x: (np.repeat(g[:, None], 4, 1) / 4,), normal((3, 4)))
ce, DERIVATIVE, SWAPPED, SUM_TERM = s.cross_entropy, "wrong_derivative", "swapped_operands", "missing_sum_term"
TARGET, FACTOR, MEAN, VAR = "wrong_target", "constant_factor", "missing_mean_term", "missing_variance_term"

HELD_OUT_AGAIN = [
    multiply.broken("da with a", 0, lambda r, g, a, b: g * a, SWAPPED),
    multiply.broken("db with b", 1, lambda r, g, a, b: g * b, SWAPPED),
    multiply.broken("da with a·b", 0, lambda r, g, a, b: g * a * b, DERIVATIVE),
    multiply.broken("da is grad_output", 0, lambda r, g, a, b: g, DERIVATIVE),
    multiply.broken("db with 1/a", 1, lambda r, g, a, b: g / a, DERIVATIVE),
    stretched.broken("da with a", 0, lambda r, g, a, b: _sum_to(g * a, a.shape), SWAPPED, DERIVATIVE),
    stretched.broken("db with b", 1, lambda r, g, a, b: _sum_to(g * b, b.shape), SWAPPED, DERIVATIVE),
    stretched.broken("db without a", 1, lambda r, g, a, b: _sum_to(g, b.shape), DERIVATIVE),
    stretched.broken("db, summed before multiplied", 1, lambda r, g, a, b: _sum_to(g, b.shape) * _sum_to(a, b.shape),
                     SUM_TERM, DERIVATIVE),
    divide.broken("da multiplied", 0, lambda r, g, a, b: g * b, DERIVATIVE),
    divide.broken("db without the square", 1, lambda r, g, a, b: -g * a / b, DERIVATIVE),
    divide.broken("db without the sign", 1, lambda r, g, a, b: g * a / b**2, "sign"),
    divide.broken("gradients exchanged: da", 0, lambda r, g, a, b: -g * a / b**2, SWAPPED, DERIVATIVE),
    divide.broken("db with a for b", 1, lambda r, g, a, b: -g / a, SWAPPED, DERIVATIVE),
    matmul.broken("da without the transpose", 0, lambda r, g, a, b: g @ b, "transposed"),
    matmul.broken("db in the other order", 1, lambda r, g, a, b: g @ a.T, SWAPPED, "transposed"),
    matmul.broken("da is db", 0, lambda r, g, a, b: a.T @ g, SWAPPED),
    matmul.broken("da with a", 0, lambda r, g, a, b: g @ a.T, SWAPPED),
    subtract.broken("db without the sign", 1, lambda r, g, a, b: g, "sign"),
    exp.broken("grad_output passed on", 0, lambda r, g, x: g, DERIVATIVE),
    exp.broken("times x", 0, lambda r, g, x: g * x, DERIVATIVE),
    exp.broken("x·exp(x − 1)", 0, lambda r, g, x: g * x * np.exp(x - 1), DERIVATIVE),
    tanh.broken("1 − y", 0, lambda r, g, x: g * (1 - np.tanh(x)), DERIVATIVE),
    tanh.broken("1 − x²", 0, lambda r, g, x: g * (1 - x**2), DERIVATIVE),
    tanh.broken("y for the derivative", 0, lambda r, g, x: g * np.tanh(x), DERIVATIVE),
    sigmoid.broken("y alone", 0, lambda r, g, x: g * _sigmoid(x), DERIVATIVE),
    sigmoid.broken("x·(1 − x)", 0, lambda r, g, x: g * x * (1 - x), DERIVATIVE),
    sigmoid.broken("tanh's derivative", 0, lambda r, g, x: g * (1 - _sigmoid(x) ** 2), DERIVATIVE),
    log.broken("times x", 0, lambda r, g, x: g * x, DERIVATIVE),
    sqrt.broken("without the half", 0, lambda r, g, x: g / np.sqrt(x), FACTOR),
    sqrt.broken("1/(2x)", 0, lambda r, g, x: g / (2 * x), DERIVATIVE),
    square.broken("without the two", 0, lambda r, g, x: g * x, FACTOR),
    square.broken("two alone", 0, lambda r, g, x: 2 * g, DERIVATIVE),
    cube.broken("3x", 0, lambda r, g, x: 3 * g * x, DERIVATIVE),
    power.broken("without the exponent", 0, lambda r, g, x, p: g * x ** (p - 1), DERIVATIVE),
    power.broken("dp without the logarithm", 1, lambda r, g, x, p: g * x**p, DERIVATIVE),
    soft.broken("the diagonal alone", 0, lambda r, g, z: g * softmax(z) * (1 - softmax(z)), SUM_TERM),
    soft.broken("without the sum", 0, lambda r, g, z: g * softmax(z), SUM_TERM),
    soft.broken("the sum over the batch", 0, lambda r, g, z: softmax(z) * (g - (g * softmax(z)).sum(0)), SUM_TERM),
    log_soft.broken("without the sum", 0, lambda r, g, z: g, SUM_TERM, DERIVATIVE),
    log_soft.broken("softmax without the sum", 0, lambda r, g, z: g - softmax(z), "not_linear", SUM_TERM),
    log_soft.broken("mean for sum", 0, lambda r, g, z: g - softmax(z) * g.mean(-1, keepdims=True), SUM_TERM),
    unit.broken("length held constant", 0, lambda r, g, x: g / _length(x), SUM_TERM),
    layer_norm.broken("without the mean term", 0, lambda r, g, x: _layer_norm_backward(g, x, with_mean=0), MEAN),
    layer_norm.broken("without the variance term", 0, lambda r, g, x: _layer_norm_backward(g, x, with_var=0), VAR),
    layer_norm.broken("both held constant", 0, lambda r, g, x: _layer_norm_backward(g, x, 0, 0), SUM_TERM, MEAN),
    row_mean.broken("a sum's", 0, lambda r, g, x: np.repeat(g[:, None], 4, 1), FACTOR),
    ce.broken("the target added", 0, lambda r, g, z, t: g * (softmax(z) + s.onehot(z, t)) / len(z), TARGET),
    ce.broken("one-hot alone", 0, lambda r, g, z, t: -g * s.onehot(z, t) / len(z), TARGET),
    ce.broken("targets one off", 0, lambda r, g, z, t: g * (softmax(z) - s.onehot(z, (t + 1) % 4)) / len(z), TARGET),
    s.bn.broken("dγ with x for x̂", 1, lambda r, g, x, c, b: (g * x).sum(s.AXES), DERIVATIVE, SWAPPED),
    s.bn.broken("dγ with y for x̂", 1, lambda r, g, x, c, b: (g * s.bn.forward(x, c, b)).sum(s.AXES), DERIVATIVE),
    s.bn.broken("dγ is dβ", 1, lambda r, g, x, c, b: g.sum(s.AXES), SWAPPED, DERIVATIVE),
    s.bn.broken("dβ is dγ", 2, lambda r, g, x, c, b: (g * x_hat(x)[0]).sum(s.AXES), SWAPPED),
    s.bn.broken("dx with x for x̂", 0, lambda r, g, x, c, b: channels(c) * x_hat(x)[1] * (
        g - mean(g) - x * mean(g * x)), VAR, MEAN),
    s.relu.broken("mask of the output's sign, inverted", 0, lambda r, g, x: g * (x < 0), DERIVATIVE),
    s.relu.broken("the output for the mask", 0, lambda r, g, x: g * np.maximum(x, 0), DERIVATIVE),
    s.relu.broken("|x|'s", 0, lambda r, g, x: g * np.sign(x), DERIVATIVE),
    s.linear.broken("dx with x for W", 0, lambda r, g, x, w, b: g @ x[:4], "partly_wrong", SWAPPED),
    s.linear.broken("dW with W for x", 1, lambda r, g, x, w, b: g[:4].T @ w, "partly_wrong", SWAPPED),
    s.conv.broken("dx, the last window wins", 0, lambda r, g, x, w, b: cpu.conv2d_backward(
        g, x, w * (np.arange(9).reshape(3, 3) == 8), *GEOMETRY, (True,) * 3)[0], "partly_wrong"),
]  # fmt: skip
