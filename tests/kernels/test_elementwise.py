"""ReLU: the fast kernel equals its textbook twin."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from strategies import layouts, seeds

from minires.kernels import cpu, textbook

both = pytest.mark.parametrize("module", [cpu, textbook])
arrays = st.sampled_from([np.float64, np.float32]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
)


@given(arrays, seeds, layouts)
def test_equals_its_twin(x, seed, lay):
    """Any values: NaN, infinities, subnormals and both zeros."""
    placed = lay(x)
    y = cpu.relu(placed)
    np.testing.assert_array_equal(y, textbook.relu(x))
    g = np.random.default_rng(seed).standard_normal(x.shape).astype(x.dtype)
    dx = cpu.relu_backward(lay(g), y)
    np.testing.assert_array_equal(dx, textbook.relu_backward(g, textbook.relu(x)))
    assert y.dtype == dx.dtype == x.dtype
    np.testing.assert_array_equal(placed, x, "the kernel changed its input")


@both
def test_the_derivative_at_zero_is_zero(module):
    x = np.array([-1.0, -0.0, 0.0, 1e-300])
    np.testing.assert_array_equal(module.relu_backward(np.full(4, 7.0), module.relu(x)), [0, 0, 0, 7])


@both
def test_nan_stays_nan(module):
    assert np.isnan(module.relu(np.array([np.nan]))).all()


def test_keeps_the_memory_layout():
    x = np.ones((4, 3, 2, 5)).transpose(3, 0, 1, 2)
    assert cpu.relu(x).strides == x.strides
