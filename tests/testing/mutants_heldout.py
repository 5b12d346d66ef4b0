"""The held-out mutants: written before the diagnoses, and not looked at while those were made.

They measure what `minires.testing.diagnose` says about mistakes it was not written for.
"""

import numpy as np
from testing import subjects as s
from testing.subjects import channels, graph, mean, x_hat

from minires.kernels import cpu

GEOMETRY = (1, 1), (1, 1), (1, 1), 1


def _conv_dx(g, x, w):
    return cpu.conv2d_backward(g, x, w, *GEOMETRY, (True, False, False))[0]


def _bn_dx(g, x, gamma, mean_term, var_term):
    inv_std = x_hat(x)[1]
    return channels(gamma) * inv_std * (g - mean_term - var_term)


def _keep_first(totals, source, g):
    totals.setdefault(source, g)


def _subtract(totals, source, g):
    totals[source] = totals[source] - g if source in totals else g


HELD_OUT = [
    s.conv.broken("dx, kernel mirrored left to right", 0,
                  lambda r, g, x, w, b: _conv_dx(g, x, w[..., ::-1]), "flipped"),
    s.conv.broken("dx divided by the batch size", 0, lambda r, g, x, w, b: r / len(x), "constant_factor"),
    s.conv.broken("dx, channels of the kernel not swapped", 0,
                  lambda r, g, x, w, b: _conv_dx(g, x, w.swapaxes(0, 1)), "transposed"),
    s.conv.broken("dx one column off", 0, lambda r, g, x, w, b: np.roll(r, 1, 3), "shifted"),
    s.conv.broken("dw averaged over positions", 1, lambda r, g, x, w, b: r / 25, "constant_factor"),
    s.conv.broken("dw upside down", 1, lambda r, g, x, w, b: r[:, :, ::-1], "flipped"),
    s.conv.broken("db summed over batch and rows only", 2, lambda r, g, x, w, b: g.sum((0, 2)),
                  "missing_broadcast_sum"),
    s.bn.broken("dx without γ", 0, lambda r, g, x, gamma, beta: r / channels(gamma), "per_channel_factor"),
    s.bn.broken("dx, mean term over the batch axis's count", 0, lambda r, g, x, gamma, beta: _bn_dx(
        g, x, gamma, g.sum(s.AXES, keepdims=True) / len(x), x_hat(x)[0] * mean(g * x_hat(x)[0])), "missing_mean_term"),
    s.bn.broken("dx, variance term added", 0, lambda r, g, x, gamma, beta: _bn_dx(
        g, x, gamma, mean(g), -x_hat(x)[0] * mean(g * x_hat(x)[0])), "missing_variance_term"),
    s.bn.broken("dγ with x − μ for x̂", 1, lambda r, g, x, gamma, beta: (g * (x - mean(x))).sum(s.AXES),
                "per_channel_factor"),
    s.bn.broken("dβ is a mean", 2, lambda r, g, x, gamma, beta: g.mean(s.AXES), "constant_factor"),
    s.bn_eval.broken("dx as in training", 0, lambda r, g, x, gamma, beta: r - mean(r), "missing_mean_term"),
    s.bn_eval.broken("dx divided by σ² for σ", 0, lambda r, g, x, gamma, beta: r * channels(s.INV_STD),
                     "per_channel_factor"),
    s.relu.broken("mask of the gradient", 0, lambda r, g, x: r * (g > 0), "not_linear"),
    s.relu.broken("leaks below zero", 0, lambda r, g, x: g * np.where(x > 0, 1, 0.01), "wrong_derivative"),
    s.relu.broken("returns None", 0, lambda r, g, x: None, "no_gradient"),
    s.max_pool.broken("divided by the window", 0, lambda r, g, x: r / 4, "constant_factor"),
    s.max_pool.broken("returns the mask", 0, lambda r, g, x: (r != 0) * 1.0, "ignores_grad_output"),
    s.avg_pool.broken("not divided", 0, lambda r, g, x: r * 4, "constant_factor"),
    s.padded_avg_pool.broken("padding not counted", 0, lambda r, g, x: cpu.avg_pool2d_backward(
        g, x.shape, *s.PADDED, False), "partly_wrong"),
    s.linear.broken("dW transposed", 1, lambda r, g, x, w, b: x.T @ g, "transposed"),
    s.linear.broken("dx with Wᵀ", 0, lambda r, g, x, w, b: g @ w.T, "transposed"),
    s.linear.broken("db of the first row", 2, lambda r, g, x, w, b: g[0], "partly_wrong", "missing_broadcast_sum"),
    s.cross_entropy.broken("target not subtracted", 0, lambda r, g, z, t: g * s.softmax(z) / len(z), "wrong_target"),
    s.cross_entropy.broken("not divided by N", 0, lambda r, g, z, t: r * len(z), "constant_factor"),
    s.add.broken("db negative", 1, lambda r, g, a, b: -r, "sign"),
    s.add.broken("db without the axes of 1", 1, lambda r, g, a, b: r[:, 0, 0], "wrong_shape"),
    graph("skip detached", s.residual(lambda branch, x: branch + x.detach()), "edge_missing"),
    graph("walk keeps the first gradient", s.residual(), "edge_missing", engine=s.walk(_keep_first)),
    graph("walk subtracts", s.residual(), "edge_sign", engine=s.walk(_subtract)),
    graph("branch's gradient doubled at the addition", s.joined(2.0, 1.0), "edge_counted_twice"),
    graph("skip's gradient negated", s.joined(1.0, -1.0), "edge_sign"),
]  # fmt: skip
