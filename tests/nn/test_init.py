"""nn.init: seeded draws have the mean, spread and bounds of their formulas."""

import math

import numpy as np
import pytest

import minires as mr
from minires.nn import init

SHAPE = (64, 32, 3, 3)  # fan_in 288, fan_out 576: 18,432 numbers, so a standard deviation is known to 0.5 %


@pytest.fixture(autouse=True)
def _seed():
    mr.manual_seed(0)


def drawn(function, *args, **options):
    t = mr.zeros(SHAPE)
    assert function(t, *args, **options) is t
    return t.numpy()


def test_fans_count_inputs_and_outputs_through_the_kernel():
    assert init.fans(SHAPE) == (288, 576)
    assert init.fans((10, 5)) == (5, 10)


@pytest.mark.parametrize(
    "name, param, gain",
    [
        ("linear", None, 1),
        ("conv2d", None, 1),
        ("sigmoid", None, 1),
        ("tanh", None, 5 / 3),
        ("relu", None, math.sqrt(2)),
        ("leaky_relu", None, math.sqrt(2 / 1.0001)),
        ("leaky_relu", 1.0, 1),
    ],
)
def test_gain(name, param, gain):
    assert init.calculate_gain(name, param) == pytest.approx(gain)


@pytest.mark.parametrize(
    "function, options, std",
    [
        (init.normal_, {"std": 0.3}, 0.3),
        (init.kaiming_normal_, {}, math.sqrt(2 / 288)),
        (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(2 / 576)),
        (init.kaiming_normal_, {"a": 1.0}, math.sqrt(1 / 288)),
        (init.kaiming_normal_, {"nonlinearity": "tanh"}, 5 / 3 / math.sqrt(288)),
        (init.xavier_normal_, {}, math.sqrt(2 / (288 + 576))),
        (init.xavier_normal_, {"gain": 2.0}, 2 * math.sqrt(2 / (288 + 576))),
    ],
)
def test_normal_draws(function, options, std):
    w = drawn(function, **options)
    np.testing.assert_allclose(w.std(), std, rtol=0.02)
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    assert 0.66 < (np.abs(w) < std).mean() < 0.71  # 68.3 % of a normal distribution


@pytest.mark.parametrize(
    "function, options, bound",
    [
        (init.kaiming_uniform_, {}, math.sqrt(6 / 288)),
        (init.kaiming_uniform_, {"a": math.sqrt(5)}, 1 / math.sqrt(288)),
        (init.kaiming_uniform_, {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(6 / 576)),
        (init.xavier_uniform_, {}, math.sqrt(6 / (288 + 576))),
        (init.xavier_uniform_, {"gain": 2.0}, 2 * math.sqrt(6 / (288 + 576))),
    ],
)
def test_uniform_draws(function, options, bound):
    w = drawn(function, **options)
    assert 0.99 * bound < np.abs(w).max() <= bound
    np.testing.assert_allclose(w.std(), bound / math.sqrt(3), rtol=0.02)


def test_mean_and_limits():
    np.testing.assert_allclose(drawn(init.normal_, mean=3.0, std=0.1).mean(), 3, atol=0.01)
    w = drawn(init.uniform_, 2.0, 5.0)
    assert 2 <= w.min() < 2.01
    assert 4.99 < w.max() <= 5


def test_constants():
    assert (drawn(init.constant_, 0.5) == 0.5).all()
    assert (drawn(init.ones_) == 1).all()
    t = mr.ones(2)
    assert (init.zeros_(t).numpy() == 0).all()


def test_the_seed_fixes_the_draw_and_the_dtype_stays():
    first = drawn(init.normal_)
    mr.manual_seed(0)
    np.testing.assert_array_equal(first, drawn(init.normal_))
    assert init.normal_(mr.zeros(2, dtype=mr.float64)).dtype == np.float64


def test_a_parameter_is_filled_outside_the_graph():
    p = mr.nn.Parameter(mr.zeros(3, 2))
    held = p.array
    init.xavier_normal_(p)
    assert p.array is held
    assert p.is_leaf
    assert p.requires_grad
