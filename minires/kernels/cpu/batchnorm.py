"""Batch normalisation over blocks of channels. Twin of `minires.kernels.textbook.batch_norm`.

In memory with the batch last (see `layout`), a channel is one contiguous row of M = N·H·W numbers. Blocks of rows that
fit the second-level cache are read from memory once, however many passes the formula makes over them.
"""

import numpy as np

from .layout import channel_rows, from_channel_rows
from .threads import get_num_threads, parallel

BLOCK_BYTES = 600_000  # of one operand; the backward pass has three
PARALLEL_BYTES = 2_000_000  # below this a second thread costs more than it brings


def batch_norm(x, weight=None, bias=None, eps=1e-5):
    """Twin of `textbook.batch_norm`. x (N, C, …), weight, bias (C) or None -> y (N, C, …), mean (C), var (C)."""
    rows = channel_rows(x)
    y = np.empty_like(rows)
    mean, var = np.empty(len(rows), x.dtype), np.empty(len(rows), x.dtype)

    def work(blocks):
        for c in blocks:
            block, out = rows[c], y[c]
            mean[c] = np.add.reduce(block, 1) / block.shape[1]
            np.subtract(block, mean[c, None], out=out)
            var[c] = np.vecdot(out, out) / block.shape[1]
            scale = 1 / np.sqrt(var[c] + x.dtype.type(eps))
            out *= (scale if weight is None else scale * weight[c])[:, None]
            if bias is not None:
                out += bias[c, None]

    parallel_blocks(work, rows)
    return from_channel_rows(y, x.shape), mean, var


def batch_norm_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """Twin of `textbook.batch_norm_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each.

    With the two sums in hand, dx = a·g + b·(x − μ) + c is one affine combination per channel.
    """
    g_rows, x_rows = channel_rows(grad_y), channel_rows(x)
    grad_x = np.empty_like(x_rows) if needs[0] else None
    grad_weight, grad_bias = np.empty_like(mean), np.empty_like(mean)
    count = x_rows.shape[1]

    def work(blocks):
        for c in blocks:
            g = g_rows[c]
            inv_std = 1 / np.sqrt(var[c] + x.dtype.type(eps))
            centred = x_rows[c] - mean[c, None]
            grad_bias[c] = np.add.reduce(g, 1)
            grad_weight[c] = np.vecdot(g, centred) * inv_std
            if grad_x is not None:
                scale = inv_std if weight is None else inv_std * weight[c]
                centred *= (-scale * inv_std * grad_weight[c] / count)[:, None]
                centred -= (scale * grad_bias[c] / count)[:, None]
                np.multiply(g, scale[:, None], out=grad_x[c])
                grad_x[c] += centred

    parallel_blocks(work, x_rows)
    grads = None if grad_x is None else from_channel_rows(grad_x, x.shape), grad_weight, grad_bias
    return tuple(grad if need else None for grad, need in zip(grads, needs))


def batch_norm_eval(x, weight, bias, mean, var, eps=1e-5):
    """Twin of `textbook.batch_norm_eval`: y = scale·x + shift, one scale and shift per channel. -> y (N, C, …)."""
    rows = channel_rows(x)
    y = np.empty_like(rows)
    scale = 1 / np.sqrt(var + x.dtype.type(eps))
    scale = scale if weight is None else scale * weight

    def work(blocks):
        for c in blocks:
            np.subtract(rows[c], mean[c, None], out=y[c])
            y[c] *= scale[c, None]
            if bias is not None:
                y[c] += bias[c, None]

    parallel_blocks(work, rows)
    return from_channel_rows(y, x.shape)


def batch_norm_relu(x, weight, bias, mean, var, eps=1e-5, shortcut=None):
    """Twin of `textbook.batch_norm_relu`. x, shortcut (N, C, …) -> y (N, C, …)."""
    y = batch_norm_eval(x, weight, bias, mean, var, eps)
    if shortcut is not None:
        y += shortcut
    return np.maximum(y, 0, out=y)


def batch_norm_eval_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """Twin of `textbook.batch_norm_eval_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each."""
    g_rows, x_rows = channel_rows(grad_y), channel_rows(x)
    inv_std = 1 / np.sqrt(var + x.dtype.type(eps))
    grad_x = grad_weight = None
    if needs[0]:
        scale = inv_std if weight is None else inv_std * weight
        grad_x = from_channel_rows(g_rows * scale[:, None], x.shape)
    if needs[1]:
        grad_weight = np.vecdot(g_rows, x_rows - mean[:, None]) * inv_std
    return grad_x, grad_weight, g_rows.sum(1) if needs[2] else None


def parallel_blocks(work, rows):
    """Call ``work`` on runs of slices that cut the rows into cache-sized blocks, on several threads if it pays."""
    per_block = max(BLOCK_BYTES // max(rows[0].nbytes, 1), 1)
    large = rows.nbytes >= PARALLEL_BYTES
    if large:
        per_block = min(per_block, -(-len(rows) // get_num_threads()))
    blocks = [slice(i, i + per_block) for i in range(0, len(rows), per_block)]
    if large:
        parallel(work, blocks)
    else:
        work(blocks)
