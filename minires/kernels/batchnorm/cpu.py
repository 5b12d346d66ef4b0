"""Batch normalisation in NumPy, a block of channels at a time; the formulas are in `definition`.

With the batch last in memory (see `layout`), a channel is one contiguous row of M = N·H·W numbers, and every formula is
a few passes over rows: sums, and y = scale·x + shift. Few passes over long rows are fastest (see `elementwise`).

The variance takes one pass as Σx²/M − μ², which loses digits where the mean is large compared with the deviation. Where
more than two bits would be lost, the rows are centred first, at the cost of one more pass. Sums are in float64, and
stay so until what cancels in them has been subtracted.
"""

import numpy as np

from ...blas import one_blas_thread
from ...threads import over_channels
from ..elementwise.cpu import for_short_rows
from ..layout import channel_rows, from_channel_rows
from ..reduce.cpu import row_products, row_sums

LARGE_MEAN = 4  # μ² above this many variances: two bits


def batch_norm(x, weight=None, bias=None, eps=1e-5, running=None):
    """`definition.batch_norm`. x (N, C, …), weight, bias (C) or None -> y (N, C, …), mean (C), var (C)."""
    rows = channel_rows(x)  # (C, M)
    y = np.empty_like(rows)
    mean, var = np.empty(len(rows), x.dtype), np.empty(len(rows), x.dtype)

    def work(blocks):
        for c in blocks:
            out = y[c]
            mean[c], var[c], block, centre = _moments(rows[c], out)
            scale = 1 / np.sqrt(var[c] + x.dtype.type(eps))
            if weight is not None:
                scale *= weight[c]
            shift = centre.astype(x.dtype) * -scale
            _affine(block, scale, shift if bias is None else shift + bias[c], out)

    over_channels(for_short_rows(work, rows), rows)
    if running is not None:
        running_update(running.mean, running.var, mean, var, running.momentum, rows.shape[1])
        if running.batches is not None:
            running.batches[...] += 1
    return from_channel_rows(y, x.shape), mean, var


def batch_norm_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`definition.batch_norm_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each.

    With the two sums dβ = Σg and dγ = Σg·x̂ in hand, dx = γ/σ · (g − dβ/M − x̂·dγ/M) is affine in x and g.
    """
    g_rows, x_rows = channel_rows(grad_y), channel_rows(x)  # (C, M) each
    out_rows = np.empty_like(x_rows)
    grad_weight, grad_bias = np.empty_like(mean), np.empty_like(mean)
    inv_std, count = 1 / np.sqrt(var + x.dtype.type(eps)), x_rows.shape[1]
    scale = inv_std if weight is None else inv_std * weight

    def work(blocks):
        for c in blocks:
            g, block, out, centre = g_rows[c], x_rows[c], out_rows[c], mean[c]
            large = centre * centre > LARGE_MEAN * var[c]
            if np.count_nonzero(large):
                block, centre = _nearer(block, centre, large, out)
            grad_bias[c] = total = row_sums(g)  # (C), in float64
            grad_weight[c] = (row_products(g, block) - centre * total) * inv_std[c]
            if needs[0]:
                through_mean, slope = grad_bias[c] / count, inv_std[c] * grad_weight[c] / -count
                _input_gradient(g, block, centre, scale[c], slope, through_mean, out)

    over_channels(for_short_rows(work, x_rows), x_rows)
    grads = from_channel_rows(out_rows, x.shape), grad_weight, grad_bias
    return tuple(grad if need else None for grad, need in zip(grads, needs))


def batch_norm_statistics(x):
    """`definition.batch_norm_statistics`. x (N, C, …) -> mean (C), var (C), in float64, as they were added up."""
    rows = channel_rows(x)  # (C, M)
    mean, var = np.empty((2, len(rows)))

    def work(blocks):
        for c in blocks:
            mean[c], var[c], _, _ = _moments(rows[c])

    over_channels(for_short_rows(work, rows), rows)
    return mean, var


def batch_norm_input_gradient(grad_y, x, weight, mean, var, grad_weight, grad_bias, count, eps=1e-5):
    """`definition.batch_norm_input_gradient`. -> dx (N, C, …)."""
    g_rows, x_rows = channel_rows(grad_y), channel_rows(x)  # (C, M) each
    out_rows = np.empty_like(x_rows)
    inv_std = 1 / np.sqrt(var + x.dtype.type(eps))
    scale = inv_std if weight is None else inv_std * weight
    through_mean, slope = grad_bias / count, inv_std * grad_weight / -count

    def work(blocks):
        for c in blocks:
            block, out, centre = x_rows[c], out_rows[c], mean[c]
            large = centre * centre > LARGE_MEAN * var[c]
            if np.count_nonzero(large):
                block, centre = _nearer(block, centre, large, out)
            _input_gradient(g_rows[c], block, centre, scale[c], slope[c], through_mean[c], out)

    over_channels(for_short_rows(work, x_rows), x_rows)
    return from_channel_rows(out_rows, x.shape)


def batch_norm_eval(x, weight, bias, mean, var, eps=1e-5):
    """`definition.batch_norm_eval`: y = scale·x + shift, one scale and shift per channel. -> y (N, C, …)."""
    rows = channel_rows(x)
    y = np.empty_like(rows)
    scale = (1 if weight is None else weight) / np.sqrt(var + x.dtype.type(eps))
    shift = -mean * scale if bias is None else bias - mean * scale

    def work(blocks):
        for c in blocks:
            _affine(rows[c], scale[c], shift[c], y[c])

    over_channels(for_short_rows(work, rows), rows)
    return from_channel_rows(y, x.shape)


def batch_norm_eval_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`definition.batch_norm_eval_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each."""
    g_rows, x_rows = channel_rows(grad_y), channel_rows(x)
    inv_std = 1 / np.sqrt(var + x.dtype.type(eps))
    grad_x = None
    if needs[0]:
        scale = inv_std if weight is None else inv_std * weight
        grad_x = from_channel_rows(g_rows * scale[:, None], x.shape)

    def sums():
        grad_weight = row_products(g_rows, x_rows - mean[:, None]) * inv_std if needs[1] else None
        return grad_weight, row_sums(g_rows) if needs[2] else None

    return grad_x, *(None if s is None else s.astype(x.dtype) for s in one_blas_thread(sums))


def running_update(running_mean, running_var, mean, var, momentum, count):
    """`definition.running_update`: changes the running statistics (C) in place."""
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)


def _moments(rows, out=None):
    """Mean and variance (C) of rows (C, M), in float64; and the rows and what of their means `_nearer` has left."""
    count = rows.shape[1]
    mean = centre = row_sums(rows) / count
    square = centre * centre
    variance = row_products(rows, rows) / count - square
    large = square > LARGE_MEAN * variance
    if np.count_nonzero(large):
        rows, centre = _nearer(rows, centre, large, out)
        variance = np.maximum(row_products(rows, rows) / count - centre * centre, 0)
    return mean, variance, rows, centre


def _input_gradient(g, rows, centre, scale, slope, through_mean, out):
    """out = scale·(g − through_mean + slope·(rows − centre)), with one number of each kind per row."""
    _affine(rows, slope, -slope * centre - through_mean, out)
    out += g
    out *= scale[:, None]


def _nearer(rows, centre, large, out=None):
    """Rows (C, M) less their mean (rounded) where that is ``large``, in ``out``; and what remains of all the means."""
    offset = np.where(large, centre, 0).astype(rows.dtype)
    return np.subtract(rows, offset[:, None], out=out), centre - offset


def _affine(rows, scale, shift, out):
    """out = scale·rows + shift, with one scale and shift per row; in place if ``out`` is ``rows``."""
    np.multiply(rows, scale[:, None], out=out)
    out += shift[:, None]
