"""The input gradient of a convolution at stride 2 or more, from one gathering of patches of grad_y.

Twin of `minires.kernels.textbook.conv2d_backward`, of its dx; used by `conv`. With stride s, the inputs fall into s²
grids, the *phases*, whose pixels are reached by the same taps each. Along one axis of a 3×3 kernel with stride 2 and
padding 1::

    phase 0:  dx[2q]     =  w[1]·g[q]                        (w[i]: a matrix, from all output to all input channels)
    phase 1:  dx[2q + 1] =  w[2]·g[q]  +  w[0]·g[q + 1]

All phases see grad_y at the same few offsets, here 0 and 1. So patches are gathered once, as those of a 2×2 kernel at
stride 1, and serve every phase.

Rows of one phase take one product, with the rows of patches that they see. Columns of all phases take it together: the
matrix has the taps where they act, and zeros between them. For 3×3 that is a third more multiplications in a quarter of
the calls, and copies that calls of their own would repeat.
"""

import functools

import numpy as np

from ...threads import workspace
from ..layout import copy_pixels
from .patches import Patches


def pays(kernel, stride, dilation):
    """Whether there is a stride, and taps in all phases."""
    return max(stride) > 1 and dilation == (1, 1) and all(k >= s for k, s in zip(kernel, stride))


def input_gradient(g, weight, grad_x, stride, padding):
    """Fill dx (C, H, W, N) from g (O, H′, W′, N) and weight (O, C, kh, kw)."""
    (out, channels, *kernel), (sh, sw) = weight.shape, stride
    (phase_h, at_h, top, high), (phase_w, at_w, left, wide) = (_offsets(*a) for a in zip(kernel, stride, padding))
    taps = np.zeros((sh, sw, channels, high, wide, out), weight.dtype)
    taps[phase_h[:, None], phase_w, :, at_h[:, None], at_w] = weight.transpose(2, 3, 1, 0)
    seen = [slice(at_h[phase_h == a].min(), at_h[phase_h == a].max() + 1) for a in range(sh)]
    matrices = [taps[a, :, :, rows].reshape(sw * channels, -1) for a, rows in enumerate(seen)]

    cover = tuple(-(-n // s) for n, s in zip(grad_x.shape[1:3], stride))  # pixels of the largest phase
    around = -top, -left
    patches = Patches(g, (high, wide), cover, (1, 1), around, (1, 1), rows_of_product=sw * channels, rectangles=True)

    def work(blocks):
        for block in blocks:
            columns = patches.gather(block)  # (rows, high·wide·O, positions)
            for a, (matrix, rows) in enumerate(zip(matrices, seen)):
                patch = columns[:, rows.start * wide * out : rows.stop * wide * out]
                shape = len(patch), len(matrix), patch.shape[2]
                product = np.matmul(matrix, patch, out=workspace(shape, g.dtype, "products"))
                for target, source in zip(_phases(grad_x, a, stride, block), _planes(product, sw, block)):
                    copy_pixels(target, source[:, : target.shape[1], : target.shape[2]])

    patches.run(work)


@functools.cache
def _offsets(taps, stride, padding):
    """Along one axis, each tap's phase and the offset at which it sees grad_y, from the lowest one; that, and how many.

    Tap i brings output q to input q·s + i − p; so input q·s + a gets it from output q + (a + p − i)/s.
    """
    inputs = np.arange(taps) - padding
    phase, offset = inputs % stride, -(inputs // stride)
    return phase, offset - offset.min(), int(offset.min()), int(np.ptp(offset)) + 1


def _phases(x, a, stride, block):
    """Views of x (C, H, W, N), one for each phase of columns, of the rows of phase a: the pixels of a block of one."""
    (h0, h1, w0, w1), (sh, sw) = block, stride
    rows = x[:, h0 * sh + a : h1 * sh : sh]
    return [rows[:, :, w0 * sw + b : w1 * sw : sw] for b in range(sw)]


def _planes(array, phases, block):
    """(rows, phases·C, positions), as `Patches` has the positions of a block, as views (C, rows, columns, N)."""
    (h0, h1, w0, w1), (matrices, rows, positions) = block, array.shape
    high, wide, channels = (h1 - h0) // matrices, w1 - w0, rows // phases  # matrices or high is 1
    array = array.reshape(matrices, phases, channels, high, wide, positions // (high * wide))
    return array.transpose(1, 2, 0, 3, 4, 5).reshape(phases, channels, h1 - h0, wide, -1)
