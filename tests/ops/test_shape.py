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
        np.testing.assert_array_equal(f(mr.tensor(a)).array, a.reshape(sizes))
        check_gradient(f, a)


@given(array_and(lambda shape: st.tuples(dims(shape), dims(shape))))
def test_flatten(case):
    a, (start, end) = case
    start, end = sorted((start % a.ndim, end % a.ndim))
    expected = a.reshape(*a.shape[:start], math.prod(a.shape[start : end + 1]), *a.shape[end + 1 :])
    np.testing.assert_array_equal(mr.tensor(a).flatten(start, end - a.ndim).array, expected)
    np.testing.assert_array_equal(mr.flatten(mr.tensor(a), start, end).array, expected)
    check_gradient(lambda x: x.flatten(start, end), a)


@given(array_and(lambda shape: st.permutations(range(len(shape))), min_ndim=0), st.booleans())
def test_permute(case, negative):
    a, order = case
    order = [d - a.ndim if negative else d for d in order]
    np.testing.assert_array_equal(mr.tensor(a).permute(*order).array, a.transpose(order))
    check_gradient(lambda x: x.permute(order), a)


@given(array_and(lambda shape: st.tuples(dims(shape), dims(shape))))
def test_transpose(case):
    a, pair = case
    np.testing.assert_array_equal(mr.tensor(a).transpose(*pair).array, np.swapaxes(a, *pair))
    check_gradient(lambda x: x.transpose(*pair), a)
    np.testing.assert_array_equal(mr.tensor(a).T.array, a.T)


@given(array_and(dims))
def test_squeeze_and_unsqueeze(case):
    a, dim = case
    stretched = np.expand_dims(a, dim)
    assert mr.tensor(stretched).squeeze().shape == tuple(n for n in a.shape if n != 1)
    assert mr.tensor(a).squeeze(dim).shape == (np.squeeze(a, dim) if a.shape[dim] == 1 else a).shape
    np.testing.assert_array_equal(mr.tensor(a).unsqueeze(dim).array, stretched)
    check_gradient(lambda x: x.unsqueeze(dim), a)
    check_gradient(lambda x: x.squeeze(dim), stretched)


@given(array_and(lambda shape: st.tuples(*[st.sampled_from([-1, 0, 3])] * len(shape)), min_ndim=0), shapes(max_ndim=2))
def test_expand(case, front):
    """-1 and the size itself keep an axis; an axis of size 1 stretches; new axes go in front."""
    a, choices = case
    sizes = [*front, *(3 if n == 1 and c == 3 else -1 if c == -1 else n for n, c in zip(a.shape, choices))]
    full = [*front, *(n if c == -1 else c for n, c in zip(a.shape, sizes[len(front) :]))]
    np.testing.assert_array_equal(mr.tensor(a).expand(*sizes).array, np.broadcast_to(a, full))
    check_gradient(lambda x: x.expand(sizes), a)


@given(shapes(min_ndim=1), seeds, st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
def test_cat(shape, seed, lengths, data):
    rng, dim = np.random.default_rng(seed), data.draw(dims(shape))
    parts = []
    for n in lengths:
        sizes = list(shape)
        sizes[dim] = n
        parts.append(rng.standard_normal(sizes))
    np.testing.assert_array_equal(mr.cat([mr.tensor(p) for p in parts], dim).array, np.concatenate(parts, dim))
    check_gradient(lambda *xs: mr.cat(xs, dim=dim), *parts, directions=1)


@given(array_and(lambda shape: st.integers(-len(shape) - 1, len(shape)), min_ndim=0), st.integers(1, 4))
def test_stack(case, count):
    a, dim = case
    parts = [a + i for i in range(count)]
    np.testing.assert_array_equal(mr.stack([mr.tensor(p) for p in parts], dim).array, np.stack(parts, dim))
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


@given(array_and(lambda shape: st.lists(st.integers(0, 3), min_size=len(shape), max_size=len(shape) + 1), min_ndim=0))
def test_repeat(case):
    a, times = case
    np.testing.assert_array_equal(mr.tensor(a).repeat(*times).array, np.tile(a, times))
    np.testing.assert_array_equal(mr.tensor(a).repeat(times).array, np.tile(a, times))
    if math.prod(times):
        check_gradient(lambda x: x.repeat(*times), a)


def test_repeat_copies_and_wants_a_number_for_each_dimension():
    x = mr.ones(2)
    assert not np.shares_memory(x.repeat(1).array, x.array)
    with pytest.raises(ValueError, match=r"repeat: got 1 numbers for shape \(2, 2\)"):
        mr.ones(2, 2).repeat(2)


@given(array_and(lambda shape: st.tuples(dims(shape), st.integers(1, 5))))
def test_split_chunk_narrow_unbind(case):
    a, (dim, n) = case
    x, side = mr.tensor(a), a.shape[dim]
    cut = np.split(a, range(n, side, n), dim)
    for parts in (
        x.split(n, dim),
        mr.split(x, n, dim),
        x.split([p.shape[dim] for p in cut], dim),
        x.chunk(-(-side // n), dim),
    ):
        assert isinstance(parts, tuple)
    for got, expected in zip(x.split(n, dim), cut, strict=True):
        np.testing.assert_array_equal(got.array, expected)
    chunks = x.chunk(n, dim)
    assert len(chunks) <= n and len({c.shape[dim] for c in chunks[:-1]}) <= 1
    np.testing.assert_array_equal(mr.cat(chunks, dim).array, a)
    np.testing.assert_array_equal(x.narrow(dim, side - 1, 1).array, np.take(a, [-1], dim))
    np.testing.assert_array_equal(mr.stack(x.unbind(dim), dim).array, a)
    check_gradient(lambda x: x.split(n, dim)[0] * 2 + x.chunk(-(-side // n), dim)[0].sum() + x.unbind(dim)[-1].sum(), a)


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (
            lambda x: x.split([1, 1]),
            ValueError,
            r"split: got \[1, 1\] for dim=0 of shape \(3, 2\); the parts must add up",
        ),
        (lambda x: x.split(0), ValueError, "split: got a size of 0 for 3 entries"),
        (lambda x: x.chunk(0), ValueError, "chunk: got 0 chunks"),
        (lambda x: x.chunk(1.5), TypeError, "chunk: got 1.5, expected a whole number"),
        (lambda x: x.narrow(0, 2, 2), IndexError, r"narrow: got start=2, length=2 for dim=0"),
        (lambda x: x.sum().unbind(), ValueError, r"unbind: got a tensor of shape \(\)"),
        (lambda x: x.unsqueeze(0).t(), ValueError, "t: got a tensor of shape"),
        (
            lambda x: x.gather(0, mr.tensor([0])),
            ValueError,
            r"gather: got a int64 index of shape \(1,\) for shape \(3, 2\)",
        ),
        (lambda x: x.gather(0, mr.tensor([[-1, 0]])), IndexError, "gather: got indices outside of dim=0"),
        (lambda x: x.topk(4, 0), ValueError, "topk: got k=4 for dim=0"),
    ],
    ids=range(10),
)
def test_what_is_no_part_is_named(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong(mr.ones(3, 2))


@given(array_and(lambda shape: st.tuples(dims(shape), st.booleans())), seeds)
def test_gather_sort_argsort_topk(case, seed):
    a, (dim, descending) = case
    x = mr.tensor(a)
    order = np.argsort(-a if descending else a, dim)
    values, indices = x.sort(dim, descending)
    np.testing.assert_array_equal(indices.array, order)
    np.testing.assert_array_equal(values.array, np.take_along_axis(a, order, dim))
    np.testing.assert_array_equal(x.argsort(dim, descending).array, order)
    k = max(1, a.shape[dim] - 1)
    top = x.topk(k, dim, largest=descending)
    np.testing.assert_array_equal(top.values.array, values.narrow(dim, 0, k).array)
    np.testing.assert_array_equal(top.indices.array, indices.narrow(dim, 0, k).array)
    picked = np.random.default_rng(seed).integers(0, a.shape[dim], a.shape)  # an entry may be picked twice
    np.testing.assert_array_equal(x.gather(dim, mr.tensor(picked)).array, np.take_along_axis(a, picked, dim))
    check_gradient(lambda x: x.gather(dim, mr.tensor(picked)) + x.sort(dim, descending).values, a)


def test_equal_values_stay_in_order_and_nan_counts_as_the_largest():
    x = mr.tensor([1.0, 0, 1, np.nan, 0])
    assert x.argsort().tolist() == [1, 4, 0, 2, 3] and x.argsort(descending=True).tolist() == [3, 0, 2, 1, 4]
    assert mr.topk(x, 2).indices.tolist() == [3, 0] and mr.tensor(2.0).sort().indices.tolist() == 0


def test_clone_is_a_copy_with_a_gradient_and_contiguous_one_if_need_be(rng):
    a = rng.standard_normal((2, 3))
    x = mr.tensor(a)
    assert not np.shares_memory(x.clone().array, x.array) and x.contiguous() is x
    turned = x.T.contiguous()
    assert turned.array.flags.c_contiguous and not np.shares_memory(turned.array, x.array)
    check_gradient(lambda x: x.clone() + x.T.contiguous().T, a)
