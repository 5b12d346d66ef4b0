"""Batch normalisation: launches for batchnorm.cu; the formulas are in `definition`."""

import functools

import numpy as np

from ..launch import BLOCK, batch_last, c_name, contiguous, cut, runs
from ..layout import batch_first
from ..load import TYPES, Source

BATCH_NORM = Source(
    "batchnorm/batchnorm.cu",
    [
        *((f"batch_norm_{kernel}", t) for kernel in ("statistics", "combine", "apply") for t in TYPES),
        *((f"batch_norm_{kernel}", t) for kernel in ("sums", "relu_sums", "combine_sums") for t in TYPES),
        *(("batch_norm_input_gradient", t, training) for training in (False, True) for t in TYPES),
        *(("running_update", t) for t in TYPES),
    ],
)

WARP = 32
PACK = 4  # numbers of a run come in multiples of it, so that all runs of a row begin where 16 bytes can be loaded
ITEMS = {4: 8, 8: 4}  # entries of a thread, by their size in bytes: two packs
ONE_RUN = 1, 1, 1  # a given mean and variance are those of one run of one number


def batch_norm(on, x, weight=None, bias=None, eps=1e-5, running=None):
    """`definition.batch_norm`. x (N, C, …), weight, bias (C) or None -> y (N, C, …), mean (C), var (C)."""
    moves = running is not None and can_move(x, running)
    norm = DeferredBatchNorm(on, x, weight, bias, eps, running if moves else None)
    y = norm()
    if running is not None and not moves:
        running_update(on, running.mean, running.var, norm.mean, norm.var, running.momentum, x.size // x.shape[1])
        if running.batches is not None:
            running.batches[...] += 1
    return y, norm.mean, norm.var


def can_move(x, running):
    """Whether `batch_norm` can move the running statistics in its own kernel: they are of x's type, row by row."""
    return all(type(a) is type(x) and a.dtype == x.dtype and a.flags.c_contiguous for a in running[:2])


class DeferredBatchNorm:
    """`batch_norm` in two steps: the statistics at once; y, or what follows from it, whenever it is called.

    mean and var (C) have no values before the first call, which moves ``running``, too. statistics: those of x, if
    the convolution has taken them (`conv2d_with_statistics`).
    """

    def __init__(self, on, x, weight=None, bias=None, eps=1e-5, running=None, statistics=None):
        self.on, self.weight, self.bias, self.eps, self.running = on, weight, bias, eps, running
        self.x = batch_last(x)
        self.statistics = statistics or _statistics(on, self.x)
        self.mean, self.var = on.empty(x.shape[1:2], x.dtype), on.empty(x.shape[1:2], x.dtype)

    def __call__(self, addend=None, relu=False):
        """y, y + addend, or max(y + addend, 0), in one pass; all (N, C, …)."""
        running, self.running = self.running, None
        (means, squares, of), kept = self.statistics, (self.mean, self.var)
        addend = None if addend is None else batch_last(addend)
        given = self.on, self.x, self.weight, self.bias, means, squares, of, self.eps
        return batch_first(_apply(*given, kept, running, addend, relu))


def batch_norm_backward(on, grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`definition.batch_norm_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each."""
    return _backward(on, grad_y, x, weight, mean, var, eps, needs, training=True)


def batch_norm_relu_backward(on, grad_y, y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`batch_norm_backward` behind `relu_backward`, from the ReLU's output y: dx, dγ, dβ, and what came back to it."""
    g, y = batch_last(grad_y), batch_last(y)
    masked = on.empty(g.shape, g.dtype)
    grads = _backward(on, batch_first(g), x, weight, mean, var, eps, needs, True, (y, masked))
    return (*grads, batch_first(masked))


def batch_norm_eval(on, x, weight, bias, mean, var, eps=1e-5):
    """`definition.batch_norm_eval`: one affine map per channel. -> y (N, C, …)."""
    x = batch_last(x)
    mean, var = (contiguous(a.astype(x.dtype, copy=False)) for a in (mean, var))
    return batch_first(_apply(on, x, weight, bias, mean, var, ONE_RUN, eps))


def batch_norm_eval_backward(on, grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """`definition.batch_norm_eval_backward`. Returns dx (N, C, …), dγ (C), dβ (C), or None each."""
    return _backward(on, grad_y, x, weight, mean, var, eps, needs, training=False)


def batch_norm_statistics(on, x):
    """`definition.batch_norm_statistics`. x (N, C, …) -> mean (C), var (C)."""
    means, squares, of = _statistics(on, batch_last(x))
    mean, var = on.empty(len(means), means.dtype), on.empty(len(means), means.dtype)
    t, grid = (c_name(mean.dtype),), (len(mean),)
    on.launch(BATCH_NORM, "batch_norm_combine", t, grid, WARP, means, squares, mean, var, numbers=of)
    return mean, var


def batch_norm_input_gradient(on, grad_y, x, weight, mean, var, grad_weight, grad_bias, count, eps=1e-5):
    """`definition.batch_norm_input_gradient`. -> dx (N, C, …)."""
    g, x = batch_last(grad_y), batch_last(x)
    mean, var, grad_weight, grad_bias = (
        contiguous(a.astype(x.dtype, copy=False)) for a in (mean, var, grad_weight, grad_bias)
    )
    sums = grad_bias, contiguous(grad_weight * np.sqrt(var + x.dtype.type(eps)))  # as of one run
    return _input_gradient(on, g, x, weight, mean, var, sums, 1, count, eps, (None, None), training=True)


def running_update(on, running_mean, running_var, mean, var, momentum, count):
    """`definition.running_update`: changes the running statistics (C) in place."""
    kept, channels = (running_mean, running_var), len(mean)
    of = np.result_type(*(a.dtype for a in kept), np.float32)
    arrays = [contiguous(a.astype(of, copy=False)) for a in (*kept, mean, var)]
    numbers, grid = (channels, *_moving(of, momentum, count)), (cut(channels, BLOCK),)
    on.launch(BATCH_NORM, "running_update", (c_name(of),), grid, BLOCK, *arrays, numbers=numbers)
    for a, moved in zip(kept, arrays):
        if moved is not a:
            a[...] = moved


def _moving(dtype, momentum, count):
    """What the running statistics are moved by, and what makes a variance unbiased."""
    return dtype.type(momentum), dtype.type(count / (count - 1))


def _runs(on, x):
    """(length of a row, of a run, number of runs) for x (C, …, N); whole packs of 16 bytes in each run."""
    return _cut_rows(on.multiprocessors, len(x), x.size // len(x))


@functools.lru_cache(maxsize=4096)
def _cut_rows(processors, rows, length):
    per_run = cut(runs(processors, rows, length)[1], PACK) * PACK
    return length, per_run, cut(length, per_run)


def _statistics(on, x):
    """x (C, …, N), contiguous -> the means and sums of squares of all runs (C, runs), and how a row was cut."""
    of = _runs(on, x)
    means, squares = on.empty((len(x), of[2]), x.dtype), on.empty((len(x), of[2]), x.dtype)
    t, grid = (c_name(x.dtype),), (of[2], len(x))
    on.launch(BATCH_NORM, "batch_norm_statistics", t, grid, BLOCK, x, means, squares, numbers=of)
    return means, squares, of


def _apply(on, x, weight, bias, means, squares, of, eps, kept=(None, None), running=None, addend=None, relu=False):
    """y = γ·(x − μ)/√(σ² + ε) + β; x, y (C, …, N), contiguous. Puts μ and σ² into ``kept``, and moves ``running``.

    Then an ``addend`` like y is added, and what is negative becomes 0 if ``relu``.
    """
    y, length, of_type = on.empty(x.shape, x.dtype), x.size // len(x), x.dtype.type
    moves, moving = (None, None, None), (of_type(0), of_type(0))
    if running is not None:
        moves, moving = running[:3], _moving(x.dtype, running.momentum, length)
    weight, bias = (None if a is None else contiguous(a) for a in (weight, bias))
    flags = weight is not None, bias is not None, kept[0] is not None, running is not None, relu
    arrays = x, weight, bias, means, squares, addend, y, *kept, *moves
    numbers = length, *of, of_type(eps), *moving, *flags
    grid = cut(length, BLOCK * ITEMS[x.itemsize]), len(x)
    on.launch(BATCH_NORM, "batch_norm_apply", (c_name(x.dtype),), grid, BLOCK, *arrays, numbers=numbers)
    return y


def _backward(on, grad_y, x, weight, mean, var, eps, needs, training, behind_relu=None):
    """The gradients; of (ReLU's output y, an array for the gradient of its input) if g first goes back through it."""
    g, x = batch_last(grad_y), batch_last(x)
    mean, var = (contiguous(a.astype(x.dtype, copy=False)) for a in (mean, var))
    t, sums, count, grads = (c_name(x.dtype),), (None, None), 0, (None, None)
    if needs[1] or needs[2] or training:
        of = _runs(on, x)
        count = of[2]
        sums = on.empty((len(x), count), x.dtype), on.empty((len(x), count), x.dtype)
        grads = on.empty(len(x), x.dtype), on.empty(len(x), x.dtype)
        grid = count, len(x)
        if behind_relu is None:
            on.launch(BATCH_NORM, "batch_norm_sums", t, grid, BLOCK, g, x, mean, *sums, numbers=of)
        else:
            y, masked = behind_relu
            on.launch(BATCH_NORM, "batch_norm_relu_sums", t, grid, BLOCK, g, y, x, mean, masked, *sums, numbers=of)
            g = masked
    grad_x = None
    if needs[0]:
        grad_x = _input_gradient(on, g, x, weight, mean, var, sums, count, x.size // len(x), eps, grads, training)
    elif count:
        numbers = count, x.dtype.type(eps)
        on.launch(BATCH_NORM, "batch_norm_combine_sums", t, (len(x),), WARP, *sums, var, *grads, numbers=numbers)
    return grad_x, grads[0] if needs[1] else None, grads[1] if needs[2] else None


def _input_gradient(on, g, x, weight, mean, var, sums, runs, count, eps, grads, training):
    """dx (N, C, …), with g and x (C, …, N), contiguous. Puts dγ and dβ into ``grads``."""
    grad_x, length = on.empty(x.shape, x.dtype), x.size // len(x)
    weight = None if weight is None else contiguous(weight)
    numbers = length, runs, count, x.dtype.type(eps), weight is not None, grads[0] is not None
    grid = cut(length, BLOCK * ITEMS[x.itemsize]), len(x)
    arrays = g, x, weight, mean, var, *sums, *grads, grad_x
    template = c_name(x.dtype), training
    on.launch(BATCH_NORM, "batch_norm_input_gradient", template, grid, BLOCK, *arrays, numbers=numbers)
    return batch_first(grad_x)
