"""Matrix products and the linear layer: the fast kernels equal their definitions, and leave BLAS's threads alone."""

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, strategies as st
from strategies import layouts, seeds

from minires import blas, threads as threads_module
from minires.kernels import cpu, textbook
from minires.threads import get_num_threads, set_num_threads

ALONE = blas.ALONE
counts, dtypes = st.integers(0, 5), st.sampled_from([np.float64, np.float32])


@pytest.fixture(autouse=True, scope="module")
def any_size():
    """Cut every product among the threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blas, "ALONE", 0)
        patch.setattr(threads_module, "PARALLEL_WORK", 0)
        yield


def on_threads(count, call):
    before = get_num_threads()
    set_num_threads(count)
    try:
        return call()
    finally:
        set_num_threads(before)


def assert_close(fast, exact, dtype):
    assert fast.dtype == dtype and fast.shape == exact.shape
    np.testing.assert_allclose(fast, exact, rtol=0, atol=100 * np.finfo(dtype).eps)


@given(
    st.sampled_from([((), ()), ((2,), ()), ((), (3,)), ((2, 1), (1, 3)), ((0,), ())]),
    st.tuples(counts, counts, counts),
    seeds,
    dtypes,
    st.tuples(layouts, layouts),
    st.integers(1, 3),
)
def test_a_product_equals_its_definition(stacks, sizes, seed, dtype, relay, threads):
    rng, (m, k, p) = np.random.default_rng(seed), sizes
    a, b = (rng.uniform(-1, 1, (*stack, *s)).astype(dtype) for stack, s in zip(stacks, ((m, k), (k, p))))
    fast = on_threads(threads, lambda: cpu.matmul(relay[0](a), relay[1](b)))
    assert_close(fast, textbook.matmul(a.astype(np.float64), b.astype(np.float64)), dtype)


@given(
    st.lists(counts, max_size=2), counts, st.integers(1, 5), st.booleans(), seeds, dtypes,
    st.tuples(*[st.booleans()] * 3), st.integers(1, 3),
)  # fmt: skip
def test_the_linear_layer_equals_its_definition(leading, inputs, outputs, bias, seed, dtype, needs, threads):
    rng = np.random.default_rng(seed)
    shapes = (*leading, inputs), (outputs, inputs), (outputs,), (*leading, outputs)
    x, w, b, g = (rng.uniform(-1, 1, shape).astype(dtype) for shape in shapes)
    b = b if bias else None

    def both_ways(module, x, w, b, g):
        return module.linear(x, w, b), *module.linear_backward(g, x, w, needs)

    fast = on_threads(threads, lambda: both_ways(cpu, x, w, b, g))
    exact = both_ways(textbook, *(None if a is None else a.astype(np.float64) for a in (x, w, b, g)))
    for f, e in zip(fast, exact):
        assert (f is None) == (e is None)
        if e is not None:
            assert_close(f, e, dtype)


@pytest.mark.parametrize("work", [0, 10**9])
def test_blas_is_held_to_one_thread(work, monkeypatch):
    """Its own would spin for a while afterwards, on the cores that the next kernel needs."""
    monkeypatch.setattr(blas, "ALONE", ALONE)
    monkeypatch.setattr(threads_module, "PARALLEL_WORK", work)
    held, product = [], np.matmul
    x, w = np.ones((8, 512), np.float32), np.ones((1000, 512), np.float32)

    def watched(a, b, **options):
        held.append(blas.threads())
        return product(a, b, **options)

    with threadpoolctl.threadpool_limits(2, "blas"):
        cpu.linear(x, w)  # BLAS's libraries are known from here on
        before = blas.threads()
        monkeypatch.setattr(np, "matmul", watched)
        g = cpu.linear(x, w)
        cpu.linear_backward(g, x, w)
    assert len(held) >= 3 and all(set(counts) == {1} for counts in held) and set(before) == {2}


def test_a_product_of_two_types_has_the_wider_one(rng):
    a, b = rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal((4, 5))
    assert_close(cpu.matmul(a, b), a.astype(np.float64) @ b, np.float64)
    whole = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(cpu.matmul(whole, whole.T), whole @ whole.T, strict=True)


@pytest.mark.parametrize(("rows", "inner", "columns"), [(33, 65, 67), (7, 900, 10), (50, 50, 5)])
def test_small_products_have_the_same_bits_on_any_number_of_threads(rows, inner, columns, rng, monkeypatch):
    """In two pieces, each of these would be rounded in another way."""
    monkeypatch.setattr(threads_module, "PARALLEL_WORK", 10**9)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, inner), (inner, columns)))
    one, *others = (on_threads(count, lambda: cpu.matmul(a, b)) for count in (1, 2, 3))
    for other in others:
        np.testing.assert_array_equal(other, one)
