"""Matrix products and the linear layer: launches for matmul.cu; the definitions are in `definition`."""

import itertools
import math

import numpy as np

from ..launch import MOST_LAYERS, TILES, c_name, contiguous, cut, tile_for
from ..load import Source
from ..reduce.gpu import reduce_sum

MATMUL = Source(
    "product/matmul.cu",
    [
        *(("matmul", "float", *tile, False) for tile in TILES),
        ("matmul", "float", *TILES[-1], True),
        ("matmul", "double", *TILES[0], False),
    ],
)

THREADS = 128


def matmul(on, a, b):
    """`definition.matmul`. a (…, M, K), b (…, K, P) -> (…, M, P); the array library multiplies whole numbers."""
    if a.dtype not in (np.float32, np.float64):
        return a @ b
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if b.ndim == 2:  # all matrices of a meet the same b: stack their rows into one tall matrix
        return product(on, a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[1])
    a, b = (_stacked(x, stack) for x in (a, b))
    return product(on, a, b).reshape(*stack, a.shape[-2], b.shape[-1])


def linear(on, x, weight, bias=None):
    """`definition.linear`. x (…, in), weight (out, in), bias (out) or None -> y (…, out)."""
    y = product(on, _rows(x), weight.T, bias)
    return y.reshape(*x.shape[:-1], len(weight))


def linear_backward(on, grad_y, x, weight, needs=(True, True, True)):
    """`definition.linear_backward`. Returns dx (…, in), dw (out, in), db (out), or None each."""
    g = _rows(grad_y)
    return (
        product(on, g, weight).reshape(*grad_y.shape[:-1], weight.shape[1]) if needs[0] else None,
        product(on, g.T, _rows(x)) if needs[1] else None,
        reduce_sum(on, g, (0,)) if needs[2] else None,
    )


def product(on, a, b, bias=None):
    """a (M, K) or (matrices, M, K), b (K, P) or (matrices, K, P), any strides, bias (P) or None -> a·b + bias."""
    stack, (rows, depth), columns = (a if a.ndim > 2 else b).shape[:-2], a.shape[-2:], b.shape[-1]
    c = on.empty((*stack, rows, columns), a.dtype)
    if not c.size:
        return c
    (a, a_strides), (b, b_strides) = _in_place(a), _in_place(b)
    tile, tf32 = tile_for(a.dtype, rows, on.tf32)
    template = c_name(a.dtype), *tile, tf32
    bias, has_bias = (c, 0) if bias is None else (contiguous(bias), 1)
    matrices = stack[0] if stack else 1
    tops = range(0, rows, MOST_LAYERS * tile[0])
    for first, top in itertools.product(range(0, matrices, MOST_LAYERS), tops):
        down = min(cut(rows - top, tile[0]), MOST_LAYERS)
        grid = cut(columns, tile[1]), down, min(matrices - first, MOST_LAYERS)
        numbers = has_bias, first, top, rows, columns, depth, *a_strides, *b_strides
        on.launch(MATMUL, "matmul", template, grid, THREADS, a, b, bias, c, numbers=numbers)
    return c


def _rows(x):
    """(…, K) -> (rows, K)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _stacked(x, stack):
    """x (…, rows, columns) -> (matrices, rows, columns), broadcast to the stack; a single matrix is not repeated."""
    if x.ndim == 2:
        return x
    return np.broadcast_to(x, (*stack, *x.shape[-2:])).reshape(math.prod(stack), *x.shape[-2:])


def _in_place(x):
    """(array stored row by row, the strides by which it reads as x: down, across, to the next matrix)."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    if not x.transpose(order).flags.c_contiguous:  # there are gaps, or a repeated axis
        x, order = x.copy(), list(range(x.ndim))
    lying = contiguous(x.transpose(order))
    steps = [stride // x.itemsize for stride in x.strides]
    return lying, (steps[-2], steps[-1], steps[0] if x.ndim > 2 else 0)
