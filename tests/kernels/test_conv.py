"""Convolution: the fast kernel equals its definition, wherever the arrays lie and however the work is cut."""

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from strategies import LAYOUTS, Convolution, convolutions, layouts, seeds

from minires import threads as threads_module
from minires.kernels import cpu, textbook
from minires.kernels.conv import cpu as conv, im2col, planes, whole, winograd
from minires.kernels.layout import out_sizes
from minires.threads import get_num_threads, set_num_threads

dtypes = st.sampled_from([np.float64, np.float32])


def forward_and_backward(module, case, x, w, b, g, needs=(True, True, True)):
    return [module.conv2d(x, w, b, *case.geometry), *module.conv2d_backward(g, x, w, *case.geometry, needs=needs)]


def rounding(case, x, w, b, g, dtype):
    """What summing in any order may cost: ε·(number of summands)·Σ|summands|, for y, dx, dw and db."""
    magnitudes = forward_and_backward(textbook, case, *(np.abs(a.astype(np.float64)) for a in (x, w, b, g)))
    out, in_per_group, kh, kw = w.shape
    positions = g.size // out
    counts = in_per_group * kh * kw, out * kh * kw, positions, positions
    return [2 * np.finfo(dtype).eps * (n + 4) * m for n, m in zip(counts, magnitudes)]


def assert_equals_definition(case, seed, dtype=np.float64, relay=(np.asarray,) * 4):
    arrays = case.arrays(seed, dtype)
    bounds = rounding(case, *arrays, dtype)
    placed = [lay(a) for lay, a in zip(relay, arrays)]
    fast = forward_and_backward(cpu, case, *placed)
    exact = forward_and_backward(textbook, case, *(a.astype(np.float64) for a in arrays))
    for name, f, e, bound in zip(("y", "dx", "dw", "db"), fast, exact, bounds):
        assert f.dtype == dtype and f.shape == e.shape
        worst = (np.abs(f - e) - bound).max()
        assert worst <= 0, f"{name} is off by {worst} more than rounding explains"
    for before, after in zip(arrays, placed):
        np.testing.assert_array_equal(before, after, "the kernel changed an input")


@settings(max_examples=300)
@given(convolutions(), seeds, dtypes)
def test_equals_its_definition(case, seed, dtype):
    assert_equals_definition(case, seed, dtype)


@given(convolutions(), seeds, st.tuples(layouts, layouts, st.just(np.asarray), layouts))
def test_equals_its_definition_wherever_the_arrays_lie(case, seed, relay):
    assert_equals_definition(case, seed, relay=relay)


@settings(max_examples=200)
@given(
    convolutions(max_out=9, max_batch=4),
    seeds,
    st.integers(1, 40),
    st.integers(1, 4000),
    st.integers(1, 3),
    st.sampled_from([0, 10**9]),
    st.sampled_from([0, 64]),
)
def test_equals_its_definition_however_the_work_is_cut(case, seed, positions, size, threads, parallel_work, row):
    """Blocks of a few positions leave ragged ends, and the blocks go to several threads."""
    before = get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "BLOCK_POSITIONS", positions)
        patch.setattr(im2col, "BLOCK_BYTES", size)
        patch.setattr(im2col, "WHOLE_BYTES", size)
        patch.setattr(planes, "ROW", row)
        patch.setattr(threads_module, "PARALLEL_WORK", parallel_work)
        set_num_threads(threads)
        try:
            assert_equals_definition(case, seed)
        finally:
            set_num_threads(before)


LARGER = [
    Convolution((5, 3, 17, 19), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    Convolution((5, 3, 17, 19), (4, 3, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    Convolution((2, 4, 9, 33), (6, 2, 1, 5), (1, 3), (0, 2), (1, 2), 2),
    Convolution((4, 6, 16, 16), (8, 6, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    Convolution((4, 6, 16, 16), (8, 6, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    Convolution((300, 1, 5, 5), (2, 1, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    Convolution((1, 3, 40, 40), (4, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1),
    Convolution((2, 70, 3, 3), (50, 70, 3, 3), (1, 1), (1, 1), (1, 1), 1),
]


@pytest.mark.parametrize("case", LARGER, ids=str)
@pytest.mark.parametrize("threads_used", [1, 2, 3])
def test_blocks_and_threads_change_only_the_rounding(case, threads_used, threads, monkeypatch):
    arrays = case.arrays(0)
    threads(1)
    whole = forward_and_backward(cpu, case, *arrays)
    monkeypatch.setattr(im2col, "BLOCK_POSITIONS", 100)
    monkeypatch.setattr(im2col, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr(im2col, "WHOLE_BYTES", 20_000)
    monkeypatch.setattr(threads_module, "PARALLEL_WORK", 0)
    threads(threads_used)
    cut = forward_and_backward(cpu, case, *arrays)
    for a, b in zip(whole, cut):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
    for a, b in zip(cut, forward_and_backward(cpu, case, *arrays)):
        np.testing.assert_array_equal(a, b, "the same thread count gave other bits")


@st.composite
def strided_convolutions(draw):
    """With a stride, no dilation, and taps in all phases."""
    case, stride = draw(convolutions(max_batch=5)), draw(st.sampled_from([(1, 2), (2, 1), (2, 2), (3, 2)]))
    kernel = tuple(draw(st.integers(s, s + 2)) for s in stride)
    image = tuple(draw(st.integers(k, 3 * k + 1)) for k in kernel)
    padding = tuple(draw(st.integers(0, k)) for k in kernel)
    return Convolution((*case.x_shape[:2], *image), (*case.w_shape[:2], *kernel), stride, padding, (1, 1), case.groups)


@settings(max_examples=200)
@given(strided_convolutions(), seeds, dtypes, st.sampled_from([100, 4000]), st.integers(1, 3))
@example(Convolution((2, 2, 6, 8), (3, 2, 2, 2), (2, 2), (0, 0), (1, 1), 1), 0, np.float64, 4000, 2)
@example(Convolution((2, 2, 3, 8), (3, 2, 1, 2), (1, 2), (0, 0), (1, 1), 1), 0, np.float64, 4000, 2)
def test_equals_its_definition_phase_by_phase(case, seed, dtype, size, threads):
    """Rows and columns that end within a stride, blocks of a few of them; and kernels that reach each pixel once."""
    before = get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "BLOCK_POSITIONS", 7)
        patch.setattr(im2col, "BLOCK_BYTES", size)
        patch.setattr(im2col, "WHOLE_BYTES", size)
        patch.setattr(threads_module, "PARALLEL_WORK", 0)
        set_num_threads(threads)
        try:
            assert_equals_definition(case, seed, dtype)
            assert_only_what_is_needed(case, seed, (True, False, False))
        finally:
            set_num_threads(before)


@st.composite
def wide_kernels(draw):
    """Every output sees the whole image: no tap that it could meet a pixel through is missing."""

    def axis():
        stride, image, out = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
        padding = (out - 1) * stride + draw(st.integers(0, 1))
        kernel = image + 2 * padding - (out - 1) * stride  # the last output ends with the padding
        return image, kernel, stride, padding

    (height, kh, sh, top), (width, kw, sw, left) = axis(), axis()
    case = draw(convolutions())
    w_shape = *case.w_shape[:2], kh, kw
    return Convolution((*case.x_shape[:2], height, width), w_shape, (sh, sw), (top, left), (1, 1), case.groups)


@settings(max_examples=200)
@given(wide_kernels(), seeds, dtypes, st.sampled_from([0, 10**9]), st.integers(1, 2))
def test_equals_its_definition_where_every_output_sees_the_whole_image(case, seed, dtype, parallel_work, threads):
    before, geometry = get_num_threads(), (case.w_shape[2:], out_of(case), *case.geometry[:3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "BATCH", 1)
        patch.setattr(whole, "CHANNELS", 10**9)
        patch.setattr(threads_module, "PARALLEL_WORK", parallel_work)
        batch, channels, *image = case.x_shape
        assert whole.Whole.is_faster((channels, *image, batch), case.w_shape[0], geometry, 1)
        set_num_threads(threads)
        try:
            assert_equals_definition(case, seed, dtype)
        finally:
            set_num_threads(before)


def out_of(case):
    return out_sizes(case.x_shape[2:], case.w_shape[2:], *case.geometry[:3])


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (Convolution((128, 16, 32, 32), (16, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1), winograd.Tiles),
        (Convolution((1, 16, 32, 32), (16, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1), planes.Planes),
        (Convolution((64, 32, 2, 2), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1), 1), whole.Whole),
        (Convolution((1, 32, 2, 2), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1), 1), planes.Planes),
        (Convolution((128, 16, 32, 32), (32, 16, 3, 3), (2, 2), (1, 1), (1, 1), 1), im2col.Im2col),
        (Convolution((128, 3, 32, 32), (16, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1), im2col.Im2col),
        (Convolution((1, 16, 32, 32), (32, 16, 1, 1), (1, 1), (0, 0), (1, 1), 1), im2col.Im2col),
    ],
    ids=str,
)
def test_the_arrangement_goes_with_the_shape(case, expected):
    batch, channels, height, width = case.x_shape
    x = np.empty((channels, height, width, batch), np.float32)
    y_shape = case.w_shape[0], *out_sizes((height, width), case.w_shape[2:], *case.geometry[:3]), batch
    assert type(conv.arrangement(x, case.w_shape, y_shape, *case.geometry[:3])) is expected


@given(convolutions(), seeds, st.tuples(*[st.booleans()] * 3))
def test_computes_only_what_is_needed(case, seed, needs):
    assert_only_what_is_needed(case, seed, needs)


def assert_only_what_is_needed(case, seed, needs):
    x, w, _, g = case.arrays(seed)
    everything = cpu.conv2d_backward(g, x, w, *case.geometry)
    some = cpu.conv2d_backward(g, x, w, *case.geometry, needs=needs)
    for module in (cpu, textbook):
        wanted = module.conv2d_backward(g, x, w, *case.geometry, needs=needs)
        assert [a is not None for a in wanted] == list(needs)
    for one, all_ in zip(some, everything):
        if one is not None:
            np.testing.assert_allclose(one, all_, rtol=1e-12, atol=1e-12)


def test_bias_may_be_left_out():
    case = LARGER[0]
    x, w, _, _ = case.arrays(0)
    with_zero = cpu.conv2d(x, w, np.zeros(len(w)), *case.geometry)
    np.testing.assert_array_equal(cpu.conv2d(x, w, None, *case.geometry), with_zero)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_may_be_a_broadcast_number(layout):
    """The gradient of a sum is one number seen everywhere, an array with strides of 0."""
    case = LARGER[1]
    x, w, _, g = case.arrays(0)
    flat = np.broadcast_to(np.float64(0.5), g.shape)
    for a, b in zip(
        cpu.conv2d_backward(flat, LAYOUTS[layout](x), w, *case.geometry),
        cpu.conv2d_backward(flat.copy(), x, w, *case.geometry),
    ):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_left_from_the_call_before():
    """Scratch memory is reused: what an earlier, larger call left there must not be seen."""
    small = Convolution((2, 2, 3, 3), (2, 2, 3, 3), (1, 1), (2, 2), (1, 1), 1)
    arrays = small.arrays(0)
    clean = forward_and_backward(cpu, small, *arrays)
    forward_and_backward(cpu, LARGER[0], *(np.full_like(a, np.nan) for a in LARGER[0].arrays(0)))
    for a, b in zip(clean, forward_and_backward(cpu, small, *arrays)):
        np.testing.assert_array_equal(a, b)
