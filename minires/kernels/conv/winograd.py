"""3×3 convolution with half the multiplications: Winograd's F(4, 3) along the columns of an image.

Sources: Winograd 1980; for convolutional networks, Lavin & Gray 2016 (arXiv 1509.09308). Take a tile of four outputs y,
one above the other, and one column of the kernel, w. They see six inputs d, and would take 3·4 products. Six suffice if
inputs and kernel are first turned into six numbers each::

    d₀ ─┐                                      ┌─ y₀           y = Aᵀ [(G w) ∘ (Bᵀ d)]
    d₁ ─┤                                      ├─ y₁
    d₂ ─┤   six sums  ── × six sums ──  four   ├─ y₂           (w and y as polynomials: G and A give their values at
    d₃ ─┤    of d          of w         sums   └─ y₃            five points and ∞, and B interpolates; here it is
    d₄ ─┤    Bᵀ d          G w          Aᵀ m                    transposed: see `transforms`)
    d₅ ─┘

With channels and the three columns of the kernel, each of the six products becomes a matrix product, whose left factor
all tiles share::

    V = Bᵀ d           (6, A, tiles)         each tile's inputs, transformed
    S                  (6, 3·A, tiles)       with its neighbours to the left and right: im2col of a 1×3 kernel
    U = G w            (6, B, 3·A)
    Y = Aᵀ (U S)       (B, 4 rows of each tile)

The transforms are products too, of small matrices with long rows. The derivative of the last line,
dw = Gᵀ [Σ_tiles S · (A g)ᵀ], uses the same S.

The transforms cost a few passes over A·H·W·N numbers; only with many channels do the products save more than that.
And the sums contain larger numbers, which cancel. In float32, relative to the result's standard deviation, the error of
one layer on normal data is 3 to 9·10⁻⁷ (root mean square) and 10⁻⁵ at most; with plain sums it is 2 to 4·10⁻⁷ and
6·10⁻⁶. Taller tiles save more multiplications and lose more digits: F(8, 3) takes 42 % of the multiplications, with an
error of 3·10⁻⁶, and 8·10⁻⁵ at most.
Nor is the result local: within a tile, each output depends on all six input rows. A NaN spoils every tile that sees it,
and pixels that no gradient should reach, up to three rows away, may receive one of the size of a rounding error. So
float64 never comes here, and `cpu.exact` keeps float32 away.
Where the larger numbers overflow, or an infinity meets a zero in the transforms, the processor notices: `Tiles.suspect`
is set, and `cpu` computes the result again, directly.
"""

import functools
import itertools
import math
import sys

import numpy as np

from ...threads import get_num_threads, parallel_products, products_over, total, workspace, worth_threads
from ..layout import copy_window, even, view
from ..product.cpu import product, product_sum, small_pieces

TILE = 4  # outputs of a tile
VALUES = TILE + 2  # numbers that a column of a tile is turned into
POINTS = 0, 2 / 3, -2 / 3, 3 / 2, -3 / 2  # with ∞; of all simple fractions, those with the smallest error

# Found by `python -m benchmarks tune`, which times each beside its neighbours on the convolutions of four networks.
CHANNELS = 10  # with this many, the transforms cost as much as the products save
GAIN = 12_000  # with C = min(A, B), a row saves about W′·N·C·(C − CHANNELS): less is not worth the extra calls
ROW = 50  # numbers in a row, W′·N; in shorter ones the products are too thin
BLOCK_BYTES = 2_400_000  # of S in one block (fewer blocks meet less often at the interpreter lock),
COLUMNS = 512  # but no fewer columns than this: each block adds 18·A·B numbers to the gradient of the weights
WEIGHT = 100  # multiply-adds that take as long as the transforms of one weight


@functools.cache
def transforms(dtype, points=POINTS):
    """Aᵀ (4, 6), G (6, 3) and Bᵀ (6, 6) of F(4, 3), by the construction of Cook and Toom.

    A product of polynomials, (w₀ + w₁t + w₂t²)·(y₀ + … + y₃t³), is determined by its values at six points. G and A
    evaluate the factors there; B interpolates, with Lagrange's polynomials, which are 0 at all points but one (their
    denominators are moved into G). The value at ∞ is the last coefficient. This is the *full* convolution, from y to
    six numbers; its transpose, from six inputs to y, is the correlation we want: y = Aᵀ [(G w) ∘ (Bᵀ d)].
    """
    points = np.array(points)
    others = [np.delete(points, i) for i in range(len(points))]
    at, g, bt = np.zeros((TILE, VALUES)), np.zeros((VALUES, 3)), np.zeros((VALUES, VALUES))
    at[:, :-1] = points ** np.arange(TILE)[:, None]
    g[:-1] = np.vander(points, 3, increasing=True) / [[np.prod(p - o)] for p, o in zip(points, others)]
    bt[:-1, :-1] = [np.poly(o)[::-1] for o in others]
    bt[-1] = np.poly(points)[::-1]
    at[-1, -1] = g[-1, -1] = 1
    return at.astype(dtype), g.astype(dtype), bt.astype(dtype)


class Tiles:
    """The transformed patches S of an image, gathered block by block; the methods are listed in `cpu`.

    A block (t0, t1, w0, w1) is the rows of tiles t0:t1 and the output columns w0:w1.
    """

    suspect = sys.platform == "emscripten"  # WebAssembly does not notice, so that every result has to be looked at

    @staticmethod
    def is_faster(x_shape, rows, geometry, multiply_adds):
        """Whether this is a 3×3 kernel at stride 1, with many channels and long rows."""
        kernel, (height, width), stride, _, dilation = geometry
        row, fewest = width * x_shape[3], min(rows, x_shape[0])
        fits = kernel == (3, 3) and stride == dilation == (1, 1) and height >= 3
        return fits and row >= ROW and row * fewest * (fewest - CHANNELS) >= GAIN

    def __init__(self, x, geometry, multiply_adds):
        """x (A, H, W, N), contiguous. geometry: the pairs kernel, out_hw, stride, padding, dilation."""
        _, out_hw, _, self.padding, _ = geometry
        self.x, self.multiply_adds = x, multiply_adds
        self.at, self.g, self.bt = transforms(x.dtype)
        threads = get_num_threads() if worth_threads(multiply_adds) else 1
        self.blocks = _blocks(out_hw, x.shape[3], len(x) * x.itemsize, threads, (BLOCK_BYTES, COLUMNS))

    def run(self, work):
        """Call ``work`` on the blocks, shared among the threads if there is enough to do; return a list of results.

        Sets ``suspect`` if something overflowed or was invalid (NaN is not: it may have been in the image).
        """

        def watched(blocks):
            with np.errstate(over="call", invalid="call", call=self._suspect):  # holds for one thread
                return work(blocks)

        return parallel_products(watched, self.blocks, self.multiply_adds)

    def _suspect(self, kind, flag):
        self.suspect = True

    def weights(self, w):
        """U = G w for each column of the kernel: (B, A, 3, 3) -> (6, B, 3·A)."""
        u = workspace((VALUES, len(w), 3 * w.shape[1]), w.dtype, "weights")

        def work(runs):
            for run in runs:
                for b in small_pieces(run, 18 * 3 * w.shape[1]):
                    # (b, A, 3, 3) -> (3, b·3·A): the kernel's rows come first, to be multiplied by G
                    taps = w[b].transpose(2, 0, 3, 1).reshape(3, -1)
                    np.matmul(self.g, taps, out=u[:, b].reshape(VALUES, -1))

        products_over(len(w), work, WEIGHT * w.size)
        return u

    def gather(self, block):
        """S of a block, (6, 3·A, columns), in this thread's workspace."""
        (t0, t1, w0, w1), (channels, _, width, batch) = block, self.x.shape
        left, rows = w0 - self.padding[1], channels * (t1 - t0)
        a, b = (min(max(w, 0), width) for w in (left, left + w1 - w0 + 2))  # the image's columns that the block sees
        s, taps = workspace((VALUES, 3, rows, w1 - w0, batch), self.x.dtype), [0, 1, 2]
        if b - a == w1 - w0:  # they are just what one of the three taps sees: V is made in its place
            v = s[:, taps.pop(a - left)]
        else:
            v = workspace((VALUES, rows, b - a, batch), self.x.dtype, "transformed")
        # (6, A·tiles, W, N) as (A, tiles, 6, W·N)
        self._transform(t0, t1, a, b, v.reshape(VALUES, channels, t1 - t0, -1).transpose(1, 2, 0, 3))
        for j in taps:
            copy_window(s[:, j], v, 0, 1, left + j - a, 1)
        return s.reshape(VALUES, 3 * channels, -1)

    def outputs(self, u, s, y, block):
        """y[block] = Aᵀ (U S), for y (B, H′, W′, N)."""
        # (6, B, 3·A) @ (6, 3·A, columns) -> (6, B, columns), as (B, tiles, 6, W·N)
        products = workspace((VALUES, len(y), s.shape[2]), y.dtype, "products")
        product(u, s, products)
        products = products.reshape(VALUES, len(y), block[1] - block[0], -1).transpose(1, 2, 0, 3)
        for tiles, rows in self._rows(y, block):
            np.matmul(self.at[: rows.shape[2]], products[:, tiles], out=rows)

    def weight_sums(self, s, other, block):
        """S · (A g)ᵀ with g = other[block], other (B, H′, W′, N): (6, 3·A, B)."""
        t0, t1, w0, w1 = block
        spread = workspace((VALUES, len(other), t1 - t0, (w1 - w0) * other.shape[3]), other.dtype, "spread")
        for tiles, rows in self._rows(other, block):
            np.matmul(self.at.T[:, : rows.shape[2]], rows, out=spread.transpose(1, 2, 0, 3)[:, tiles])
        # (6, 3·A, columns) · (6, B, columns)
        return product_sum(s, spread.reshape(VALUES, len(other), -1))

    def put_weights(self, sums, grad_w):
        """Σ Gᵀ sums (6, 3·A, B) -> grad_w (B, A, 3, 3)."""
        rows, channels = grad_w.shape[:2]
        sums = [part.reshape(VALUES, 3, channels, rows) for part in sums]

        def work(runs):
            for run in runs:
                for a in small_pieces(run, 18 * rows):
                    # (3, 6) @ (3, 6, a·B) -> (3, 3, a·B): the kernel's columns come first
                    taps = total([self.g.T @ part[:, :, a].reshape(VALUES, 3, -1).transpose(1, 0, 2) for part in sums])
                    grad_w[:, a] = taps.reshape(3, 3, -1, rows).transpose(3, 2, 1, 0)

        products_over(channels, work, WEIGHT * grad_w.size)

    def _rows(self, y, block):
        """Yield a block of y (B, H, W, N) as (slice of tiles, view (B, tiles, rows, W·N)), a shorter tile apart."""
        (t0, t1, w0, w1), (channels, height, width, batch) = block, y.shape
        whole, row = min(t1, height // TILE), width * batch
        for a, b, rows in ((t0, whole, TILE), (whole, t1, height - whole * TILE)):
            if a < b:
                shape, steps = (channels, b - a, rows, (w1 - w0) * batch), (height * row, TILE * row, row, 1)
                yield slice(a - t0, b - t0), view(y, shape, steps, a * TILE * row + w0 * batch)

    def _transform(self, t0, t1, a, b, out):
        """V = Bᵀ d for the rows of tiles t0:t1 and the image columns a:b, into ``out`` (A, tiles, 6, (b−a)·N)."""
        channels, height, width, batch = self.x.shape
        row = width * batch
        for (lo, hi), same in itertools.groupby(range(t0, t1), self._inside):
            tiles = list(same)
            part = out[:, tiles[0] - t0 : tiles[-1] + 1 - t0]
            if lo == hi:
                part[...] = 0
                continue
            first = tiles[0] * TILE - self.padding[0] + lo
            shape, steps = (channels, len(tiles), hi - lo, (b - a) * batch), (height * row, TILE * row, row, 1)
            # (6, rows) @ (A, tiles, rows, (b−a)·N) -> (A, tiles, 6, (b−a)·N), the rows outside the image left out
            np.matmul(self.bt[:, lo:hi], view(self.x, shape, steps, first * row + a * batch), out=part)

    def _inside(self, t):
        """Which of the six input rows of tile t are in the image: lo, hi."""
        first, height = t * TILE - self.padding[0], self.x.shape[1]
        return min(max(-first, 0), VALUES), min(max(height - first, 0), VALUES)


@functools.lru_cache(maxsize=4096)
def _blocks(out_hw, batch, pixel_bytes, threads, limits):
    """The blocks (t0, t1, w0, w1): as large as the cache allows, and as many for one thread as for another."""
    (height, width), (block_bytes, least_columns) = out_hw, limits
    high = math.ceil(height / TILE)
    columns = max(block_bytes // (3 * VALUES * pixel_bytes), least_columns)
    strips = math.ceil(width / max(columns // batch, 1))
    count = math.ceil(high / max(columns * strips // (width * batch), 1)) * strips
    count = math.ceil(count / threads) * threads
    strips = max(strips, min(math.ceil(count / high), width))  # cut the columns where there are too few rows of tiles
    many, wide = even(high, high * strips // count), even(width, math.ceil(width / strips))
    return [
        (t, min(t + many, high), w, min(w + wide, width)) for t in range(0, high, many) for w in range(0, width, wide)
    ]
