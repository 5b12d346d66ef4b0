"""Convolution where the weights outnumber the pixels: im2col and col2im, a few input channels at a time.

Twin of `minires.kernels.textbook.conv2d`; used by `conv` for the last layers of a deep network and small batches, where
512·512 kernels meet 7×7 pixels. There the weights are the traffic, and what else `conv` does, turning them round for
dx and adding up sums of their size for dw, costs as much as the products. Here they are read as they lie, and dw is
written as it lies; what is copied, shifted and added are patches, which are few.

With W as the matrix (O, C·kh·kw) that it is in memory, X the patches of x (C·kh·kw, P positions) and g (O, P)::

    y  = Σ_runs  W[:, run] · X[run]          partial sums of the size of y
    dx[run]    = col2im(W[:, run]ᵀ · g)      every tap's row added where its pixels are
    dW[:, run] = g · X[run]ᵀ

A run is a few input channels. The threads share the runs, and no two write to the same place.
"""

import math

import numpy as np

from ...threads import cut, get_num_threads, parallel_products, plus, total, workspace, worth_threads
from ..layout import add_inside, copy_window

BLOCK_BYTES = 1_000_000  # of the patches of a run


def pays(weight, x, y):
    """Whether there are more weights (O, C, kh, kw) than numbers in x (C, H, W, N) and y (O, H′, W′, N), and enough."""
    return weight.size >= x.size + y.size and worth_threads(weight.size * y[0].size)


def correlate(x, weight, y, stride, padding, dilation):
    """`conv.correlate`: fill y (O, H′, W′, N) from x (C, H, W, N) and weight (O, C, kh, kw)."""
    out, _, *kernel = weight.shape

    def work(runs):
        partial = None
        for run in runs:
            patches = _patches(x[run], kernel, y.shape[1:], stride, padding, dilation)
            partial = plus(partial, weight[:, run].reshape(out, -1) @ patches)
        return partial

    partials = parallel_products(work, _runs(weight, y), y.size * weight[0].size)
    y[...] = total(partials).reshape(y.shape)


def gradients(g, x, weight, grad_x, grad_w, stride, padding, dilation):
    """Fill dx (C, H, W, N) and dw (O, C, kh, kw), those that are not None, from g (O, H′, W′, N)."""
    out, _, kh, kw = weight.shape
    rows = g.reshape(out, -1)

    def work(runs):
        for run in runs:
            if grad_x is not None:
                matrix = weight[:, run].reshape(out, -1).T
                shape = len(matrix), rows.shape[1]
                taps = np.matmul(matrix, rows, out=workspace(shape, g.dtype)).reshape(-1, kh, kw, *g.shape[1:])
                grad_x[run] = 0
                for i, j in np.ndindex(kh, kw):
                    top, left = i * dilation[0] - padding[0], j * dilation[1] - padding[1]
                    add_inside(grad_x[run], taps[:, i, j], top, stride[0], left, stride[1])
            if grad_w is not None:
                patches = _patches(x[run], (kh, kw), g.shape[1:], stride, padding, dilation)
                np.matmul(rows, patches.T, out=grad_w[:, run].reshape(out, -1))

    parallel_products(work, _runs(weight, g), g.size * weight[0].size)


def _patches(x, kernel, positions, stride, padding, dilation):
    """im2col: x (C, H, W, N) -> (C·kh·kw, H′·W′·N), in this thread's workspace."""
    patches = workspace((len(x), *kernel, *positions), x.dtype)
    for i, j in np.ndindex(*kernel):
        top, left = i * dilation[0] - padding[0], j * dilation[1] - padding[1]
        copy_window(patches[:, i, j], x, top, stride[0], left, stride[1])
    return patches.reshape(len(x) * math.prod(kernel), -1)


def _runs(weight, y):
    """Slices of the input channels, as many for every thread."""
    channels, threads = weight.shape[1], get_num_threads()
    count = -(-weight[0].size * y[0].nbytes // BLOCK_BYTES)
    return cut(channels, min(-(-count // threads) * threads, channels))
