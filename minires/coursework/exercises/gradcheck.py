"""The gradient checker: how to find out that a gradient is wrong, whatever is wrong with it.

Given ``forward(*arrays)`` and ``backward(grad_output, *arrays)``, compare each gradient with differences:

    ⟨gradient, d⟩ = (φ(h) − φ(−h)) / 2h   for   φ(t) = Σ v · forward(x + t·d)

with a grad_output v and a direction d. The choice of v and d decides what a check can see. With v = 1 everywhere (the
loss is ``sum()``) the gradients of batch norm and softmax are 0, and a batch-norm gradient multiplied by 7 passes.

Your checker is graded by mutation: it is given right and wrong gradients, each on several seeds. A wrong one earns you
its points if your checker calls it wrong every time, and never the right one it was made from.

Part "right gradients" (6 points): no false alarm.
Part "wrong gradients" (14 points): the plain ones, those hidden by a careless v, and small slips.

Run this file to check yourself; ``minires grade gradcheck.py`` for points.
"""

import numpy as np


def gradcheck(forward, backward, arrays, seed=0):
    """The indices of the arrays whose gradients are wrong, as a list; [] if all are right.

    forward(*arrays) -> array; backward(grad_output, *arrays) -> tuple, one gradient for each array. All are float64.
    Draw your random numbers from ``np.random.default_rng(seed)``. A gradient with a relative error of 10⁻³ is wrong;
    one that is off by the error of the differences themselves (about 10⁻⁸) is not.
    """
    raise NotImplementedError("gradcheck")


if __name__ == "__main__":
    from minires.coursework import try_out

    x = np.random.default_rng(0).standard_normal((3, 4))
    try_out(
        {
            "right, to be []": lambda: gradcheck(np.sin, lambda g, x: (g * np.cos(x),), [x]),
            "wrong, to be [0]": lambda: gradcheck(np.sin, lambda g, x: (g * np.sin(x),), [x]),
        }
    )
