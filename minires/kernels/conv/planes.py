"""Convolution of small images, as at batch 1, where calls cost most: all patches are gathered in a single copy.

In the memory of the padded image, tap (i, j) is the same distance ahead for every output::

    padded image   0 0 0 0 │ 0 a b c │ 0 d e f │ 0 g h i │ 0 0 0 0 │ 0      (3×3, a zero left of each row)
    tap (0, 0)     └──────────────────────────┘
    tap (0, 1)       └──────────────────────────┘                           so one strided copy of long runs
    tap (1, 0)               └──────────────────────────┘                   gathers all patches

Runs cross the right border, so outputs across it are computed too, and dropped. There are few of them, because the
zeros to the left of a row also serve as those to the right of the row above.
"""

import numpy as np

from ...blas import one_blas_thread
from ...threads import total, workspace, worth_threads
from ..layout import copy_inside, view
from ..product.cpu import matmul, product, product_sum

# Found by `python -m benchmarks tune`.
ROW = 150  # numbers in an output row, W′·N: from here on, copying row by row is as fast


class Planes:
    """All patches as one matrix (A·kh·kw, H′·wide·N), a single block; the methods are listed in `cpu`.

    ``wide`` counts the outputs of a row together with those across the border.
    """

    suspect = False

    @staticmethod
    def is_faster(x_shape, rows, geometry, multiply_adds):
        """Whether the stride is 1, rows are short, and there is little to do or more weights than entries in x and y.

        The forward pass reads the weights in place here, where the other arrangements copy them.
        """
        kernel, (height, width), stride, _, _ = geometry
        channels, *_, batch = x_shape
        fits = stride == (1, 1) and kernel != (1, 1) and width * batch < ROW
        many_weights = rows * channels * kernel[0] * kernel[1] >= (rows + channels) * height * width * batch
        return fits and (many_weights or not worth_threads(multiply_adds))

    def __init__(self, x, geometry, multiply_adds):
        """x (A, H, W, N), contiguous. geometry: the pairs kernel, out_hw, stride, padding, dilation."""
        (channels, _, in_width, batch), ((kh, kw), out_hw, _, (top, left), (dh, dw)) = x.shape, geometry
        height, width = out_hw
        right = width + (kw - 1) * dw - left - in_width
        wide = width + max((kw - 1) * dw - max(min(left, right, width), 0), 0)
        high = height + (kh - 1) * dh
        padded = np.zeros((channels * high + 1, wide, batch), x.dtype)  # the last runs end in the extra row
        copy_inside(padded[:-1].reshape(channels, high, wide, batch), x, -top, 1, -left, 1)
        # (A, kh, kw, H′·wide·N): each tap is a run that starts a little later
        columns = workspace((channels, kh, kw, height * wide * batch), x.dtype)
        columns[...] = view(padded, columns.shape, (high * wide * batch, dh * wide * batch, dw * batch, 1))
        self.columns = columns.reshape(channels * kh * kw, -1)
        self.shape, self.multiply_adds = (height, width, wide, batch), multiply_adds

    def run(self, work):
        """Call ``work`` on the single block, in this thread; return its result in a list."""
        return [one_blas_thread(work, [None])]

    def weights(self, w):
        """(B, A, kh, kw) -> (B, A·kh·kw)."""
        return w.reshape(len(w), -1)

    def gather(self, block):
        """All columns, (A·kh·kw, H′·wide·N)."""
        return self.columns

    def outputs(self, matrix, columns, y, block):
        """y (B, H′, W′, N) = matrix · columns, without the outputs across the border."""
        height, width, wide, batch = self.shape
        # (B, A·kh·kw) @ (A·kh·kw, H′·wide·N) -> (B, H′·wide·N)
        if worth_threads(self.multiply_adds):  # `matmul` shares the work among the threads
            products = matmul(matrix, columns)
        else:
            products = np.empty((len(y), columns.shape[1]), y.dtype)
            product(matrix, columns, products)
        y[...] = products.reshape(len(y), height, wide, batch)[:, :, :width]

    def weight_sums(self, columns, other, block):
        """columns · otherᵀ, (A·kh·kw, B), for other (B, H′, W′, N), with zeros put in across the border."""
        height, width, wide, batch = self.shape
        spread = np.zeros((len(other), height, wide, batch), other.dtype)
        spread[:, :, :width] = other
        # (A·kh·kw, H′·wide·N) · (B, H′·wide·N) -> (A·kh·kw, B)
        spread = spread.reshape(len(other), -1)
        return matmul(columns, spread.T) if worth_threads(self.multiply_adds) else product_sum(columns, spread)

    def put_weights(self, sums, grad_w):
        """Σ sums (A·kh·kw, B) -> grad_w (B, A, kh, kw)."""
        rows, *rest = grad_w.shape
        grad_w[...] = total(sums).reshape(*rest, rows).transpose(3, 0, 1, 2)
