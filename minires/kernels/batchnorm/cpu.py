"""Batch normalisation in NumPy, a block of channels at a time; the formulas are in `definition`.

With the batch last in memory (see `layout`), a channel is one contiguous row of M = N·H·W numbers, and every formula is
a few passes over rows: sums, and y = scale·x + shift. Few passes over long rows are fastest (see `elementwise`).

The variance takes one pass as Σx²/M − μ², which loses digits where the mean is large compared with the deviation. Where
more than four bits would be lost, the rows are centred first, at the cost of one more pass.
"""

import numpy as np

from ...blas import one_blas_thread
from ...threads import over_channels
from ..elementwise.cpu import short_rows
from ..layout import channel_rows, from_channel_rows

LARGE_MEAN = 16  # μ² above this many variances: four bits


def batch_norm(x, weight=None, bias=None, eps=1e-5):
    """`definition.batch_norm`. x (N, C, …), weight, bias (C) or None -> y (N, C, …), mean (C), var (C)."""
    rows = channel_rows(x)  # (C, M)
    y = np.empty_like(rows)
    mean, var = np.empty(len(rows), x.dtype), np.empty(len(rows), x.dtype)
    count = rows.shape[1]

    def work(blocks):
        with short_rows(rows):
            for c in blocks:
                block, out = rows[c], y[c]
                mean[c] = np.add.reduce(block, 1) / count
                var[c] = _dot(block, block) / count - mean[c] * mean[c]
                if _mean_is_large(mean[c], var[c]):
                    block = np.subtract(block, mean[c, None], out=out)
                    var[c] = _dot(out, out) / count
                    shift = 0
                else:
                    shift = -mean[c]
                scale = 1 / np.sqrt(var[c] + x.dtype.type(eps))
                if weight is not None:
                    scale *= weight[c]
                _affine(block, scale, shift * scale if bias is None else shift * scale + bias[c], out)

    over_channels(work, rows)
    return from_channel_rows(y, x.shape), mean, var


def batch_norm_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`definition.batch_norm_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each.

    With the two sums dβ = Σg and dγ = Σg·x̂ in hand, dx = γ/σ · (g − dβ/M − x̂·dγ/M) is affine in x and g.
    """
    g_rows, x_rows = channel_rows(grad_y), channel_rows(x)  # (C, M) each
    out_rows = np.empty_like(x_rows)
    grad_weight, grad_bias = np.empty_like(mean), np.empty_like(mean)
    count = x_rows.shape[1]

    def work(blocks):
        with short_rows(x_rows):
            for c in blocks:
                g, block, out, centre = g_rows[c], x_rows[c], out_rows[c], mean[c]
                if _mean_is_large(centre, var[c]):
                    block, centre = np.subtract(block, centre[:, None], out=out), np.zeros_like(centre)
                inv_std = 1 / np.sqrt(var[c] + x.dtype.type(eps))
                grad_bias[c] = np.add.reduce(g, 1)
                grad_weight[c] = (_dot(g, block) - centre * grad_bias[c]) * inv_std
                if needs[0]:
                    slope = -inv_std * grad_weight[c] / count
                    _affine(block, slope, -slope * centre - grad_bias[c] / count, out)
                    out += g
                    out *= (inv_std if weight is None else inv_std * weight[c])[:, None]

    over_channels(work, x_rows)
    grads = from_channel_rows(out_rows, x.shape), grad_weight, grad_bias
    return tuple(grad if need else None for grad, need in zip(grads, needs))


def batch_norm_eval(x, weight, bias, mean, var, eps=1e-5):
    """`definition.batch_norm_eval`: y = scale·x + shift, one scale and shift per channel. -> y (N, C, …)."""
    rows = channel_rows(x)
    y = np.empty_like(rows)
    scale = (1 if weight is None else weight) / np.sqrt(var + x.dtype.type(eps))
    shift = -mean * scale if bias is None else bias - mean * scale

    def work(blocks):
        with short_rows(rows):
            for c in blocks:
                _affine(rows[c], scale[c], shift[c], y[c])

    over_channels(work, rows)
    return from_channel_rows(y, x.shape)


def batch_norm_eval_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`definition.batch_norm_eval_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each."""
    g_rows, x_rows = channel_rows(grad_y), channel_rows(x)
    inv_std = 1 / np.sqrt(var + x.dtype.type(eps))
    grad_x = grad_weight = None
    if needs[0]:
        scale = inv_std if weight is None else inv_std * weight
        grad_x = from_channel_rows(g_rows * scale[:, None], x.shape)
    if needs[1]:
        grad_weight = one_blas_thread(_dot, g_rows, x_rows - mean[:, None]) * inv_std
    return grad_x, grad_weight, g_rows.sum(1) if needs[2] else None


def running_update(running_mean, running_var, mean, var, momentum, count):
    """`definition.running_update`: changes the running statistics (C) in place."""
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)


def _mean_is_large(mean, var):
    """Whether, in some channel, a sum of x − μ taken as a difference of two sums would lose more than four bits."""
    return (mean * mean > LARGE_MEAN * var).any()


def _dot(a, b):
    """Σ a·b of each row. (`np.vecdot` would hold the interpreter lock, and so the other threads.)"""
    # (C, 1, M) @ (C, M, 1) -> (C, 1, 1) -> (C)
    return np.matmul(a[:, None, :], b[:, :, None])[:, 0, 0]


def _affine(rows, scale, shift, out):
    """out = scale·rows + shift, with one scale and shift per row; in place if ``out`` is ``rows``."""
    np.multiply(rows, scale[:, None], out=out)
    out += shift[:, None]
