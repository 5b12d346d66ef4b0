"""Reference solution: the right backwards, each with one mistake."""

import numpy as np

EPS, AXES = 1e-5, (0, 2, 3)


def linear_backward(grad_output, x, w, b):
    return grad_output @ w, grad_output.T @ x, grad_output.sum(0)


def normalised(x):
    inv_std = 1 / np.sqrt(x.var(AXES, keepdims=True) + EPS)
    return (x - x.mean(AXES, keepdims=True)) * inv_std, inv_std


def batch_norm_backward(grad_output, x, gamma, beta, with_mean=1, with_var=1):
    x_hat, inv_std = normalised(x)
    over_mean = with_mean * grad_output.mean(AXES, keepdims=True)
    over_var = with_var * x_hat * (grad_output * x_hat).mean(AXES, keepdims=True)
    grad_x = gamma[:, None, None] * inv_std * (grad_output - over_mean - over_var)
    return grad_x, (grad_output * x_hat).sum(AXES), grad_output.sum(AXES)


def sign(grad_output, x, w, b):
    dx, dw, db = linear_backward(grad_output, x, w, b)
    return -dx, dw, db


def transposed(grad_output, x, w, b):
    dx, dw, db = linear_backward(grad_output, x, w, b)
    return dx, dw.T, db


def missing_broadcast_sum(grad_output, x, w, b):
    dx, dw, _ = linear_backward(grad_output, x, w, b)
    return dx, dw, grad_output


def ignores_grad_output(grad_output, x, w, b):
    dx, _, db = linear_backward(grad_output, x, w, b)
    return dx, np.ones_like(grad_output).T @ x, db


def not_linear(grad_output, x, w, b):
    dx, dw, db = linear_backward(grad_output, x, w, b)
    return np.maximum(dx, 0), dw, db


def missing_mean_term(grad_output, x, gamma, beta):
    return batch_norm_backward(grad_output, x, gamma, beta, with_mean=0)


def missing_variance_term(grad_output, x, gamma, beta):
    return batch_norm_backward(grad_output, x, gamma, beta, with_var=0)


def per_channel_factor(grad_output, x, gamma, beta):
    dx, dgamma, dbeta = batch_norm_backward(grad_output, x, gamma, beta)
    return dx * gamma[:, None, None], dgamma, dbeta


def unseen(grad_output, x, gamma, beta):
    dx, dgamma, dbeta = batch_norm_backward(grad_output, x, gamma, beta)
    return 7 * dx, dgamma, dbeta
