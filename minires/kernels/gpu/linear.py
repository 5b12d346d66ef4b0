"""The linear layer: launches of matmul.cu. Twins of `textbook.linear` and `textbook.linear_backward`."""

from .launch import c_name, contiguous, cut, tile_for
from .reduce import sum_columns

THREADS = 128


def matmul(on, a, b, bias=None):
    """(…, M, K) @ (…, K, P) -> (…, M, P), with the same leading axes (one at most); bias (P)."""
    stack, (rows, depth), columns = a.shape[:-2], a.shape[-2:], b.shape[-1]
    c = on.empty((*stack, rows, columns), a.dtype)
    (a, a_strides), (b, b_strides) = _in_place(a), _in_place(b)
    tile, tf32 = tile_for(a.dtype, rows)
    grid = cut(columns, tile[1]), cut(rows, tile[0]), stack[0] if stack else 1
    bias, has_bias = (c, 0) if bias is None else (contiguous(bias), 1)
    if c.size:
        args = a, b, bias, c, has_bias, rows, columns, depth, *a_strides, *b_strides
        on.launch("matmul", "matmul", (c_name(a.dtype), *tile, tf32), grid, THREADS, *args)
    return c


def linear(on, x, weight, bias=None):
    """Twin of `textbook.linear`. x (…, in), weight (out, in), bias (out) or None -> y (…, out)."""
    y = matmul(on, x.reshape(-1, x.shape[-1]), weight.T, bias)
    return y.reshape(*x.shape[:-1], len(weight))


def linear_backward(on, grad_y, x, weight, needs=(True, True, True)):
    """Twin of `textbook.linear_backward`. Returns dx (…, in), dw (out, in), db (out), or None each."""
    g = grad_y.reshape(-1, grad_y.shape[-1])  # (rows, out)
    return (
        matmul(on, g, weight).reshape(*grad_y.shape[:-1], weight.shape[1]) if needs[0] else None,
        matmul(on, g.T, x.reshape(-1, x.shape[-1])) if needs[1] else None,
        sum_columns(on, contiguous(g), 1) if needs[2] else None,
    )


def _in_place(x):
    """(array whose memory is row by row, strides with which it reads as x: down, across, to the next matrix)."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    if not x.transpose(order).flags.c_contiguous:  # with gaps, or an axis that is repeated
        x, order = x.copy(), list(range(x.ndim))
    lying = contiguous(x.transpose(order))
    steps = [stride // x.itemsize for stride in x.strides]
    return lying, (steps[-2], steps[-1], steps[0] if x.ndim > 2 else 0)
