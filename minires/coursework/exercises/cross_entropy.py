"""Softmax and cross-entropy: from scores to a loss, and the shortest gradient of all.

    p[n, k] = exp(z[n, k]) / Σ_j exp(z[n, j]),   loss = −(1/N) Σ_n log p[n, target[n]]

Part "softmax" (5 points): softmax, also of scores like 1,000, whose exp overflows: subtract each row's largest first.
Part "loss" (6 points): cross_entropy, also where p is so small that it is 0 in floating point.
Part "gradient" (9 points): cross_entropy_backward.

Run this file to check yourself; ``minires grade cross_entropy.py`` for points.
"""

import numpy as np

from minires.testing import gradcheck


def softmax(logits):
    """logits (N, K) -> probabilities (N, K), each row adding up to 1."""
    raise NotImplementedError('part "softmax"')


def cross_entropy(logits, target):
    """logits (N, K), target (N) of whole numbers from 0 to K − 1 -> the mean loss, one number."""
    raise NotImplementedError('part "loss"')


def cross_entropy_backward(grad_output, logits, target):
    """The gradient of the logits (N, K), grad_output being the gradient of the loss, one number."""
    raise NotImplementedError('part "gradient"')


if __name__ == "__main__":
    from minires.coursework import try_out

    rng = np.random.default_rng(0)
    logits, target = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)

    def backward(grad_output, logits, target):
        return cross_entropy_backward(grad_output, logits, target), None

    try_out(
        {
            "softmax, to be 0.5 and 0.5": lambda: softmax(np.array([[1000.0, 1000.0]])),
            "loss, to be 2000": lambda: cross_entropy(np.array([[0.0, 2000.0]]), np.array([0])),
            "gradient": lambda: gradcheck((cross_entropy, backward), logits, target),
        }
    )
