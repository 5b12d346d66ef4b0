"""Break it: write backwards that are wrong in a given way, so that the gradient checker names that mistake.

Each function below is a backward: copy the right one and plant one mistake, in one of the gradients; the others stay
right. The function's name is the kind that ``minires.testing.gradcheck`` must report, and its text says in which
gradient. To plant a mistake that will be named you must know what it does to the numbers.

Part "linear" (10 points): five mistakes in the backward of y = x·wᵀ + b, w being square.
Part "batch norm" (6 points): three mistakes in the gradient of x.
Part "careless" (4 points): a wrong batch norm that a careless check does not see, and gradcheck does.

Run this file to check yourself; ``minires grade break_it.py`` for points.
"""

import numpy as np

from minires.testing import gradcheck

EPS, AXES = 1e-5, (0, 2, 3)


def linear(x, w, b):
    """x (N, K), w (K, K), b (K) -> x·wᵀ + b."""
    return x @ w.T + b


def linear_backward(grad_output, x, w, b):
    """The right gradients of x, w and b."""
    return grad_output @ w, grad_output.T @ x, grad_output.sum(0)


def normalised(x):
    """x̂ (N, C, H, W) and 1/√(σ² + ε) (1, C, 1, 1)."""
    inv_std = 1 / np.sqrt(x.var(AXES, keepdims=True) + EPS)
    return (x - x.mean(AXES, keepdims=True)) * inv_std, inv_std


def batch_norm(x, gamma, beta):
    """x (N, C, H, W), γ and β (C) -> γ·x̂ + β."""
    return gamma[:, None, None] * normalised(x)[0] + beta[:, None, None]


def batch_norm_backward(grad_output, x, gamma, beta):
    """The right gradients of x, γ and β."""
    x_hat, inv_std = normalised(x)
    over_mean = grad_output.mean(AXES, keepdims=True)
    over_var = x_hat * (grad_output * x_hat).mean(AXES, keepdims=True)
    grad_x = gamma[:, None, None] * inv_std * (grad_output - over_mean - over_var)
    return grad_x, (grad_output * x_hat).sum(AXES), grad_output.sum(AXES)


def sign(grad_output, x, w, b):
    """linear, the gradient of x: the sign is wrong."""
    raise NotImplementedError('part "linear"')


def transposed(grad_output, x, w, b):
    """linear, the gradient of w: rows and columns are mixed up, in the result or in what it is made of."""
    raise NotImplementedError('part "linear"')


def missing_broadcast_sum(grad_output, x, w, b):
    """linear, the gradient of b: b was added to every row, and this is forgotten."""
    raise NotImplementedError('part "linear"')


def ignores_grad_output(grad_output, x, w, b):
    """linear, the gradient of w: the same for every grad_output."""
    raise NotImplementedError('part "linear"')


def not_linear(grad_output, x, w, b):
    """linear, the gradient of x: grad_output is not only multiplied and summed."""
    raise NotImplementedError('part "linear"')


def missing_mean_term(grad_output, x, gamma, beta):
    """batch_norm, the gradient of x: as if the mean did not depend on x."""
    raise NotImplementedError('part "batch norm"')


def missing_variance_term(grad_output, x, gamma, beta):
    """batch_norm, the gradient of x: as if the variance did not depend on x."""
    raise NotImplementedError('part "batch norm"')


def per_channel_factor(grad_output, x, gamma, beta):
    """batch_norm, the gradient of x: something that each channel is multiplied by is left out, or there twice."""
    raise NotImplementedError('part "batch norm"')


def careless(forward, backward, x, gamma, beta):
    """A check that many use: the loss is the sum of the outputs, so grad_output is 1 everywhere. True: it passes."""
    ones, direction, h = np.ones_like(x), np.random.default_rng(0).standard_normal(x.shape), 1e-5
    slope = (forward(x + h * direction, gamma, beta) - forward(x - h * direction, gamma, beta)).sum() / (2 * h)
    return bool(abs((backward(ones, x, gamma, beta)[0] * direction).sum() - slope) < 1e-4)


def unseen(grad_output, x, gamma, beta):
    """batch_norm, the gradient of x: wrong, in whatever way you like, and careless says True."""
    raise NotImplementedError('part "careless"')


if __name__ == "__main__":
    from minires.coursework import try_out

    rng = np.random.default_rng(0)
    linear_arrays = [rng.standard_normal(shape) for shape in [(5, 4), (4, 4), (4,)]]
    norm_arrays = [rng.standard_normal(shape) for shape in [(4, 3, 5, 2), (3,), (3,)]]

    def said(forward, backward, arrays):
        backward(forward(*arrays), *arrays)  # so that what is not written says so
        report = gradcheck((forward, backward), *arrays, raise_on_failure=False)
        return [f"input {failure.input}: {failure.kind}" for failure in report.failures] or "nothing is wrong"

    first = (sign, transposed, missing_broadcast_sum, ignores_grad_output, not_linear)
    second = (missing_mean_term, missing_variance_term, per_channel_factor, unseen)
    checks = {f.__name__: lambda f=f: said(linear, f, linear_arrays) for f in first}
    checks |= {f.__name__: lambda f=f: said(batch_norm, f, norm_arrays) for f in second}
    try_out(checks | {"careless": lambda: careless(batch_norm, unseen, *norm_arrays)})
