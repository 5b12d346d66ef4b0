"""Elementwise functions: values, gradients, and what happens at the kinks."""

import numpy as np
import pytest
from differences import apart, check_gradient
from hypothesis import given, strategies as st
from strategies import broadcastable, seeds, shapes

import minires as mr

SMOOTH = {  # method -> the same in NumPy, and where it is defined
    "exp": (np.exp, -3, 3),
    "log": (np.log, 0.3, 3),
    "sqrt": (np.sqrt, 0.3, 3),
    "tanh": (np.tanh, -3, 3),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -8, 8),
}


@pytest.mark.parametrize("name", SMOOTH)
@given(shape=shapes(), seed=seeds)
def test_smooth_functions(name, shape, seed):
    f, low, high = SMOOTH[name]
    a = np.random.default_rng(seed).uniform(low, high, shape)
    np.testing.assert_allclose(getattr(mr.tensor(a), name)().array, f(a), rtol=1e-14)
    check_gradient(lambda x: getattr(x, name)(), a)


@given(shapes(), seeds)
def test_abs_and_relu_off_their_kink(shape, seed):
    a = apart(shape, seed)
    for name, expected in (("abs", np.abs(a)), ("relu", np.maximum(a, 0))):
        np.testing.assert_array_equal(getattr(mr.tensor(a), name)().array, expected)
        check_gradient(lambda x, name=name: getattr(x, name)(), a)


@pytest.mark.parametrize("bounds", [(None, 0.5), (-0.5, None), (-0.5, 0.5), (0, 1), (np.float64(-0.5), np.int64(1))])
@given(shape=shapes(), seed=seeds)
def test_clamp_off_its_bounds(bounds, shape, seed):
    low, high = bounds
    a = apart(shape, seed) + 0.02
    np.testing.assert_array_equal(mr.tensor(a).clamp(low, high).array, np.clip(a, low, high))
    check_gradient(lambda x: x.clamp(min=low, max=high), a)


def gradient(f, *values):
    """The gradients of f's sum at some values, as lists."""
    inputs = [mr.tensor(v, requires_grad=True) for v in values]
    f(*inputs).sum().backward()
    return [x.grad.tolist() for x in inputs]


def test_at_the_kinks_the_conventions_hold():
    assert gradient(lambda x: x.relu(), [-0.0, 0.0]) == [[0, 0]]
    assert gradient(lambda x: x.abs(), [-0.0, 0.0]) == [[0, 0]]
    assert gradient(lambda x: x.clamp(-1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0]) == [[0, 1, 1, 1, 0]]


def test_at_a_tie_both_get_half():
    assert gradient(mr.maximum, [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == [[0, 0.5, 1], [1, 0.5, 0]]
    assert gradient(mr.minimum, [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == [[1, 0.5, 0], [0, 0.5, 1]]
    assert gradient(lambda x: mr.maximum(x, 2), [1.0, 2.0, 3.0]) == [[0, 0.5, 1]]


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@given(pair=broadcastable(), seed=seeds)
def test_maximum_and_minimum_off_their_ties(name, pair, seed):
    a, b = apart(pair[0], seed), apart(pair[1], seed) + 0.03
    f = getattr(mr, name)
    np.testing.assert_array_equal(f(mr.tensor(a), mr.tensor(b)).array, getattr(np, name)(a, b))
    check_gradient(f, a, b)
    check_gradient(lambda x: f(x, 0.0), a)
    check_gradient(lambda x: f(0, x), a)


@given(broadcastable(count=3), seeds)
def test_where_with_shapes_that_broadcast(three, seed):
    rng = np.random.default_rng(seed)
    condition, a, b = rng.random(three[0]) < 0.5, rng.standard_normal(three[1]), rng.standard_normal(three[2])
    y = mr.where(mr.tensor(condition), mr.tensor(a), mr.tensor(b))
    np.testing.assert_array_equal(y.array, np.where(condition, a, b))
    check_gradient(lambda x, y: mr.where(condition, x, y), a, b)
    check_gradient(lambda x: mr.where(mr.tensor(condition), x, 2.0), a)
    check_gradient(lambda x: mr.where(condition, 2, x), b)


@pytest.mark.parametrize("number", [2, 0.5, np.float64(0.5), np.int64(2)], ids=repr)
def test_numbers_never_change_the_type(number):
    x = mr.tensor([1.0, 3.0], requires_grad=True)
    condition = x > 2
    for y in (
        mr.maximum(x, number), mr.maximum(number, x), mr.minimum(x, number), x.clamp(number), x.clamp(max=number),
        mr.where(condition, x, number), mr.where(condition, number, x),
    ):  # fmt: skip
        assert y.dtype == np.float32 and y.requires_grad


def test_where_makes_tensors_of_numbers_alone():
    condition = mr.tensor([True, False])
    assert mr.where(condition, 1.0, 0.0).dtype == np.float32
    assert mr.where(condition, 1, 0).dtype == np.int64
    assert mr.where(condition, mr.tensor([1, 2]), mr.tensor([0.5, 0.5])).dtype == np.float32


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_keeps_its_digits_and_does_not_overflow(dtype):
    x = mr.tensor(np.array([-1e4, -80, -20, 0, 20, 1e4], dtype), requires_grad=True)
    y = x.sigmoid()
    expected = np.exp(np.array([-np.inf, -80, -20, np.log(0.5), 0, 0]))
    assert y.dtype == dtype
    np.testing.assert_allclose(y.array, expected, rtol=1e-6)
    y.backward(np.ones(6, dtype))
    np.testing.assert_allclose(x.grad[1:4], [np.exp(-80), np.exp(-20), 0.25], rtol=1e-6)
    assert np.isfinite(x.grad).all()


def test_clamp_says_what_it_takes():
    with pytest.raises(ValueError, match="clamp: got neither min nor max"):
        mr.ones(2).clamp()
    with pytest.raises(TypeError, match=r"clamp: got a str; expected a tensor or a number"):
        mr.ones(2).clamp(min="0")


@given(shapes(max_ndim=2), st.sampled_from(["exp", "tanh", "relu", "abs", "sigmoid"]))
def test_a_single_value_is_still_a_tensor(shape, name):
    """NumPy turns results of shape () into scalars; the engine turns them back, gradients too."""
    x = mr.zeros(*shape, requires_grad=True)
    y = getattr(x, name)()
    (y * y + y).backward(np.ones(shape, np.float32))
    for a in (y.array, x.grad.array):
        assert type(a) is np.ndarray and a.shape == shape and a.dtype == np.float32


@given(broadcastable(count=3), seeds)
def test_clamp_by_tensors(shapes, seed):
    rng = np.random.default_rng(seed)
    a, low, high = (rng.integers(-3, 4, shape) + third / 3 for third, shape in enumerate(shapes))  # no ties
    y = mr.tensor(a).clamp(mr.tensor(low), mr.tensor(high))
    np.testing.assert_array_equal(y.array, np.minimum(np.maximum(a, low), high))
    check_gradient(lambda x, low, high: x.clamp(low, high), a, low, high)
    check_gradient(lambda x, low: x.clamp(min=low), a, low)
    check_gradient(lambda x, high: x.clamp(max=high), a, high)
    check_gradient(lambda x, high: x.clamp(-0.3, high), a, high)


def test_clamp_gives_the_gradient_to_the_one_whose_value_it_is():
    x, low, high = (mr.tensor(v, requires_grad=True) for v in ([1.0, 2, 3, 5], [2.0, 2, 2, 4], [4.0, 4, 4, 3]))
    x.clamp(low, high).backward(np.ones(4, np.float32))
    assert [x.grad.tolist(), low.grad.tolist(), high.grad.tolist()] == [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]


@given(broadcastable(), seeds)
def test_masked_fill(shapes, seed):
    rng = np.random.default_rng(seed)
    a, mask = rng.standard_normal(shapes[0]), rng.random(shapes[1]) < 0.5
    expected = np.where(mask, 7.0, a)
    np.testing.assert_array_equal(mr.tensor(a).masked_fill(mr.tensor(mask), 7).array, expected)
    check_gradient(lambda x, value: x.masked_fill(mr.tensor(mask), value), a, np.array(7.0))


def test_masked_fill_says_what_it_takes():
    x, mask = mr.tensor([1, 2]), mr.tensor([True, False])
    assert x.masked_fill(mask, 0).array.tolist() == [0, 2] and x.masked_fill(mask, 0).dtype == np.int64
    for wrong, message in (((x, 0), "mask"), ((mask, 0.5), "value that int64 cannot hold"), ((mask, x), "single real")):
        with pytest.raises(TypeError, match=f"masked_fill: got .*{message}"):
            x.masked_fill(*wrong)
