"""Matrix products and the linear layer in NumPy. Twins of their namesakes in `minires.kernels.textbook`.

A product that BLAS would give to several threads is cut among ours instead (`threads` says why).
"""

import math

import numpy as np

from ...threads import BLAS_ALONE, products_over


def matmul(a, b):
    """Twin of `textbook.matmul`. a (…, M, K), b (…, K, P) -> (…, M, P)."""
    (rows, inner), columns = a.shape[-2:], b.shape[-1]
    if rows * inner * columns <= BLAS_ALONE:
        return a @ b
    c = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns), np.result_type(a, b))

    def work(cuts):
        for cut in cuts:
            if columns >= rows:
                np.matmul(a, b[..., cut], out=c[..., cut])
            else:
                np.matmul(a[..., cut, :], b, out=c[..., cut, :])

    products_over(max(rows, columns), work, c.size * inner)
    return c


def linear(x, weight, bias=None):
    """Twin of `textbook.linear`. x (…, in), weight (out, in), bias (out) or None -> y (…, out)."""
    y = matmul(_rows(x), weight.T).reshape(*x.shape[:-1], len(weight))
    return y if bias is None else y + bias


def linear_backward(grad_y, x, weight, needs=(True, True, True)):
    """Twin of `textbook.linear_backward`. Returns dx (…, in), dw (out, in), db (out), or None each."""
    g = _rows(grad_y)
    grad_x = matmul(g, weight).reshape(*grad_y.shape[:-1], weight.shape[1]) if needs[0] else None
    grad_weight = matmul(g.T, _rows(x)) if needs[1] else None
    return grad_x, grad_weight, g.sum(0) if needs[2] else None


def _rows(x):
    """(…, K) -> (rows, K)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
