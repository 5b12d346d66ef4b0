"""Convolution as matrix products (im2col), in memory with the batch last.

Twin of `minires.kernels.textbook.conv2d`. Three ideas make it fast in plain NumPy:

1. **The batch is innermost in memory.** Arrays have the shape (N, C, H, W) but lie in memory as (C, H, W, N). A shift
   by one pixel then moves whole runs of N numbers, so gathering patches is plain block copying; a channel is one
   contiguous row, which batch norm likes too; and a product writes its output in place (see `layout`).

2. **Patches are gathered for the horizontal taps only.** Row r of the buffer S holds the kw shifted copies of image row
   r, C channels each. The patches of output row h are then rows h … h+kh−1 of S, *as they lie*::

       S:  row h−1 │ j=0: C×(W·N) │ j=1: C×(W·N) │ j=2: C×(W·N) │ ┐
           row h   │     …        │     …        │     …        │ ├─ columns of output row h:  (kh·kw·C, W·N)
           row h+1 │     …        │     …        │     …        │ ┘ ┐
           row h+2 │     …        │     …        │     …        │   ┘─ … of output row h+1: the same memory, one row on

   so a 3×3 kernel copies each pixel 3 times instead of 9.

3. **Blocks fit the second-level cache**: S is made for a few rows and some hundred columns at a time, used, and reused.

Both gradients are built from the same pieces. With stride 1, the patches of grad_y serve twice:
dx = (flipped weights) · patches, and dw = patches · xᵀ. With a larger stride, dx splits into stride² independent
stride-1 convolutions, one for each phase of the input grid, so nothing is scattered and no zero is multiplied.

Three other ways take over where they are faster: `winograd`, which multiplies half as often or less, for 3×3 kernels
at stride 1 with channels enough and rows long enough; `narrow` where rows are short, as at batch 1; and `by_channel`
where there are more weights than pixels, as in the last layers of a deep network.
"""

import functools
import itertools
import math

import numpy as np

from . import by_channel, narrow, winograd
from .layout import batch_first, batch_last, copy_window, even, mirrored, out_sizes
from .threads import get_num_threads, parallel_products, workspace, worth_threads

BLOCK_POSITIONS = 1024  # output positions per product; halved where channels are many
BLOCK_BYTES = 2_500_000  # of patches whose rows are shared: about a second-level cache
WHOLE_BYTES = 8_000_000  # of patches that are not: few positions and many channels, which want large products


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Twin of `textbook.conv2d`. x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) -> y (N, O, H′, W′)."""
    x = batch_last(x)
    out_hw = out_sizes(x.shape[1:3], weight.shape[2:], stride, padding, dilation)
    y = np.empty((len(weight), *out_hw, x.shape[3]), x.dtype)
    for xg, wg, yg in zip(_split(x, groups), _split(weight, groups), _split(y, groups)):
        correlate(xg, wg, yg, stride, padding, dilation)
    if bias is not None:
        y += bias[:, None, None, None]
    return batch_first(y)


def conv2d_backward(
    grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True, True, True)
):
    """Twin of `textbook.conv2d_backward`. Returns dx (N, C, H, W), dw (O, C/groups, kh, kw), db (O), or None each."""
    g, x = batch_last(grad_y), batch_last(x)
    grad_x = np.empty_like(x) if needs[0] else None
    grad_w = np.empty(weight.shape, weight.dtype) if needs[1] else None
    for i, (gg, xg, wg) in enumerate(zip(_split(g, groups), _split(x, groups), _split(weight, groups))):
        gxg = _split(grad_x, groups)[i] if needs[0] else None
        gwg = _split(grad_w, groups)[i] if needs[1] else None
        if by_channel.pays(wg, xg, gg):
            by_channel.gradients(gg, xg, wg, gxg, gwg, stride, padding, dilation)
            continue
        if needs[0] and winograd.pays(wg, stride, dilation, gg.shape):
            winograd.gradients(gg, xg, wg, gxg, gwg, padding)
            continue
        if needs[0] and narrow.pays(stride, wg.shape[2:], xg.shape, 2 * wg.size * gg[0].size):
            narrow.gradients(gg, xg, wg, gxg, gwg, padding, dilation)
            continue
        if stride == (1, 1) and needs[0]:
            _stride_one_gradients(gg, xg, wg, gxg, gwg, padding, dilation)
            continue
        if needs[0]:
            _input_gradient(gg, wg, gxg, stride, padding, dilation)
        if needs[1]:
            _weight_gradient(gg, xg, gwg, stride, padding, dilation)
    grad_b = g.reshape(len(g), -1).sum(1) if needs[2] else None
    return batch_first(grad_x) if needs[0] else None, grad_w, grad_b


def correlate(x, weight, y, stride, padding, dilation):
    """Fill y[o, h, w, n] = Σ_{c,i,j} weight[o, c, i, j] · x[c, h·s + i·d − p, w·s + j·d − p, n], x being 0 outside.

    x (C, H, W, N) contiguous, weight (O, C, kh, kw), y (O, H′, W′, N). A padding may be negative (a crop), and y's size
    is free: it need not end where the image does.
    """
    if by_channel.pays(weight, x, y):
        by_channel.correlate(x, weight, y, stride, padding, dilation)
        return
    if y.flags.c_contiguous and winograd.pays(weight, stride, dilation, y.shape):
        winograd.correlate(x, weight, y, padding)
        return
    if narrow.pays(stride, weight.shape[2:], y.shape, weight.size * y[0].size):
        narrow.correlate(x, weight, y, padding, dilation)
        return
    if not y.flags.c_contiguous:
        whole = np.empty(y.shape, y.dtype)
        correlate(x, weight, whole, stride, padding, dilation)
        y[...] = whole
        return
    patches = Patches(x, weight.shape[2:], y.shape[1:3], stride, padding, dilation, rows_of_product=len(weight))
    matrix = _taps_first(weight).reshape(len(weight), -1)  # (O, kh·kw·C)

    def work(blocks):
        for block in blocks:
            np.matmul(matrix, patches.gather(block), out=patches.positions(y, block))

    patches.run(work)


def _stride_one_gradients(g, x, weight, grad_x, grad_w, padding, dilation):
    """dx and dw of a stride-1 convolution from one gathering of patches of grad_y.

    dx is the correlation of grad_y with the flipped weights; and since every product g·x belongs to one tap,
    dw[o, c, i, j] = Σ g[o, q + p − i·d]·x[c, q] needs, for the input positions q, the very same patches.
    """
    (out, _, kh, kw) = weight.shape
    flipped = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)  # (C, O, kh, kw)
    matrix = _taps_first(flipped).reshape(len(x), -1)  # (C, kh·kw·O)
    around, both = mirrored((kh, kw), padding, dilation), 1 if grad_w is None else 2
    patches = Patches(g, (kh, kw), x.shape[1:3], (1, 1), around, dilation, rows_of_product=both * len(x))

    def work(blocks):
        partial = None
        for block in blocks:
            columns = patches.gather(block)  # (rows, kh·kw·O, positions)
            np.matmul(matrix, columns, out=patches.positions(grad_x, block))
            if grad_w is not None:
                partial = _accumulate(partial, columns, patches.positions(x, block))
        return partial

    partials = patches.run(work)
    if grad_w is not None:
        total = sum(partials[1:], partials[0])  # (kh·kw·O, C)
        grad_w[...] = total.reshape(kh, kw, out, -1)[::-1, ::-1].transpose(2, 3, 0, 1)


def _weight_gradient(g, x, grad_w, stride, padding, dilation):
    """dw = patches(x) · grad_yᵀ, for any stride."""
    out, channels, kh, kw = grad_w.shape
    patches = Patches(x, (kh, kw), g.shape[1:3], stride, padding, dilation, rows_of_product=out)

    def work(blocks):
        partial = None
        for block in blocks:
            partial = _accumulate(partial, patches.gather(block), patches.positions(g, block))
        return partial

    partials = patches.run(work)
    total = sum(partials[1:], partials[0])  # (kh·kw·C, O)
    grad_w[...] = total.reshape(kh, kw, channels, out).transpose(3, 2, 0, 1)


def _input_gradient(g, weight, grad_x, stride, padding, dilation):
    """dx for any stride: input pixels of one phase (h mod s, w mod s) are reached by the same taps, at unit stride.

    Pixel q·s + a receives from output position q + (a + p − i·d)/s through tap i, for those i that make it whole.
    """
    for a, b in itertools.product(*(range(min(s, n)) for s, n in zip(stride, grad_x.shape[1:3]))):
        phase = grad_x[:, a :: stride[0], b :: stride[1]]
        reach = [
            [(i, (first + p - i * d) // s) for i in range(k) if (first + p - i * d) % s == 0]
            for first, k, s, p, d in zip((a, b), weight.shape[2:], stride, padding, dilation)
        ]
        if not all(reach):
            phase[...] = 0
            continue
        (rows, tops), (columns, lefts) = (zip(*reversed(r)) for r in reach)  # offsets ascending
        taps = weight[:, :, rows][:, :, :, columns].transpose(1, 0, 2, 3)  # (C, O, taps, taps)
        step = tuple(o[1] - o[0] if len(o) > 1 else 1 for o in (tops, lefts))  # the taps of a phase are evenly spaced
        correlate(g, taps, phase, (1, 1), (-tops[0], -lefts[0]), step)


def _accumulate(partial, columns, positions):
    """partial + Σ_rows columns · positionsᵀ. columns (rows, K, P), positions (rows, M, P) -> (K, M).

    In this orientation the small matrix stands on the right, which BLAS multiplies up to 1.8 times faster.
    """
    product = np.matmul(columns, positions.transpose(0, 2, 1))
    product = product[0] if len(product) == 1 else product.sum(0)
    if partial is None:
        return product
    partial += product
    return partial


def _taps_first(weight):
    """(O, C, kh, kw) -> (O, kh, kw, C): the order in which `Patches` stacks its rows."""
    return weight.transpose(0, 2, 3, 1)


def _split(array, groups):
    """Cut the first axis into equal groups (views)."""
    return [array] if groups == 1 else np.split(array, groups)


class Patches:
    """The im2col matrix of an image, gathered block by block.

    A block is a rectangle of output positions. Its columns come as (rows, K, P): ``rows`` matrices of K = kh·kw·C
    values for each of P positions, one matrix for each output row in the layout of idea 2, or one for the whole block.
    """

    def __init__(self, x, kernel, out_hw, stride, padding, dilation, rows_of_product):
        """x (C, H, W, N) contiguous; ``out_hw`` output positions to cover; the product will have that many rows."""
        channels, height, width, batch = x.shape
        # 1×1, unit stride, no padding: the patches are the pixels themselves, and any strip of them is a block
        self.flat = kernel == tuple(stride) == (1, 1) and tuple(padding) == (0, 0) and out_hw == (height, width)
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
