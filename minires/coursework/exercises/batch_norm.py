"""Batch normalisation: forward, the three terms of its gradient, and the running statistics.

    x̂ = (x − μ) / √(σ² + ε),   y = γ·x̂ + β

μ and σ² are taken per channel, over all axes but axis 1: in training those of the batch (σ² divides by n), in
evaluation the remembered ones. In training μ and σ² depend on x too, so the gradient of x has three terms (Ioffe &
Szegedy 2015).

Part "forward" (4 points): batch_norm.
Part "gradient of x" (5 points), "gradients of γ and β" (2 points): batch_norm_backward.
Part "evaluation" (2 points): batch_norm_eval.
Part "running statistics" (2 points): update_running.
Part "training" (5 points): your functions take the place of the library's, and a ResNet-8 learns to read digits; the
library's stay in place of what you have not written. What you have written must be right: networks train with many a
wrong gradient. The points for backward need the gradient of x.

Inputs have 2 axes (N, C), or 4 (N, C, H, W). Run this file to check yourself;
``minires grade batch_norm.py`` for points.
"""

import numpy as np

from minires.testing import gradcheck


def batch_norm(x, weight=None, bias=None, eps=1e-5):
    """x (N, C, …), weight γ (C), bias β (C) -> y (N, C, …), mean (C), var (C), var being the biased variance.

    Everything has the dtype of x. γ is 1 and β is 0 where they are None.
    """
    raise NotImplementedError('part "forward"')


def batch_norm_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """grad_y (N, C, …) -> the gradients of x (N, C, …), γ (C) and β (C); mean and var are those that forward returned.

    ``needs`` says which of them are wanted; you may ignore it.
    """
    grad_x = grad_weight = grad_bias = None
    raise NotImplementedError('parts "gradient of x" and "gradients of γ and β"')
    return grad_x, grad_weight, grad_bias


def batch_norm_eval(x, weight, bias, mean, var, eps=1e-5):
    """x (N, C, …) with given mean (C) and var (C) -> y (N, C, …)."""
    raise NotImplementedError('part "evaluation"')


def update_running(running_mean, running_var, mean, var, count, momentum=0.1):
    """The new running mean and variance (C), (C): (1 − momentum)·old + momentum·new.

    var is the batch's biased variance, taken over ``count`` values; what enters the running variance is the unbiased
    one, which divides by count − 1. Return new arrays; leave the old ones as they are.
    """
    raise NotImplementedError('part "running statistics"')


if __name__ == "__main__":
    from minires.coursework import try_out

    rng = np.random.default_rng(0)
    x, gamma, beta = (rng.standard_normal(shape) for shape in [(4, 3, 3, 3), (3,), (3,)])
    one = np.ones(1)

    def forward(x, gamma, beta):
        return batch_norm(x, gamma, beta)[0]

    def backward(grad_y, x, gamma, beta):
        return batch_norm_backward(grad_y, x, gamma, x.mean((0, 2, 3)), x.var((0, 2, 3)), 1e-5)

    try_out(
        {
            "mean and variance of y, to be 0 and 1": lambda: (batch_norm(x)[0].mean(), batch_norm(x)[0].var()),
            "gradients": lambda: gradcheck((forward, backward), x, gamma, beta),
            "evaluation, to be about 2": lambda: batch_norm_eval(np.ones((1, 1)), one, one, 0 * one, one),
            "running statistics, to be 1 and 2": lambda: update_running(0 * one, 0 * one, 10 * one, 18 * one, 10),
        }
    )
