"""Convolution: sizes and launches for conv.cu and pipelined.cu; the formulas are in `definition`.

Most layers of a network take the kernels of pipelined.cu, which copy four images at a time: float32, a batch of a
multiple of four images, channels in multiples of 16. The others, such as the first layer, take those of conv.cu.
"""

from ...state import current
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

THREADS = 128
LEAST_LENGTH = 64  # fewest positions that a part of a weight gradient sums
RESULTS = 32  # of a block of sum_parts, each summed by 16 threads
SUM_THREADS = 16 * RESULTS


def conv2d(on, x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """`definition.conv2d`. x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) -> y (N, O, H′, W′)."""
    x, weight = batch_last(x), contiguous(weight)
    out_hw = out_sizes(x.shape[1:3], weight.shape[2:], stride, padding, dilation)
    y = on.empty((len(weight), *out_hw, x.shape[3]), x.dtype)
    rows, positions = len(weight) // groups, y[0].size
    shape = _shape(x, weight, y, stride, padding, dilation, groups)
    bias, has_bias = (weight, 0) if bias is None else (contiguous(bias), 1)
    args = x, weight, bias, y, has_bias, *shape
    _product(on, "conv2d_forward", rows, positions, groups, weight.shape[1], _known_kernel(weight, x.dtype), x, args)
    return batch_first(y)


def conv2d_backward(
    on, grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True, True, True)
):
    """`definition.conv2d_backward`. Returns dx (N, C, H, W), dw (O, C/groups, kh, kw), db (O), or None each."""
    g, x, weight = batch_last(grad_y), batch_last(x), contiguous(weight)
    shape = _shape(x, weight, g, stride, padding, dilation, groups)
    return (
        batch_first(_input_gradient(on, g, x, weight, shape, stride, groups)) if needs[0] else None,
        _weight_gradient(on, g, x, weight, shape, groups) if needs[1] else None,
        reduce_rows(on, "Sum", g.reshape(len(g), -1)) if needs[2] else None,
    )


def _input_gradient(on, g, x, weight, shape, stride, groups):
    grad_x = on.empty(x.shape, x.dtype)
    _, height, width, batch = x.shape
    known = _known_kernel(weight, x.dtype) if stride == (1, 1) else 0
    positions = cut(height, stride[0]) * cut(width, stride[1]) * batch  # of the largest phase
    launches = groups * stride[0] * stride[1]
    args = g, weight, grad_x, *shape
    _product(on, "conv2d_input_gradient", len(x) // groups, positions, launches, len(g) // groups, known, g, args)
    return grad_x


def _product(on, kernel, rows, positions, layers, channels, known, read, args):
    """Launch a kernel that sums over the ``channels`` of ``read``, for ``layers`` groups or phases (blockIdx.z)."""
    tile, tf32 = _tile_ahead(on, rows, positions, layers, channels), current().tf32
    if tile is not None and _by_fours(on, read):
        source, kernel, template = PIPELINED, f"{kernel}_pipelined", (*tile, tf32)
    else:
        tile, tf32 = tile_for(read.dtype, rows)
        source, template = CONV, (c_name(read.dtype), *tile, known, tf32)
    grid = cut(positions, tile[1]), cut(rows, tile[0]), layers
    on.launch(source, kernel, template, grid, THREADS, *args)


def _by_fours(on, *arrays):
    """Whether four images at a time can be copied from these (C, H, W, N)."""
    return all(a.dtype == "float32" and a.shape[-1] % 4 == 0 and on.address(a) % 16 == 0 for a in arrays)


def _tile_ahead(on, rows, positions, layers, channels):
    """The first tile that gives every multiprocessor two blocks, or else the one that gives most; None if none fits."""

    def blocks(tile):
        return cut(positions, tile[1]) * (rows // tile[0]) * layers

    fitting = [
        tile
        for tile in (TF32_TILES_AHEAD if current().tf32 else TILES_AHEAD)
        if rows % tile[0] == 0 and channels % tile[2] == 0
    ]
    return next((t for t in fitting if blocks(t) >= 2 * on.multiprocessors), max(fitting, key=blocks, default=None))


def _weight_gradient(on, g, x, weight, shape, groups):
    rows, channels, taps, positions = len(weight) // groups, weight.shape[1], weight[0].size, g[0].size
    known, tf32 = _known_kernel(weight, x.dtype), current().tf32
    wide, tiles = WEIGHT_TILES.get(known, (0, {}))
    tile = next((t for t in tiles.get(tf32, ()) if rows % t[0] == 0 and channels % wide == 0), None)
    if tile is not None and _by_fours(on, g, x):
        source, kernel, template = PIPELINED, "conv2d_weight_gradient_pipelined", (*tile, known, tf32)
        columns, step, side_by_side = channels // wide, tile[1], 4
    else:
        tile, tf32 = tile_for(x.dtype, rows)
        source, kernel, template = CONV, "conv2d_weight_gradient", (c_name(x.dtype), *tile, known, tf32)
        columns, step, side_by_side = cut(taps, tile[1]), 1, 2
    lines = cut(rows, tile[0])
    most = side_by_side * on.multiprocessors // (columns * lines * groups)
    length = cut(cut(positions, max(min(most, positions // LEAST_LENGTH), 1)), step) * step
    parts = cut(positions, length)
    grad_w = on.empty(weight.shape, weight.dtype)
    partial = grad_w if parts == 1 else on.empty((groups, parts, rows * taps), weight.dtype)
    on.launch(source, kernel, template, (columns, lines, groups * parts), THREADS, g, x, partial, parts, length, *shape)
    if parts > 1:
        size = rows * taps
        grid = cut(size, RESULTS), groups
        on.launch(CONV, "sum_parts", (c_name(x.dtype),), grid, SUM_THREADS, partial, grad_w, parts, size)
    return grad_w


def _shape(x, weight, y, stride, padding, dilation, groups):
    """The arguments that all three kernels take; x and y (C, H, W, N)."""
    (channels, height, width, batch), (out, out_height, out_width, _) = x.shape, y.shape
    sizes = batch, channels // groups, height, width, out // groups, out_height, out_width
    return (*sizes, *weight.shape[2:], *stride, *padding, *dilation)


def _known_kernel(weight, dtype):
    """The template argument K: 1 or 3 for square kernels of that size in float32, else 0."""
    kh, kw = weight.shape[2:]
    return kh if kh == kw and kh in (1, 3) and dtype == "float32" else 0
