"""The operators + - * / ** @ and neg: values, gradients with broadcasting, numbers on either side."""

import operator

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given, strategies as st
from strategies import broadcastable, seeds

import minires as mr

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
by_name = pytest.mark.parametrize("f", OPERATORS, ids=lambda f: f.__name__)


def positive(rng, shape):
    return rng.uniform(0.5, 2.0, shape)


@by_name
@given(shapes=broadcastable(), seed=seeds)
def test_two_tensors_that_broadcast(f, shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (positive(rng, shape) for shape in shapes)
    np.testing.assert_array_equal(f(mr.tensor(a), mr.tensor(b)).array, f(a, b))
    check_gradient(f, a, b)


@by_name
@pytest.mark.parametrize("number", [3, 0.5, True, np.float64(0.5), np.float32(0.5), np.int64(3)], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_on_either_side_never_changes_the_type(f, number, dtype, rng):
    a = positive(rng, (2, 3)).astype(dtype)
    for g in (lambda x: f(x, number), lambda x: f(number, x)):
        x = mr.tensor(a, requires_grad=True)
        y = g(x)
        assert y.dtype == dtype
        np.testing.assert_allclose(y.array, g(a.astype(np.float64)), rtol=1e-6)
        y.backward(np.ones_like(a))
        assert x.grad.dtype == dtype
    check_gradient(lambda x: f(x, number), a.astype(np.float64))
    check_gradient(lambda x: f(number, x), a.astype(np.float64))


@by_name
def test_an_array_on_either_side_is_a_constant(f, rng):
    a, b = positive(rng, (2, 3)), positive(rng, 3)
    check_gradient(lambda x: f(x, b), a)
    check_gradient(lambda x: f(b, x), a)
    assert isinstance(f(b, mr.tensor(a)), mr.Tensor)


@pytest.mark.parametrize("exponent", [-2, -1, -0.5, 0, 0.5, 1, 2, 3])
def test_power_with_a_constant_exponent(exponent, rng):
    check_gradient(lambda x: x**exponent, positive(rng, (3, 4)))
    if exponent == int(exponent):
        check_gradient(lambda x: x**exponent, -positive(rng, (3, 4)))


def test_power_at_zero_is_finite_where_its_derivative_is():
    x = mr.tensor([0.0, 0.0, 0.0], requires_grad=True)
    (x ** mr.tensor([0.0, 1.0, 2.0])).backward(np.ones(3, np.float32))
    assert x.grad.tolist() == [0, 1, 0]
    for exponent, expected in ((0, 0), (1, 1), (2, 0)):
        x = mr.tensor([0.0], requires_grad=True)
        (x**exponent).backward(np.ones(1, np.float32))
        assert x.grad.tolist() == [expected]
    b = mr.tensor([2.0], requires_grad=True)
    (mr.tensor([0.0]) ** b).backward(np.ones(1, np.float32))
    assert b.grad.tolist() == [0]


@given(seeds)
def test_neg(seed):
    a = np.random.default_rng(seed).standard_normal((2, 3))
    np.testing.assert_array_equal((-mr.tensor(a)).array, -a)
    check_gradient(operator.neg, a)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3,), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((2, 3), (3, 4)),
        ((1, 1), (1, 1)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (6, 3, 4)),
        ((3,), (5, 3, 4)),
        ((5, 2, 3), (3,)),
        ((0, 3), (3, 4)),
    ],
    ids=str,
)
def test_matmul_of_vectors_matrices_and_stacks(shapes, rng):
    a, b = (rng.standard_normal(shape) for shape in shapes)
    np.testing.assert_array_equal((mr.tensor(a) @ mr.tensor(b)).array, a @ b)
    check_gradient(operator.matmul, a, b)
    check_gradient(lambda x: x @ b, a)
    check_gradient(lambda x: a @ x, b)


def test_matmul_names_shapes_that_do_not_fit():
    x = mr.ones(2, 3)
    for other in (mr.ones(2, 3), mr.ones(4)):
        with pytest.raises(ValueError, match=r"matmul: got shapes \(2, 3\) @ .*must equal.*transpose missing"):
            x @ other
    with pytest.raises(ValueError, match=r"matmul: got shapes \(2, 3\) @ \(\); both operands need an axis"):
        x @ 2


@by_name
def test_shapes_that_do_not_broadcast_are_named(f):
    """The forgotten projection shortcut: the error a learner meets first."""
    with pytest.raises(ValueError, match=r"got shapes \(2, 16, 8, 8\) and \(2, 32, 4, 4\).*shortcut"):
        f(mr.ones(2, 16, 8, 8), mr.ones(2, 32, 4, 4))


@by_name
def test_floating_types_do_not_mix(f):
    with pytest.raises(TypeError, match=r"float32 on cpu and float64 on cpu; all must have one dtype"):
        f(mr.ones(2), mr.ones(2, dtype=np.float64))


@by_name
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_numbers_take_the_type_of_the_other_tensor(f, dtype):
    x, n = mr.full((3,), 1.5, dtype=dtype, requires_grad=True), mr.tensor([1, 2, 3])
    for y in (f(x, n), f(n, x)):
        assert y.dtype == dtype and y.requires_grad
    np.testing.assert_allclose(f(n, x).array, f(np.array([1.0, 2, 3]), 1.5), rtol=1e-6)


def test_whole_numbers_among_themselves():
    """As in PyTorch: they stay whole, but division and fractions give float32."""
    n = mr.tensor([1, 2, 3])
    for y in (n + n, n + 1, 2 * n, n - True, n**2, 2**n, -n):
        assert y.dtype == np.int64
    for y in (n / n, n / 2, 1 / n, n + 0.5, 0.5 - n, n * np.float64(0.5), n**0.5, 2.5**n, n.exp()):
        assert y.dtype == np.float32
    np.testing.assert_allclose((2.5**n).array, [2.5, 6.25, 15.625])
    np.testing.assert_allclose((n**0.5).array, np.sqrt([1, 2, 3]), rtol=1e-6)


@pytest.mark.parametrize("other", ["1", None, [1.0], 1j], ids=repr)
@by_name
def test_other_things_are_refused(f, other):
    with pytest.raises(TypeError):
        f(mr.ones(1), other)
    with pytest.raises(TypeError):
        f(other, mr.ones(1))


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("exponent", [-0.5, -1.0, -2.0])
def test_a_negative_power_of_zero_has_infinite_slopes(exponent):
    """y = 0ⁿ = ∞, ∂/∂a = n·0ⁿ⁻¹ = −∞ and ∂/∂b = 0ⁿ·ln 0 = ∞·(−∞) = −∞."""
    for cotangent, slope in ((1.0, -np.inf), (-2.0, np.inf)):
        a, b = (mr.tensor(np.array([v]), requires_grad=True) for v in (0.0, exponent))
        y = a**b
        y.backward(np.array([cotangent]))
        assert y.array[0] == np.inf and a.grad[0] == slope and b.grad[0] == slope
        a.grad = b.grad = None
        (a**exponent + 0.0**b).backward(np.array([cotangent]))
        assert a.grad[0] == slope and b.grad[0] == slope


def test_in_place_operators_make_a_new_tensor():
    """`out += shortcut` means `out = out + shortcut`: what an op made keeps its values, and its gradient."""
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    out = before = x * 2
    out += x
    assert out is not before and before.array.tolist() == [2, 4] and out.array.tolist() == [3, 6]
    out.backward(np.ones(2, np.float32))
    assert x.grad.tolist() == [3, 3]


@given(st.integers(0, 3), seeds)
def test_a_tensor_may_be_both_operands(which, seed):
    f = OPERATORS[which]
    check_gradient(lambda x: f(x, x) + x, positive(np.random.default_rng(seed), (2, 2)))


EQUATIONS = {
    "ij,jk->ik": lambda a, b: a @ b,
    "ij,jk": lambda a, b: a @ b,
    "ij,jk -> ki": lambda a, b: (a @ b).T,
    "ij,jk->i": lambda a, b: (a @ b).sum(1),
    "ij,kl->jk": lambda a, b: np.outer(a.sum(0), b.sum(1)),
    "ij,ji->": lambda a, b: (a * b.T).sum(),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(rng, equation):
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 3 if equation == "ij,ji->" else 5))
    expected = EQUATIONS[equation](a, b)
    np.testing.assert_allclose(mr.einsum(equation, mr.tensor(a), mr.tensor(b)).array, expected, rtol=1e-12)
    np.testing.assert_allclose(mr.einsum(equation, [mr.tensor(a), mr.tensor(b)]).array, expected, rtol=1e-12)
    check_gradient(lambda a, b: mr.einsum(equation, a, b), a, b)


def test_einsum_of_one_and_of_three(rng):
    a, b, c = rng.standard_normal((3, 4)), rng.standard_normal((4, 5)), rng.standard_normal((5, 2))
    check_gradient(lambda a: mr.einsum("ij->j", a), a)
    np.testing.assert_allclose(mr.einsum("ij,jk,kl->il", *map(mr.tensor, (a, b, c))).array, a @ b @ c)
    check_gradient(lambda a, b, c: mr.einsum("ij,jk,kl->il", a, b, c), a, b, c)


@pytest.mark.parametrize(
    "equation", ["ij,jk->il", "ii,jk->ik", "...ijk,jk->k", "ij->j", "ij,kj->ik", "i,jk->k", "ij,jk->kk", "i1,jk->i"]
)
def test_einsum_says_what_it_takes(equation):
    with pytest.raises(ValueError, match=r"einsum: got .* for shapes .*expected a letter for each axis"):
        mr.einsum(equation, mr.ones(3, 4), mr.ones(4, 5))


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("iij->j", [(3, 3, 4)]),
        ("ii", [(3, 3)]),
        ("iji->ij", [(2, 3, 2)]),
        ("...ij,...jk->...ik", [(2, 3, 4), (4, 5)]),
        ("i...->...", [(3, 4, 2)]),
        ("ij...,j->i...", [(3, 4, 2), (4,)]),
        ("ij,jk,ik->j", [(2, 3), (3, 4), (2, 4)]),
        ("i,j->ij", [(3,), (4,)]),
        ("ij,ij->", [(3, 4), (3, 4)]),
        ("bij,bjk->bik", [(2, 3, 4), (1, 4, 5)]),
        ("...,...->...", [(2, 1, 3), (4, 3)]),
    ],
)
def test_einsum_is_numpys(equation, shapes, rng):
    arrays = [rng.standard_normal(shape) for shape in shapes]
    np.testing.assert_allclose(mr.einsum(equation, *map(mr.tensor, arrays)).data, np.einsum(equation, *arrays))
    check_gradient(lambda *a: mr.einsum(equation, *a), *arrays)


def test_the_gradient_of_an_outer_product_rounds_little(rng):
    a, b = (rng.standard_normal(n).astype(np.float32) for n in (2000, 3000))
    g = rng.standard_normal((2000, 3000)).astype(np.float32)
    x = mr.tensor(a, requires_grad=True)
    mr.einsum("i,j->ij", x, mr.tensor(b)).backward(g)
    exact = g.astype(np.float64) @ b
    assert np.abs(np.asarray(x.grad) - exact).max() < 1e-5 * np.abs(exact).max()


def test_batch_axes_that_do_not_broadcast():
    with pytest.raises(
        ValueError, match=r"matmul: got shapes \(2, 3, 4\) @ \(3, 4, 5\), whose batch axes do not broadcast"
    ):
        mr.ones(2, 3, 4) @ mr.ones(3, 4, 5)


def test_products_that_want_vectors_or_matrices(rng):
    u, v = rng.standard_normal(4), rng.standard_normal(4)
    a, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 4, 5))
    cases = [
        ("dot", u, v, u @ v),
        ("outer", u, u[:3], np.outer(u, u[:3])),
        ("mm", a[0], b[0], a[0] @ b[0]),
        ("bmm", a, b, a @ b),
    ]
    for name, left, right, expected in cases:
        f = getattr(mr.Tensor, name)
        np.testing.assert_allclose(f(mr.tensor(left), mr.tensor(right)).array, expected)
        check_gradient(f, left, right)
        with pytest.raises(ValueError, match=rf"{name}: got shapes .*; expected . dimension\(s\) in both"):
            f(mr.ones(1, 1, 1, 1), mr.ones(1, 1, 1, 1))
    with pytest.raises(ValueError, match="bmm: got stacks of 2 and 1 matrices; matmul broadcasts"):
        mr.tensor(a).bmm(mr.tensor(b[:1]))


@given(broadcastable(), seeds, st.sampled_from([1, 2, 0.5, 0, -1.5]))
def test_add_and_sub_take_a_factor(shapes, seed, alpha):
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape) for shape in shapes)
    for name, sign in (("add", 1), ("sub", -1)):
        for f in (getattr(mr, name), getattr(mr.Tensor, name)):
            np.testing.assert_allclose(
                f(mr.tensor(a), mr.tensor(b), alpha=alpha).array, a + sign * alpha * b, atol=1e-14
            )


def test_a_factor_is_multiplied_in_the_type_of_the_sum():
    """The product alone would be float32 for whole numbers and 0.5, and wrap in int8."""
    x, whole = mr.tensor(np.ones(2)), mr.tensor(np.array([100, 3], np.int8))
    assert x.add(whole, alpha=0.5).array.tolist() == x.clone().add_(whole, alpha=0.5).array.tolist() == [51, 2.5]
    assert mr.tensor([1, 1]).sub(whole, alpha=2).array.tolist() == [-199, -5]
    assert mr.add(mr.tensor([1, 1]).int(), whole > 5, alpha=3).dtype == np.int32


def test_a_negative_factor_wraps_around_in_uint8_as_it_does_in_pytorch():
    x = mr.tensor(np.array([5], np.uint8))
    assert x.add(x, alpha=-1).item() == 0 and x.add(x, alpha=-3).item() == 246 and x.sub(x, alpha=3).item() == 246


def test_rounded_division_is_refused():
    with pytest.raises(ValueError, match="div: got rounding_mode='floor'"):
        mr.ones(1).div(2, rounding_mode="floor")
