"""Broadcasting: an array that was stretched on the way forward is summed on the way back.

NumPy stretches axes of length 1, and puts missing axes in front: (3, 1) + (4,) -> (3, 4). So one entry of the input
appears several times in the output, and its gradient is the sum of the gradients of all its appearances.

Part "sum to shape" (8 points): sum_to.
Part "add" (6 points): add_backward.
Part "multiply" (6 points): multiply_backward.

Run this file to check yourself; ``minires grade broadcasting.py`` for points.
"""

import numpy as np

from minires.testing import gradcheck


def sum_to(grad, shape):
    """Sum an array to the shape it was broadcast from.

    sum_to(ones of (2, 3, 4), (3, 1)) has shape (3, 1), with 8 in each place.
    """
    raise NotImplementedError('part "sum to shape"')


def add_backward(grad_output, a, b):
    """The gradients of a and b, for y = a + b with grad_output of the shape of y."""
    raise NotImplementedError('part "add"')


def multiply_backward(grad_output, a, b):
    """The gradients of a and b, for y = a·b with grad_output of the shape of y."""
    raise NotImplementedError('part "multiply"')


if __name__ == "__main__":
    from minires.coursework import try_out

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 1))
    try_out(
        {
            "sum_to, to be 8 three times": lambda: sum_to(np.ones((2, 3, 4)), (3, 1)).tolist(),
            "add": lambda: gradcheck((np.add, add_backward), a, b),
            "multiply": lambda: gradcheck((np.multiply, multiply_backward), a, b),
        }
    )
