"""3×3 convolution of many channels with 2¼ times fewer multiplications: Winograd's F(2×2, 3×3).

Twin of `minires.kernels.textbook.conv2d`, for stride 1; used by `conv` where there are enough channels. Winograd 1980;
for convolution networks Lavin & Gray 2016, arXiv 1509.09308.

In one dimension, two neighbouring outputs of a kernel of three take six products. Four suffice::

    y₀ = w₀d₀ + w₁d₁ + w₂d₂       m₀ = (d₀ − d₂)·w₀                    y₀ = m₀ + m₁ + m₂
    y₁ = w₀d₁ + w₁d₂ + w₂d₃       m₁ = (d₁ + d₂)·(w₀ + w₁ + w₂)/2      y₁ = m₁ − m₂ − m₃
                                  m₂ = (d₂ − d₁)·(w₀ − w₁ + w₂)/2
                                  m₃ = (d₁ − d₃)·w₂

or y = Aᵀ[(G w) ∘ (Bᵀ d)] with the matrices of signs read off above. Along rows and columns at once, a tile of 2×2
outputs takes 16 products instead of 36. With channels, each of the 16 is a matrix product over them:

    V = Bᵀ d B    (16, C, tiles): every tile of 4×4 inputs, tiles overlapping by two
    U = G w Gᵀ    (16, O, C)
    Y = Aᵀ (U V) A

The gradients need nothing new. dx is the convolution of grad_y with the flipped weights; and dw, the derivative of the
same three lines, is Gᵀ[Σ_tiles V ∘ (A y)] G, which here takes the same V as dx does, with x in y's place.

The transforms only add, in a handful of passes over C·H·W·N numbers, while the products cost O·C·H·W·N: hence *many*
channels. The sums differ from the textbook's in rounding, by a few units in the last place more.
"""

import math

import numpy as np

from .layout import copy_window
from .threads import get_num_threads, parallel

CHANNELS = 100  # from which on the transforms cost less than the multiplications they save
POSITIONS = 100  # H′·W′·N below which the 16 products are too thin

G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
GG = np.kron(G, G)  # (16, 9): G w Gᵀ, for w as a column of nine
GG_BACK = np.kron(G * [[1], [1], [1], [-1]], G * [[1], [1], [1], [-1]])  # with the sign that `_output_tiles` leaves out


def pays(weight, stride, dilation, out_shape):
    """Whether a convolution with output (O, H′, W′, N) is one for Winograd: 3×3, stride 1, many channels in and out."""
    fits = weight.shape[2:] == (3, 3) and stride == dilation == (1, 1)
    return fits and min(weight.shape[:2]) >= CHANNELS and math.prod(out_shape[1:]) >= POSITIONS


def correlate(x, weight, y, padding):
    """`conv.correlate` for a 3×3 kernel at stride 1. x (C, H, W, N), weight (O, C, 3, 3), fills y (O, H′, W′, N)."""
    _output(_products(_transform(GG, weight), _input_tiles(x, padding, y.shape[1:3])), y)


def gradients(g, x, weight, grad_x, grad_w, padding):
    """Fill dx (C, H, W, N) and, if it is not None, dw (O, C, 3, 3) from g (O, H′, W′, N)."""
    flipped = _transform(GG[:, ::-1], weight).transpose(0, 2, 1)  # (16, C, O)
    tiles = _input_tiles(g, tuple(2 - p for p in padding), x.shape[1:3])  # (16, O, tiles)
    _output(_products(flipped, tiles), grad_x)
    if grad_w is not None:
        products = _products(tiles, _output_tiles(x).transpose(0, 2, 1)).reshape(16, -1).T  # (O·C, 16)
        back, nine = GG_BACK[:, ::-1].astype(x.dtype), np.empty((weight[..., 0, 0].size, 9), x.dtype)
        _share(len(nine), lambda part: np.matmul(products[part], back, out=nine[part]))
        grad_w[...] = nine.reshape(weight.shape)


def _transform(matrix, weight):
    """U = G w Gᵀ, for matrix G ⊗ G: (O, C, 3, 3) -> (16, O, C)."""
    matrix, nine = matrix.astype(weight.dtype), weight.reshape(-1, 9).T
    u = np.empty((16, nine.shape[1]), weight.dtype)
    _share(nine.shape[1], lambda part: np.matmul(matrix, nine[:, part], out=u[:, part]))
    return u.reshape(16, *weight.shape[:2])


def _products(a, b):
    """The 16 matrix products, shared among the threads."""
    out = np.empty((16, a.shape[1], b.shape[2]), a.dtype)
    _share(16, lambda k: np.matmul(a[k], b[k], out=out[k]))
    return out


def _input_tiles(x, padding, out_hw):
    """V = Bᵀ d B of every 4×4 tile: x (C, H, W, N) -> (16, C, tiles), tiles = ⌈H′/2⌉·⌈W′/2⌉·N."""
    (channels, _, _, batch), (high, wide) = x.shape, _tiles(out_hw)
    v = np.empty((4, 4, channels, high, wide, batch), x.dtype)

    def work(c):
        part = x[c]
        # rows and columns of even and odd number apart, so that tile t is made of entries t and t + 1 of both
        image = np.empty((2, 2, len(part), high + 1, wide + 1, batch), x.dtype)
        for i, j in np.ndindex(2, 2):
            copy_window(image[i, j], part, i - padding[0], 2, j - padding[1], 2)
        rows = np.empty((4, 2, len(part), high, wide + 1, batch), x.dtype)
        _times_b(image[:, :, :, :-1], image[:, :, :, 1:], rows)
        rows = rows.swapaxes(0, 1)  # (2 parities of columns, 4, …)
        _times_b(rows[..., :-1, :], rows[..., 1:, :], v[:, :, c].swapaxes(0, 1))

    _share(channels, work)
    return v.reshape(16, channels, -1)


def _times_b(here, next, out):
    """Bᵀ d of tiles d₀, d₁ = here and d₂, d₃ = next."""
    (d0, d1), (d2, d3) = here, next
    np.subtract(d0, d2, out=out[0])
    np.add(d1, d2, out=out[1])
    np.subtract(d2, d1, out=out[2])
    np.subtract(d1, d3, out=out[3])


def _output(products, y):
    """y = Aᵀ m A: m (16, O, tiles), which is used up, fills y (O, H′, W′, N)."""
    (out, height, width, batch), (high, wide) = y.shape, _tiles(y.shape[1:3])
    even = y if height % 2 == width % 2 == 0 else np.empty((out, 2 * high, 2 * wide, batch), y.dtype)
    m, pixels = products.reshape(4, 4, out, high, wide, batch), _by_parity(even)

    def work(c):
        rows = np.empty((2, 4, *m[0, 0, c].shape), y.dtype)
        _times_a(m[:, :, c], rows)
        _times_a(rows.swapaxes(0, 1), pixels[:, :, c].swapaxes(0, 1))

    _share(out, work)
    if even is not y:
        y[...] = even[:, :height, :width]


def _times_a(m, out):
    """Aᵀ m; uses m up."""
    m[0] += m[1]
    np.add(m[0], m[2], out=out[0])
    m[1] -= m[2]
    np.subtract(m[1], m[3], out=out[1])


def _output_tiles(y):
    """A y Aᵀ of every 2×2 tile, but with A's last row (0, −1) as (0, 1): y (C, H′, W′, N) -> (16, C, tiles)."""
    (channels, height, width, batch), (high, wide) = y.shape, _tiles(y.shape[1:3])
    if height % 2 or width % 2:
        even = np.zeros((channels, 2 * high, 2 * wide, batch), y.dtype)
        even[:, :height, :width] = y
        y = even
    tiles, pixels = np.empty((4, 4, channels, high, wide, batch), y.dtype), _by_parity(y)

    def work(c):
        rows = np.empty((4, 2, *pixels[0, 0, c].shape), y.dtype)
        _sum_and_difference(pixels[:, :, c], rows)
        _sum_and_difference(rows.swapaxes(0, 1), tiles[:, :, c].swapaxes(0, 1))

    _share(channels, work)
    return tiles.reshape(16, channels, -1)


def _sum_and_difference(y, out):
    out[0], out[3] = y
    np.add(y[0], y[1], out=out[1])
    np.subtract(y[0], y[1], out=out[2])


def _by_parity(y):
    """A view of y (C, 2·high, 2·wide, N) as (2, 2, C, high, wide, N): rows and columns of even and odd number apart."""
    channels, height, width, batch = y.shape
    return y.reshape(channels, height // 2, 2, width // 2, 2, batch).transpose(2, 4, 0, 1, 3, 5)


def _tiles(hw):
    """Number of 2×2 tiles along each axis."""
    return tuple(-(-n // 2) for n in hw)


def _share(count, work):
    """Call ``work`` on slices that cut range(count) into one for each thread."""
    threads = get_num_threads()
    cuts = [slice(count * i // threads, count * (i + 1) // threads) for i in range(threads)]
    parallel(lambda run: [work(part) for part in run], [c for c in cuts if c.start < c.stop])
