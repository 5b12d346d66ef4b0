"""ReLU and max pooling: two operations that choose, and send the gradient where they chose.

Part "relu" (4 points): relu and relu_backward. The derivative at 0 is taken as 0.
Part "max pool" (5 points): max_pool2d. Padding is −∞, never the maximum.
Part "max pool's gradient" (6 points): max_pool2d_backward. Windows may overlap: an entry that is the maximum of two
windows gets two gradients.
Part "training" (5 points): your functions take the place of the library's, and a ResNet-8 with a max pool after its
first ReLU learns to read digits; the library's stay in place of what you have not written. What you have written must
be right: networks train with many a wrong gradient. This needs speed: loop over the kh·kw positions in the window, not
over the pixels.

Run this file to check yourself; ``minires grade relu_maxpool.py`` for points.
"""

import numpy as np

from minires.testing import gradcheck


def relu(x):
    """max(x, 0), elementwise, in the dtype of x. NaN stays NaN."""
    raise NotImplementedError('part "relu"')


def relu_backward(grad_y, y):
    """The gradient of x, given the *output* y of relu (which is enough: why?)."""
    raise NotImplementedError('part "relu"')


def max_pool2d(x, kernel_size, stride, padding=(0, 0)):
    """x (N, C, H, W) -> y and tap, both (N, C, H′, W′), H′ = (H + 2p − kh) // s + 1.

    tap says where in its window the maximum is: i·kw + j for row i and column j of the window, counted from the
    window's corner, padding included. If several entries are the maximum, the first of them counts. kernel_size, stride
    and padding are pairs. tap is an array of whole numbers.
    """
    raise NotImplementedError('part "max pool"')


def max_pool2d_backward(grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0)):
    """grad_y (N, C, H′, W′) and the tap that forward returned -> the gradient of x, of shape x_shape."""
    raise NotImplementedError('part "max pool\'s gradient"')


if __name__ == "__main__":
    from minires.coursework import try_out

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 7, 6))
    geometry = (3, 3), (2, 2), (1, 1)

    def backward(grad_y, x):
        return (max_pool2d_backward(grad_y, max_pool2d(x, *geometry)[1], x.shape, *geometry),)

    try_out(
        {
            "relu": lambda: gradcheck((relu, lambda g, x: (relu_backward(g, relu(x)),)), x),
            "max pool, to be 4 and 3": lambda: max_pool2d(np.arange(1.0, 5).reshape(1, 1, 2, 2), (2, 2), (2, 2)),
            "max pool's gradient": lambda: gradcheck((lambda x: max_pool2d(x, *geometry)[0], backward), x),
        }
    )
