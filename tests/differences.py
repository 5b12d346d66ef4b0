"""Central differences: what gradients are compared with.

The cotangent is normal: under an all-ones one, which is what `sum()` gives, many wrong gradients look right.
"""

import numpy as np

import minires as mr

STEP = 1e-4


def check_gradient(f, *arrays, seed=0, directions=3):
    """Compare the gradients of ``f(*tensors) -> tensor`` with Richardson's central differences in normal directions.

    f must be smooth within a few ``STEP`` of the arrays (float64). The gradient for one input must not depend on
    whether the others are wanted, and nothing that was passed in may change.
    """
    rng = np.random.default_rng(seed)
    copies = [np.array(a) for a in arrays]
    inputs = [mr.Tensor(a, requires_grad=True) for a in arrays]
    y = f(*inputs)
    cotangent = rng.standard_normal(y.shape)
    kept = cotangent.copy()
    y.backward(cotangent)

    def value(slot, array):
        moved = f(*(mr.Tensor(array if i == slot else a) for i, a in enumerate(arrays)))
        return (moved.array * cotangent).sum()

    for slot, (a, x) in enumerate(zip(arrays, inputs)):
        assert x.grad.shape == a.shape and x.grad.dtype == a.dtype
        for _ in range(directions):
            direction = rng.standard_normal(a.shape)
            coarse, fine = (
                (value(slot, a + h * direction) - value(slot, a - h * direction)) / (2 * h) for h in (STEP, STEP / 2)
            )
            numeric = (4 * fine - coarse) / 3
            exact = (x.grad * direction).sum()
            noise = 20 * np.finfo(float).eps * (np.abs(y.array * cotangent).sum() + 1e-3) / STEP
            bound = 1e-8 * np.abs(x.grad * direction).sum() + noise
            assert abs(exact - numeric) <= bound, f"input {slot}: backward {exact}, numeric {numeric} ± {bound}"

    for slot, x in enumerate(inputs if len(inputs) > 1 else ()):
        alone = [mr.Tensor(a, requires_grad=i == slot) for i, a in enumerate(arrays)]
        f(*alone).backward(cotangent)
        largest = np.abs(x.grad).max(initial=1)
        np.testing.assert_allclose(alone[slot].grad, x.grad, rtol=1e-12, atol=1e-12 * largest)
        assert all(t.grad is None for i, t in enumerate(alone) if i != slot)

    for a, copy in zip(arrays, copies):
        np.testing.assert_array_equal(a, copy, "an input was changed")
    np.testing.assert_array_equal(cotangent, kept, "the gradient passed to backward was changed")


def apart(shape, seed=0, gap=0.05):
    """Distinct values of both signs, no two of them, and none and 0, closer than ``gap``: no kink is near."""
    count = int(np.prod(shape))
    order = np.random.default_rng(seed).permutation(count)
    return ((order - count // 2 + 0.5) * 2 * gap).reshape(shape)
