"""Reshape, permute, expand, cat, stack and their relatives: values, gradients, and arguments that make no sense."""

import math

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given, strategies as st
from strategies import seeds, shapes

import minires as mr


@st.composite
def array_and(draw, strategy, min_ndim=1):
    """A normal array, and what the strategy made from its shape draws."""
    shape = draw(shapes(min_ndim=min_ndim))
    return np.random.default_rng(draw(seeds)).standard_normal(shape), draw(strategy(shape))


def dims(shape):
    return st.integers(-len(shape), len(shape) - 1)


@given(array_and(lambda shape: st.permutations(shape), min_ndim=0), st.booleans())
def test_reshape_and_view(case, infer):
    a, sizes = case
    if infer and sizes:
        sizes = [-1, *sizes[1:]]
    for f in (lambda x: x.reshape(*sizes), lambda x: x.view(tuple(sizes))):
        np.testing.assert_array_equal(f(mr.tensor(a)).data, a.reshape(sizes))
        check_gradient(f, a)


@given(array_and(lambda shape: st.tuples(dims(shape), dims(shape))))
def test_flatten(case):
    a, (start, end) = case
    start, end = sorted((start % a.ndim, end % a.ndim))
    expected = a.reshape(*a.shape[:start], math.prod(a.shape[start : end + 1]), *a.shape[end + 1 :])
    np.testing.assert_array_equal(mr.tensor(a).flatten(start, end - a.ndim).data, expected)
    np.testing.assert_array_equal(mr.flatten(mr.tensor(a), start, end).data, expected)
    check_gradient(lambda x: x.flatten(start, end), a)


@given(array_and(lambda shape: st.permutations(range(len(shape))), min_ndim=0), st.booleans())
def test_permute(case, negative):
    a, order = case
    order = [d - a.ndim if negative else d for d in order]
    np.testing.assert_array_equal(mr.tensor(a).permute(*order).data, a.transpose(order))
    check_gradient(lambda x: x.permute(order), a)


@given(array_and(lambda shape: st.tuples(dims(shape), dims(shape))))
def test_transpose(case):
    a, pair = case
    np.testing.assert_array_equal(mr.tensor(a).transpose(*pair).data, np.swapaxes(a, *pair))
    check_gradient(lambda x: x.transpose(*pair), a)
    np.testing.assert_array_equal(mr.tensor(a).T.data, a.T)


@given(array_and(dims))
def test_squeeze_and_unsqueeze(case):
    a, dim = case
    stretched = np.expand_dims(a, dim)
    assert mr.tensor(stretched).squeeze().shape == tuple(n for n in a.shape if n != 1)
    assert mr.tensor(a).squeeze(dim).shape == (np.squeeze(a, dim) if a.shape[dim] == 1 else a).shape
    np.testing.assert_array_equal(mr.tensor(a).unsqueeze(dim).data, stretched)
    check_gradient(lambda x: x.unsqueeze(dim), a)
    check_gradient(lambda x: x.squeeze(dim), stretched)


@given(array_and(lambda shape: st.tuples(*[st.sampled_from([-1, 0, 3])] * len(shape)), min_ndim=0), shapes(max_ndim=2))
def test_expand(case, front):
    """-1 and the size itself keep an axis; an axis of size 1 stretches; new axes go in front."""
    a, choices = case
    sizes = [*front, *(3 if n == 1 and c == 3 else -1 if c == -1 else n for n, c in zip(a.shape, choices))]
    full = [*front, *(n if c == -1 else c for n, c in zip(a.shape, sizes[len(front) :]))]
    np.testing.assert_array_equal(mr.tensor(a).expand(*sizes).data, np.broadcast_to(a, full))
    check_gradient(lambda x: x.expand(sizes), a)


@given(shapes(min_ndim=1), seeds, st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
def test_cat(shape, seed, lengths, data):
    rng, dim = np.random.default_rng(seed), data.draw(dims(shape))
    parts = []
    for n in lengths:
        sizes = list(shape)
        sizes[dim] = n
        parts.append(rng.standard_normal(sizes))
    np.testing.assert_array_equal(mr.cat([mr.tensor(p) for p in parts], dim).data, np.concatenate(parts, dim))
    check_gradient(lambda *xs: mr.cat(xs, dim=dim), *parts, directions=1)


@given(array_and(lambda shape: st.integers(-len(shape) - 1, len(shape)), min_ndim=0), st.integers(1, 4))
def test_stack(case, count):
    a, dim = case
    parts = [a + i for i in range(count)]
    np.testing.assert_array_equal(mr.stack([mr.tensor(p) for p in parts], dim).data, np.stack(parts, dim))
    check_gradient(lambda *xs: mr.stack(xs, dim=dim), *parts, directions=1)


def test_a_tensor_may_stand_twice_in_a_row():
    check_gradient(lambda x: mr.cat([x, x * 2, x]), np.arange(3.0))
    check_gradient(lambda x: mr.stack([x, x]), np.arange(3.0))


def test_joining_whole_numbers_with_fractions():
    x, n = mr.ones(2, requires_grad=True), mr.tensor([1, 2])
    for y in (mr.cat([x, n]), mr.stack([n, x])):
        assert y.dtype == np.float32 and y.requires_grad
    assert mr.cat([n, n]).dtype == np.int64


def test_an_empty_batch_keeps_its_shape():
    assert mr.zeros(0, 3, 4).flatten(1).shape == (0, 12)
    assert mr.zeros(0, 3, 4).flatten().shape == (0,)
    assert mr.zeros(0, 3).reshape(0, 3, 1).shape == (0, 3, 1)


def test_a_single_value():
    x = mr.tensor(2.0)
    assert x.flatten().shape == x.unsqueeze(0).shape == x.reshape(1).shape == (1,)
    assert x.squeeze().shape == x.permute().shape == x.transpose(0, 0).shape == ()


X = mr.zeros(2, 3, 1)
WRONG = {
    "reshape: wrong count": (lambda: X.reshape(4, 2), ValueError, r"reshape: got shape \(4, 2\) for 6 values"),
    "reshape: -2": (lambda: X.reshape(-2, 3), ValueError, r"reshape: got shape \(-2, 3\)"),
    "reshape: two -1": (lambda: X.reshape(-1, -1), ValueError, r"reshape: got shape \(-1, -1\)"),
    "flatten: no dim": (lambda: X.flatten(3), IndexError, r"flatten: got dim=3 for a tensor of 3 dimensions"),
    "flatten: backwards": (lambda: X.flatten(2, 1), ValueError, r"flatten: got start_dim=2 behind end_dim=1"),
    "permute: one missing": (lambda: X.permute(0, 1), ValueError, r"permute: got dims \(0, 1\) for a tensor of 3"),
    "permute: one twice": (lambda: X.permute(0, 1, 1), ValueError, r"permute: got dim=.*twice"),
    "permute: no dim": (lambda: X.permute(0, 1, 5), IndexError, r"permute: got dim=.*dims run from -3 to 2"),
    "transpose: no dim": (lambda: X.transpose(0, 3), IndexError, r"transpose: got dim=3"),
    "squeeze: no dim": (lambda: X.squeeze(5), IndexError, r"squeeze: got dim=5"),
    "unsqueeze: no dim": (lambda: X.unsqueeze(7), IndexError, r"unsqueeze: got dim=7"),
    "expand: wrong size": (lambda: X.expand(2, 4, 1), ValueError, r"expand: got shape \(2, 4, 1\) for .* \(2, 3, 1\)"),
    "expand: too few": (lambda: X.expand(3, 1), ValueError, r"expand: got shape \(3, 1\)"),
    "expand: new -1": (lambda: X.expand(-1, 2, 3, 1), ValueError, r"expand: got shape \(-1, 2, 3, 1\)"),
    "cat: nothing": (lambda: mr.cat([]), ValueError, r"cat: got shapes \[\]"),
    "cat: no axis": (lambda: mr.cat([mr.tensor(1.0)]), ValueError, r"cat: got shapes \[\(\)\]"),
    "cat: no dim": (lambda: mr.cat([X], 3), IndexError, r"cat: got dim=3"),
    "cat: other sizes": (lambda: mr.cat([X, mr.zeros(2, 2, 1)]), ValueError, r"cat: got .*\(2, 2, 1\).*but dim=0"),
    "cat: other ndim": (lambda: mr.cat([X, mr.zeros(3, 1)]), ValueError, r"cat: got shapes .*\(3, 1\)"),
    "cat: mixed types": (lambda: mr.cat([X, X.double()]), TypeError, r"Cat: got inputs of float32 .* and float64"),
    "stack: nothing": (lambda: mr.stack([]), ValueError, r"stack: got shapes \[\]"),
    "stack: other shape": (lambda: mr.stack([X, mr.zeros(2)]), ValueError, r"stack: got shapes .*Did you mean cat"),
    "stack: no dim": (lambda: mr.stack([X], 4), IndexError, r"stack: got dim=4"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_arguments_that_make_no_sense(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()
