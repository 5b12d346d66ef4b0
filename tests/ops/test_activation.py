"""Softmax and its logarithm, leaky ReLU: values, gradients, large arguments."""

import numpy as np
import pytest
from differences import apart, check_gradient
from hypothesis import given, strategies as st
from strategies import seeds, shapes

import minires as mr
from minires.nn import functional as F


@given(shapes(1, 3), seeds, st.data())
def test_softmax_and_log_softmax(shape, seed, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.random.default_rng(seed).standard_normal(shape)
    expected = np.exp(x) / np.exp(x).sum(dim, keepdims=True)
    np.testing.assert_allclose(F.softmax(mr.tensor(x), dim).array, expected, rtol=1e-12)
    np.testing.assert_allclose(F.log_softmax(mr.tensor(x), dim).array, np.log(expected), rtol=1e-12, atol=1e-14)
    check_gradient(lambda x: F.softmax(x, dim), x)
    check_gradient(lambda x: F.log_softmax(x, dim), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_does_not_overflow(dtype):
    x = mr.tensor(np.array([1e4, 0, -1e4], dtype))
    assert F.softmax(x, 0).array.tolist() == [1, 0, 0]
    assert F.log_softmax(x, 0).array.tolist() == [0, -1e4, -2e4]


@given(shapes(), seeds, st.sampled_from([0.0, 0.01, 0.5, 2, -1.0]))
def test_leaky_relu(shape, seed, slope):
    x = apart(shape, seed)
    np.testing.assert_array_equal(F.leaky_relu(mr.tensor(x), slope).array, np.where(x > 0, x, slope * x))
    check_gradient(lambda x: F.leaky_relu(x, slope), x)


def test_leaky_relu_has_the_slope_at_zero():
    x = mr.tensor([0.0], requires_grad=True)
    F.leaky_relu(x, 0.25).backward(np.ones(1, np.float32))
    assert x.grad.tolist() == [0.25]


@given(shapes(), seeds)
def test_the_functions_are_the_methods(shape, seed):
    x = mr.tensor(apart(shape, seed))
    for name in ("relu", "sigmoid", "tanh"):
        np.testing.assert_array_equal(getattr(F, name)(x).array, getattr(x, name)().array)


def test_hardswish_passes_no_infinite_gradient_below_minus_3():
    x = mr.tensor([-4.0, -3.0, 0.0, 3.0, 4.0], requires_grad=True)
    F.hardswish(x).backward(mr.full((5,), np.inf))
    assert x.grad.tolist() == [0, 0, np.inf, np.inf, np.inf]
