"""Winograd's 3×3 convolution equals the definition: odd sizes, any padding, groups, threads, layouts; its rounding."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from strategies import layouts, seeds

from minires import threads as threads_module
from minires.kernels import cpu, textbook
from minires.kernels.conv import winograd
from minires.threads import get_num_threads, set_num_threads

counts = st.integers(1, 4)
relays = st.tuples(layouts, layouts, layouts)
EPS = np.finfo(np.float32).eps


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
        yield


def both_ways(module, x, w, g, padding, groups, needs=(True, True, True)):
    geometry = (1, 1), padding, (1, 1), groups
    return module.conv2d(x, w, None, *geometry), *module.conv2d_backward(g, x, w, *geometry, needs=needs)[:2]


def draw_arrays(case, seed):
    x_shape, w_shape, padding, _ = case
    y_shape = (x_shape[0], w_shape[0], *(n + 2 * p - 2 for n, p in zip(x_shape[2:], padding)))
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in (x_shape, w_shape, y_shape)]


@settings(max_examples=150)
@given(cases(), seeds, relays, st.integers(1, 3), st.booleans(), st.integers(1, 99))
def test_equals_its_definition(case, seed, relay, threads, weight_wanted, columns):
    arrays, options = draw_arrays(case, seed), (*case[2:], (True, weight_wanted, False))
    before = get_num_threads()
    set_num_threads(threads)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(winograd, "COLUMNS", columns)
            fast = both_ways(cpu, *(lay(a) for lay, a in zip(relay, arrays)), *options)
    finally:
        set_num_threads(before)
    exact = both_ways(textbook, *(a.astype(np.float64) for a in arrays), *options)
    largest = both_ways(textbook, *(np.abs(a.astype(np.float64)) for a in arrays), *options)
    for name, f, e, magnitude in zip(("y", "dx", "dw"), fast, exact, largest):
        assert (f is None) == (e is None), name
        if f is not None:
            assert f.dtype == np.float32 and f.shape == e.shape
            np.testing.assert_allclose(f, e, rtol=0, atol=50 * EPS * magnitude.max(), err_msg=name)


def test_a_tile_is_the_convolution_of_a_column(rng):
    at, g, bt = winograd.transforms(np.dtype(np.float64))
    d, w = rng.standard_normal(6), rng.standard_normal(3)
    np.testing.assert_allclose(at @ ((g @ w) * (bt @ d)), np.correlate(d, w), rtol=0, atol=1e-12)


# (channels, height and width, batch): those of ResNet-20 and of ResNet-18
LAYERS = [(16, 32, 128), (32, 16, 128), (64, 8, 128), (64, 56, 8), (128, 28, 8), (256, 14, 8), (512, 7, 8)]


@pytest.mark.parametrize("layer", [pytest.param(s, marks=[pytest.mark.slow] * (s not in LAYERS[:3])) for s in LAYERS])
def test_a_layer_on_normal_data_is_as_close_as_torch_asks(layer, rng, monkeypatch):
    """`torch.testing.assert_close` with its defaults for float32, rtol 1.3e-6 and atol 1e-5; and the docstring's rms.

    Every operand is normal, and so scaled that results have a variance of 1. Held to float64, not to PyTorch's float32:
    its own gradient of a weight is further from it than these bounds (2.13, 16 channels: 4.5e-6 rms).
    """
    monkeypatch.undo()
    channels, size, batch = layer
    x, g = (rng.standard_normal((batch, channels, size, size)).astype(np.float32) for _ in range(2))
    w = (rng.standard_normal((channels, channels, 3, 3)) / np.sqrt(9 * channels)).astype(np.float32)
    scale = np.float32(1 / np.sqrt(batch * size * size))  # of g, for a weight's gradient of variance 1
    arrays = [x, w, g, g * scale]
    results = [run(*arrays) for arrays in (arrays, [a.astype(np.float64) for a in arrays])]
    for name, found, exact in zip(("y", "dx", "dw"), *results):
        np.testing.assert_allclose(found, exact, rtol=1.3e-6, atol=1e-5, err_msg=name)
        assert np.sqrt(np.mean((found - exact) ** 2)) < 9e-7, name


def run(x, w, g, g_of_weight):
    """y, dx for g, and dw for the other gradient."""
    geometry = (1, 1), (1, 1), (1, 1), 1
    y, (dx, _, _) = cpu.conv2d(x, w, None, *geometry), cpu.conv2d_backward(g, x, w, *geometry)
    return y, dx, cpu.conv2d_backward(g_of_weight, x, w, *geometry)[1]


@pytest.mark.parametrize("threads_used", [1, 2, 3])
def test_the_same_thread_count_gives_the_same_bits(threads_used, threads):
    threads(threads_used)
    case = (5, 7, 9, 8), (6, 7, 3, 3), (1, 1), 1
    arrays = draw_arrays(case, 0)
    for a, b in zip(both_ways(cpu, *arrays, *case[2:]), both_ways(cpu, *arrays, *case[2:])):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("threads_used", [1, 2])
def test_several_callers_at_once_get_the_same_bits(threads_used, threads):
    """Every product is held to one BLAS thread, also those that transform the weights."""
    threads(threads_used)
    case = (8, 96, 12, 12), (96, 96, 3, 3), (1, 1), 1
    arrays, found = draw_arrays(case, 0), []

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

    def is_faster(batch=8, channels=128, rows=128, kernel=(3, 3), out_hw=(7, 7), stride=(1, 1), dilation=(1, 1)):
        return winograd.Tiles.is_faster((channels, 9, 9, batch), rows, (kernel, out_hw, stride, (1, 1), dilation), 1)

    assert is_faster()
    assert not is_faster(channels=8)
    assert not is_faster(rows=8)
    assert not is_faster(stride=(2, 2))
    assert not is_faster(dilation=(2, 2))
    assert not is_faster(kernel=(3, 1))
    assert not is_faster(batch=7)
    assert not is_faster(out_hw=(2, 7))
    assert not is_faster(channels=16, rows=16)


def test_a_phase_of_a_gradient_at_stride_two_comes_here_too(rng, monkeypatch):
    """With stride and dilation 2, one pixel in four is reached, by all 3×3 taps, from outputs side by side."""
    used, gather = [], winograd.Tiles.gather
    monkeypatch.setattr(winograd.Tiles, "gather", lambda *arguments: used.append(1) or gather(*arguments))
    monkeypatch.setattr(winograd, "COLUMNS", 7)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 13, 12), (4, 3, 3, 3)))
    geometry = (2, 2), (2, 2), (2, 2), 1
    g = rng.standard_normal(textbook.conv2d(x, w, None, *geometry).shape).astype(np.float32)
    fast, exact = (module.conv2d_backward(g, x, w, *geometry)[0] for module in (cpu, textbook))
    assert used
    np.testing.assert_allclose(fast, exact, rtol=0, atol=1e-5)
