"""ReLU and addition: the fast kernels equal their definitions."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from strategies import layouts, seeds

from minires.kernels import cpu, textbook
from minires.kernels.elementwise import cpu as elementwise
from minires.threads import get_num_threads, set_num_threads

both = pytest.mark.parametrize("module", [cpu, textbook])
arrays = st.sampled_from([np.float64, np.float32]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
)


@given(arrays, seeds, layouts)
def test_equals_its_definition(x, seed, lay):
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


@given(st.integers(1, 60), st.integers(1, 3), seeds, layouts)
def test_equals_its_definition_in_pieces_on_several_threads(size, threads, seed, lay):
    """Rows of zeros and pieces of a few elements leave ragged ends."""
    before = get_num_threads()
    x, g = np.random.default_rng(seed).standard_normal((2, size, 3, 2, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise, "ZEROS", 7)
        patch.setattr(elementwise, "PARALLEL_SIZE", 50)
        elementwise._zeros.cache_clear()
        set_num_threads(threads)
        try:
            y, total = cpu.relu(lay(x)), cpu.add(lay(x), lay(g))
            dx = cpu.relu_backward(lay(g), y)
        finally:
            set_num_threads(before)
            elementwise._zeros.cache_clear()
    np.testing.assert_array_equal(y, textbook.relu(x))
    np.testing.assert_array_equal(dx, textbook.relu_backward(g, textbook.relu(x)))
    np.testing.assert_array_equal(total, textbook.add(x, g))


@pytest.mark.parametrize(
    "other", [np.ones((3, 1)), np.ones((2, 1, 4)), 2.5, np.float64(2), np.ones((3, 4), np.float32)]
)
def test_add_broadcasts(other, monkeypatch):
    monkeypatch.setattr(elementwise, "PARALLEL_SIZE", 1)
    a = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(cpu.add(a, other), textbook.add(a, other))


def test_add_of_two_layouts(monkeypatch, rng):
    monkeypatch.setattr(elementwise, "PARALLEL_SIZE", 1)
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 3)).T
    np.testing.assert_array_equal(cpu.add(a, b), a + b)
    np.testing.assert_array_equal(cpu.add(a[::-1], b[:, ::-1]), a[::-1] + b[:, ::-1])
