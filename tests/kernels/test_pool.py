"""Pooling: the fast kernels equal their definitions; ties, −∞ and NaN included."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import layouts, pairs, poolings, seeds, shapes

from minires import threads as threads_module
from minires.kernels import cpu, textbook

dtypes = st.sampled_from([np.float64, np.float32])
all_poolings = poolings(max_dilation=3, ceil_modes=(False, True))
both = pytest.mark.parametrize("module", [cpu, textbook])


def with_ties(shape, seed, dtype=np.float64):
    """Few different values, among them −∞, ∞ and −0, so that most windows tie."""
    values = np.array([-np.inf, -1, -0.0, 0, 1, 1, 2, np.inf])
    return np.random.default_rng(seed).choice(values, shape).astype(dtype)


def assert_same(fast, plain, dtype):
    assert fast.dtype == dtype and fast.shape == plain.shape
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(fast, plain, rtol=tolerance, atol=tolerance)


@given(all_poolings, seeds, dtypes, layouts, layouts)
def test_max_pool2d_equals_its_definition(case, seed, dtype, lay, lay_gradient):
    x = with_ties(case.x_shape, seed, dtype)
    placed = lay(x)
    window = *case.window, case.dilation
    y, tap = cpu.max_pool2d(placed, *window, case.ceil_mode)
    expected, expected_tap = textbook.max_pool2d(x, *window, case.ceil_mode)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(tap, expected_tap)
    np.testing.assert_array_equal(placed, x, "the kernel changed its input")
    assert y.dtype == dtype and tap.dtype.kind in "iu" and y.shape == case.y_shape
    g = np.random.default_rng(seed).standard_normal(y.shape).astype(dtype)
    dx = cpu.max_pool2d_backward(lay_gradient(g), tap, x.shape, *window)
    assert_same(dx, textbook.max_pool2d_backward(g, expected_tap, x.shape, *window), dtype)


@given(all_poolings, seeds, st.sampled_from([np.int64, np.int8, np.uint8]))
def test_max_pool2d_of_whole_numbers_equals_its_definition(case, seed, dtype):
    """Among them the smallest there is, which padding must not beat."""
    low = np.iinfo(dtype).min
    x = np.random.default_rng(seed).choice(np.array([low, low, 1, 2], dtype), case.x_shape)
    results = (module.max_pool2d(x, *case.window, case.dilation, case.ceil_mode) for module in (cpu, textbook))
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)
    assert cpu.max_pool2d(x, *case.window)[0].dtype == dtype


@given(all_poolings, seeds)
def test_max_pool2d_passes_nan_on(case, seed):
    x = with_ties(case.x_shape, seed)
    x[np.random.default_rng(seed).random(x.shape) < 0.2] = np.nan
    window = *case.window, case.dilation, case.ceil_mode
    for a, b in zip(cpu.max_pool2d(x, *window), textbook.max_pool2d(x, *window)):
        np.testing.assert_array_equal(a, b)


@given(
    poolings(ceil_modes=(False, True)), seeds, dtypes, layouts, layouts, st.booleans(), st.sampled_from([None, 3, -2])
)
def test_avg_pool2d_equals_its_definition(case, seed, dtype, lay, lay_gradient, include, divisor):
    rng = np.random.default_rng(seed)
    x, g = (rng.standard_normal(shape).astype(dtype) for shape in (case.x_shape, case.y_shape))
    placed, placed_g = lay(x), lay_gradient(g)
    args = *case.window, include, case.ceil_mode, divisor
    assert_same(cpu.avg_pool2d(placed, *args), textbook.avg_pool2d(x, *args), dtype)
    dx = cpu.avg_pool2d_backward(placed_g, x.shape, *args)
    assert_same(dx, textbook.avg_pool2d_backward(g, x.shape, *args), dtype)
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


@both
def test_in_ceil_mode_the_last_window_overhangs_the_end_but_begins_inside(module):
    x, ceil = np.arange(1.0, 6.0).reshape(1, 1, 1, 5), dict(ceil_mode=True)
    np.testing.assert_array_equal(module.max_pool2d(x, (1, 2), (1, 2), **ceil)[0], [[[[2, 4, 5]]]])
    np.testing.assert_array_equal(module.avg_pool2d(x, (1, 2), (1, 2), **ceil), [[[[1.5, 3.5, 5]]]])
    # of [0, 1, …, 5, 0] in threes: the window that would begin behind the padding is left out
    np.testing.assert_array_equal(module.avg_pool2d(x, (1, 3), (1, 3), (0, 1), **ceil), [[[[1, 4]]]])
    # in steps of 4, the last window covers 4, 5 and the padding; in steps of 5, 5 and the padding: 2 entries
    np.testing.assert_array_equal(module.avg_pool2d(x, (1, 3), (1, 4), (0, 1), **ceil), [[[[1, 3]]]])
    np.testing.assert_array_equal(module.avg_pool2d(x, (1, 3), (1, 5), (0, 1), **ceil), [[[[1, 2.5]]]])
    np.testing.assert_array_equal(module.avg_pool2d(x, (1, 3), (1, 5), (0, 1), False, True), [[[[1.5, 5]]]])


@both
def test_a_dilated_window_skips_entries(module):
    x = np.array([[[[1.0, 9, 2, 9, 3]]]])
    y, tap = module.max_pool2d(x, (1, 3), (1, 1), (0, 0), (1, 2))
    assert y.tolist() == [[[[3]]]] and tap.tolist() == [[[[2]]]]
    dx = module.max_pool2d_backward(np.full((1, 1, 1, 1), 7.0), tap, x.shape, (1, 3), (1, 1), (0, 0), (1, 2))
    assert dx.tolist() == [[[[0, 0, 0, 0, 7]]]]


@both
def test_means_of_float16_are_taken_in_float32(module):
    """The largest number of float16 is 65,504."""
    x, window = np.full((1, 1, 4, 4), 60_000, np.float16), ((2, 2), (2, 2))
    results = module.avg_pool2d(x, *window), module.adaptive_avg_pool2d(x, (1, 1))
    assert all(y.dtype == np.float16 and (y == np.float16(60_000)).all() for y in results)
    # the gradients of one pixel that nine windows share: 1 and eight times half the spacing of numbers at 1
    g = np.full((1, 1, 3, 3), 2.0**-11, np.float16)
    g[0, 0, 0, 0] = 1
    top = np.zeros((1, 1, 5, 5), np.float16)
    top[0, 0, 2, 2] = 1
    window = (3, 3), (1, 1)
    expected = np.float16(1 + 8 * 2.0**-11)
    assert module.max_pool2d_backward(g, module.max_pool2d(top, *window)[1], top.shape, *window)[0, 0, 2, 2] == expected
    dx = module.avg_pool2d_backward(g, top.shape, *window, divisor_override=1)
    assert dx.dtype == np.float16 and dx[0, 0, 2, 2] == expected
    assert module.adaptive_avg_pool2d_backward(g, (1, 1, 1, 1)).item() == expected


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
