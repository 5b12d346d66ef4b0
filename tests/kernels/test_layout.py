"""Memory layout: the conversions keep every value in its place, and copy only what lies differently."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import layouts, seeds, shapes

from minires.kernels.layout import (
    batch_first,
    batch_last,
    channel_rows,
    copy_pixels,
    copy_window,
    every,
    from_channel_rows,
    inside,
    view,
)


@given(shapes(4, 4), seeds, layouts)
def test_batch_last_and_back(shape, seed, lay):
    x = np.random.default_rng(seed).standard_normal(shape)
    turned = batch_last(lay(x))
    assert turned.flags.c_contiguous and turned.shape == (*shape[1:], shape[0])
    np.testing.assert_array_equal(batch_first(turned), x)
    assert np.shares_memory(batch_last(batch_first(turned)), turned)


@given(shapes(2, 5), seeds, layouts)
def test_channel_rows_and_back(shape, seed, lay):
    x = np.random.default_rng(seed).standard_normal(shape)
    rows = channel_rows(lay(x))
    assert rows.flags.c_contiguous and rows.shape == (shape[1], x.size // shape[1])
    np.testing.assert_array_equal(from_channel_rows(rows, shape), x)
    assert np.shares_memory(channel_rows(from_channel_rows(rows, shape)), rows)


@given(st.integers(-10, 10), st.integers(1, 4), st.integers(0, 8), st.integers(1, 8))
def test_inside_is_the_run_of_steps_that_land_on_the_image(start, step, count, size):
    lo, hi = inside(start, step, count, size)
    assert 0 <= lo <= hi <= count
    assert list(range(lo, hi)) == [r for r in range(count) if 0 <= start + r * step < size]


@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 5))
def test_every_takes_count_entries(start, step, count):
    assert list(range(100))[every(start, step, count)] == [start + r * step for r in range(count)]


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 18)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([np.float32, np.float64]),
)
def test_copy_window_takes_every_pixel_in_the_image_and_zeros_beyond(shape, window, start, step, dtype):
    channels, height, width, batch = shape
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    wide = np.zeros((channels, height + 40, width + 40, batch), dtype)
    wide[:, 20 : 20 + height, 20 : 20 + width] = x
    rows, columns = (slice(20 + a, 20 + a + n * s, s) for a, n, s in zip(start, window, step))
    target = np.full((channels, *window, batch), np.nan, dtype)
    copy_window(target, x, start[0], step[0], start[1], step[1])
    np.testing.assert_array_equal(target, wide[:, rows, columns])


@pytest.mark.parametrize("dtypes", [(np.float64, np.float32), (np.float32, np.float64), (np.float32, np.float32)])
def test_copy_pixels_converts_numbers(dtypes):
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtypes[0])
    target = np.zeros((2, 3, 8, 5), dtypes[1])
    copy_pixels(target[:, :, ::2], x)
    np.testing.assert_array_equal(target[:, :, ::2], x)
    assert not target[:, :, 1::2].any()


def test_a_view_stays_in_its_array():
    a = np.arange(12.0)
    assert view(a, (3, 2), (4, 1), first=1).tolist() == [[1, 2], [5, 6], [9, 10]]
    with pytest.raises(ValueError, match="strides"):
        view(a, (3, 2), (4, 1), first=3)
    with pytest.raises(ValueError, match="contiguous"):
        view(a[::2], (2, 2), (1, 1))
