"""float16: what sums, squares or exponentiates does so in float32, so that only the result is rounded."""

import numpy as np
import pytest

import minires as mr
from minires.nn import functional as F

ROUNDING = 5e-3  # a few units in the last place of float16
IN_HALF = {
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "batch_norm in evaluation": lambda x: F.batch_norm(x, x.detach()[0, :, 0], x.detach()[0, :, 1]),
    "layer_norm": lambda x: F.layer_norm(x, (200,)),
    "group_norm": lambda x: F.group_norm(x, 2),
    "instance_norm": lambda x: F.instance_norm(x),
    "relu": lambda x: x.relu(),
    "mean": lambda x: x.mean(),
    "mean along an axis": lambda x: x.mean((0, 2)),
    "var": lambda x: x.var(0),
    "std": lambda x: x.std(2),
    "norm": lambda x: x.norm(dim=2),
    "norm of cubes": lambda x: x.norm(3, dim=2),
    "softmax": lambda x: F.softmax(x / 50, 1),
    "log_softmax": lambda x: F.log_softmax(x / 50, 2),
    "cross_entropy": lambda x: F.cross_entropy(x / 50, mr.zeros(8, 200).long()),
    "mse_loss": lambda x: F.mse_loss(x / 10, x.detach() * 0 + 30),
}


@pytest.mark.parametrize("name", IN_HALF)
def test_results_and_gradients_are_those_of_float64(name, rng):
    values = (300 + 100 * rng.standard_normal((8, 4, 200))).astype(np.float16)
    found = []
    for dtype in (np.float16, np.float64):
        x = mr.tensor(values.astype(dtype), requires_grad=True)
        y = IN_HALF[name](x)
        seed = np.random.default_rng(0).standard_normal(y.shape).astype(np.float16)
        y.backward(mr.tensor(seed.astype(dtype)))
        assert y.dtype == x.grad.dtype == dtype
        found.append([np.asarray(a, np.float64) for a in (y.detach(), x.grad)])
    for half, wide in zip(*found):
        assert np.abs(half - wide).max() <= ROUNDING * np.abs(wide).max() + 1e-6


def test_a_mean_of_many_losses_does_not_overflow():
    loss = F.mse_loss(mr.full((60_000,), 2.0, dtype=np.float16), mr.zeros(60_000, dtype=np.float16))
    assert loss.item() == 4
    assert F.cross_entropy(mr.zeros(60_000, 3).half(), mr.zeros(60_000).long()).item() == pytest.approx(np.log(3), 1e-3)


BEYOND = {
    "divided by a scale": (lambda x: x / 65536, [1000.0, 0.5]),
    "times a large number": (lambda x: x * 1e5 * 1e-5, [1e-3, 0.1]),
    "times a small number": (lambda x: x * 1e-8 * 1024, [1000.0, 3000.0]),
    "beneath a large number": (lambda x: 1e6 / x * 1e-3, [1000.0, 500.0]),
    "mean of many": (lambda x: F.mse_loss(x, x.detach() + 1) * 1024, np.ones(100_000)),
    "largest of many": (lambda x: x.amax() * 1024, np.zeros(100_000)),
    "hardswish": (F.hardswish, [11_000.0, 40_000.0, -5.0, 1.0]),
    "gelu by tanh": (lambda x: F.gelu(x, approximate="tanh"), [40_000.0, 200.0, -200.0, 1.0]),
    "elu": (F.elu, [-10.0, -8.0, -1.0, 2.0]),
}


@pytest.mark.parametrize("name", BEYOND)
def test_numbers_counts_and_powers_may_leave_its_range(name):
    f, values = BEYOND[name]
    found = []
    for dtype in (np.float16, np.float64):
        x = mr.tensor(np.array(values, np.float16).astype(dtype), requires_grad=True)
        y = f(x)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == dtype
        found.append((y.numpy(), x.grad.numpy()))
    for half, exact in zip(*found):
        np.testing.assert_allclose(half, exact, rtol=2e-2, atol=1e-7)


def test_the_derivative_of_elu_does_not_cancel():
    x = mr.tensor([-15.0, -17.0, -18.0, -20.0], requires_grad=True)
    F.elu(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(x.detach().numpy()), rtol=1e-6)
