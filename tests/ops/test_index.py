"""Indexing: slices, integers, integer arrays and booleans; what is taken twice gets both gradients."""

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from strategies import seeds

import minires as mr

SHAPE = (3, 4, 2)
KEYS = {
    "integer": 1,
    "last": -1,
    "NumPy integer": np.int64(2),
    "slice": slice(1, 3),
    "strided": slice(None, None, 2),
    "backwards": slice(None, None, -1),
    "ellipsis": (..., 0),
    "new axis": (slice(None), None, 1),
    "nothing": slice(2, 2),
    "all integers": (1, 2, 0),
    "empty tuple": (),
    "list": [2, 0, 2],
    "array": np.array([[0, 1], [1, 1]]),
    "two arrays": (np.array([0, 1, 1]), np.array([3, 2, 2])),
    "array and slice": (np.array([0, 0]), slice(1, 3)),
    "slice and array": (slice(None), [1, 1, 3]),
    "arrays apart": (np.array([0, 0]), slice(None), np.array([1, 1])),
    "array of one": np.array(1),
    "negative entries": np.array([-1, 2]),
    "tensor": mr.tensor([0, 2, 2]),
    "tensors": (mr.tensor([0, 1]), mr.tensor([1, 1])),
    "booleans": np.array([True, False, True]),
    "no trues": np.zeros(SHAPE, bool),
    "mask": np.arange(24).reshape(SHAPE) % 5 == 0,
    "boolean tensor": mr.tensor([False, True, True]),
    "booleans and slice": (slice(None), np.array([True, False, True, True])),
    "booleans and array": (np.array([True, False, True]), np.array([1, 1])),
    "list of booleans": [True, False, True],
    "single boolean": True,
}


def plain(key):
    if isinstance(key, tuple):
        return tuple(plain(k) for k in key)
    return key.array if isinstance(key, mr.Tensor) else key


@pytest.mark.parametrize("name", KEYS)
def test_every_kind_of_key(name, rng):
    a, key = rng.standard_normal(SHAPE), KEYS[name]
    np.testing.assert_array_equal(mr.tensor(a)[key].array, a[plain(key)])
    check_gradient(lambda x: x[key], a)


@given(hnp.basic_indices(SHAPE, allow_newaxis=True, allow_ellipsis=True), seeds)
def test_basic_keys(key, seed):
    a = np.random.default_rng(seed).standard_normal(SHAPE)
    np.testing.assert_array_equal(mr.tensor(a)[key].array, a[key])
    check_gradient(lambda x: x[key], a, directions=1)


@given(hnp.integer_array_indices(SHAPE), seeds)
def test_integer_array_keys(key, seed):
    a = np.random.default_rng(seed).standard_normal(SHAPE)
    np.testing.assert_array_equal(mr.tensor(a)[key].array, a[key])
    check_gradient(lambda x: x[key], a, directions=1)


@given(hnp.arrays(bool, st.integers(0, 3).map(lambda n: SHAPE[:n])), seeds)
def test_boolean_keys(key, seed):
    a = np.random.default_rng(seed).standard_normal(SHAPE)
    np.testing.assert_array_equal(mr.tensor(a)[key].array, a[key])
    check_gradient(lambda x: x[key], a, directions=1)


IN_TURN = {
    "a number, then an array": ((0, slice(None), [1, 0]), lambda a: a[0][:, [1, 0]]),
    "an array, then a number": (([2, 2], slice(None), -1), lambda a: a[..., -1][[2, 2]]),
    "a number in a tensor": ((mr.tensor(1), slice(None), mr.tensor([[0, 1]])), lambda a: a[1][:, [[0, 1]]]),
    "a mask and a number": ((np.array([True, False, True]), slice(None), np.int64(1)), lambda a: a[..., 1][[0, 2]]),
    "a number and True": ((1, slice(None), None, True), lambda a: a[1][:, None, None]),
    "all numbers but True": ((1, 2, 0, True), lambda a: a[1, 2, 0:1]),
    "an ellipsis for no axis": ((slice(1, 3), [0, 1, 1], ..., [0, 0, 1]), lambda a: a[1:3][:, [0, 1, 1], [0, 0, 1]]),
    "an ellipsis for an axis": ((0, ..., [0, 0, 1]), lambda a: a[0][:, [0, 0, 1]]),
}


@pytest.mark.parametrize("name", IN_TURN)
def test_numbers_are_taken_before_arrays(name, rng):
    """NumPy, unlike PyTorch, would move the axes of the arrays to the front."""
    a, (key, taken) = rng.standard_normal(SHAPE), IN_TURN[name]
    np.testing.assert_array_equal(mr.tensor(a)[key].array, taken(a))
    check_gradient(lambda x: x[key], a)
    x, places = mr.tensor(a), taken(np.arange(a.size).reshape(SHAPE))
    values = np.cumsum(np.ones(places.shape)).reshape(places.shape)
    x[key] = values
    a.reshape(-1)[places] = values
    np.testing.assert_array_equal(x.array, a)


def test_an_entry_taken_twice_gets_both_gradients():
    x = mr.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[[0, 0, 2]].backward(np.array([1, 10, 100], np.float32))
    assert x.grad.tolist() == [11, 0, 100]


def test_iteration_goes_along_the_first_axis():
    x = mr.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = x
    (first * 2 + second).sum().backward()
    assert x.grad.tolist() == [[2, 2], [1, 1]] and len(x) == 2
    with pytest.raises(TypeError, match=r"len: got a tensor of shape \(\)"):
        len(mr.tensor(1.0))


@pytest.mark.parametrize("key", [3, (0, 0, 0, 0), 1.5, "a", [5]], ids=repr)
def test_a_key_that_does_not_fit(key):
    with pytest.raises(IndexError):
        mr.zeros(3, 4, 2)[key]
