"""3×3 convolution with half the multiplications: Winograd's F(4, 3) along the columns of an image.

Twin of `minires.kernels.textbook.conv2d`, for stride 1; used by `conv` where there are enough channels. Winograd 1980;
for convolution networks Lavin & Gray 2016, arXiv 1509.09308, whose matrices of section 4.3 these are.

Take a tile of four outputs y, one above the other, and one column of the kernel, w. They see six inputs d, and take
4·3 = 12 products. Six suffice, one for each number that both sides are turned into::

    d₀ ─┐                                      ┌─ y₀           y = Aᵀ [(G w) ∘ (Bᵀ d)]
    d₁ ─┤                                      ├─ y₁
    d₂ ─┤   six sums  ── × six sums ──  four   ├─ y₂           (w and y as polynomials: G and A take their values at
    d₃ ─┤    of d          of w         sums   └─ y₃            0, ±1, ±2, ∞; Bᵀ interpolates, the other way round)
    d₄ ─┤    Bᵀ d          G w          Aᵀ m
    d₅ ─┘

With channels and the three columns of the kernel, each of the six is a matrix product, in which a whole row of tiles
shares one matrix, as in `conv`::

    V = Bᵀ d           (6, C, tiles)           every tile's six rows of inputs
    S                  (6, 3·C, tiles)         and its neighbours to the left and right: im2col of a 1×3 kernel
    U = G w            (6, O, 3·C)
    Y = Aᵀ (U S)       (O, 4 rows of each tile)

The transforms are products too, with matrices of 6×6 and 4×6 that pass over long rows.

The gradients need nothing new. dx is the convolution of grad_y with the flipped weights; and dw, the derivative of the
line above, is Gᵀ [Σ_tiles (Bᵀ d) ∘ (A x)], which takes the same S as dx does.

The transforms cost a few passes over C·H·W·N numbers and the products O·C·H·W·N: hence *many* channels. The sums are of
larger numbers, which cancel: the rounding error is about four times that of plain sums, in float32 2·10⁻⁶ of the
largest output.
"""

import itertools

import numpy as np

from .layout import copy_window, even
from .threads import get_num_threads, parallel_products, workspace

CHANNELS = 12  # with which the transforms cost what the products save;
GAIN = 80_000  # least W′·N·C·(C − CHANNELS), what a row saves, that is worth the extra calls
ROW = 50  # numbers in a row, W′·N, below which the products are too thin
BLOCK_BYTES = 5_000_000  # of S,
COLUMNS = 256  # which may be this many at least: each block adds 18·O·C numbers to dw

TILE = 4  # outputs of a tile, made from TILE + 2 inputs
BT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
AT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def pays(weight, stride, dilation, out_shape):
    """Whether a convolution with output (O, H′, W′, N) is one for Winograd: 3×3, stride 1, many channels, long rows."""
    (out, channels, *kernel), (_, height, width, batch) = weight.shape, out_shape
    fits = kernel == [3, 3] and stride == dilation == (1, 1) and height >= TILE - 1
    row, fewest = width * batch, min(out, channels)
    return fits and row >= ROW and row * fewest * (fewest - CHANNELS) >= GAIN


def correlate(x, weight, y, padding):
    """`conv.correlate` for a 3×3 kernel at stride 1. x (C, H, W, N), weight (O, C, 3, 3), fills y (O, H′, W′, N)."""
    u, tiles = _weights(weight), Tiles(x, y.shape[1:3], padding)

    def work(blocks):
        for block in blocks:
            _outputs(u, tiles.gather(block), y, block)

    parallel_products(work, tiles.blocks, y.size * weight[0].size)


def gradients(g, x, weight, grad_x, grad_w, padding):
    """Fill dx (C, H, W, N) and, if it is not None, dw (O, C, 3, 3) from g (O, H′, W′, N)."""
    u = _weights(weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
    tiles = Tiles(g, x.shape[1:3], tuple(2 - p for p in padding))

    def work(blocks):
        partial = None
        for block in blocks:
            s = tiles.gather(block)
            _outputs(u, s, grad_x, block)
            if grad_w is not None:
                product = s @ _spread(x, block).transpose(0, 2, 1)  # (6, 3·O, C)
                partial = product if partial is None else np.add(partial, product, out=partial)
        return partial

    work_to_do = g.size * weight[0].size * (1 if grad_w is None else 2)
    partials = parallel_products(work, tiles.blocks, work_to_do)
    if grad_w is not None:
        total, gt = sum(partials[1:], partials[0]).reshape(6, 3, *weight.shape[:2]), G.T.astype(x.dtype)

        def back(run):
            for o in run:
                taps = gt @ np.ascontiguousarray(total[:, :, o]).reshape(6, -1)  # (3, 3·O·C)
                grad_w[o] = taps.reshape(3, *total[0, :, o].shape)[::-1, ::-1].transpose(2, 3, 0, 1)

        parallel_products(back, _shares(len(weight)), 18 * weight.size)


def _weights(weight):
    """U = G w for each column of the kernel: (O, C, 3, 3) -> (6, O, 3·C)."""
    out, channels = weight.shape[:2]
    u, g = np.empty((6, out, 3 * channels), weight.dtype), G.astype(weight.dtype)

    def work(run):
        for o in run:
            rows = weight[o].transpose(2, 0, 3, 1).reshape(3, -1)
            u[:, o] = (g @ rows).reshape(6, -1, 3 * channels)

    parallel_products(work, _shares(out), 18 * weight.size)
    return u


def _outputs(u, s, y, block):
    """Y = Aᵀ (U S) of a block: U (6, O, K), S (6, K, columns), into y (O, H′, W′, N)."""
    m = np.matmul(u, s, out=workspace((6, u.shape[1], s.shape[2]), y.dtype, "products"))
    m = m.reshape(6, len(y), block[1] - block[0], -1).transpose(1, 2, 0, 3)  # (O, tiles, 6, W·N)
    for tiles, rows in _rows(y, block):
        np.matmul(AT[: rows.shape[2]].astype(y.dtype), m[:, tiles], out=rows)


def _spread(x, block):
    """A x of a block, the other way round: x (C, H, W, N) -> (6, C, columns)."""
    t0, t1, w0, w1 = block
    spread = workspace((6, len(x), t1 - t0, (w1 - w0) * x.shape[3]), x.dtype, "spread")
    for tiles, rows in _rows(x, block):
        np.matmul(AT.T[:, : rows.shape[2]].astype(x.dtype), rows, out=spread.transpose(1, 2, 0, 3)[:, tiles])
    return spread.reshape(6, len(x), -1)


def _rows(y, block):
    """A block of y (C, H, W, N) as (slice of its tiles, view (C, tiles, 4, W·N)); a last tile of fewer rows apart."""
    (t0, t1, w0, w1), (channels, height, _, batch) = block, y.shape
    whole = min(t1, height // TILE)
    channel, row, column, item = _strides(y)
    for a, b, rows in ((t0, whole, TILE), (whole, t1, height - whole * TILE)):
        if a < b:
            shape, strides = (channels, b - a, rows, (w1 - w0) * batch), (channel, TILE * row, row, item)
            yield slice(a - t0, b - t0), np.ndarray(shape, y.dtype, y, a * TILE * row + w0 * column, strides)


def _strides(x):
    """Strides of a contiguous array in bytes; those that NumPy gives mean nothing for axes of length 1."""
    _, height, width, batch = x.shape
    item = x.itemsize
    return height * width * batch * item, width * batch * item, batch * item, item


def _shares(count):
    """Slices that cut range(count) into one for each thread."""
    threads = get_num_threads()
    cuts = [slice(count * i // threads, count * (i + 1) // threads) for i in range(threads)]
    return [cut for cut in cuts if cut.start < cut.stop]


class Tiles:
    """S for an image, gathered block by block: a block is some rows of tiles, and some columns of the output."""

    def __init__(self, x, out_hw, padding):
        """x (C, H, W, N) contiguous; ``out_hw`` outputs to cover."""
        self.x, self.padding = x, padding
        (height, width), batch, threads = out_hw, x.shape[3], get_num_threads()
        high = -(-height // TILE)
        columns = max(BLOCK_BYTES // (18 * len(x) * x.itemsize), COLUMNS)
        wide = even(width, columns // batch)
        strips = -(-width // wide)
        count = -(-high // max(columns // (wide * batch), 1)) * strips
        count = -(-count // threads) * threads  # as much for every thread
        many = even(high, high * strips // count)
        self.blocks = [
            (t, min(t + many, high), w, min(w + wide, width))
            for t in range(0, high, many)
            for w in range(0, width, wide)
        ]

    def gather(self, block):
        """S of a block, (6, 3·C, columns), in this thread's workspace."""
        (t0, t1, w0, w1), (channels, _, width, batch) = block, self.x.shape
        left, rows = w0 - self.padding[1], channels * (t1 - t0)
        a, b = (min(max(w, 0), width) for w in (left, left + w1 - w0 + 2))  # the columns of the image that it sees
        s, taps = workspace((6, 3, rows, w1 - w0, batch), self.x.dtype), [0, 1, 2]
        if b - a == w1 - w0:  # one of the three taps sees just these: V is made in its place
            v = s[:, taps.pop(a - left)]
        else:
            v = workspace((6, rows, b - a, batch), self.x.dtype, "transformed")
        self._transform(t0, t1, a, b, v.reshape(6, channels, t1 - t0, -1).transpose(1, 2, 0, 3))
        for j in taps:
            copy_window(s[:, j], v, 0, 1, left + j - a, 1)
        return s.reshape(6, 3 * channels, -1)

    def _transform(self, t0, t1, a, b, out):
        """V = Bᵀ d of the columns a:b of some rows of tiles, into ``out`` (C, tiles, 6, (b−a)·N)."""
        x, bt = self.x, BT.astype(self.x.dtype)
        channel, row, column, item = _strides(x)
        for (lo, hi), same in itertools.groupby(range(t0, t1), self._inside):
            tiles = list(same)
            part = out[:, tiles[0] - t0 : tiles[-1] + 1 - t0]
            if lo == hi:
                part[...] = 0
                continue
            first = tiles[0] * TILE - self.padding[0] + lo
            shape, strides = (len(x), len(tiles), hi - lo, (b - a) * x.shape[3]), (channel, TILE * row, row, item)
            np.matmul(bt[:, lo:hi], np.ndarray(shape, x.dtype, x, first * row + a * column, strides), out=part)

    def _inside(self, t):
        """Which of the tile's six rows lie in the image."""
        first, height = t * TILE - self.padding[0], self.x.shape[1]
        return min(max(-first, 0), 6), min(max(height - first, 0), 6)
