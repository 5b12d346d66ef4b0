"""Convolution: forward, and the gradients of the image, the kernel and the bias.

    y[n, o, h, w] = b[o] + Σ_{c, i, j} w[o, c, i, j] · x[n, c, h·s + i − p, w·s + j − p]

with stride s and padding p, x being 0 outside the image. The kernel is *not* flipped. Every product w·x of this sum
sends grad·w back to its x and grad·x to its w.

Part "forward" (5 points): conv2d.
Part "gradient of x" (4 points), "gradient of weight" (4 points), "gradient of bias" (2 points): conv2d_backward. A
gradient that you leave as None costs only the points of its own part.
Part "training" (5 points): your functions take the place of the library's, and a ResNet-8 learns to read digits with
them; the library's stay in place of what you have not written. What you have written must be right: networks train
with many a wrong gradient. The points for backward need the gradient of x or of weight. This needs speed: loop over the
positions (i, j) of the kernel, and let NumPy take whole arrays at a time.

``dilation``, ``groups`` and ``needs`` are there because the library passes them, always 1, 1 and True here: ignore
them.
Run this file to check yourself; ``minires grade conv2d.py`` for points.
"""

import numpy as np

from minires.testing import gradcheck


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """x (N, C, H, W), weight (O, C, kh, kw), bias (O) or None -> y (N, O, H′, W′), H′ = (H + 2p − kh) // s + 1.

    stride and padding are pairs: (vertical, horizontal). y has the dtype of x.
    """
    raise NotImplementedError('part "forward"')


def conv2d_backward(grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True,) * 3):
    """grad_y (N, O, H′, W′) -> the gradients of x (N, C, H, W), weight (O, C, kh, kw) and bias (O)."""
    grad_x = grad_weight = grad_bias = None
    raise NotImplementedError('parts "gradient of x", "gradient of weight", "gradient of bias"')
    return grad_x, grad_weight, grad_bias


if __name__ == "__main__":
    from minires.coursework import try_out

    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(shape) for shape in [(2, 3, 6, 5), (4, 3, 3, 3), (4,)])
    options = dict(stride=(2, 1), padding=(1, 1))
    pair = (lambda x, w, b: conv2d(x, w, b, **options), lambda g, x, w, b: conv2d_backward(g, x, w, **options))
    ones = np.ones((1, 1, 3, 3))
    try_out(
        {
            "forward, to be 4, 6, 4, 6, 9, 6, 4, 6, 4": lambda: conv2d(ones, ones, padding=(1, 1)).ravel().tolist(),
            "gradient of x": lambda: gradcheck(pair, x, weight, bias, only=0),
            "gradient of weight": lambda: gradcheck(pair, x, weight, bias, only=1),
            "gradient of bias": lambda: gradcheck(pair, x, weight, bias, only=2),
        }
    )
