"""Pooling: the fast kernels equal their definitions; ties, −∞ and NaN included."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import layouts, pairs, poolings, seeds, shapes

from minires import threads as threads_module
from minires.kernels import cpu, textbook

dtypes = st.sampled_from([np.float64, np.float32])
both = pytest.mark.parametrize("module", [cpu, textbook])


def with_ties(shape, seed, dtype=np.float64):
    """Few different values, among them −∞, ∞ and −0, so that most windows tie."""
    values = np.array([-np.inf, -1, -0.0, 0, 1, 1, 2, np.inf])
    return np.random.default_rng(seed).choice(values, shape).astype(dtype)


def assert_same(fast, plain, dtype):
    assert fast.dtype == dtype and fast.shape == plain.shape
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(fast, plain, rtol=tolerance, atol=tolerance)


@given(poolings(), seeds, dtypes, layouts, layouts)
def test_max_pool2d_equals_its_definition(case, seed, dtype, lay, lay_gradient):
    x = with_ties(case.x_shape, seed, dtype)
    placed = lay(x)
    y, tap = cpu.max_pool2d(placed, *case.window)
    expected, expected_tap = textbook.max_pool2d(x, *case.window)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(tap, expected_tap)
    np.testing.assert_array_equal(placed, x, "the kernel changed its input")
    assert y.dtype == dtype and tap.dtype.kind in "iu"
    g = np.random.default_rng(seed).standard_normal(y.shape).astype(dtype)
    dx = cpu.max_pool2d_backward(lay_gradient(g), tap, x.shape, *case.window)
    assert_same(dx, textbook.max_pool2d_backward(g, expected_tap, x.shape, *case.window), dtype)


@given(poolings(), seeds)
def test_max_pool2d_passes_nan_on(case, seed):
    x = with_ties(case.x_shape, seed)
    x[np.random.default_rng(seed).random(x.shape) < 0.2] = np.nan
    for a, b in zip(cpu.max_pool2d(x, *case.window), textbook.max_pool2d(x, *case.window)):
        np.testing.assert_array_equal(a, b)


@given(poolings(), seeds, dtypes, layouts, layouts, st.booleans())
def test_avg_pool2d_equals_its_definition(case, seed, dtype, lay, lay_gradient, include):
    rng = np.random.default_rng(seed)
    x, g = (rng.standard_normal(shape).astype(dtype) for shape in (case.x_shape, case.y_shape))
    placed, placed_g = lay(x), lay_gradient(g)
    assert_same(cpu.avg_pool2d(placed, *case.window, include), textbook.avg_pool2d(x, *case.window, include), dtype)
    dx = cpu.avg_pool2d_backward(placed_g, x.shape, *case.window, include)
    assert_same(dx, textbook.avg_pool2d_backward(g, x.shape, *case.window, include), dtype)
    np.testing.assert_array_equal(placed, x, "the kernel changed its input")
    np.testing.assert_array_equal(placed_g, g, "the kernel changed the gradient")


@given(shapes(4, 4, max_side=7), pairs(1, 7), seeds, dtypes, layouts, layouts)
def test_adaptive_avg_pool2d_equals_its_definition(shape, size, seed, dtype, lay, lay_gradient):
    """Regions may be smaller than one pixel, equal, and ragged."""
    rng = np.random.default_rng(seed)
    x, g = rng.standard_normal(shape).astype(dtype), rng.standard_normal((*shape[:2], *size)).astype(dtype)
    placed, placed_g = lay(x), lay_gradient(g)
    assert_same(cpu.adaptive_avg_pool2d(placed, size), textbook.adaptive_avg_pool2d(x, size), dtype)
    dx = cpu.adaptive_avg_pool2d_backward(placed_g, x.shape)
    assert_same(dx, textbook.adaptive_avg_pool2d_backward(g, x.shape), dtype)
    np.testing.assert_array_equal(placed, x, "the kernel changed its input")
    np.testing.assert_array_equal(placed_g, g, "the kernel changed the gradient")


@both
def test_a_tie_goes_to_the_first(module):
    x = np.ones((1, 1, 2, 4))
    _, tap = module.max_pool2d(x, (2, 2), (2, 2))
    dx = module.max_pool2d_backward(np.array([[[[3.0, 5.0]]]]), tap, x.shape, (2, 2), (2, 2))
    np.testing.assert_array_equal(dx, [[[[3, 0, 5, 0], [0, 0, 0, 0]]]])


@both
def test_padding_is_minus_infinity(module):
    """Zeros around negative values would win."""
    y, _ = module.max_pool2d(np.full((1, 1, 3, 3), -2.0), (3, 3), (2, 2), (1, 1))
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), -2.0))


@both
def test_an_image_of_minus_infinity_keeps_its_gradient_inside(module):
    """Padding ties with it, and must not win."""
    x = np.full((1, 1, 2, 2), -np.inf)
    y, tap = module.max_pool2d(x, (2, 2), (1, 1), (1, 1))
    g = np.arange(9.0).reshape(1, 1, 3, 3)
    dx = module.max_pool2d_backward(g, tap, x.shape, (2, 2), (1, 1), (1, 1))
    np.testing.assert_array_equal(y, np.full((1, 1, 3, 3), -np.inf))
    np.testing.assert_array_equal(dx, [[[[0 + 1 + 3 + 4, 2 + 5], [6 + 7, 8]]]])


@both
def test_output_sizes_are_floored(module):
    x = np.arange(25.0).reshape(1, 1, 5, 5)
    np.testing.assert_array_equal(module.max_pool2d(x, (2, 2), (2, 2))[0], [[[[6, 8], [16, 18]]]])
    np.testing.assert_array_equal(module.avg_pool2d(x, (2, 2), (2, 2)), [[[[3, 5], [13, 15]]]])


@both
def test_padding_counts_as_zeros_in_a_mean_unless_told_otherwise(module):
    x = np.ones((1, 1, 2, 2))
    np.testing.assert_array_equal(module.avg_pool2d(x, (2, 2), (2, 2), (1, 1)), np.full((1, 1, 2, 2), 0.25))
    np.testing.assert_array_equal(module.avg_pool2d(x, (2, 2), (2, 2), (1, 1), False), np.ones((1, 1, 2, 2)))


@pytest.mark.parametrize("threads_used", [1, 2, 3])
def test_max_pool2d_equals_its_definition_in_blocks_on_several_threads(threads_used, threads, monkeypatch):
    monkeypatch.setattr(threads_module, "BLOCK_BYTES", 3000)  # two channels and a ragged end
    monkeypatch.setattr(threads_module, "PARALLEL_BYTES", 0)
    threads(threads_used)
    x, window = with_ties((3, 7, 9, 8), 0), ((3, 3), (2, 2), (1, 1))
    (y, tap), (expected, expected_tap) = (module.max_pool2d(x, *window) for module in (cpu, textbook))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(tap, expected_tap)
    g = np.random.default_rng(0).standard_normal(y.shape)
    dx, expected = (module.max_pool2d_backward(g, tap, x.shape, *window) for module in (cpu, textbook))
    assert_same(dx, expected, np.float64)


def test_a_large_window_needs_more_than_a_byte_for_its_taps():
    x = np.zeros((1, 1, 20, 20))
    x[0, 0, 19, 19] = 1
    y, tap = cpu.max_pool2d(x, (20, 20), (1, 1))
    assert y.item() == 1 and tap.item() == 399
