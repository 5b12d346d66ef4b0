"""The linear layer and the matrix product, sum by sum."""

import numpy as np


def linear(x, weight, bias=None):
    """y[…, o] = b[o] + Σ_i w[o, i] · x[…, i]. x (…, in), weight (out, in), bias (out) or None -> y (…, out)."""
    y = np.zeros((*x.shape[:-1], len(weight)), x.dtype)
    for at in np.ndindex(y.shape):
        y[at] = sum((w * v for w, v in zip(weight[at[-1]], x[at[:-1]])), start=x.dtype.type(0))
    return y if bias is None else y + bias


def linear_backward(grad_y, x, weight, needs=(True, True, True)):
    """dx, dw and db: every product w·x of the forward sum sends g·w to its x and g·x to its w, and db = Σ_{…} g.

    grad_y (…, out) -> dx (…, in), dw (out, in), db (out); None where not needed.
    """
    grad_x, grad_w, grad_b = np.zeros_like(x), np.zeros_like(weight), np.zeros(len(weight), grad_y.dtype)
    for *at, o in np.ndindex(grad_y.shape):
        g = grad_y[(*at, o)]
        grad_x[tuple(at)] += g * weight[o]
        grad_w[o] += g * x[tuple(at)]
        grad_b[o] += g
    return tuple(g if need else None for g, need in zip((grad_x, grad_w, grad_b), needs))


def matmul(a, b):
    """c[…,m,p] = Σ_k a[…,m,k]·b[…,k,p]; the axes before the last two count matrices, and broadcast."""
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    c = np.zeros((*stack, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    for k in range(a.shape[-1]):
        c += a[..., :, k, None] * b[..., None, k, :]
    return c
