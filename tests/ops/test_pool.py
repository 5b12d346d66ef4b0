"""The pooling ops: gradients off ties, and windows that do not fit."""

import numpy as np
import pytest
from differences import apart, check_gradient
from hypothesis import given, strategies as st
from strategies import pairs, poolings, seeds, shapes

import minires as mr
from minires.nn import functional as F


@given(poolings(), seeds)
def test_max_pool2d_gradient(case, seed):
    x = apart(case.x_shape, seed)
    assert F.max_pool2d(mr.tensor(x), *case.window).shape == case.y_shape
    check_gradient(lambda x: F.max_pool2d(x, *case.window), x)


@given(poolings(), seeds, st.booleans())
def test_avg_pool2d_gradient(case, seed, include):
    x = np.random.default_rng(seed).standard_normal(case.x_shape)
    check_gradient(lambda x: F.avg_pool2d(x, *case.window, count_include_pad=include), x)


@given(shapes(4, 4, max_side=5), pairs(1, 6), seeds)
def test_adaptive_avg_pool2d_gradient(shape, size, seed):
    x = np.random.default_rng(seed).standard_normal(shape)
    check_gradient(lambda x: F.adaptive_avg_pool2d(x, size), x)
    np.testing.assert_allclose(F.adaptive_avg_pool2d(mr.tensor(x), 1).array, x.mean((2, 3), keepdims=True), atol=1e-12)


def test_a_tie_goes_to_the_first():
    x = mr.ones(1, 1, 2, 2, requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.tolist() == [[[[1, 0], [0, 0]]]]


def test_the_stride_is_the_window_unless_given():
    assert F.max_pool2d(mr.zeros(1, 1, 7, 6), (3, 2)).shape == (1, 1, 2, 3)
    assert F.avg_pool2d(mr.zeros(1, 1, 7, 6), 3, stride=1).shape == (1, 1, 5, 4)


X = mr.zeros(2, 3, 4, 4)
WRONG = {
    "window": (X, dict(kernel_size=5), ValueError, r": the window 5 is larger than the padded input 4 \+ 2·0 along H"),
    "padding": (X, dict(kernel_size=2, padding=(0, 2)), ValueError, r": got padding 2 for a window of 2 along W.*half"),
    "stride": (X, dict(kernel_size=2, stride=0), ValueError, r": got kernel_size \(2, 2\), stride \(0, 0\)"),
    "empty": (X[:0], dict(kernel_size=2), ValueError, r": got an input of shape \(0, 3, 4, 4\), expected a non-empty"),
    "three axes": (X[0], dict(kernel_size=2), ValueError, r": got an input of shape \(3, 4, 4\)"),
    "whole numbers": (X.long(), dict(kernel_size=2), TypeError, r": got an input of dtype int64"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("function", ["max_pool2d", "avg_pool2d"])
def test_windows_that_do_not_fit(function, name):
    x, options, error, message = WRONG[name]
    with pytest.raises(error, match=function + message):
        getattr(F, function)(x, **options)


@pytest.mark.parametrize("x, size", [(X[0], 1), (X[:0], 1), (X, 0)], ids=["three axes", "empty", "size 0"])
def test_adaptive_pooling_that_does_not_fit(x, size):
    with pytest.raises(ValueError, match=r"adaptive_avg_pool2d: got float32 input of shape"):
        F.adaptive_avg_pool2d(x, size)
