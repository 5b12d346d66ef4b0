"""The im2col matrix of an image, gathered block by block: what a block is, how large, and how it lies in memory.

The two layouts, and why one copies each pixel kw times and not kh·kw times, are drawn in `conv`.
"""

import functools
import math

import numpy as np

from ...threads import get_num_threads, parallel_products, plus, workspace, worth_threads
from ..layout import copy_window, even

BLOCK_POSITIONS = 1024  # output positions per product; halved where channels are many
BLOCK_BYTES = 2_500_000  # of patches whose rows are shared: about a second-level cache
WHOLE_BYTES = 8_000_000  # of patches that are not: few positions and many channels, which want large products


class Patches:
    """The im2col matrix of an image, gathered block by block.

    A block is a rectangle of output positions. Its columns come as (rows, K, P): ``rows`` matrices of K = kh·kw·C
    values for each of P positions: one matrix for each output row in `conv`’s idea 2, else one for all.
    """

    def __init__(self, x, kernel, out_hw, stride, padding, dilation, rows_of_product, rectangles=False):
        """x (C, H, W, N) contiguous; ``out_hw`` output positions to cover; the product will have that many rows.

        For a 1×1 kernel at stride 1, the patches are the pixels themselves, and any strip of them is a block, unless
        ``rectangles`` are asked for.
        """
        channels, height, width, batch = x.shape
        whole = tuple(padding) == (0, 0) and out_hw == (height, width)
        self.flat = kernel == tuple(stride) == (1, 1) and whole and not rectangles
        if self.flat:
            x, out_hw = x.reshape(channels, 1, height * width, batch), (1, height * width)
        self.x, self.out_hw, self.batch = x, out_hw, batch
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.work = rows_of_product * channels * math.prod(kernel) * math.prod(out_hw) * batch
        threads = get_num_threads() if worth_threads(self.work) else 1
        bytes_per_column = kernel[1] * channels * x.itemsize * batch
        limits = BLOCK_POSITIONS, BLOCK_BYTES, WHOLE_BYTES, threads
        self.shared_rows, self.blocks = _plan(
            self.flat, kernel, out_hw, stride[0], dilation[0], batch, bytes_per_column, *limits
        )

    def run(self, work):
        """Call ``work`` on all blocks, shared among the threads if there is enough to do; return its results."""
        return parallel_products(work, self.blocks, self.work)

    def gather(self, block):
        """The columns of a block, (rows, K, P), in this thread's workspace."""
        x, (kh, kw), batch = self.x, self.kernel, self.batch
        channels = len(x)
        h0, h1, w0, w1 = block
        positions = (w1 - w0) * batch
        if self.flat:
            return x[:, 0, w0:w1].reshape(1, channels, positions)
        (sh, sw), (dh, dw) = self.stride, self.dilation
        top, left = h0 * sh - self.padding[0], w0 * sw - self.padding[1]
        if not self.shared_rows:
            buffer = workspace((kh, kw, channels, h1 - h0, w1 - w0, batch), x.dtype)
            for i, j in np.ndindex(kh, kw):
                copy_window(buffer[i, j], x, top + i * dh, sh, left + j * dw, sw)
            return buffer.reshape(1, kh * kw * channels, -1)
        image_rows = (h1 - h0 - 1) * sh + kh
        buffer = workspace((image_rows, kw, channels, w1 - w0, batch), x.dtype)
        for j in range(kw):
            copy_window(buffer[:, j].transpose(1, 0, 2, 3), x, top, 1, left + j * dw, sw)
        row, _, tap = buffer.strides[:3]
        return np.ndarray(
            (h1 - h0, kh * kw * channels, positions), x.dtype, buffer, strides=(sh * row, tap, x.itemsize)
        )

    def positions(self, array, block):
        """A block of a contiguous (M, H′, W′, N) array as a (rows, M, P) view, to go with the block's columns."""
        h0, h1, w0, w1 = block
        if self.flat:
            return array.reshape(len(array), -1)[:, w0 * self.batch : w1 * self.batch][None]
        part = array[:, h0:h1, w0:w1]
        if self.shared_rows:
            return part.transpose(1, 0, 2, 3).reshape(h1 - h0, len(array), -1)
        return part.reshape(1, len(array), -1)


@functools.lru_cache(maxsize=4096)
def _plan(
    flat, kernel, out_hw, stride, dilation, batch, bytes_per_column, block_positions, block_bytes, whole_bytes, threads
):
    """(whether output rows share image rows, the blocks): the layout and the size of the blocks, for `Patches`.

    bytes_per_column: memory of the kw shifted copies of one image pixel, over all channels and the batch.
    """
    (kh, _), (out_h, out_w) = kernel, out_hw
    columns = max(block_positions // batch, 1)
    if bytes_per_column * columns * (kh + 3) > block_bytes:
        columns = max(columns // 2, 1)
    columns = even(out_w, columns)
    shared_rows = kh > 1 and dilation == 1 and columns * batch >= 256
    if flat:
        rows, columns = 1, even(out_w, max(16 * block_positions // batch, 1))
    elif shared_rows:
        rows = (block_bytes // (bytes_per_column * columns) - kh) // stride + 1
    else:
        columns = out_w if out_w * batch <= 2 * block_positions else columns
        rows = whole_bytes // (bytes_per_column * kh * columns) if columns == out_w else 1
    strips = -(-out_w // columns)
    count = -(-out_h // max(rows, 1)) * strips
    count = -(-count // threads) * threads  # as much for every thread
    rows = even(out_h, -(-out_h * strips // count))
    blocks = [
        (h, min(h + rows, out_h), w, min(w + columns, out_w))
        for w in range(0, out_w, columns)
        for h in range(0, out_h, rows)
    ]
    return shared_rows, blocks


def accumulate(partial, columns, positions):
    """partial + Σ_rows columns · positionsᵀ. columns (rows, K, P), positions (rows, M, P) -> (K, M).

    In this orientation the small matrix stands on the right, which BLAS multiplies up to 1.8 times faster.
    """
    product = np.matmul(columns, positions.transpose(0, 2, 1))
    return plus(partial, product[0] if len(product) == 1 else product.sum(0))
