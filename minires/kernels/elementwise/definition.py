"""ReLU and addition, by their formulas."""

import numpy as np


def relu(x):
    """y = max(x, 0), elementwise; NaN stays NaN."""
    return np.maximum(x, 0)


def relu_backward(grad_y, y):
    """dx = 0 where y ≤ 0, else g, also where y is NaN: the derivative at 0 is taken as 0. Needs only the output y."""
    return np.where(y <= 0, grad_y.dtype.type(0), grad_y)


def add(a, b):
    """a + b: what happens where skip and branch meet, and where two gradients of one tensor do."""
    return a + b
