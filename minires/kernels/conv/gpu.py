"""Convolution: sizes and launches for conv.cu; the formulas are in `definition`."""

from ..launch import BLOCK, TILES, batch_last, blocks, c_name, contiguous, cut, tile_for
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

THREADS = 128
LEAST_LENGTH = 128  # fewest positions that a part of a weight gradient sums


def conv2d(on, x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """`definition.conv2d`. x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) -> y (N, O, H′, W′)."""
    x, weight = batch_last(x), contiguous(weight)
    out_hw = out_sizes(x.shape[1:3], weight.shape[2:], stride, padding, dilation)
    y = on.empty((len(weight), *out_hw, x.shape[3]), x.dtype)
    rows, positions = len(weight) // groups, y[0].size
    tile, tf32 = tile_for(x.dtype, rows)
    template = c_name(x.dtype), *tile, _known_kernel(weight, x.dtype), tf32
    grid = cut(positions, tile[1]), cut(rows, tile[0]), groups
    shape = _shape(x, weight, y, stride, padding, dilation, groups)
    bias, has_bias = (weight, 0) if bias is None else (contiguous(bias), 1)
    on.launch(CONV, "conv2d_forward", template, grid, THREADS, x, weight, bias, y, has_bias, *shape)
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
    rows, (_, height, width, batch) = len(x) // groups, x.shape
    tile, tf32 = tile_for(x.dtype, rows)
    known = _known_kernel(weight, x.dtype) if stride == (1, 1) else 0
    positions = cut(height, stride[0]) * cut(width, stride[1]) * batch  # of the largest phase
    grid = cut(positions, tile[1]), cut(rows, tile[0]), groups * stride[0] * stride[1]
    template = c_name(x.dtype), *tile, known, tf32
    on.launch(CONV, "conv2d_input_gradient", template, grid, THREADS, g, weight, grad_x, *shape)
    return grad_x


def _weight_gradient(on, g, x, weight, shape, groups):
    rows, taps, positions = len(weight) // groups, weight[0].size, g[0].size
    tile, tf32 = tile_for(x.dtype, rows)
    columns, lines = cut(taps, tile[1]), cut(rows, tile[0])
    parts = max(min(2 * on.multiprocessors // (columns * lines * groups), positions // LEAST_LENGTH), 1)
    length = cut(positions, parts)
    parts = cut(positions, length)
    grad_w = on.empty(weight.shape, weight.dtype)
    partial = grad_w if parts == 1 else on.empty((groups, parts, rows * taps), weight.dtype)
    template = c_name(x.dtype), *tile, _known_kernel(weight, x.dtype), tf32
    grid = columns, lines, groups * parts
    on.launch(CONV, "conv2d_weight_gradient", template, grid, THREADS, g, x, partial, parts, length, *shape)
    if parts > 1:
        size = rows * taps
        on.launch(CONV, "sum_parts", (c_name(x.dtype),), (*blocks(size), groups), BLOCK, partial, grad_w, parts, size)
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
