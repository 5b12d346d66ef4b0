"""Convolution in NumPy: matrix products of weights and patches, with the batch last in memory.

The definition is in `definition`. Four ideas make it fast:

1. **The batch is innermost in memory.** Arrays have the shape (N, C, H, W) but are stored as (C, H, W, N). A shift by
   one pixel then moves whole runs of N numbers, so patches are gathered by plain block copies; a channel is one
   contiguous row, which suits batch norm too; and a product can write straight into its output (see
   `minires.kernels.layout`).

2. **All three products share one loop.** With the patches of x as columns, y = weights · columns. At stride 1 the
   patches of grad_y serve twice: dx = flipped weights · columns, and dw = columns · xᵀ. At a larger stride, dx splits
   into independent convolutions at stride 1, one for each phase of the input grid, and dw = columns of x · grad_yᵀ.

3. **The work is cut into blocks**, most of them small enough for the second-level cache: the columns of some positions
   are gathered, multiplied, and overwritten by the next.

4. **How columns are gathered depends on the shapes**, and an *arrangement* says how. `Im2col` copies the taps of one
   block at a time, `Planes` those of whole small images at once. `Whole` copies none, where every output sees the whole
   image; and `Tiles` (Winograd) works with transformed columns, so that 3×3 kernels take half the multiplications. All
   have the same methods::

       weights(w)                     the matrix U of the weights w (B, A, kh, kw)
       gather(block)                  the columns S of a block of positions
       outputs(U, S, y, block)        y[block] = U · S
       weight_sums(S, other, block)   S · other[block]ᵀ: what the block adds to the gradient of the weights
       put_weights(sums, grad_w)      the sum of these, in the order of w
       run(work)                      work(blocks) on all blocks, shared among the threads if that is faster
       suspect                        whether something overflowed on the way to a result

   Only in `Tiles` does an output depend on more than its receptive field. It serves float32 alone, outside `exact`, and
   where it overflows, the result is computed again without it.
"""

import itertools
import math

import numpy as np

from ...state import current, switch
from ...threads import plus
from ..layout import batch_first, batch_last, copy_pixels, out_sizes
from ..memory import keep_freed_memory
from ..reduce.cpu import reduce_sum
from .im2col import Im2col
from .planes import Planes
from .whole import Whole
from .winograd import Tiles

# Found by `python -m benchmarks tune`.
FEW = 50_000  # with no more weights than this, they stay in the cache in whatever order they are read


class exact(switch):
    """Convolve directly inside ``with exact(): …`` or ``@exact()``, forward and backward: slower, but exactly local.

    Otherwise, in float32 and on the device "cpu", 3×3 convolutions of many channels use Winograd's algorithm, in tiles
    of four rows. An output then also depends on the other input rows that its tile sees, up to three rows beyond its
    own receptive field: by a rounding error, or entirely where these hold a NaN. So does a gradient. Inside `exact`,
    nothing outside the receptive field counts at all, as is always so in float64 and on a GPU.
    """

    def __init__(self):
        super().__init__(exact=True)


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """`definition.conv2d`. x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) or None -> y (N, O, H′, W′)."""
    keep_freed_memory()
    x = batch_last(x)  # (C, H, W, N)
    out_hw = out_sizes(x.shape[1:3], weight.shape[2:], stride, padding, dilation)
    y = np.empty((len(weight), *out_hw, x.shape[3]), x.dtype)  # (O, H′, W′, N)
    for xg, wg, yg in zip(*(_split(array, groups) for array in (x, weight, y))):
        convolve(xg, wg, yg, None, None, stride, padding, dilation)
    if bias is not None:
        y += bias[:, None, None, None]
    return batch_first(y)


def conv2d_backward(
    grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True, True, True)
):
    """`definition.conv2d_backward`. -> dx (N, C, H, W), dw (O, C/groups, kh, kw), db (O); None where not needed."""
    g, x = batch_last(grad_y), batch_last(x)  # (O, H′, W′, N), (C, H, W, N)
    grad_x = np.empty_like(x) if needs[0] else None
    grad_w = np.empty(weight.shape, weight.dtype) if needs[1] else None
    for gg, xg, wg, gxg, gwg in zip(*(_split(array, groups) for array in (g, x, weight, grad_x, grad_w))):
        _gradients(gg, xg, wg, gxg, gwg, stride, padding, dilation)
    grad_b = reduce_sum(g, (1, 2, 3)) if needs[2] else None
    return None if grad_x is None else batch_first(grad_x), grad_w, grad_b


def convolve(x, weight, y, other, grad_w, stride, padding, dilation):
    """Compute y = weight · patches of x, and grad_w = Σ patches · other, into those of the two that are not None.

    y[b, h, w, n] = Σ_{a,i,j} weight[b, a, i, j] · x[a, h·s + i·d − p, w·s + j·d − p, n], with x = 0 outside. Each
    product w·x of that sum adds other·x to its entry of grad_w. Shapes: x (A, H, W, N), y and other (B, H′, W′, N), all
    contiguous; weight and grad_w (B, A, kh, kw). Padding may be negative (a crop), and y need not end where x does.
    """
    products = (y is not None) + (other is not None)
    how = arrangement(x, weight.shape, (other if y is None else y).shape, stride, padding, dilation, products)
    sums = multiply(how, None if y is None else how.weights(weight), y, other)
    if grad_w is not None:
        how.put_weights(sums, grad_w)
    if how.suspect and not all(result is None or np.isfinite(result).all() for result in (y, grad_w)):
        with exact():
            convolve(x, weight, y, other, grad_w, stride, padding, dilation)


def arrangement(x, weight_shape, y_shape, stride, padding, dilation, products=1):
    """The fastest arrangement for weights (B, A, kh, kw), x (A, H, W, N), y (B, H′, W′, N), and that many products."""
    multiply_adds = products * math.prod(weight_shape) * math.prod(y_shape[1:])
    geometry = weight_shape[2:], y_shape[1:3], stride, padding, dilation
    ways = (Whole,) if current().exact else (Whole, Tiles, Planes) if x.dtype == np.float32 else (Whole, Planes)
    for how in ways:
        if how.is_faster(x.shape, weight_shape[0], geometry, multiply_adds):
            return how(x, geometry, multiply_adds)
    return Im2col(x, geometry, multiply_adds)


def multiply(how, matrix, y, other):
    """The one loop: y[block] = matrix · columns for every block; returns the sums of columns · other[block]ᵀ."""

    def work(blocks):
        sums = None
        for block in blocks:
            columns = how.gather(block)
            if y is not None:
                how.outputs(matrix, columns, y, block)
            if other is not None:
                sums = plus(sums, how.weight_sums(columns, other, block))
        return sums

    return how.run(work)


def _gradients(g, x, weight, grad_x, grad_w, stride, padding, dilation):
    """From g (O, H′, W′, N), fill those of dx (C, H, W, N) and dw (O, C, kh, kw) that are not None."""
    if grad_x is not None and stride == (1, 1):
        # dx[c, q] = Σ w[o, c, i, j] · g[o, q + p − i·d]: the patches of g, with the kernels flipped. The same patches
        # give dw[o, c, i, j] = Σ x[c, q] · g[o, q + p − i·d].
        around = tuple(d * (k - 1) - p for k, p, d in zip(weight.shape[2:], padding, dilation))
        other, to = (None, None) if grad_w is None else (x, _flipped(grad_w.transpose(1, 0, 2, 3)))
        convolve(g, _flipped(_by_input(weight)), grad_x, other, to, (1, 1), around, dilation)
        return
    if grad_x is not None:
        _input_gradient_by_phase(g, weight, grad_x, stride, padding, dilation)
    if grad_w is not None:  # dw[o, c, i, j] = Σ g[o, p] · x[c, p·s + i·d − pad]: the patches of x
        convolve(x, weight, None, g, grad_w, stride, padding, dilation)


def _input_gradient_by_phase(g, weight, grad_x, stride, padding, dilation):
    """dx for any stride: the input pixels of one phase (h mod s, w mod s) are reached by the same taps, at stride 1.

    Pixel q·s + a receives from output position q + (a + p − i·d)/s through tap i, for each i that makes this whole.
    """
    reach_h, reach_w = (
        [[(i, (a + p - i * d) // s) for i in range(k) if (a + p - i * d) % s == 0] for a in range(min(s, n))]
        for n, k, s, p, d in zip(grad_x.shape[1:3], weight.shape[2:], stride, padding, dilation)
    )
    if not all(reach_h + reach_w):
        grad_x[...] = 0
    for (a, high), (b, wide) in itertools.product(enumerate(reach_h), enumerate(reach_w)):
        if not high or not wide:
            continue
        (rows, tops), (columns, lefts) = (zip(*reversed(r)) for r in (high, wide))  # offsets ascending
        taps = weight[:, :, rows][:, :, :, columns].transpose(1, 0, 2, 3)  # (C, O, taps, taps)
        step = tuple(o[1] - o[0] if len(o) > 1 else 1 for o in (tops, lefts))  # the taps of a phase are evenly spaced
        phase = grad_x[:, a :: stride[0], b :: stride[1]]
        y = np.empty(phase.shape, g.dtype)
        convolve(g, taps, y, None, None, (1, 1), (-tops[0], -lefts[0]), step)
        copy_pixels(phase, y)


def _by_input(weight):
    """(O, C, kh, kw) -> (C, O, kh, kw). Where there are many, it is faster to copy each kernel as a single item."""
    out, channels, kh, kw = weight.shape
    if weight.size < FEW:
        return weight.transpose(1, 0, 2, 3)
    kernel = np.dtype((np.void, kh * kw * weight.itemsize))
    items = np.ascontiguousarray(weight).reshape(out, channels, kh * kw).view(kernel)[:, :, 0]
    return np.ascontiguousarray(items.T).view(weight.dtype).reshape(channels, out, kh, kw)


def _flipped(weight):
    """The kernels of (…, kh, kw) reversed along both axes, as a view."""
    return weight[..., ::-1, ::-1]


def _split(array, groups):
    """Cut the first axis into equal groups (views); None gives a None for each group."""
    return [array] * groups if groups == 1 or array is None else np.split(array, groups)
