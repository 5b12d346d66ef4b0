"""Batch normalisation: launches for batchnorm.cu; the formulas are in `definition`."""

from ..launch import BLOCK, ITEMS, batch_last, c_name, contiguous, cut, runs
from ..layout import batch_first
from ..load import TYPES, Source

BATCH_NORM = Source(
    "batchnorm/batchnorm.cu",
    [
        *((f"batch_norm_{kernel}", t) for kernel in ("statistics", "combine", "sums", "combine_sums") for t in TYPES),
        *(("batch_norm_apply", t) for t in TYPES),
        *(("batch_norm_input_gradient", t, training) for training in (False, True) for t in TYPES),
        *(("running_update", t) for t in TYPES),
    ],
)

WARP = 32


def batch_norm(on, x, weight=None, bias=None, eps=1e-5):
    """`definition.batch_norm`. x (N, C, …), weight, bias (C) or None -> y (N, C, …), mean (C), var (C)."""
    x = batch_last(x)
    mean, var = statistics(on, x)
    return batch_first(apply(on, x, weight, bias, mean, var, eps)), mean, var


def batch_norm_backward(on, grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`definition.batch_norm_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each."""
    return _backward(on, grad_y, x, weight, mean, var, eps, needs, training=True)


def batch_norm_eval(on, x, weight, bias, mean, var, eps=1e-5):
    """`definition.batch_norm_eval`: one affine map per channel. -> y (N, C, …)."""
    return batch_first(apply(on, batch_last(x), weight, bias, mean, var, eps))


def batch_norm_eval_backward(on, grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`definition.batch_norm_eval_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each."""
    return _backward(on, grad_y, x, weight, mean, var, eps, needs, training=False)


def batch_norm_statistics(on, x):
    """`definition.batch_norm_statistics`. x (N, C, …) -> mean (C), var (C)."""
    return statistics(on, batch_last(x))


def batch_norm_input_gradient(on, grad_y, x, weight, mean, var, grad_weight, grad_bias, count, eps=1e-5):
    """`definition.batch_norm_input_gradient`. -> dx (N, C, …)."""
    own = x.size // x.shape[1] / count  # the kernel divides the sums by the number of values that it sees
    return _input_gradient(
        on, batch_last(grad_y), batch_last(x), weight, mean, var, grad_weight * own, grad_bias * own, eps, True
    )


def running_update(on, running_mean, running_var, mean, var, momentum, count):
    """`definition.running_update`: changes the running statistics (C) in place."""
    channels, of = len(mean), running_mean.dtype
    mean, var = (a.astype(of, copy=False) for a in (mean, var))
    args = running_mean, running_var, mean, var, channels, of.type(momentum), of.type(count / (count - 1))
    on.launch(BATCH_NORM, "running_update", (c_name(of),), (cut(channels, BLOCK),), BLOCK, *args)


def statistics(on, x):
    """x (C, …, N), contiguous -> mean (C), biased variance (C)."""
    channels, length = len(x), x[0].size
    number, per_run = runs(on, channels, length)
    means, squares = (on.empty((channels, number), x.dtype) for _ in range(2))
    mean, var = (on.empty(channels, x.dtype) for _ in range(2))
    t = (c_name(x.dtype),)
    grid = number, channels
    on.launch(BATCH_NORM, "batch_norm_statistics", t, grid, BLOCK, x, means, squares, length, per_run)
    args = means, squares, mean, var, length, per_run, number
    on.launch(BATCH_NORM, "batch_norm_combine", t, (channels,), WARP, *args)
    return mean, var


def apply(on, x, weight, bias, mean, var, eps):
    """y = γ·(x − μ)/√(σ² + ε) + β; x, y (C, …, N), contiguous."""
    y = on.empty(x.shape, x.dtype)
    channels, length = len(x), x[0].size
    mean, var = (contiguous(a.astype(x.dtype, copy=False)) for a in (mean, var))
    weight, has_weight = (mean, 0) if weight is None else (contiguous(weight), 1)
    bias, has_bias = (mean, 0) if bias is None else (contiguous(bias), 1)
    grid = cut(length, BLOCK * ITEMS), channels
    args = x, weight, bias, mean, var, y, length, x.dtype.type(eps), has_weight, has_bias
    on.launch(BATCH_NORM, "batch_norm_apply", (c_name(x.dtype),), grid, BLOCK, *args)
    return y


def _backward(on, grad_y, x, weight, mean, var, eps, needs, training):
    g, x = batch_last(grad_y), batch_last(x)
    t, channels, length, eps = c_name(x.dtype), len(x), x[0].size, x.dtype.type(eps)
    mean, var = (contiguous(a.astype(x.dtype, copy=False)) for a in (mean, var))
    grad_weight, grad_bias, grad_x = mean, mean, None
    if needs[1] or needs[2] or training:
        number, per_run = runs(on, channels, length)
        sums_g, sums_gx = (on.empty((channels, number), x.dtype) for _ in range(2))
        grad_weight, grad_bias = (on.empty(channels, x.dtype) for _ in range(2))
        sums = g, x, mean, sums_g, sums_gx, length, per_run
        on.launch(BATCH_NORM, "batch_norm_sums", (t,), (number, channels), BLOCK, *sums)
        combine = sums_g, sums_gx, var, grad_weight, grad_bias, number, eps
        on.launch(BATCH_NORM, "batch_norm_combine_sums", (t,), (channels,), WARP, *combine)
    if needs[0]:
        grad_x = _input_gradient(on, g, x, weight, mean, var, grad_weight, grad_bias, eps, training)
    return grad_x, grad_weight if needs[1] else None, grad_bias if needs[2] else None


def _input_gradient(on, g, x, weight, mean, var, grad_weight, grad_bias, eps, training):
    """dx (N, C, …), with g and x (C, …, N), contiguous."""
    grad_x, channels, length = on.empty(x.shape, x.dtype), len(x), x[0].size
    per_channel = [contiguous(a.astype(x.dtype, copy=False)) for a in (mean, var, grad_weight, grad_bias)]
    weight, has_weight = (per_channel[0], 0) if weight is None else (contiguous(weight), 1)
    grid = cut(length, BLOCK * ITEMS), channels
    args = g, x, weight, *per_channel, grad_x, length, x.dtype.type(eps), has_weight
    on.launch(BATCH_NORM, "batch_norm_input_gradient", (c_name(x.dtype), training), grid, BLOCK, *args)
    return batch_first(grad_x)
