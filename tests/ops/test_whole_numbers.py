"""Whole numbers and bools: which type each result has, by hand, and which ops refuse them."""

import operator

import numpy as np
import pytest

import minires as mr
from minires.nn import functional as F

WHOLE = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64]
each_type = pytest.mark.parametrize("dtype", WHOLE)


def whole(*values, dtype=np.int64):
    return mr.tensor(np.array(values, dtype))


@pytest.mark.parametrize("dtype", [*WHOLE, np.uint32, np.uint64])
def test_the_smallest_is_the_smallest(dtype):
    """−max(−x) would wrap around: −0 is the largest uint8 there, and −(−2⁶³) is −2⁶³."""
    info = np.iinfo(dtype)
    x = mr.tensor(np.array([[0, 5, 9], [info.max, info.min, 7]], dtype))
    for dim, values, indices in ((1, [0, info.min], [0, 1]), (0, [0, min(5, info.min), 7], [0, int(info.min < 5), 1])):
        found = x.min(dim)
        assert found.values.dtype == dtype and found.values.array.tolist() == values
        assert found.indices.array.tolist() == indices
    assert x.min().item() == x.amin().item() == info.min and x.max().item() == info.max


def test_the_gradient_of_min_goes_to_the_first_smallest():
    x = mr.tensor(np.array([[3.0, 1.0, 1.0], [np.inf, -np.inf, 0.0]]), requires_grad=True)
    values, indices = x.min(1)
    values.backward(np.array([2.0, 3.0]))
    assert values.array.tolist() == [1, -np.inf] and indices.array.tolist() == [1, 1]
    assert x.grad.tolist() == [[0, 2, 0], [0, 3, 0]]


@pytest.mark.parametrize("dtype", [*WHOLE, np.bool_])
def test_sums_are_int64(dtype):
    x = mr.tensor(np.ones((2, 3), dtype))
    for total in (x.sum(), x.sum(0), x.sum((0, 1), keepdim=True), x.sum(())):
        assert total.dtype == np.int64 and total.array.sum() == 6
    assert (x.sum() - 10).item() == -4


@pytest.mark.parametrize("dtype", [*WHOLE, np.bool_])
def test_functions_with_fractional_results_give_float32(dtype):
    x = mr.tensor(np.array([0, 1], dtype))
    expected = {"exp": [1, np.e], "sqrt": [0, 1], "sigmoid": [0.5, 1 / (1 + 1 / np.e)], "tanh": [0, np.tanh(1)]}
    for name, values in expected.items():
        y = getattr(x, name)()
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.array, values, rtol=1e-6)
    for y in (x / 2, x / x.sum(), 1 / (x + 1), x + 0.5, x**0.5, x.exp()):
        assert y.dtype == np.float32


def test_the_values_of_the_first_report():
    assert whole(5, dtype=np.uint8).sigmoid().item() == pytest.approx(1 / (1 + np.exp(-5)), rel=1e-6)
    assert whole(-7, dtype=np.int8).exp().item() == pytest.approx(np.exp(-7), rel=1e-6)
    assert mr.tensor([1.0, 2.0, 3.0, 4.0]).var(False).item() == 1.25
    assert mr.tensor([1.0, 2.0, 3.0, 4.0]).var(True).item() == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    "a, b, common",
    [
        (np.bool_, np.uint8, np.uint8), (np.uint8, np.int8, np.int16), (np.uint8, np.int32, np.int32),
        (np.int16, np.int64, np.int64), (np.uint16, np.int16, np.int32), (np.uint32, np.int32, np.int64),
        (np.int64, np.float16, np.float16), (np.bool_, np.float64, np.float64),
    ],
)  # fmt: skip
def test_two_types_meet_in_the_smallest_that_holds_both(a, b, common):
    x, y = mr.tensor(np.array([1, 0], a)), mr.tensor(np.array([1, 1], b))
    one = mr.tensor([True, False])
    for z in (x + y, y * x, mr.maximum(x, y), mr.where(one, x, y), mr.cat([x, y]), mr.stack([y, x])):
        assert z.dtype == common
    assert ((x + y).array == [2, 1]).all() and mr.cat([x, y]).array.tolist() == [1, 0, 1, 1]


def test_no_whole_type_holds_uint64_and_int64():
    """NumPy would make float64 of them, in which 2⁶³ + 1 is 2⁶³."""
    x, y = whole(2**63 + 1, dtype=np.uint64), whole(1)
    for f in (operator.add, operator.mul, mr.maximum, lambda a, b: mr.cat([a, b]), lambda a, b: mr.where(a > 0, a, b)):
        with pytest.raises(TypeError, match="got uint64 and int64, which no whole type holds"):
            f(x, y)


def test_a_single_value_counts_like_a_number():
    x, wide = whole(1, 2, dtype=np.uint8), mr.tensor(3)
    assert (x + wide).dtype == (wide * x).dtype == mr.where(x > 1, x, wide).dtype == np.uint8
    assert (mr.tensor([True]) + wide).dtype == np.int64 and (x + mr.tensor(0.5)).dtype == np.float32
    for f in (
        lambda: x + mr.tensor(300),
        lambda: x + 300,
        lambda: mr.maximum(x, -1),
        lambda: mr.where(x > 1, x, mr.tensor(300)),
    ):
        with pytest.raises(OverflowError, match=r"(add|maximum|where): got a .* that uint8 cannot hold; convert"):
            f()
    assert (x < 300).array.all() and not (x < -1).array.any()


def test_powers():
    n, b = whole(2, 3), mr.tensor([True, False])
    assert (
        (b**2).dtype == (2**b).dtype == np.int64 and (b**2).array.tolist() == [1, 0] and (2**b).array.tolist() == [2, 1]
    )
    assert (b ** whole(2, 0, dtype=np.uint8)).dtype == np.uint8
    assert (n**0.5).dtype == (0.5**n).dtype == np.float32
    assert (n ** whole(1, -1)).tolist() == [2, 0] and (2 ** whole(-1, 3)).tolist() == [0, 8]  # 1/3 without its fraction
    assert (whole(1, -1, -1) ** whole(-5, -4, -3)).tolist() == [1, 1, -1]
    for f in (lambda: n**-1, lambda: whole(1, dtype=np.uint8) ** -1):
        with pytest.raises(ValueError, match=r"pow: got whole numbers to a negative power.*x\.float\(\)"):
            f()
    for f in (lambda: b**b, lambda: b**True, lambda: True**b):
        with pytest.raises(TypeError, match="pow: got bools as base and exponent"):
            f()


REFUSED = {
    "mean": lambda x: x.mean(), "var": lambda x: x.var(0), "softmax": lambda x: F.softmax(x, 0),
    "log_softmax": lambda x: F.log_softmax(x, 0), "leaky_relu": lambda x: F.leaky_relu(x),
    "linear": lambda x: F.linear(mr.ones(2), x[None]),
    "conv2d": lambda x: F.conv2d(mr.ones(1, 1, 2, 2), x[None, None, None]),
    "batch_norm: got weight": lambda x: F.batch_norm(mr.ones(3, 2), None, None, x, training=True),
    "batch_norm: got running_var": lambda x: F.batch_norm(mr.ones(3, 2), np.zeros(2), x.array, training=True),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64])
@pytest.mark.parametrize("graph", [True, False])
def test_what_needs_fractions_says_so(name, dtype, graph):
    with (
        mr.autograd.switch(grad_enabled=graph),
        pytest.raises(TypeError, match=f"{name}.* of dtype .*(floating|numbers)"),
    ):
        REFUSED[name](mr.tensor(np.ones(2, dtype)))


@pytest.mark.parametrize(
    "f",
    [
        lambda b: -b, lambda b: b.abs(), lambda b: b.relu(), lambda b: b - b, lambda b: b - 1, lambda b: 1 - b,
        lambda b: b - mr.ones(2), lambda b: mr.ones(2) - b, lambda b: b @ b, lambda b: b.argmax(),
        lambda b: b.argmin(0),
    ],
)  # fmt: skip
def test_what_needs_numbers_refuses_bools(f):
    with pytest.raises(TypeError, match=r"(neg|abs|relu|sub|matmul|argmax|argmin): got .*bool.*x\.long\(\)"):
        f(mr.tensor([True, False]))


def test_bools_add_and_multiply_as_truth_values():
    a, b = mr.tensor([True, True]), mr.tensor([True, False])
    assert (a + b).array.tolist() == [True, True] and (a * b).array.tolist() == [True, False]
    assert (a + b).dtype == (a * b).dtype == np.bool_ and (a + 1).dtype == np.int64


def test_an_op_of_ones_own_may_say_what_it_takes():
    class Halve(mr.Op):
        """x/2."""

        fractional = True

        def forward(self, x):
            assert x.dtype == np.float32
            return x / 2

    class Fussy(mr.Op):
        """x, if it is a floating-point number."""

        kinds = "f"

        def forward(self, x):
            return x

    assert mr.apply(Halve, whole(1, 2, dtype=np.int8)).array.tolist() == [0.5, 1]
    with pytest.raises(TypeError, match="fussy: got an input of dtype int64, expected floating point"):
        mr.apply(Fussy, whole(1))


def test_bits_follow_the_rules_of_types():
    x = whole(6, 3, dtype=np.int8)
    for three in (3, whole(3).sum(), whole(3).array.sum()):  # one value counts like a Python number
        assert (x & three).dtype == np.int8 and (x & three).array.tolist() == [2, 3]
    assert (x | whole(8, 8)).dtype == np.int64 and ((x > 5) & 1).dtype == np.int64
    with pytest.raises(OverflowError, match="xor: got 1000, which int8 cannot hold"):
        x ^ 1000
    for other in (mr.tensor([1, 2]), np.array([1, 2])):
        with pytest.raises(ValueError, match=r"or: got shapes \(3,\) and \(2,\), which do not broadcast"):
            mr.tensor([1, 2, 3]) | other


@pytest.mark.parametrize(
    "key, expected",
    [
        (((0, 0), slice(None)), [[2, 2], [0, 0]]), ((slice(None), (1, 1, 0)), [[1, 2], [1, 2]]),
        ((..., (0, 0)), [[2, 0], [2, 0]]), (([0, 0], (1, 1)), [[0, 2], [0, 0]]), ((range(2), 1), [[0, 1], [0, 1]]),
    ],
    ids=str,
)  # fmt: skip
def test_a_repeated_entry_gets_every_gradient(key, expected):
    x = mr.tensor(np.zeros((2, 2)), requires_grad=True)
    y = x[key]
    y.backward(np.ones(y.shape))
    assert x.grad.tolist() == expected


def test_positions_of_uint8_could_be_a_mask():
    for key in (np.array([0, 1], np.uint8), whole(0, 1, dtype=np.uint8), (slice(None), whole(1, dtype=np.uint8))):
        with pytest.raises(IndexError, match=r"index: got positions of dtype uint8.*key\.long\(\)"):
            mr.ones(2, 2)[key]
    assert mr.ones(2, 2)[np.uint8(1)].shape == (2,)
