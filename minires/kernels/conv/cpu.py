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

Both gradients are built from the same pieces (`patches`). With stride 1, the patches of grad_y serve twice:
dx = (flipped weights) · patches, and dw = patches · xᵀ. With a larger stride, dx splits into stride² independent
stride-1 convolutions, one for each phase of the input grid, so nothing is scattered.

Other ways take over where they are faster: `winograd`, which multiplies half as often or less, for 3×3 kernels at
stride 1 with channels enough and rows long enough; `strided` for dx at stride 2 or more, if all phases see the
same patches; `narrow` where rows are short, as at batch 1; and, of what is left, `by_channel` where there are more
weights than pixels, as in the last layers of a deep network.
"""

import itertools

import numpy as np

from ...threads import total
from ..layout import batch_first, batch_last, copy_pixels, mirrored, out_sizes
from . import by_channel, narrow, strided, winograd
from .patches import Patches, accumulate


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
    for gg, xg, wg, gxg, gwg in zip(*(_split(array, groups) for array in (g, x, weight, grad_x, grad_w))):
        _gradients(gg, xg, wg, gxg, gwg, stride, padding, dilation)
    grad_b = g.reshape(len(g), -1).sum(1) if needs[2] else None
    return batch_first(grad_x) if needs[0] else None, grad_w, grad_b


def correlate(x, weight, y, stride, padding, dilation):
    """Fill y[o, h, w, n] = Σ_{c,i,j} weight[o, c, i, j] · x[c, h·s + i·d − p, w·s + j·d − p, n], x being 0 outside.

    x (C, H, W, N) contiguous, weight (O, C, kh, kw), y (O, H′, W′, N). A padding may be negative (a crop), and y's size
    is free: it need not end where the image does.
    """
    if y.flags.c_contiguous and winograd.pays(weight, stride, dilation, y.shape):
        winograd.correlate(x, weight, y, padding)
    elif by_channel.pays(weight, x, y):
        by_channel.correlate(x, weight, y, stride, padding, dilation)
    elif narrow.pays(stride, weight.shape[2:], y.shape, weight.size * y[0].size):
        narrow.correlate(x, weight, y, padding, dilation)
    elif not y.flags.c_contiguous:
        whole = np.empty(y.shape, y.dtype)
        correlate(x, weight, whole, stride, padding, dilation)
        copy_pixels(y, whole)
    else:
        _correlate(x, weight, y, stride, padding, dilation)


def _correlate(x, weight, y, stride, padding, dilation):
    """`correlate` for any stride, by the ideas above; y contiguous."""
    patches = Patches(x, weight.shape[2:], y.shape[1:3], stride, padding, dilation, rows_of_product=len(weight))
    matrix = _taps_first(weight).reshape(len(weight), -1)  # (O, kh·kw·C)

    def work(blocks):
        for block in blocks:
            np.matmul(matrix, patches.gather(block), out=patches.positions(y, block))

    patches.run(work)


def _gradients(g, x, weight, grad_x, grad_w, stride, padding, dilation):
    """Fill dx (C, H, W, N) and dw (O, C, kh, kw), those that are not None, the fastest way."""
    kernel = weight.shape[2:]
    if grad_x is not None and winograd.pays(weight, stride, dilation, g.shape):
        winograd.gradients(g, x, weight, grad_x, grad_w, padding)
    elif by_channel.pays(weight, x, g):
        by_channel.gradients(g, x, weight, grad_x, grad_w, stride, padding, dilation)
    elif grad_x is not None and narrow.pays(stride, kernel, x.shape, 2 * weight.size * g[0].size):
        narrow.gradients(g, x, weight, grad_x, grad_w, padding, dilation)
    elif grad_x is not None and stride == (1, 1):
        _stride_one_gradients(g, x, weight, grad_x, grad_w, padding, dilation)
    else:
        if grad_x is not None and strided.pays(kernel, stride, dilation):
            strided.input_gradient(g, weight, grad_x, stride, padding)
        elif grad_x is not None:
            _input_gradient_by_phase(g, weight, grad_x, stride, padding, dilation)
        if grad_w is not None:
            _weight_gradient(g, x, grad_w, stride, padding, dilation)


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
                partial = accumulate(partial, columns, patches.positions(x, block))
        return partial

    partials = patches.run(work)
    if grad_w is not None:
        taps = total(partials)  # (kh·kw·O, C)
        grad_w[...] = taps.reshape(kh, kw, out, -1)[::-1, ::-1].transpose(2, 3, 0, 1)


def _weight_gradient(g, x, grad_w, stride, padding, dilation):
    """dw = patches(x) · grad_yᵀ, for any stride."""
    out, channels, kh, kw = grad_w.shape
    patches = Patches(x, (kh, kw), g.shape[1:3], stride, padding, dilation, rows_of_product=out)

    def work(blocks):
        partial = None
        for block in blocks:
            partial = accumulate(partial, patches.gather(block), patches.positions(g, block))
        return partial

    partials = patches.run(work)
    taps = total(partials)  # (kh·kw·C, O)
    grad_w[...] = taps.reshape(kh, kw, channels, out).transpose(3, 2, 0, 1)


def _input_gradient_by_phase(g, weight, grad_x, stride, padding, dilation):
    """dx for any stride: input pixels of one phase (h mod s, w mod s) are reached by the same taps, at unit stride.

    Pixel q·s + a receives from output position q + (a + p − i·d)/s through tap i, for those i that make it whole.
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
        correlate(g, taps, phase, (1, 1), (-tops[0], -lefts[0]), step)


def _taps_first(weight):
    """(O, C, kh, kw) -> (O, kh, kw, C): the order in which `Patches` stacks its rows."""
    return weight.transpose(0, 2, 3, 1)


def _split(array, groups):
    """Cut the first axis into equal groups (views); None into as many."""
    return [array] * groups if groups == 1 or array is None else np.split(array, groups)
