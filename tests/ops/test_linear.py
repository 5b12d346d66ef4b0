"""The fully connected layer's op."""

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given, strategies as st
from strategies import seeds, shapes

import minires as mr
from minires.nn import functional as F


@given(shapes(max_ndim=3), st.integers(1, 4), st.integers(1, 4), seeds)
def test_gradient_with_any_leading_axes(leading, n_in, n_out, seed):
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(s) for s in ((*leading, n_in), (n_out, n_in), n_out))
    np.testing.assert_allclose(F.linear(mr.tensor(x), mr.tensor(w), mr.tensor(b)).array, x @ w.T + b, atol=1e-12)
    check_gradient(F.linear, x, w, b)
    check_gradient(F.linear, x, w)


def test_an_empty_batch_has_a_gradient_of_zero():
    x, w = mr.zeros(0, 3, requires_grad=True), mr.ones(4, 3, requires_grad=True)
    F.linear(x, w, mr.ones(4)).sum().backward()
    assert x.grad.shape == (0, 3)
    assert not w.grad.any()


@pytest.mark.parametrize(
    "shapes, message",
    [
        (((2, 3), (4, 5)), r"linear: got x \(2, 3\) and weight \(4, 5\).*Flatten"),
        (((2, 3), (3,)), r"linear: got x \(2, 3\) and weight \(3,\)"),
        (((2, 3), (4, 3), (3,)), r"linear: got bias \(3,\) for weight \(4, 3\); expected \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        F.linear(*(mr.ones(*shape) for shape in shapes))
