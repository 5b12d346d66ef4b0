"""Convolution as a product with the patches of the image (im2col), gathered block by block: the general arrangement.

Where output rows share image rows, patches are gathered for the horizontal taps only. Row r of the buffer S holds the
kw shifted copies of image row r, A channels each. The patches of output row h are then kh successive rows of S, with no
further copying, so that a 3×3 kernel copies each pixel 3 times instead of 9::

    S:  row h−1 │ j=0: A×(W·N) │ j=1: A×(W·N) │ j=2: A×(W·N) │ ┐
        row h   │     …        │     …        │     …        │ ├─ columns of output row h:  (kh·kw·A, W·N)
        row h+1 │     …        │     …        │     …        │ ┘ ┐
        row h+2 │     …        │     …        │     …        │   ┘─ … of output row h+1: the same memory, one row later
"""

import functools
import math

import numpy as np

from ...threads import get_num_threads, parallel_products, total, workspace, worth_threads
from ..layout import copy_window, even, view
from ..product.cpu import product, product_sum

# Found by `python -m benchmarks tune`, which times each beside its neighbours on the convolutions of four networks.
BLOCK_POSITIONS = 1024  # output positions per product; halved where channels are many
BLOCK_BYTES = 2_500_000  # of patches with shared rows: about the size of a second-level cache
WHOLE_BYTES = 8_000_000  # of other patches: few positions and many channels, which need large products


class Im2col:
    """The patches of an image as matrices, a block of output positions at a time; the methods are listed in `cpu`.

    A block is a rectangle of positions. Its columns are (rows, K, P): matrices with K = kh·kw·A values for each of P
    positions, one matrix per output row where rows share image rows (see the drawing above), otherwise a single one.
    """

    suspect = False

    def __init__(self, x, geometry, multiply_adds):
        """x (A, H, W, N), contiguous. geometry: the pairs kernel, out_hw, stride, padding, dilation.

        For a 1×1 kernel at stride 1 the patches are the pixels themselves, and any strip of them is a block.
        """
        (channels, height, width, batch), (kernel, out_hw, stride, padding, dilation) = x.shape, geometry
        self.flat = kernel == stride == (1, 1) and padding == (0, 0) and out_hw == (height, width)
        if self.flat:
            x, out_hw = x.reshape(channels, 1, height * width, batch), (1, height * width)
        self.x, self.batch, self.multiply_adds = x, batch, multiply_adds
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        threads = get_num_threads() if worth_threads(multiply_adds) else 1
        column_bytes = kernel[1] * channels * x.itemsize * batch  # of the kw shifted copies of a column
        limits = BLOCK_POSITIONS, BLOCK_BYTES, WHOLE_BYTES
        self.shared_rows, self.blocks = _plan(
            self.flat, kernel[0], out_hw, stride[0], dilation[0], batch, column_bytes, threads, limits
        )

    def run(self, work):
        """Call ``work`` on the blocks, shared among the threads if there is enough to do; return a list of results."""
        return parallel_products(work, self.blocks, self.multiply_adds)

    def weights(self, w):
        """(B, A, kh, kw) -> (B, kh·kw·A)."""
        return w.transpose(0, 2, 3, 1).reshape(len(w), -1)

    def gather(self, block):
        """The columns of a block, (rows, kh·kw·A, P), in this thread's workspace."""
        x, (kh, kw), (h0, h1, w0, w1) = self.x, self.kernel, block
        channels, positions = len(x), (w1 - w0) * self.batch
        if self.flat:
            return x[:, 0, w0:w1].reshape(1, channels, positions)
        (sh, sw), (dh, dw) = self.stride, self.dilation
        top, left = h0 * sh - self.padding[0], w0 * sw - self.padding[1]
        if not self.shared_rows:
            # (kh, kw, A, rows, columns, N) as (1, kh·kw·A, P)
            buffer = workspace((kh, kw, channels, h1 - h0, w1 - w0, self.batch), x.dtype)
            for i, j in np.ndindex(kh, kw):
                copy_window(buffer[i, j], x, top + i * dh, sh, left + j * dw, sw)
            return buffer.reshape(1, kh * kw * channels, -1)
        # (image rows, kw, A, columns, N) as (output rows, kh·kw·A, P): kh image rows each, overlapping
        image_rows = (h1 - h0 - 1) * sh + kh
        buffer = workspace((image_rows, kw, channels, w1 - w0, self.batch), x.dtype)
        for j in range(kw):
            copy_window(buffer[:, j].transpose(1, 0, 2, 3), x, top, 1, left + j * dw, sw)
        row = kw * channels * positions
        return view(buffer, (h1 - h0, kh * kw * channels, positions), (sh * row, positions, 1))

    def outputs(self, matrix, columns, y, block):
        """y[block] = matrix · columns, for y (B, H′, W′, N)."""
        # (B, K) @ (rows, K, P) -> (rows, B, P)
        product(matrix, columns, self._positions(y, block))

    def weight_sums(self, columns, other, block):
        """Σ columns · other[block]ᵀ for other (B, H′, W′, N): (K, B). BLAS prefers the small one on the right."""
        # (rows, K, P) · (rows, B, P) -> (rows, K, B)
        products = product_sum(columns, self._positions(other, block))
        return products[0] if len(products) == 1 else products.sum(0)

    def put_weights(self, sums, grad_w):
        """Σ sums (kh·kw·A, B) -> grad_w (B, A, kh, kw)."""
        rows, channels, kh, kw = grad_w.shape
        grad_w[...] = total(sums).reshape(kh, kw, channels, rows).transpose(3, 2, 0, 1)

    def _positions(self, array, block):
        """The block's part of a contiguous (B, H′, W′, N) array as a (rows, B, P) view, to match its columns."""
        h0, h1, w0, w1 = block
        if self.flat:
            return array.reshape(len(array), -1)[:, w0 * self.batch : w1 * self.batch][None]
        part = array[:, h0:h1, w0:w1]
        if self.shared_rows:
            return part.transpose(1, 0, 2, 3).reshape(h1 - h0, len(array), -1)
        return part.reshape(1, len(array), -1)


@functools.lru_cache(maxsize=4096)
def _plan(flat, kernel_height, out_hw, stride, dilation, batch, column_bytes, threads, limits):
    """Layout and size of the blocks: (whether output rows share image rows, the blocks as (h0, h1, w0, w1))."""
    (out_h, out_w), (block_positions, block_bytes, whole_bytes) = out_hw, limits
    columns = max(block_positions // batch, 1)
    if column_bytes * columns * (kernel_height + 3) > block_bytes:
        columns = max(columns // 2, 1)
    columns = even(out_w, columns)
    shared_rows = kernel_height > 1 and dilation == 1 and columns * batch >= 256
    if flat:
        rows, columns = 1, even(out_w, max(16 * block_positions // batch, 1))
    elif shared_rows:
        rows = (block_bytes // (column_bytes * columns) - kernel_height) // stride + 1
    else:
        columns = out_w if out_w * batch <= 2 * block_positions else columns
        rows = whole_bytes // (column_bytes * kernel_height * columns) if columns == out_w else 1
    strips = math.ceil(out_w / columns)
    count = math.ceil(out_h / max(rows, 1)) * strips
    count = math.ceil(count / threads) * threads  # the same number for every thread
    rows = even(out_h, math.ceil(out_h * strips / count))
    blocks = [
        (h, min(h + rows, out_h), w, min(w + columns, out_w))
        for w in range(0, out_w, columns)
        for h in range(0, out_h, rows)
    ]
    return shared_rows, blocks
