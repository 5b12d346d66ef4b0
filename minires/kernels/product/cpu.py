"""Matrix products and the linear layer in NumPy; the definitions are in `definition`.

A product that BLAS would share among its own threads is computed by ours instead (`minires.threads` says why).

Convolution's products have few rows and many columns, and are computed in runs of columns. On processors with AVX-512,
OpenBLAS multiplies small matrices in place, but copies the operands of larger ones first, which takes as long as the
multiplication if there are few rows: 16 × 48 by 48 × 1024 runs at 90 GFLOP/s per core, by 48 × 2048 at 41 (NumPy 2.4's
OpenBLAS 0.3.31). On other processors the runs are made too; there they have not been measured.
"""

import math

import numpy as np

from ... import blas
from ...threads import plus, products_over
from ..reduce.cpu import reduce_sum

# Found by `python -m benchmarks tune`.
SMALL = 1_000_000  # multiply-adds up to which OpenBLAS reads the operands in place, without copying them
LEAST = 16  # with shorter runs than this, `product` makes none
LEAST_SUM = 500  # the same for `product_sum`, where each run costs an addition


def matmul(a, b):
    """`definition.matmul`. a (…, M, K), b (…, K, P) -> (…, M, P)."""
    (rows, inner), columns = a.shape[-2:], b.shape[-1]
    if rows * inner * columns <= blas.ALONE:
        return a @ b
    c = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns), np.result_type(a, b))

    # (…, M, K) @ (…, K, P) -> (…, M, P), cut along the longer of M and P
    def work(cuts):
        for cut in cuts:
            if columns >= rows:
                np.matmul(a, b[..., cut], out=c[..., cut])
            else:
                np.matmul(a[..., cut, :], b, out=c[..., cut, :])

    products_over(max(rows, columns), work, c.size * inner)
    return c


def product(a, b, out):
    """out = a @ b, in runs of columns where that is faster: a (…, M, K), b (…, K, P), out (…, M, P).

    ``out`` must be contiguous along P, so that its runs are views.
    """
    columns, run = b.shape[-1], SMALL // (a.shape[-2] * a.shape[-1])
    if columns <= run or run < LEAST:
        np.matmul(a, b, out=out)
        return
    for start, stop, runs in _in_runs(columns, run):
        # (…, runs, M, run) = (…, 1, M, K) @ (…, runs, K, run)
        part = _cut(out[..., start:stop], runs)
        np.matmul(a[..., None, :, :], _cut(b[..., start:stop], runs), out=part)


def product_sum(a, b):
    """a @ bᵀ, as a sum over runs of columns where that is faster: a (…, M, P), b (…, K, P) -> (…, M, K)."""
    columns, run = b.shape[-1], SMALL // (a.shape[-2] * b.shape[-2])
    if columns <= run or run < LEAST_SUM:
        return np.matmul(a, b.swapaxes(-1, -2))
    total = None
    for start, stop, runs in _in_runs(columns, run):
        # (…, runs, M, K) = (…, runs, M, run) @ (…, runs, run, K)
        parts = np.matmul(_cut(a[..., start:stop], runs), _cut(b[..., start:stop], runs).swapaxes(-1, -2))
        total = plus(total, parts.sum(-3))
    return total


def small_pieces(run, multiply_adds):
    """Cut a slice into pieces that are small products, when each of its entries takes that many ``multiply_adds``."""
    step = max(SMALL // multiply_adds, 1)
    return [slice(i, min(i + step, run.stop)) for i in range(run.start, run.stop, step)]


def _in_runs(columns, run):
    """Cut range(columns) into two parts, (start, stop, number of equal runs): all whole runs, and what is left."""
    run = run // 64 * 64 or run // 16 * 16  # whole vectors
    whole = columns // run
    return [(0, whole * run, whole), (whole * run, columns, 1)][: 1 + (columns > whole * run)]


def _cut(x, runs):
    """(…, M, runs·P) -> its view (…, runs, M, P)."""
    return x.reshape(*x.shape[:-1], runs, -1).swapaxes(-2, -3)


def linear(x, weight, bias=None):
    """`definition.linear`. x (…, in), weight (out, in), bias (out) or None -> y (…, out)."""
    y = matmul(_rows(x), weight.T).reshape(*x.shape[:-1], len(weight))
    return y if bias is None else y + bias


def linear_backward(grad_y, x, weight, needs=(True, True, True)):
    """`definition.linear_backward`. Returns dx (…, in), dw (out, in), db (out), or None each."""
    g = _rows(grad_y)
    grad_x = matmul(g, weight).reshape(*grad_y.shape[:-1], weight.shape[1]) if needs[0] else None
    grad_weight = matmul(g.T, _rows(x)) if needs[1] else None
    return grad_x, grad_weight, reduce_sum(g, (0,)) if needs[2] else None


def _rows(x):
    """(…, K) -> (rows, K)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
