"""3×3 convolution with half the multiplications or less: Winograd's F(m, 3) along the columns of an image.

Twin of `minires.kernels.textbook.conv2d`, for stride 1; used by `conv` where there are enough channels. Winograd 1980;
for convolution networks Lavin & Gray 2016, arXiv 1509.09308.

Take a tile of m outputs y, one above the other, and one column of the kernel, w. They see m + 2 inputs d, and take 3·m
products. m + 2 suffice, one for each number that both sides are turned into. With m = 4::

    d₀ ─┐                                      ┌─ y₀           y = Aᵀ [(G w) ∘ (Bᵀ d)]
    d₁ ─┤                                      ├─ y₁
    d₂ ─┤   six sums  ── × six sums ──  four   ├─ y₂           (w and y as polynomials: G and A take their values at
    d₃ ─┤    of d          of w         sums   └─ y₃            m + 1 points and ∞; Bᵀ interpolates, the other way
    d₄ ─┤    Bᵀ d          G w          Aᵀ m                    round: see `transforms`)
    d₅ ─┘

With channels and the three columns of the kernel, each of the m + 2 is a matrix product, in which a whole row of tiles
shares one matrix, as in `conv`::

    V = Bᵀ d           (m+2, C, tiles)         every tile's rows of inputs
    S                  (m+2, 3·C, tiles)       and its neighbours to the left and right: im2col of a 1×3 kernel
    U = G w            (m+2, O, 3·C)
    Y = Aᵀ (U S)       (O, m rows of each tile)

The transforms are products too, with small matrices that pass over long rows.

The gradients need nothing new. dx is the convolution of grad_y with the flipped weights; and dw, the derivative of the
line above, is Gᵀ [Σ_tiles (Bᵀ d) ∘ (A x)], which takes the same S as dx does.

Where there are more weights than pixels, as in the last layers of a deep network, S is made once, and what is cut into
pieces are the rows of U and Y: U is three times as large as the weights, and pieces of it stay in the cache.

The transforms cost a few passes over C·H·W·N numbers and the products O·C·H·W·N: hence *many* channels. The sums are of
larger numbers, which cancel, more so in higher tiles. In float32 and with m = 8 the error of y is about 3·10⁻⁶ of its
standard deviation, where plain sums have 3·10⁻⁷ and the common two-dimensional F(4×4, 3×3) has 1.6·10⁻⁶.
"""

import functools
import itertools

import numpy as np

from ...threads import (
    cut,
    get_num_threads,
    one_blas_thread,
    parallel_products,
    plus,
    products_over,
    total,
    workspace,
    worth_threads,
)
from ..layout import copy_window, even, mirrored
from . import by_channel

CHANNELS = 10  # with which the transforms cost what the products save;
GAIN = 12_000  # least W′·N·C·(C − CHANNELS), what a row saves, that is worth the extra calls
ROW = 50  # numbers in a row, W′·N, below which the products are too thin
BLOCK_BYTES = 5_000_000  # of S,
COLUMNS = 256  # which may be this many at least: each block adds 3·(m + 2)·O·C numbers to dw
ROWS = 64  # of U at a time, where there are more weights than pixels
WEIGHT = 100  # multiply-adds in the time that the transforms of a weight take

TILES = 4, 7, 8  # heights m of a tile, of which an image's own height picks: 32 = 4·8, 56 = 7·8, 28 = 4·7
POINTS = 0, 1, 2, -4 / 3, -1 / 3, -1, 3 / 4, -3, 1 / 3  # searched for: the first m + 1, with ∞, round nearly the least


def pays(weight, stride, dilation, out_shape):
    """Whether a convolution with output (O, H′, W′, N) is one for Winograd: 3×3, stride 1, many channels, long rows."""
    (out, channels, *kernel), (_, height, width, batch) = weight.shape, out_shape
    fits = kernel == [3, 3] and stride == dilation == (1, 1) and height >= 3
    row, fewest = width * batch, min(out, channels)
    return fits and row >= ROW and row * fewest * (fewest - CHANNELS) >= GAIN


def correlate(x, weight, y, padding):
    """`conv.correlate` for a 3×3 kernel at stride 1. x (C, H, W, N), weight (O, C, 3, 3), fills y (O, H′, W′, N)."""
    tiles = Tiles(x, y.shape[1:3], padding, rows_of_product=len(y))
    if by_channel.pays(weight, x, y):
        s = tiles.gather_whole()

        def some_outputs(runs):
            for o in runs:
                tiles.outputs(tiles.weights(weight[o]), s, y[o], tiles.whole)

        tiles.run(some_outputs, _runs(len(y)))
        return
    u = tiles.weights(weight)

    def work(blocks):
        for block in blocks:
            tiles.outputs(u, tiles.gather(block), y, block)

    tiles.run(work, tiles.blocks)


def gradients(g, x, weight, grad_x, grad_w, padding):
    """Fill dx (C, H, W, N) and, if it is not None, dw (O, C, 3, 3) from g (O, H′, W′, N)."""
    around, both = mirrored((3, 3), padding, (1, 1)), 1 if grad_w is None else 2
    tiles = Tiles(g, x.shape[1:3], around, rows_of_product=both * len(x))
    if by_channel.pays(weight, g, x):
        s = tiles.gather_whole()

        def some_inputs(runs):
            for c in runs:
                tiles.outputs(tiles.weights_flipped(weight[:, c]), s, grad_x[c], tiles.whole)
                if grad_w is not None:
                    spread = tiles.spread(x[c], tiles.whole).transpose(0, 2, 1)
                    product = workspace((tiles.n, s.shape[1], spread.shape[2]), s.dtype, "products")
                    tiles.weights_back([np.matmul(s, spread, out=product)], grad_w[:, c])

        tiles.run(some_inputs, _runs(len(x)))
        return
    u = tiles.weights_flipped(weight)

    def work(blocks):
        partial = None
        for block in blocks:
            s = tiles.gather(block)
            tiles.outputs(u, s, grad_x, block)
            if grad_w is not None:
                partial = plus(partial, s @ tiles.spread(x, block).transpose(0, 2, 1))  # (m+2, 3·O, C)
        return partial

    partials = tiles.run(work, tiles.blocks)
    if grad_w is not None:
        tiles.weights_back(partials, grad_w)


def _runs(channels):
    """Slices of the rows of a product, as many for every thread."""
    threads = get_num_threads()
    return cut(channels, min(-(-channels // (ROWS * threads)) * threads, channels))


def _strides(x):
    """Strides of a contiguous array in bytes; those that NumPy gives mean nothing for axes of length 1."""
    _, height, width, batch = x.shape
    item = x.itemsize
    return height * width * batch * item, width * batch * item, batch * item, item


@functools.cache
def transforms(tile, dtype):
    """Aᵀ (m, m+2), G (m+2, 3) and Bᵀ (m+2, m+2) of F(m, 3), by the construction of Cook and Toom.

    A product of polynomials, (w₀ + w₁t + w₂t²)·(y₀ + … + y_{m−1}t^{m−1}), is known from its values at m + 2 points. G
    and A take the values of the factors; B interpolates, with Lagrange's polynomials, which are 0 at all points but one
    (their denominators went to G). The value at ∞ is the last coefficient. That is a *full* convolution, from y to
    m + 2 numbers; its transpose, from m + 2 inputs to y, is the correlation wanted: y = Aᵀ [(G w) ∘ (Bᵀ d)].
    """
    points = np.array(POINTS[: tile + 1])
    others = [np.delete(points, i) for i in range(len(points))]
    at, g, bt = np.zeros((tile, tile + 2)), np.zeros((tile + 2, 3)), np.zeros((tile + 2, tile + 2))
    at[:, :-1] = points ** np.arange(tile)[:, None]
    g[:-1] = np.vander(points, 3, increasing=True) / [[np.prod(p - o)] for p, o in zip(points, others)]
    bt[:-1, :-1] = [np.poly(o)[::-1] for o in others]
    bt[-1] = np.poly(points)[::-1]
    at[-1, -1] = g[-1, -1] = 1
    return at.astype(dtype), g.astype(dtype), bt.astype(dtype)


class Tiles:
    """S for an image, gathered block by block: a block is some rows of tiles, and some columns of the output."""

    def __init__(self, x, out_hw, padding, rows_of_product):
        """x (C, H, W, N) contiguous; ``out_hw`` outputs to cover; the products will have that many rows."""
        self.x, self.padding = x, padding
        (height, width), batch = out_hw, x.shape[3]
        self.work = 9 * rows_of_product * len(x) * height * width * batch  # multiply-adds, if there were no tiles
        threads = get_num_threads() if worth_threads(self.work) else 1
        self.tile = min(TILES, key=lambda m: -(-height // m) * (m + 2))
        self.n = self.tile + 2  # numbers that a tile's column is turned into
        self.at, self.g, self.bt = transforms(self.tile, x.dtype)
        high = -(-height // self.tile)
        self.whole = 0, high, 0, width
        columns = max(BLOCK_BYTES // (3 * self.n * len(x) * x.itemsize), COLUMNS)
        strips = -(-width // max(columns // batch, 1))
        count = -(-high // max(columns * strips // (width * batch), 1)) * strips
        count = -(-count // threads) * threads  # as much for every thread
        strips = max(strips, min(-(-count // high), width))  # the columns are cut where rows of tiles are too few
        many, wide = even(high, high * strips // count), even(width, -(-width // strips))
        self.blocks = [
            (t, min(t + many, high), w, min(w + wide, width))
            for t in range(0, high, many)
            for w in range(0, width, wide)
        ]

    def run(self, work, items):
        """Call ``work`` on all items, shared among the threads if there is enough to do; return its results."""
        return parallel_products(work, items, self.work)

    def weights(self, weight):
        """U = G w for each column of the kernel: (O, C, 3, 3) -> (m+2, O, 3·C)."""
        out, channels = weight.shape[:2]
        u = workspace((self.n, out, 3 * channels), weight.dtype, "weights")

        def work(run):
            for o in run:
                rows = weight[o].transpose(2, 0, 3, 1).reshape(3, -1)
                np.matmul(self.g, rows, out=u[:, o].reshape(self.n, -1))

        products_over(out, work, WEIGHT * weight.size)
        return u

    def weights_flipped(self, weight):
        """`weights` of the way back, flipped and from outputs to inputs: (O, C, 3, 3) -> (m+2, C, 3·O)."""
        out, channels = weight.shape[:2]
        # in this order they are read and written in long runs; the products take them transposed as fast
        u = workspace((self.n, 3, out, channels), weight.dtype, "weights")

        def work(run):
            for o in run:
                taps = np.ascontiguousarray(weight[o, :, ::-1, ::-1].transpose(3, 2, 0, 1)).reshape(3, 3, -1)
                np.matmul(self.g, taps, out=self._columns(u, o))

        products_over(out, work, WEIGHT * weight.size)
        return u.reshape(self.n, 3 * out, channels).transpose(0, 2, 1)

    def weights_back(self, partials, grad_w):
        """dw = Σ Gᵀ partial, flipped: each (m+2, 3·O, C), in their order -> (O, C, 3, 3)."""
        out, channels = grad_w.shape[:2]
        partials = [partial.reshape(self.n, 3, out, channels) for partial in partials]

        def work(run):
            for o in run:
                taps = total([np.matmul(self.g.T, self._columns(partial, o)) for partial in partials])
                grad_w[o] = taps.reshape(3, 3, -1, channels)[::-1, ::-1].transpose(2, 3, 1, 0)

        products_over(out, work, WEIGHT * grad_w.size)

    def _columns(self, u, o):
        """Of u (m+2, 3, O, C), for each column of the kernel, a matrix (m+2, numbers of some outputs)."""
        return u[:, :, o].reshape(self.n, 3, -1).transpose(1, 0, 2)

    def outputs(self, u, s, y, block):
        """Y = Aᵀ (U S) of a block: U (m+2, O, K), S (m+2, K, columns), into y (O, H′, W′, N)."""
        m = np.matmul(u, s, out=workspace((self.n, u.shape[1], s.shape[2]), y.dtype, "products"))
        m = m.reshape(self.n, len(y), block[1] - block[0], -1).transpose(1, 2, 0, 3)  # (O, tiles, m+2, W·N)
        for tiles, rows in self._rows(y, block):
            np.matmul(self.at[: rows.shape[2]], m[:, tiles], out=rows)

    def spread(self, x, block):
        """A x of a block, the other way round: x (C, H, W, N) -> (m+2, C, columns)."""
        t0, t1, w0, w1 = block
        spread = workspace((self.n, len(x), t1 - t0, (w1 - w0) * x.shape[3]), x.dtype, "spread")
        for tiles, rows in self._rows(x, block):
            np.matmul(self.at.T[:, : rows.shape[2]], rows, out=spread.transpose(1, 2, 0, 3)[:, tiles])
        return spread.reshape(self.n, len(x), -1)

    def _rows(self, y, block):
        """A block of y (C, H, W, N) as (slice of tiles, view (C, tiles, m, W·N)); a last tile of fewer rows apart."""
        (t0, t1, w0, w1), (channels, height, _, batch) = block, y.shape
        whole = min(t1, height // self.tile)
        channel, row, column, item = _strides(y)
        for a, b, rows in ((t0, whole, self.tile), (whole, t1, height - whole * self.tile)):
            if a < b:
                shape, strides = (channels, b - a, rows, (w1 - w0) * batch), (channel, self.tile * row, row, item)
                yield slice(a - t0, b - t0), np.ndarray(shape, y.dtype, y, a * self.tile * row + w0 * column, strides)

    def gather(self, block):
        """S of a block, (m+2, 3·C, columns), in this thread's workspace."""
        (t0, t1, w0, w1), (channels, _, width, batch) = block, self.x.shape
        left, rows = w0 - self.padding[1], channels * (t1 - t0)
        a, b = (min(max(w, 0), width) for w in (left, left + w1 - w0 + 2))  # the columns of the image that it sees
        s, taps = workspace((self.n, 3, rows, w1 - w0, batch), self.x.dtype), [0, 1, 2]
        if b - a == w1 - w0:  # one of the three taps sees just these: V is made in its place
            v = s[:, taps.pop(a - left)]
        else:
            v = workspace((self.n, rows, b - a, batch), self.x.dtype, "transformed")
        self._transform(t0, t1, a, b, v.reshape(self.n, channels, t1 - t0, -1).transpose(1, 2, 0, 3))
        for j in taps:
            copy_window(s[:, j], v, 0, 1, left + j - a, 1)
        return s.reshape(self.n, 3 * channels, -1)

    def gather_whole(self):
        """S of the whole image."""
        with one_blas_thread():
            return self.gather(self.whole)

    def _transform(self, t0, t1, a, b, out):
        """V = Bᵀ d of the columns a:b of some rows of tiles, into ``out`` (C, tiles, m+2, (b−a)·N)."""
        x = self.x
        channel, row, column, item = _strides(x)
        for (lo, hi), same in itertools.groupby(range(t0, t1), self._inside):
            tiles = list(same)
            part = out[:, tiles[0] - t0 : tiles[-1] + 1 - t0]
            if lo == hi:
                part[...] = 0
                continue
            first = tiles[0] * self.tile - self.padding[0] + lo
            shape = len(x), len(tiles), hi - lo, (b - a) * x.shape[3]
            strides = channel, self.tile * row, row, item
            np.matmul(self.bt[:, lo:hi], np.ndarray(shape, x.dtype, x, first * row + a * column, strides), out=part)

    def _inside(self, t):
        """Which of the tile's rows lie in the image."""
        first, height = t * self.tile - self.padding[0], self.x.shape[1]
        return min(max(-first, 0), self.n), min(max(height - first, 0), self.n)
