"""Reductions over every choice of dimensions: values, gradients, ties."""

import numpy as np
import pytest
from differences import apart, check_gradient
from hypothesis import given, strategies as st
from strategies import seeds, shapes

import minires as mr


@st.composite
def reductions(draw, min_ndim=0):
    """A shape, some of its dimensions (None for all, an int, or a tuple; some counted from the back) and keepdim."""
    shape = draw(shapes(min_ndim=min_ndim))
    ndim = len(shape)
    choices = [st.none()]
    if ndim:
        one = st.integers(-ndim, ndim - 1)
        choices += [one, st.lists(one, min_size=1, unique_by=lambda d: d % ndim).map(tuple)]
    return shape, draw(st.one_of(choices)), draw(st.booleans())


@pytest.mark.parametrize("name", ["sum", "mean"])
@given(case=reductions(), seed=seeds)
def test_sum_and_mean(name, case, seed):
    shape, dim, keepdim = case
    a = np.random.default_rng(seed).standard_normal(shape)
    y = getattr(mr.tensor(a), name)(dim, keepdim)
    np.testing.assert_allclose(y.array, getattr(np, name)(a, axis=dim, keepdims=keepdim), rtol=1e-14, atol=1e-14)
    check_gradient(lambda x: getattr(x, name)(dim=dim, keepdim=keepdim), a)


@given(reductions(), seeds, st.sampled_from([0, 1, 2]))
def test_var(case, seed, correction):
    shape, dim, keepdim = case
    a = np.random.default_rng(seed).standard_normal(shape)
    count = a.size // max(np.sum(a, axis=dim).size, 1)
    if count <= correction:  # nothing is divided by 0
        y = mr.tensor(a).var(dim, keepdim=keepdim, correction=correction)
        assert not np.isfinite(y.data).any() and (count > 1 or np.isnan(y.data).all())
        return
    y = mr.tensor(a).var(dim, keepdim=keepdim, correction=correction)
    np.testing.assert_allclose(y.array, a.var(axis=dim, keepdims=keepdim, ddof=correction), rtol=1e-12)
    check_gradient(lambda x: x.var(dim, keepdim=keepdim, correction=correction), a)


def test_var_is_unbiased_unless_told_otherwise(rng):
    a = rng.standard_normal((3, 4))
    x = mr.tensor(a)
    for unbiased, ddof in ((True, 1), (False, 0)):
        np.testing.assert_allclose(x.var(1, unbiased=unbiased).array, a.var(1, ddof=ddof))
    np.testing.assert_allclose(x.var().array, a.var(ddof=1))


@pytest.mark.parametrize("name", ["amax", "amin"])
@given(case=reductions(), seed=seeds)
def test_amax_and_amin(name, case, seed):
    shape, dim, keepdim = case
    a = apart(shape, seed)
    y = getattr(mr.tensor(a), name)(dim, keepdim)
    np.testing.assert_array_equal(y.array, getattr(np, name)(a, dim, keepdims=keepdim))
    check_gradient(lambda x: getattr(x, name)(dim=dim, keepdim=keepdim), a)


@pytest.mark.parametrize("name", ["max", "min"])
@given(case=reductions(min_ndim=1), seed=seeds)
def test_max_and_min(name, case, seed):
    shape, dim, keepdim = case
    a = apart(shape, seed)
    if not isinstance(dim, int):
        np.testing.assert_array_equal(getattr(mr.tensor(a), name)().array, getattr(a, name)())
        check_gradient(lambda x: getattr(x, name)(), a)
        return
    values, indices = getattr(mr.tensor(a), name)(dim, keepdim)
    np.testing.assert_array_equal(values.array, getattr(a, name)(dim, keepdims=keepdim))
    np.testing.assert_array_equal(indices.array, getattr(a, "arg" + name)(dim, keepdims=keepdim))
    assert indices.dtype == np.int64
    check_gradient(lambda x: getattr(x, name)(dim, keepdim=keepdim).values, a)


def gradient(f, values):
    x = mr.tensor(values, requires_grad=True)
    f(x).sum().backward()
    return x.grad.tolist()


def test_amax_shares_a_tie_and_max_along_a_dim_takes_the_first():
    """PyTorch's conventions, all of them."""
    tied = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]
    third = float(np.float32(1 / 3))
    assert gradient(lambda x: x.amax(1), tied) == [[0, 0.5, 0.5], [third] * 3]
    assert gradient(lambda x: x.max(), tied) == [[0, 0.5, 0.5], [0, 0, 0]]
    assert gradient(lambda x: x.max(1).values, tied) == [[0, 1, 0], [1, 0, 0]]
    assert gradient(lambda x: x.amin(1), tied) == [[1, 0, 0], [third] * 3]
    assert gradient(lambda x: x.min(1).values, tied) == [[1, 0, 0], [1, 0, 0]]
    assert mr.tensor(tied).max(1).indices.array.tolist() == [1, 0] == mr.tensor(tied).argmax(1).array.tolist()
    assert mr.tensor(tied).min(1).indices.array.tolist() == [0, 0] == mr.tensor(tied).argmin(1).array.tolist()


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "amin", "max", "min"])
def test_dimensions_that_are_not_there_are_named(name):
    for dim in (2, -3):
        with pytest.raises(IndexError, match=rf"got dim={dim} for a tensor of 2 dimensions; dims run from -2 to 1"):
            getattr(mr.ones(2, 3), name)(dim)


def test_a_dimension_named_twice():
    with pytest.raises(ValueError, match=r"sum: got dim=\(0, -2\), in which a dimension appears twice"):
        mr.ones(2, 3).sum((0, -2))


def test_dimensions_may_be_numpy_integers(rng):
    a = rng.standard_normal((2, 3))
    np.testing.assert_allclose(mr.tensor(a).sum(np.int64(1)).array, a.sum(1))


def test_nothing_to_reduce():
    assert mr.zeros(0, 3).sum().item() == 0
    assert mr.zeros(0, 3).sum(0).shape == (3,)
    for name in ("mean", "var", "std"):
        x = mr.zeros(0, 3, requires_grad=True)
        assert np.isnan(getattr(x, name)().item()) and np.isnan(getattr(x, name)(0).data).all()
        getattr(x, name)().backward()
        assert x.grad.shape == (0, 3)
    with pytest.raises(ValueError, match=r"amax: got an empty tensor of shape \(0, 3\)"):
        mr.zeros(0, 3).amax()


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "amin"])
def test_the_type_stays(name, rng):
    x = mr.tensor(rng.standard_normal((3, 4)).astype(np.float32), requires_grad=True)
    y = getattr(x, name)(1)
    y.backward(np.ones(3, np.float32))
    assert y.dtype == x.grad.dtype == np.float32


@given(reductions(), seeds)
def test_std_is_the_root_of_the_variance(case, seed):
    shape, dim, keepdim = case
    a = np.random.default_rng(seed).standard_normal(shape)
    if a.size // max(np.sum(a, axis=dim).size, 1) < 2:
        assert np.isnan(mr.tensor(a).std(dim).data).all()
        return
    y = mr.tensor(a).std(dim, keepdim=keepdim)
    np.testing.assert_allclose(y.array, a.std(axis=dim, keepdims=keepdim, ddof=1), rtol=1e-12)
    check_gradient(lambda x: x.std(dim, keepdim=keepdim), apart(shape, seed))


@pytest.mark.parametrize("p, order", [("fro", 2), (2, 2), (1, 1), (np.inf, np.inf), (3, 3), (0.5, 0.5)], ids=repr)
@given(case=reductions(), seed=seeds)
def test_norm(p, order, case, seed):
    shape, dim, keepdim = case
    a = apart(shape, seed)
    axis = tuple(range(a.ndim)) if dim is None else dim
    size = np.abs(a)
    largest, powers = size.max(axis, keepdims=keepdim), (size ** min(order, 3)).sum(axis, keepdims=keepdim)
    y = mr.tensor(a).norm(p, dim, keepdim)
    np.testing.assert_allclose(y.data, largest if order == np.inf else powers ** (1 / order), rtol=1e-12)
    if np.abs(a).min() > 1e-3:
        check_gradient(lambda x: x.norm(p, dim, keepdim), a)


def test_norm_names_what_it_does_not_take():
    with pytest.raises(ValueError, match=r"norm: got p='nuc'; expected a number, inf or \"fro\""):
        mr.ones(2).norm("nuc")
    with pytest.raises(ValueError, match=r"norm: got p=0 for a tensor that requires grad.*x\.detach\(\)"):
        mr.ones(2, requires_grad=True).norm(0)
    assert mr.tensor([0.0, -2.0, 3.0]).norm(0).item() == 2 and mr.tensor([1.0, -2.0]).norm(-np.inf).item() == 1


@pytest.mark.parametrize("name", ["std", "norm"])
def test_the_gradient_of_a_root_is_0_where_the_root_is(name):
    x = mr.zeros(3, requires_grad=True)
    getattr(x, name)().backward()
    assert x.grad.tolist() == [0, 0, 0]


@given(reductions(), seeds, st.integers(0, 2))
def test_prod_has_a_gradient_at_zeros_too(case, seed, zeros):
    shape, dim, keepdim = case
    a = np.random.default_rng(seed).standard_normal(shape)
    a.flat[:zeros] = 0
    dim = dim[0] if isinstance(dim, tuple) else dim
    y = mr.tensor(a).prod(dim, keepdim)
    np.testing.assert_allclose(y.array, a.prod(axis=dim, keepdims=keepdim))
    check_gradient(lambda x: x.prod(dim, keepdim), a)


@given(reductions(min_ndim=1), seeds)
def test_cumsum(case, seed):
    shape, dim, _ = case
    a = np.random.default_rng(seed).standard_normal(shape)
    dim = dim if isinstance(dim, int) else -1
    np.testing.assert_array_equal(mr.tensor(a).cumsum(dim).array, a.cumsum(dim))
    check_gradient(lambda x: x.cumsum(dim), a)


def test_products_and_running_sums_of_whole_numbers_are_int64():
    x = mr.tensor(np.array([200, 2], np.uint8))
    for y, expected in ((x.prod(), 400), (x.cumsum(0)[-1], 202), (mr.tensor([True, True]).cumsum(0)[-1], 2)):
        assert y.dtype == np.int64 and y.item() == expected


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_the_mean_of_large_float16_numbers_does_not_overflow(dim):
    x = mr.tensor(np.full((3, 2000), 60_000, np.float16), requires_grad=True)
    y = x.mean(dim)
    assert y.dtype == np.float16 and (y.array == 60_000).all()
    y.backward(np.ones(y.shape, np.float16))
    assert x.grad.dtype == np.float16
