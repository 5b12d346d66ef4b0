"""Winograd's 3×3 convolution equals its textbook twin: odd sizes, any padding, groups, threads and layouts."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from strategies import layouts, seeds

from minires import threads as threads_module
from minires.kernels import cpu, textbook
from minires.kernels.conv import by_channel, winograd
from minires.threads import get_num_threads, set_num_threads

counts, dtypes = st.integers(1, 4), st.sampled_from([np.float64, np.float32])
relays = st.tuples(layouts, layouts, layouts)
weights_outnumber_pixels = by_channel.pays


@st.composite
def cases(draw):
    """(shape of x, shape of weight, padding, groups)."""
    groups, padding = draw(st.integers(1, 2)), (draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    size = [draw(st.integers(max(3 - 2 * p, 1), most)) for p, most in zip(padding, (13, 9))]
    channels, out = draw(counts), draw(counts)
    return (draw(counts), channels * groups, *size), (out * groups, channels, 3, 3), padding, groups


@pytest.fixture(autouse=True, scope="module")
def any_size():
    """Let every 3×3 convolution at stride 1 come here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "CHANNELS", 0)
        patch.setattr(winograd, "ROW", 1)
        patch.setattr(winograd, "GAIN", 1)
        patch.setattr(winograd, "BLOCK_BYTES", 0)  # blocks of COLUMNS
        patch.setattr(threads_module, "PARALLEL_WORK", 0)
        patch.setattr(by_channel, "pays", lambda *arrays: False)
        yield


def both_ways(module, x, w, g, padding, groups, needs=(True, True, True)):
    geometry = (1, 1), padding, (1, 1), groups
    return module.conv2d(x, w, None, *geometry), *module.conv2d_backward(g, x, w, *geometry, needs=needs)[:2]


def draw_arrays(case, seed, dtype):
    x_shape, w_shape, padding, _ = case
    y_shape = (x_shape[0], w_shape[0], *(n + 2 * p - 2 for n, p in zip(x_shape[2:], padding)))
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in (x_shape, w_shape, y_shape)]


@settings(max_examples=300)
@given(cases(), seeds, dtypes, relays, st.integers(1, 3), st.booleans(), st.integers(1, 99), st.booleans())
def test_equals_its_twin(case, seed, dtype, relay, threads, weight_wanted, columns, many_weights):
    """In blocks of some columns, or, as where there are many weights, of a few channels."""
    arrays, options = draw_arrays(case, seed, dtype), (*case[2:], (True, weight_wanted, False))
    before = get_num_threads()
    set_num_threads(threads)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(winograd, "COLUMNS", columns)
            patch.setattr(winograd, "ROWS", 1 + columns % 3)
            patch.setattr(by_channel, "pays", lambda *arrays: many_weights)
            fast = both_ways(cpu, *(lay(a) for lay, a in zip(relay, arrays)), *options)
    finally:
        set_num_threads(before)
    exact = both_ways(textbook, *(a.astype(np.float64) for a in arrays), *options)
    largest = both_ways(textbook, *(np.abs(a.astype(np.float64)) for a in arrays), *options)
    for name, f, e, magnitude in zip(("y", "dx", "dw"), fast, exact, largest):
        assert (f is None) == (e is None), name
        if f is not None:
            assert f.dtype == dtype and f.shape == e.shape
            np.testing.assert_allclose(f, e, rtol=0, atol=50 * np.finfo(dtype).eps * magnitude.max(), err_msg=name)


@pytest.mark.parametrize("tile", winograd.TILES)
def test_a_tile_is_the_convolution_of_a_column(tile, rng):
    at, g, bt = winograd.transforms(tile, np.dtype(np.float64))
    d, w = rng.standard_normal(tile + 2), rng.standard_normal(3)
    np.testing.assert_allclose(at @ ((g @ w) * (bt @ d)), np.correlate(d, w), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("height", "tile"), [(3, 4), (4, 4), (7, 7), (8, 8), (14, 7), (16, 8), (28, 7), (32, 8)])
def test_the_height_of_an_image_picks_the_tile(height, tile):
    assert winograd.Tiles(np.empty((1, height, 5, 2)), (height, 5), (1, 1), 1).tile == tile


def test_rounding_in_float32_is_what_the_docstring_says(rng):
    x, w = rng.standard_normal((4, 64, 32, 32)), rng.standard_normal((64, 64, 3, 3))
    geometry = (1, 1), (1, 1), (1, 1), 1
    exact = cpu.conv2d(x, w, None, *geometry)
    found = cpu.conv2d(x.astype(np.float32), w.astype(np.float32), None, *geometry)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 4e-6 * np.sqrt(np.mean(exact**2))
    assert np.abs(found - exact).max() < 2e-5 * np.abs(exact).max()


@pytest.mark.parametrize("many_weights", [False, True])
@pytest.mark.parametrize("threads_used", [1, 2, 3])
def test_the_same_thread_count_gives_the_same_bits(threads_used, many_weights, threads, monkeypatch):
    threads(threads_used)
    monkeypatch.setattr(by_channel, "pays", lambda *arrays: many_weights)
    monkeypatch.setattr(winograd, "ROWS", 2)
    case = (5, 7, 9, 8), (6, 7, 3, 3), (1, 1), 1
    arrays = draw_arrays(case, 0, np.float32)
    for a, b in zip(both_ways(cpu, *arrays, *case[2:]), both_ways(cpu, *arrays, *case[2:])):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("many_weights", [False, True])
@pytest.mark.parametrize("threads_used", [1, 2])
def test_several_callers_at_once_get_the_same_bits(threads_used, many_weights, threads, monkeypatch):
    """Every product is held to one BLAS thread, also those that transform the weights."""
    threads(threads_used)
    monkeypatch.setattr(by_channel, "pays", lambda *arrays: many_weights)
    case = (8, 96, 12, 12), (96, 96, 3, 3), (1, 1), 1
    arrays, found = draw_arrays(case, 0, np.float32), []

    def call():
        found.append([a.tobytes() for a in both_ways(cpu, *arrays, *case[2:])])

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    call()
    assert len(found) == 5 and all(bits == found[0] for bits in found)


def test_is_used_where_there_is_enough_to_multiply(monkeypatch):
    monkeypatch.undo()
    for name, value in (("CHANNELS", 10), ("ROW", 50), ("GAIN", 12_000)):
        monkeypatch.setattr(winograd, name, value)
    many, few, batch = np.empty((128, 128, 3, 3)), np.empty((128, 8, 3, 3)), (128, 7, 7, 8)
    assert winograd.pays(many, (1, 1), (1, 1), batch)
    assert not winograd.pays(few, (1, 1), (1, 1), batch)
    assert not winograd.pays(many, (2, 2), (1, 1), batch)
    assert not winograd.pays(many, (1, 1), (2, 2), batch)
    assert not winograd.pays(many[..., :1], (1, 1), (1, 1), batch)
    assert not winograd.pays(many, (1, 1), (1, 1), (128, 7, 7, 7))
    assert not winograd.pays(many, (1, 1), (1, 1), (128, 2, 7, 8))
    assert not winograd.pays(np.empty((16, 16, 3, 3)), (1, 1), (1, 1), (16, 7, 7, 8))


def test_a_phase_of_a_gradient_at_stride_two_comes_here_too(rng, monkeypatch):
    """With stride and dilation 2, one pixel in four is reached, by all 3×3 taps, from outputs side by side."""
    used, correlate = [], winograd.correlate
    monkeypatch.setattr(winograd, "correlate", lambda *arguments: used.append(1) or correlate(*arguments))
    monkeypatch.setattr(winograd, "COLUMNS", 7)
    x, w = rng.standard_normal((2, 3, 13, 12)), rng.standard_normal((4, 3, 3, 3))
    geometry = (2, 2), (2, 2), (2, 2), 1
    g = rng.standard_normal(textbook.conv2d(x, w, None, *geometry).shape)
    fast, exact = (module.conv2d_backward(g, x, w, *geometry)[0] for module in (cpu, textbook))
    assert used
    np.testing.assert_allclose(fast, exact, rtol=0, atol=1e-11)


def test_cuts_the_weights_where_they_outnumber_the_pixels(monkeypatch):
    monkeypatch.setattr(by_channel, "pays", weights_outnumber_pixels)
    cut, runs = [], winograd._runs
    monkeypatch.setattr(winograd, "_runs", lambda channels: cut.append(channels) or runs(channels))
    w = np.ones((128, 64, 3, 3), np.float32)
    for batch, expected in (1, [128, 64]), (16, []):
        x, g = np.ones((batch, 64, 7, 14), np.float32), np.ones((batch, 128, 7, 14), np.float32)
        cut.clear()
        both_ways(cpu, x, w, g, (1, 1), 1)
        assert cut == expected
