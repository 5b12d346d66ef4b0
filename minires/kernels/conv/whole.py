"""Convolution where every output sees the whole image, as with 3×3 kernels on 2×2 images: one product, no patches.

Each output is then a sum over all pixels, and the convolution a linear layer, whose matrix holds each weight wherever
an output meets a pixel through it. For one channel of a 2×2 image with a border of zeros, and kernels a b c, d e f,
g h i::

    e f h i
    d e g h     4 products for each output, where patches have 9, most of them with zeros of the border
    b c e f
    a b d e
"""

import itertools

import numpy as np

from ...blas import one_blas_thread
from ...threads import total, worth_threads
from ..layout import view
from ..product.cpu import matmul, product, product_sum

# Found by `python -m benchmarks tune`.
BATCH = 16  # images; with fewer, the matrix costs more than it saves
CHANNELS = 16  # per image, of input and output together; with more, too


class Whole:
    """All pixels as one matrix (H·W·A, N), a single block; the methods are listed in `cpu`.

    Pixels come before channels, so that a matrix is made of runs of channels.
    """

    suspect = False

    @staticmethod
    def is_faster(x_shape, rows, geometry, multiply_adds):
        """Whether each output sees all pixels, and there are enough images to be worth the matrix."""
        kernel, out_hw, stride, padding, dilation = geometry
        channels, *in_hw, batch = x_shape
        many = batch >= BATCH and channels + rows <= CHANNELS * batch
        sees_all = (p >= (o - 1) * s and n + p <= k for n, k, o, s, p in zip(in_hw, kernel, out_hw, stride, padding))
        return many and dilation == (1, 1) and all(sees_all)

    def __init__(self, x, geometry, multiply_adds):
        """x (A, H, W, N), contiguous. geometry: the pairs kernel, out_hw, stride, padding, dilation."""
        self.kernel, self.out_hw, self.stride, self.padding, _ = geometry
        self.in_hw, self.multiply_adds = x.shape[1:3], multiply_adds
        self.columns = _pixels_first(x)

    def run(self, work):
        """Call ``work`` on the single block, in this thread; return its result in a list."""
        return [one_blas_thread(work, [None])]

    def weights(self, w):
        """(B, A, kh, kw) -> (H′·W′·B, H·W·A): at (h′, w′, b, h, w, a), weight b, a of tap (h, w) − s·(h′, w′) + p."""
        rows, channels, _, kw = w.shape
        by_tap = np.ascontiguousarray(w.transpose(2, 3, 0, 1))  # (kh, kw, B, A)
        tap, line = rows * channels, kw * rows * channels
        (sh, sw), (top, left) = self.stride, self.padding
        shape = *self.out_hw, rows, *self.in_hw, channels
        matrix = view(by_tap, shape, (-sh * line, -sw * tap, channels, line, tap, 1), top * line + left * tap)
        return matrix.reshape(len(matrix) * self.out_hw[1] * rows, -1)

    def gather(self, block):
        """All pixels, (H·W·A, N)."""
        return self.columns

    def outputs(self, matrix, columns, y, block):
        """y (B, H′, W′, N) = matrix · columns."""
        if worth_threads(self.multiply_adds):  # `matmul` shares the work among the threads
            products = matmul(matrix, columns)
        else:
            products = np.empty((len(matrix), columns.shape[1]), y.dtype)
            product(matrix, columns, products)
        y[...] = products.reshape(*self.out_hw, len(y), -1).transpose(2, 0, 1, 3)

    def weight_sums(self, columns, other, block):
        """columns · otherᵀ, (H·W·A, H′·W′·B), for other (B, H′, W′, N)."""
        other = _pixels_first(other)
        return matmul(columns, other.T) if worth_threads(self.multiply_adds) else product_sum(columns, other)

    def put_weights(self, sums, grad_w):
        """Σ sums (H·W·A, H′·W′·B) -> grad_w (B, A, kh, kw), each weight's from wherever it stood in the matrix."""
        rows, channels, kh, kw = grad_w.shape
        parts = total(sums).reshape(*self.in_hw, channels, *self.out_hw, rows)
        by_tap = np.zeros((kh, kw, channels, rows), grad_w.dtype)
        (height, width), (sh, sw), (top, left) = self.in_hw, self.stride, self.padding
        for h, w in itertools.product(*map(range, self.out_hw)):
            i, j = top - h * sh, left - w * sw
            by_tap[i : i + height, j : j + width] += parts[:, :, :, h, w]
        grad_w[...] = by_tap.transpose(3, 2, 0, 1)


def _pixels_first(x):
    """(A, H, W, N) -> (H·W·A, N)."""
    return x.transpose(1, 2, 0, 3).reshape(-1, x.shape[3])
