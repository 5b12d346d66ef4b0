"""What the engine itself costs: microseconds of a tiny op, forward and backward, above the bare NumPy call."""

import time

import numpy as np
from common import report

import minires as mr


def microseconds(function, repeats=20_000):
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeats):
            function()
        best = min(best, (time.perf_counter() - start) / repeats)
    return 1e6 * best


a, b = np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)
x, y = mr.tensor(a, requires_grad=True), mr.tensor(b, requires_grad=True)
seed, length = np.ones((2, 2), np.float32), 200


def chain():
    t = x
    for _ in range(length):
        t = t + y
    return t


def chain_backward():
    chain().backward(seed)


bare = microseconds(lambda: a + b)
forward = microseconds(lambda: x + y)
both = microseconds(chain_backward, 100) / length
report(numpy_add_us=bare, forward_us=forward - bare, backward_us=both - forward - bare)
