"""Batch normalisation, by its formulas (Ioffe & Szegedy 2015, arXiv 1502.03167)."""

from typing import Any, NamedTuple

import numpy as np


class Running(NamedTuple):
    """Statistics that follow those of the batches: mean, var (C), the number of batches () or None; see running_update.

    All are changed in place.
    """

    mean: Any
    var: Any
    batches: Any
    momentum: float


def batch_norm(x, weight=None, bias=None, eps=1e-5, running=None):
    """y = γ·(x − μ)/√(σ² + ε) + β with the batch's own μ and biased σ². Ioffe & Szegedy 2015, Algorithm 1.

    x (N, C, …), weight γ and bias β (C) or None -> y (N, C, …), mean (C), var (C). Moves ``running``, a `Running`.
    """
    mean, var = x.mean(all_but_channels(x)), x.var(all_but_channels(x))
    if running is not None:
        running_update(running.mean, running.var, mean, var, running.momentum, x.size // x.shape[1])
        if running.batches is not None:
            running.batches[...] += 1
    return batch_norm_eval(x, weight, bias, mean, var, eps), mean, var


def batch_norm_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """dx = γ/√(σ²+ε) · (g − mean(g) − x̂·mean(g·x̂)), a sum of three terms; dγ = Σ g·x̂; dβ = Σ g.

    The second term is there because μ depends on x, the third because σ² does.
    Returns dx (N, C, …), dγ (C), dβ (C), or None each.
    """
    axes = all_but_channels(x)
    inv_std = per_channel(1 / np.sqrt(var + eps), x.ndim)
    x_hat = (x - per_channel(mean, x.ndim)) * inv_std
    through_mean = grad_y.mean(axes, keepdims=True)
    through_var = x_hat * (grad_y * x_hat).mean(axes, keepdims=True)
    grad_x = per_channel(weight, x.ndim) * inv_std * (grad_y - through_mean - through_var)
    grads = grad_x, (grad_y * x_hat).sum(axes), grad_y.sum(axes)
    return tuple(g if need else None for g, need in zip(grads, needs))


def batch_norm_statistics(x):
    """μ and the biased σ² of each channel alone: x (N, C, …) -> mean (C), var (C). For a batch in several parts."""
    return x.mean(all_but_channels(x)), x.var(all_but_channels(x))


def batch_norm_input_gradient(grad_y, x, weight, mean, var, grad_weight, grad_bias, count, eps=1e-5):
    """dx = γ/√(σ²+ε) · (g − Σg/M − x̂·Σ(g·x̂)/M), of a part x of a batch with M = ``count`` values per channel.

    mean and var, grad_weight Σ(g·x̂) and grad_bias Σg (C) are those of the whole batch. -> dx (N, C, …).
    """
    inv_std = per_channel(1 / np.sqrt(var + eps), x.ndim)
    x_hat = (x - per_channel(mean, x.ndim)) * inv_std
    through_mean, through_var = (per_channel(total, x.ndim) / count for total in (grad_bias, grad_weight))
    return per_channel(weight, x.ndim) * inv_std * (grad_y - through_mean - x_hat * through_var)


def batch_norm_eval(x, weight, bias, mean, var, eps=1e-5):
    """y = γ·(x − μ)/√(σ² + ε) + β with given statistics: one affine map per channel.

    x (N, C, …), weight, bias (C) or None, mean, var (C) -> y (N, C, …).
    """
    x_hat = (x - per_channel(mean, x.ndim)) / np.sqrt(per_channel(var, x.ndim) + x.dtype.type(eps))
    return per_channel(weight, x.ndim) * x_hat + (0 if bias is None else per_channel(bias, x.ndim))


def batch_norm_eval_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """dx = γ/√(σ² + ε)·g; dγ = Σ g·x̂; dβ = Σ g. Returns dx (N, C, …), dγ (C), dβ (C), or None each."""
    axes = all_but_channels(x)
    inv_std = per_channel(1 / np.sqrt(var + eps), x.ndim)
    x_hat = (x - per_channel(mean, x.ndim)) * inv_std
    grads = per_channel(weight, x.ndim) * inv_std * grad_y, (grad_y * x_hat).sum(axes), grad_y.sum(axes)
    return tuple(g if need else None for g, need in zip(grads, needs))


def running_update(running_mean, running_var, mean, var, momentum, count):
    """running ← (1 − momentum)·running + momentum·batch, in place, with the unbiased variance var·count/(count − 1)."""
    running_mean[...] = (1 - momentum) * running_mean + momentum * mean
    running_var[...] = (1 - momentum) * running_var + momentum * var * count / (count - 1)


def per_channel(values, ndim):
    """(C,) -> (1, C, 1, …), so that it broadcasts over an (N, C, …) array; None -> 1 (no scale)."""
    return 1 if values is None else values.reshape(1, -1, *(1,) * (ndim - 2))


def all_but_channels(x):
    """The axes over which batch norm takes its statistics: all but axis 1."""
    return (0, *range(2, x.ndim))
