"""Batch normalisation: the fast kernels equal their definitions."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import LAYOUTS, layouts, seeds, shapes

from minires import threads as threads_module
from minires.kernels import cpu, textbook
from minires.kernels.elementwise.cpu import for_short_rows

images = shapes(2, 4, max_side=6).filter(lambda s: np.prod(s) > s[1])
dtypes = st.sampled_from([np.float64, np.float32])
affine = st.tuples(st.booleans(), st.booleans())


def draw_arrays(shape, seed, affine, dtype=np.float64):
    """x away from zero mean, grad_y, γ, β (or None), and running statistics."""
    rng = np.random.default_rng(seed)
    channels = shape[1]
    x, g = 1.5 + 2 * rng.standard_normal(shape), rng.standard_normal(shape)
    gamma, beta = (rng.standard_normal(channels) if given else None for given in affine)
    mean, var = rng.standard_normal(channels), rng.random(channels) + 0.5
    return [None if a is None else a.astype(dtype) for a in (x, g, gamma, beta, mean, var)]


def run(module, x, g, gamma, beta, mean, var, needs=(True, True, True), eps=1e-5):
    y, batch_mean, batch_var = module.batch_norm(x, gamma, beta, eps)
    return [
        y, batch_mean, batch_var,
        *module.batch_norm_backward(g, x, gamma, batch_mean, batch_var, eps, needs),
        module.batch_norm_eval(x, gamma, beta, mean, var, eps),
        *module.batch_norm_eval_backward(g, x, gamma, mean, var, eps, needs),
    ]  # fmt: skip


def assert_equals_definition(arrays, dtype, needs=(True, True, True), relay=np.asarray):
    placed = [None if a is None else relay(a) if a.ndim > 1 else a.copy() for a in arrays]
    exact = run(textbook, *(None if a is None else a.astype(np.float64) for a in arrays), needs)
    inv_std = 1 / np.sqrt(exact[2].min() + 1e-5)  # how much normalising magnifies rounding errors
    tolerance = np.finfo(dtype).eps * 200 * max(1, inv_std) ** 3 * max(1, np.sqrt(arrays[0].size))
    for fast, e in zip(run(cpu, *placed, needs), exact):
        assert (fast is None) == (e is None)
        if e is not None:
            assert fast.dtype == dtype and fast.shape == e.shape
            np.testing.assert_allclose(fast, e, rtol=tolerance, atol=tolerance)
    for before, after in zip(arrays, placed):
        np.testing.assert_array_equal(before, after, "the kernel changed an input")


@given(images, seeds, affine, dtypes)
def test_equals_its_definition(shape, seed, affine, dtype):
    assert_equals_definition(draw_arrays(shape, seed, affine, dtype), dtype)


@given(images, seeds, affine, layouts, st.tuples(*[st.booleans()] * 3))
def test_equals_its_definition_wherever_the_arrays_lie(shape, seed, affine, relay, needs):
    assert_equals_definition(draw_arrays(shape, seed, affine), np.float64, needs, relay)


@given(st.integers(256, 1400), seeds, affine, dtypes)
def test_equals_its_definition_where_rows_are_short(pairs_in_a_row, seed, affine, dtype):
    """With NumPy's own buffer, and with a shorter one."""
    assert_equals_definition(draw_arrays((1, 100, 2, pairs_in_a_row), seed, affine, dtype), dtype)


@pytest.mark.parametrize(
    ("shape", "shorter"), [((100, 512), True), ((100, 511), False), ((90, 512), False), ((8, 8192), False)]
)
def test_numpys_buffer_is_shorter_where_rows_are_short_and_many(shape, shorter):
    before = np.getbufsize()

    def work(items):
        assert (np.getbufsize() < before) == shorter
        return items / 0

    with pytest.raises(ZeroDivisionError):
        for_short_rows(work, np.empty(shape))(1)
    assert np.getbufsize() == before


@pytest.mark.parametrize("threads_used", [1, 2, 3])
def test_equals_its_definition_in_blocks_on_several_threads(threads_used, threads, monkeypatch):
    monkeypatch.setattr(threads_module, "BLOCK_BYTES", 5000)  # two channels and a ragged end
    monkeypatch.setattr(threads_module, "PARALLEL_BYTES", 0)
    threads(threads_used)
    arrays = draw_arrays((6, 7, 6, 8), 0, (True, True))
    assert_equals_definition(arrays, np.float64)
    for a, b in zip(run(cpu, *arrays), run(cpu, *arrays)):
        np.testing.assert_array_equal(a, b, "the same thread count gave other bits")


@pytest.mark.parametrize("module", [cpu, textbook])
@pytest.mark.parametrize("mean", [0, 3, 3.9, 4.1, 30, 1000])
def test_the_variance_survives_a_large_mean(module, mean, rng):
    """Σx²/n − μ² would lose every digit of it in float32. (The fast kernel takes another way from 4 deviations on.)"""
    x, g = (mean * m + rng.standard_normal((64, 3, 8, 8)) for m in (1, 0))
    exact, exact_mean, exact_var = textbook.batch_norm(x)
    exact_dx = textbook.batch_norm_backward(g, x, None, exact_mean, exact_var, 1e-5)[0]
    x32, g32 = x.astype(np.float32), g.astype(np.float32)
    y, batch_mean, var = module.batch_norm(x32)
    dx = module.batch_norm_backward(g32, x32, None, batch_mean, var, 1e-5)[0]
    rounding = np.finfo(np.float32).eps * (mean + 10)  # of x itself, beside its deviation of 1
    np.testing.assert_allclose(var, exact_var, rtol=max(rounding, 1e-5))
    np.testing.assert_allclose(y, exact, atol=2 * rounding)
    np.testing.assert_allclose(dx, exact_dx, atol=4 * rounding)


@pytest.mark.parametrize("module", [cpu, textbook])
def test_a_constant_channel_gives_beta_and_no_nan(module):
    x, beta = np.full((4, 2, 3, 3), 5.0), np.array([1.0, -2.0])
    y, _, var = module.batch_norm(x, None, beta)
    np.testing.assert_array_equal(y, np.broadcast_to(beta[:, None, None], x.shape))
    np.testing.assert_array_equal(var, 0)


@pytest.mark.parametrize("module", [cpu, textbook])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_of_a_plain_sum_is_zero(module, layout, rng):
    """Σy does not depend on x: this is why sum() as a loss checks nothing. The cotangent has strides of 0 here."""
    x = LAYOUTS[layout](rng.standard_normal((4, 3, 5, 5)))
    _, mean, var = module.batch_norm(x)
    ones = np.broadcast_to(np.float64(1.0), x.shape)
    dx, _, dbeta = module.batch_norm_backward(ones, x, None, mean, var, 1e-5)
    np.testing.assert_allclose(dx, 0, atol=1e-12)
    np.testing.assert_allclose(dbeta, 100)
