"""Convolution at stride 1 where rows are short, as at batch 1: im2col by whole planes, in one copy.

Twin of `minires.kernels.textbook.conv2d`; used by `conv` for small work in one thread, where calls cost most. In the
padded image, as it lies in memory, tap (i, j) of every output is the same distance ahead::

    padded image   0 0 0 0 │ 0 a b c │ 0 d e f │ 0 g h i │ 0 0 0 0 │ 0      (3×3, a zero left of each row)
    tap (0, 0)     └──────────────────────────┘
    tap (0, 1)       └──────────────────────────┘                           so the patches are one strided copy
    tap (1, 0)               └──────────────────────────┘                   of long runs

Runs cross the right border: those outputs are computed too, and dropped. They are few, as the zeros left of a row serve
as those right of the row above.
"""

import numpy as np

from ...threads import one_blas_thread, workspace, worth_threads
from ..layout import copy_inside, mirrored

ROW = 150  # numbers in an output row, W′·N, from which on whole rows are copied as fast


def pays(stride, kernel, out_shape, multiply_adds):
    """Whether a convolution with output (O, H′, W′, N) is at stride 1, in short rows, and small."""
    _, _, width, batch = out_shape
    return stride == (1, 1) and kernel != (1, 1) and width * batch < ROW and not worth_threads(multiply_adds)


def correlate(x, weight, y, padding, dilation):
    """`conv.correlate` at stride 1. x (C, H, W, N), weight (O, C, kh, kw), fills y (O, H′, W′, N)."""
    planes = Planes(x, weight.shape[2:], y.shape[1:3], padding, dilation)
    with one_blas_thread():
        product = weight.reshape(len(weight), -1) @ planes.columns
    y[...] = planes.outputs(product)


def gradients(g, x, weight, grad_x, grad_w, padding, dilation):
    """Fill dx (C, H, W, N) and, if it is not None, dw (O, C, kh, kw) from g (O, H′, W′, N), both from g's patches."""
    out, channels, kh, kw = weight.shape
    planes = Planes(g, (kh, kw), x.shape[1:3], mirrored((kh, kw), padding, dilation), dilation)
    flipped = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)  # (C, O, kh, kw)
    with one_blas_thread():
        product = flipped.reshape(channels, -1) @ planes.columns
        if grad_w is not None:
            total = planes.columns @ planes.spread(x).T  # (O·kh·kw, C)
            grad_w[...] = total.reshape(out, kh, kw, channels)[:, ::-1, ::-1].transpose(0, 3, 1, 2)
    grad_x[...] = planes.outputs(product)


class Planes:
    """The im2col matrix of an image, ``columns`` (C·kh·kw, H′·wide·N), in this thread's workspace.

    ``wide`` are the outputs of a row, and those across its border.
    """

    def __init__(self, x, kernel, out_hw, padding, dilation):
        """x (C, H, W, N) contiguous; ``out_hw`` output positions to cover."""
        (channels, _, in_width, batch), (kh, kw), (height, width) = x.shape, kernel, out_hw
        (dh, dw), (top, left) = dilation, padding
        right = width + (kw - 1) * dw - left - in_width
        wide = width + max((kw - 1) * dw - max(min(left, right, width), 0), 0)
        padded = np.zeros((channels * (height + (kh - 1) * dh) + 1, wide, batch), x.dtype)  # a row more to run out into
        image = padded[:-1].reshape(channels, -1, wide, batch)
        copy_inside(image, x, -top, 1, -left, 1)
        shape, (plane, row, pixel, item) = (channels, kh, kw, height * wide * batch), image.strides
        columns = workspace(shape, x.dtype)
        columns[...] = np.ndarray(shape, x.dtype, padded, strides=(plane, dh * row, dw * pixel, item))
        self.columns, self.out_hw, self.wide, self.batch = columns.reshape(-1, shape[-1]), out_hw, wide, batch

    def outputs(self, product):
        """(M, H′·wide·N) -> (M, H′, W′, N), without those across the border."""
        height, width = self.out_hw
        return product.reshape(len(product), height, self.wide, self.batch)[:, :, :width]

    def spread(self, y):
        """The other way round: (M, H′, W′, N) -> (M, H′·wide·N), with zeros there."""
        height, width = self.out_hw
        spread = np.zeros((len(y), height, self.wide, self.batch), y.dtype)
        spread[:, :, :width] = y
        return spread.reshape(len(y), -1)
