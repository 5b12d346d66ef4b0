"""Norms, sums and deviations at every magnitude, held to exact arithmetic."""

import math
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minires import flow, norms

RANGE = {np.float16: (-7, 4), np.float32: (-44, 37), np.float64: (-300, 300)}  # powers of ten of the entries


@st.composite
def arrays(draw, dtypes=tuple(RANGE)):
    """A short array whose entries lie around one magnitude, some of them 0 or far smaller."""
    dtype = draw(st.sampled_from(dtypes))
    low, high = RANGE[dtype]
    power = draw(st.integers(low, high))
    entries = st.one_of(st.floats(-3, 3), st.just(0.0), st.floats(-1e-6, 1e-6))
    values = draw(st.lists(entries, min_size=1, max_size=5))
    return np.array([float(Fraction(v) * Fraction(10) ** power) for v in values], np.float64).astype(dtype)


def exact(array):
    """The entries as fractions, divided by the largest, and that largest."""
    values = [Fraction(float(v)) for v in array.ravel()]
    largest = max(map(abs, values)) or Fraction(1)
    return [v / largest for v in values], largest


def exact_norm(array):
    parts, largest = exact(array)
    return math.sqrt(sum(v * v for v in parts)) * float(largest)


@given(arrays())
def test_the_norm_is_that_of_exact_arithmetic(array):
    assert norms.norm(array) == pytest.approx(exact_norm(array), rel=1e-12, abs=0)
    assert norms.norm(array, math.inf) == float(abs(array.astype(np.float64)).max())


@given(arrays(), st.sampled_from([0.5, 1.0, 3.0, 40.0]))
def test_other_norms_are_homogeneous(array, p):
    parts, largest = exact(array)
    expected = sum(abs(float(v)) ** p for v in parts) ** (1 / p) * float(largest)
    assert norms.norm(array, p) == pytest.approx(expected, rel=1e-9, abs=0)


@given(arrays())
def test_mean_and_deviation_are_those_of_exact_arithmetic(array):
    parts, largest = exact(array)
    mean = sum(parts) / len(parts)
    variance = sum((v - mean) ** 2 for v in parts) / len(parts)
    got = norms.moments(array)[:2]
    assert got[0] == pytest.approx(float(mean) * float(largest), rel=1e-4, abs=1e-6 * float(largest))
    assert got[1] == pytest.approx(math.sqrt(variance) * float(largest), rel=1e-4, abs=1e-15 * float(largest))


@pytest.mark.parametrize("dtype", RANGE)
def test_a_constant_has_no_deviation_and_the_mean_of_large_numbers_is_finite(dtype):
    top = np.finfo(dtype).max
    mean, std, _ = norms.moments(np.full(1000, top, dtype))
    assert mean == pytest.approx(float(top)) and std <= 1e-15 * float(top)
    assert norms.moments(np.full(1000, 0.1, dtype)).std < 1e-16
    assert norms.moments(np.zeros((2, 3), dtype)) == (0, 0, 1)


@given(st.floats(0.1, 10), st.integers(50_000, 200_000))
def test_a_long_row_of_float32_is_measured_to_a_millionth(value, size):
    """Equal entries are the worst case: every addition rounds the same way. One product for all is off by 10⁻⁵."""
    row = np.full(size, value, np.float32)
    square = float(row[0]) ** 2
    assert norms.over_blocks(lambda sums, rows: np.vecdot(rows, rows, out=sums[0]), 1, row) == [
        pytest.approx(size * square, rel=1e-6)
    ]
    mean, std, _ = norms.moments(np.concatenate([row, -2 * row]))
    assert mean == pytest.approx(-float(row[0]) / 2, rel=4e-6)
    assert std == pytest.approx(1.5 * float(row[0]), rel=4e-6)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64])
def test_whole_numbers_have_moments(dtype):
    values = np.arange(1000).reshape(10, 100) % 2
    assert norms.moments(values.astype(dtype)) == (0.5, 0.5, 0.5)


def test_another_thread_runs_while_a_block_is_measured(threads):
    """NumPy keeps the interpreter lock in a product that returns 500 entries or fewer, however many it reads."""
    turns, meanwhile, over, interval = [], [], threading.Event(), sys.getswitchinterval()

    def other():
        while not over.is_set():
            turns.append(None)
            time.sleep(0)

    def squares(sums, rows):
        before = len(turns)
        np.vecdot(rows, rows, out=sums[0])
        meanwhile.append(len(turns) - before)

    threads(1)
    thread = threading.Thread(target=other)
    sys.setswitchinterval(100)  # so that the lock changes hands only where it is released
    try:
        thread.start()
        for _ in range(100):
            norms.over_blocks(squares, 1, np.ones(1 << 20, np.float32))
    finally:
        over.set()
        sys.setswitchinterval(interval)
        thread.join()
    assert any(meanwhile)


def test_what_is_not_finite_stays_so():
    assert norms.norm(np.array([1, np.inf], np.float32)) == math.inf
    assert math.isnan(norms.norm(np.array([1, np.nan, np.inf], np.float32)))
    assert math.isnan(norms.moments(np.array([1, np.inf], np.float32)).std)
    assert all(map(math.isnan, norms.moments(np.zeros(0, np.float32))[:2]))
    assert norms.norm(np.zeros((0, 3))) == 0 and norms.norm(np.zeros(3)) == 0


@given(st.lists(st.floats(-1e200, 1e200), min_size=1, max_size=6))
def test_a_sum_keeps_what_cancellation_would_hide(values):
    total = norms.exact_sum([np.array([v]) for v in values])[0]
    assert total == pytest.approx(math.fsum(values), rel=1e-14, abs=1e-28 * max(map(abs, values)))


def test_large_summands_that_cancel_leave_the_small_one():
    assert norms.exact_sum([np.array([6e19]), np.array([4.0]), np.array([-6e19])])[0] == 4


def test_a_relative_error_of_nothing():
    assert norms.relative(0, 0) == 0 and norms.relative(1, 0) == math.inf and norms.relative(1, 2) == 0.5


def test_a_sum_beyond_the_range_of_which_each_run_is_within_warns_nobody():
    a = np.full(3000, 7e152)
    assert norms.moments(a).mean == pytest.approx(7e152) and norms.moments(a).std < 1e-14 * 7e152
    assert flow.measure_summands([a], a).norm == pytest.approx(7e152 * np.sqrt(3000))
