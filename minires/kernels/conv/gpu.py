"""Convolution: sizes and launches for conv.cu and pipelined.cu; the formulas are in `definition`.

Most layers of a network take the kernels of pipelined.cu, which copy four images at a time: float32, a batch of a
multiple of four images, channels in multiples of 16. The others, such as the first layer, take those of conv.cu; so do
all on a GPU older than Ampere.
"""

import functools
import math
from typing import Any

import numpy as np

from ..launch import TILES, batch_last, c_name, contiguous, cut, tile_for
from ..layout import batch_first, out_sizes
from ..load import TYPES, Source
from ..reduce.gpu import reduce_rows

KERNELS = ("conv2d_forward", "conv2d_input_gradient", "conv2d_weight_gradient")
CONV = Source(
    "conv/conv.cu",
    [
        *((kernel, "float", *tile, k, False) for kernel in KERNELS for tile in TILES for k in (0, 1, 3)),
        *((kernel, "float", *TILES[-1], k, True) for kernel in KERNELS for k in (0, 1, 3)),  # TF32
        *((kernel, "double", *TILES[0], 0, False) for kernel in KERNELS),
        *(("sum_parts", t) for t in TYPES),
    ],
)

# BM, BP, BK and SPLIT of pipelined.cu: the fewer blocks a tile gives, the less it reads. 128 threads each.
TILES_AHEAD = (
    *((64, 64, 16, 1), (32, 128, 16, 1), (16, 256, 16, 1), (32, 64, 32, 2)),
    *((32, 64, 16, 2), (32, 32, 64, 4), (32, 32, 32, 4), (16, 64, 64, 4)),
)
TF32_TILES_AHEAD = ((64, 64, 16, 1), (32, 128, 16, 1), (16, 256, 16, 1), (32, 64, 32, 2), (32, 32, 64, 4))
# K: the channels of a block; its BM, BK and SPLIT, plainly and for TF32
WEIGHT_TILES = {
    1: (64, {False: [(64, 16, 1)], True: [(64, 16, 1)]}),
    3: (16, {False: [(32, 16, 1), (16, 32, 2)], True: [(32, 16, 2), (16, 32, 4)]}),
}
PIPELINED = Source(
    "conv/pipelined.cu",
    [
        *((f"{kernel}_pipelined", *tile, False) for kernel in KERNELS[:2] for tile in TILES_AHEAD),
        *((f"{kernel}_pipelined", *tile, True) for kernel in KERNELS[:2] for tile in TF32_TILES_AHEAD),
        *(
            ("conv2d_weight_gradient_pipelined", *tile, k, tf32)
            for k, (_, tiles) in WEIGHT_TILES.items()
            for tf32 in tiles
            for tile in tiles[tf32]
        ),
    ],
)

FLOAT32 = np.dtype(np.float32)
THREADS = 128
LEAST_LENGTH = 64  # fewest positions that a part of a weight gradient sums
MOST_RUNS = 512  # with statistics: batch norm reads two numbers of each run for every 2,048 of y
RESULTS = 32  # of a block of sum_parts, each summed by 16 threads
SUM_THREADS = 16 * RESULTS


def conv2d(on, x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """`definition.conv2d`. x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) -> y (N, O, H′, W′)."""
    return _convolved(on, x, weight, bias, (stride, padding, dilation, groups))[0]


def conv2d_with_statistics(on, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """`conv2d` without a bias, and what batch norm takes of y for its statistics; None where that has to be done anew.

    It is a mean and Σ(y − mean)² for each run of a channel, (C, runs) each, and how the channels were cut into runs.
    """
    return _convolved(on, x, weight, None, (stride, padding, dilation, groups), statistics=True)


def conv2d_backward(
    on, grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True, True, True)
):
    """`definition.conv2d_backward`. Returns dx (N, C, H, W), dw (O, C/groups, kh, kw), db (O), or None each."""
    g, x, weight = batch_last(grad_y), batch_last(x), contiguous(weight)
    geometry, grad_x, grad_w = (stride, padding, dilation, groups), None, None
    if needs[0]:
        how, shape = _input_gradient(*_what(on, x, weight, g), *geometry)
        grad_x = on.empty(x.shape, x.dtype)
        on.launch(*how, g, weight, grad_x, numbers=shape)
        grad_x = batch_first(grad_x)
    if needs[1]:
        how, numbers, parts, sums = _weight_gradient(*_what(on, x, weight, g, x), *geometry)
        grad_w = on.empty(weight.shape, weight.dtype)
        if parts is None:
            on.launch(*how, g, x, grad_w, numbers=numbers)
        else:
            partial = on.empty(parts, weight.dtype)
            on.launch(*how, g, x, partial, numbers=numbers)
            on.launch(*sums, partial, grad_w, numbers=parts[1:])
    return grad_x, grad_w, reduce_rows(on, "Sum", g.reshape(len(g), -1)) if needs[2] else None


def _convolved(on, x, weight, bias, geometry, statistics=False):
    x, weight, found = batch_last(x), contiguous(weight), None
    y_shape, how, shape = _forward(*_what(on, x, weight, x), *geometry)
    y = on.empty(y_shape, x.dtype)
    results = [y]
    if how[0] is PIPELINED:
        (_, _, template, (runs, *_), _), rows = how, (None, None)
        if statistics and runs <= MOST_RUNS:
            rows = on.empty((len(y), runs), y.dtype), on.empty((len(y), runs), y.dtype)
            found = *rows, (y.size // len(y), template[1], runs)
        results += rows
    on.launch(*how, x, weight, None if bias is None else contiguous(bias), *results, numbers=shape)
    return batch_first(y), found


# ── what is launched, once for all arrays of the same shapes ────────────────────────────────────────────────────────


def _what(on, x, weight, *read):
    """What a launch depends on besides the geometry; ``read``: what is copied by fours if that can be done."""
    by_fours = on.ampere and x.dtype == FLOAT32 and x.shape[-1] % 4 == 0
    for array in read:
        by_fours = by_fours and on.address(array) % 16 == 0
    return on.multiprocessors, x.dtype, x.shape, weight.shape, on.tf32, by_fours


@functools.lru_cache(maxsize=4096)
def _forward(processors, dtype, x_shape, w_shape, tf32, by_fours, stride, padding, dilation, groups):
    """(shape of y, what to launch, its sizes) for x (C, H, W, N)."""
    y_shape, shape = _shapes(x_shape, w_shape, stride, padding, dilation, groups)
    rows, positions = w_shape[0] // groups, math.prod(y_shape[1:])
    known = _known_kernel(w_shape, dtype)
    how = _product(processors, dtype, tf32, by_fours, "conv2d_forward", rows, positions, groups, w_shape[1], known)
    return y_shape, how, shape


@functools.lru_cache(maxsize=4096)
def _input_gradient(processors, dtype, x_shape, w_shape, tf32, by_fours, stride, padding, dilation, groups):
    """(what to launch, its sizes)."""
    _, shape = _shapes(x_shape, w_shape, stride, padding, dilation, groups)
    channels, height, width, batch = x_shape
    known = _known_kernel(w_shape, dtype) if stride == (1, 1) else 0
    positions = cut(height, stride[0]) * cut(width, stride[1]) * batch  # of the largest phase
    rows, sums, layers = channels // groups, w_shape[0] // groups, groups * stride[0] * stride[1]
    kernel = "conv2d_input_gradient"
    return _product(processors, dtype, tf32, by_fours, kernel, rows, positions, layers, sums, known), shape


def _product(processors, dtype, tf32, by_fours, kernel, rows, positions, layers, channels, known):
    """The kernel that sums over so many ``channels``, for ``layers`` groups or phases (blockIdx.z), and its grid."""
    tile = _tile_ahead(processors, tf32, rows, positions, layers, channels) if by_fours else None
    if tile is not None:
        source, kernel, template = PIPELINED, f"{kernel}_pipelined", (*tile, tf32)
    else:
        tile, tf32 = tile_for(dtype, rows, tf32)
        source, template = CONV, (c_name(dtype), *tile, known, tf32)
    grid = cut(positions, tile[1]), cut(rows, tile[0]), layers
    return source, kernel, template, grid, THREADS


def _tile_ahead(processors, tf32, rows, positions, layers, channels):
    """The first tile that gives every multiprocessor two blocks, or else the one that gives most; None if none fits."""

    def blocks(tile):
        return cut(positions, tile[1]) * (rows // tile[0]) * layers

    tiles = TF32_TILES_AHEAD if tf32 else TILES_AHEAD
    fitting = [tile for tile in tiles if rows % tile[0] == 0 and channels % tile[2] == 0]
    return next((t for t in fitting if blocks(t) >= 2 * processors), max(fitting, key=blocks, default=None))


@functools.lru_cache(maxsize=4096)
def _weight_gradient(processors, dtype, x_shape, w_shape, tf32, by_fours, stride, padding, dilation, groups):
    """(what to launch, its numbers, the shape of the parts, and what sums them); None for the last two if it is one."""
    y_shape, shape = _shapes(x_shape, w_shape, stride, padding, dilation, groups)
    rows, channels, taps = w_shape[0] // groups, w_shape[1], math.prod(w_shape[1:])
    known, positions = _known_kernel(w_shape, dtype), math.prod(y_shape[1:])
    wide, tiles = WEIGHT_TILES.get(known, (1, {}))
    tile: Any = next((t for t in tiles.get(tf32, ()) if rows % t[0] == 0 and channels % wide == 0), None)
    if tile is not None and by_fours:
        source, kernel, template = PIPELINED, "conv2d_weight_gradient_pipelined", (*tile, known, tf32)
        columns, step, side_by_side = channels // wide, tile[1], 4
    else:
        tile, tf32 = tile_for(dtype, rows, tf32)
        source, kernel, template = CONV, "conv2d_weight_gradient", (c_name(dtype), *tile, known, tf32)
        columns, step, side_by_side = cut(taps, tile[1]), 1, 2
    lines = cut(rows, tile[0])
    most = side_by_side * processors // (columns * lines * groups)
    length = cut(cut(positions, max(min(most, positions // LEAST_LENGTH), 1)), step) * step
    parts, size = cut(positions, length), rows * taps
    how = source, kernel, template, (columns, lines, groups * parts), THREADS
    if parts == 1:
        return how, (parts, length, *shape), None, None
    sums = CONV, "sum_parts", (c_name(dtype),), (cut(size, RESULTS), groups), SUM_THREADS
    return how, (parts, length, *shape), (groups, parts, size), sums


def _shapes(x_shape, w_shape, stride, padding, dilation, groups):
    """(the shape of y, the sizes that all kernels take); x and y (C, H, W, N)."""
    channels, height, width, batch = x_shape
    y_shape = w_shape[0], *out_sizes((height, width), w_shape[2:], stride, padding, dilation), batch
    sizes = batch, channels // groups, height, width, w_shape[0] // groups, *y_shape[1:3]
    return y_shape, (*sizes, *w_shape[2:], *stride, *padding, *dilation)


def _known_kernel(w_shape, dtype):
    """The template argument K: 1 or 3 for square kernels of that size in float32, else 0."""
    kh, kw = w_shape[2:]
    return kh if kh == kw and kh in (1, 3) and dtype == np.float32 else 0
