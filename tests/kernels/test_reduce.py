"""Sums: any axes, layout and dtype; exact to a few units of the last place, however long; the same for any threads."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from rounding import CASES, errors, measure, minires
from strategies import layouts, seeds, shapes

import minires as mr
from minires import threads as threads_module
from minires.kernels import cpu, textbook
from minires.kernels.reduce import cpu as reduce
from minires.nn import functional as F

EPS = np.finfo(np.float32).eps
dtypes = st.sampled_from([np.float32, np.float64])


@st.composite
def sums(draw):
    """A shape and some of its axes."""
    shape = draw(shapes(1, 5, max_side=7))
    return shape, tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1)))))


def assert_sums(x, axes, keepdims=False):
    """Beside `math.fsum` of every sum, which is exact."""
    y = np.asarray(cpu.reduce_sum(x, axes, keepdims))
    exact = np.apply_along_axis(math.fsum, 0, _summands(x, axes)).reshape(y.shape)
    size = np.abs(_summands(x, axes)).sum(0, dtype=np.float64).reshape(y.shape)
    assert y.dtype == x.dtype and y.shape == np.asarray(textbook.reduce_sum(x, axes, keepdims)).shape
    assert (np.abs(y - exact) <= 4 * np.finfo(x.dtype).eps * size).all()
    return y


def _summands(x, axes):
    """(…) -> (the summands of a result, the results), in float64."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    results = math.prod(x.shape[axis] for axis in kept)
    return x.transpose(*axes, *kept).reshape(-1, results).astype(np.float64)


@given(sums(), seeds, dtypes, layouts, st.booleans())
def test_equals_the_exact_sum_wherever_it_lies(case, seed, dtype, lay, keepdims):
    shape, axes = case
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("SMALL", 0), ("FEW", 1), ("RUN", 3)):
            patch.setattr(reduce, name, value)
        x = lay(np.random.default_rng(seed).standard_normal(shape).astype(dtype))
        kept = x.copy()
        assert_sums(x, axes, keepdims)
        np.testing.assert_array_equal(x, kept, "the kernel changed its input")


@given(sums(), seeds, layouts)
def test_small_ones_too(case, seed, lay):
    assert_sums(lay(np.random.default_rng(seed).standard_normal(case[0]).astype(np.float32)), case[1])


def test_lies_in_memory_as_the_summands_do(rng):
    x = rng.standard_normal((8, 16, 16, 128)).astype(np.float32).transpose(3, 0, 1, 2)  # batch last
    y = cpu.reduce_sum(x, (1,))
    assert y.shape == (128, 16, 16) and y.transpose(1, 2, 0).flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float64])
def test_whole_numbers_are_added_as_numpy_does(dtype, rng):
    x = rng.integers(0, 2, (300, 40)).astype(dtype)
    y = cpu.reduce_sum(x, (0,))
    np.testing.assert_array_equal(y, x.sum(0))
    assert y.dtype == x.sum(0).dtype


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3])
@pytest.mark.parametrize("axes", [(0,), (0, 2), (1,)])
def test_many_equal_numbers(value, axes):
    """One by one, four million of them lose 4 %: the sum becomes so large that each next one is mostly rounded away."""
    x = np.full((2000, 1000, 2), value, np.float32)
    count = math.prod(x.shape[axis] for axis in axes)
    np.testing.assert_allclose(cpu.reduce_sum(x, axes), count * np.float64(x[0, 0, 0]), rtol=8 * EPS)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_infinities_and_nan_stay_in_their_column(bad, rng):
    x = rng.standard_normal((500, 30)).astype(np.float32)
    x[77, 5] = bad
    y = cpu.reduce_sum(x, (0,))
    np.testing.assert_array_equal(y[5], bad)
    assert np.isfinite(np.delete(y, 5)).all()


@given(st.integers(1, 4), st.integers(0, 700), seeds)
def test_sums_and_products_of_rows(channels, count, seed):
    a, b = np.random.default_rng(seed).standard_normal((2, channels, count)).astype(np.float32)
    for found, terms in ((reduce.row_sums(a), a), (reduce.row_products(a, b), a.astype(np.float64) * b)):
        exact = [math.fsum(row) for row in terms]
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, exact, rtol=0, atol=8 * EPS * np.abs(terms).sum(1).max(initial=1))


def test_a_channel_has_the_same_bits_whatever_its_neighbours(threads, rng, monkeypatch):
    """Blocks of channels depend on the number of threads; a large mean in one channel must not change another."""
    monkeypatch.setattr(threads_module, "PARALLEL_BYTES", 0)
    x, g = (rng.standard_normal((64, 4, 32, 32)).astype(np.float32) for _ in range(2))
    x[:, 1] += 100
    found = []
    for count in (1, 3):
        threads(count)
        y, mean, var = cpu.batch_norm(x)
        found.append((y, mean, var, *cpu.batch_norm_backward(g, x, None, mean, var, 1e-5)))
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


# What PyTorch's error is on the same numbers (2.13), times four at most: tests/crosscheck/test_rounding.py
BOUNDS = {
    "sum": 5e-7,
    "mean": 5e-7,
    "var": 1.1e-7,
    "linear": 1.2e-6,
    "broadcast": 5e-7,
    "batch norm's variance": 1.5e-7,
}
BOUNDS |= {"batch norm's mean": 1.2e-7, "global average pool": 2.5e-7, "batch norm": 1e-5, "mse": 1.5e-7}


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(tuple(BOUNDS))])
def test_the_error_of_long_sums(name):
    """Root mean square, over that of the exact result, which is float64 of our own: its last digits do not matter."""
    bound = next(bound for start, bound in sorted(BOUNDS.items(), reverse=True) if name.startswith(start))
    arrays = CASES[name].arrays(0)
    exact = measure(CASES[name], [a.astype(np.float64) for a in arrays], mr, F, minires)
    for result, (_, rms) in errors(measure(CASES[name], arrays, mr, F, minires), exact).items():
        assert rms <= bound, f"{result}: {rms:.1e}"
