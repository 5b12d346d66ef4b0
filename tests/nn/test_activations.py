"""Activations: each against its formula, its gradient against central differences, and what it does at the edges."""

import math

import numpy as np
import pytest
from differences import apart, check_gradient
from hypothesis import given, strategies as st
from strategies import seeds, shapes

import minires as mr
from minires import nn
from minires.nn import functional as F
from minires.ops.activation import erf

of_each = np.vectorize(math.erf, otypes=[float])


def cdf(x):
    return (1 + of_each(x / math.sqrt(2))) / 2


def cubic_cdf(x):
    return (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


FORMULAS = {
    "relu6": (F.relu6, lambda x: np.minimum(np.maximum(x, 0), 6)),
    "elu": (F.elu, lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    "elu, alpha": (lambda x: F.elu(x, -1.7), lambda x: np.where(x > 0, x, -1.7 * (np.exp(x) - 1))),
    "gelu": (F.gelu, lambda x: x * cdf(x)),
    "gelu, tanh": (lambda x: F.gelu(x, "tanh"), lambda x: x * cubic_cdf(x)),
    "silu": (F.silu, lambda x: x / (1 + np.exp(-x))),
    "hardswish": (F.hardswish, lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6),
}


@pytest.mark.parametrize("name", FORMULAS)
@given(shape=shapes(), seed=seeds, scale=st.sampled_from([0.1, 1.0, 4.0]))
def test_the_formula_and_its_gradient(name, shape, seed, scale):
    ours, formula = FORMULAS[name]
    x = np.asarray(scale * apart(shape, seed))
    x = np.where(np.abs(x[..., None] - [-3, 3, 6]).min(-1) < 0.01, x + 0.05, x)  # away from the kinks
    np.testing.assert_allclose(ours(mr.tensor(x)).array, formula(x), rtol=1e-12, atol=1e-14)
    check_gradient(ours, x)


@given(st.floats(-8, 8))
def test_erf_is_right_to_1e_15_and_keeps_the_digits_of_small_numbers(x):
    np.testing.assert_allclose(erf(np.array([x])), [math.erf(x)], rtol=3e-15, atol=1e-300)


def test_erf_at_the_edges():
    values = np.array([0.0, -0.0, 6, -6, 1e300, np.inf, -np.inf, np.nan])
    found = erf(values)
    np.testing.assert_array_equal(found, [0, 0, 1, -1, 1, 1, -1, np.nan])
    assert np.signbit(found[1])
    assert np.abs(erf(np.linspace(5, 7, 10_001))).max() == 1
    x = np.linspace(-7, 7, 1001).astype(np.float32)
    assert erf(x).dtype == np.float32
    np.testing.assert_allclose(erf(x), of_each(x), atol=1e-6)


def test_gelu_far_from_zero():
    x = mr.tensor([-1e10, -100.0, 100.0, 1e10], requires_grad=True)
    y = F.gelu(x)
    y.backward(np.ones(4, np.float32))
    assert y.array.tolist() == [0, 0, 100, 1e10]
    assert x.grad.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "name, kinks, expected",
    [
        ("relu6", [0, 6, math.nan], [0, 0, 1]),
        ("elu, alpha", [0, math.nan], [-1.7, 1]),
        ("hardswish", [-3, 3], [0, 1]),
        ("silu", [0], [0.5]),
    ],
)
def test_the_derivative_at_a_kink_is_pytorchs(name, kinks, expected):
    x = mr.tensor(np.array(kinks, float), requires_grad=True)
    FORMULAS[name][0](x).backward(np.ones(len(kinks)))
    np.testing.assert_allclose(x.grad, expected)


def test_elu_keeps_the_digits_of_small_numbers_and_does_not_overflow():
    x = mr.tensor(np.array([-1e-20, 1e4, -1e4]), requires_grad=True)
    y = F.elu(x)
    y.backward(np.ones(3))
    assert y.array.tolist() == [-1e-20, 1e4, -1]
    assert x.grad.tolist() == [1, 1, 0]


@given(shape=shapes(1, 4), seed=seeds, alike=st.booleans())
def test_prelu(shape, seed, alike):
    rng = np.random.default_rng(seed)
    x, weight = apart(shape, seed), rng.standard_normal(1 if alike or len(shape) < 2 else shape[1])
    stretched = weight.reshape(-1, *(1,) * (len(shape) - 2)) if len(shape) > 1 else weight
    np.testing.assert_array_equal(F.prelu(mr.tensor(x), mr.tensor(weight)).array, np.where(x > 0, x, stretched * x))
    check_gradient(F.prelu, x, weight)


def test_prelu_at_zero_infinity_and_of_one_number():
    x, weight = mr.tensor([0.0, math.inf], requires_grad=True), mr.tensor([0.25], requires_grad=True)
    F.prelu(x, weight).backward(np.ones(2, np.float32))
    assert x.grad.tolist() == [0.25, 1]
    assert weight.grad.tolist() == [0]
    assert F.prelu(mr.tensor(-2.0), weight).array.tolist() == -0.5


def test_the_layers_call_their_functions():
    x = 3 * mr.randn(2, 3, 4)
    for layer, expected in (
        (nn.ReLU6(), F.relu6(x)),
        (nn.ELU(0.5), F.elu(x, 0.5)),
        (nn.GELU(), F.gelu(x)),
        (nn.GELU("tanh"), F.gelu(x, "tanh")),
        (nn.SiLU(), F.silu(x)),
        (nn.Hardswish(), F.hardswish(x)),
        (nn.Softmax(1), F.softmax(x, 1)),
        (nn.LogSoftmax(-1), F.log_softmax(x, -1)),
        (nn.PReLU(3, 0.1), F.prelu(x, mr.tensor([0.1] * 3))),
    ):
        np.testing.assert_array_equal(layer(x).array, expected.array)


def test_no_activation_is_another_one():
    """Code that looks for nn.ReLU must not find what only shares a base class."""
    layers = [nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.Hardswish(), nn.LeakyReLU(), nn.ELU(), nn.Softmax(), nn.LogSoftmax()]
    for i, layer in enumerate(layers):
        assert [isinstance(layer, type(other)) for other in layers] == [i == j for j in range(len(layers))]


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: F.gelu(mr.ones(2), "erf"), ValueError, "gelu: got approximate='erf'"),
        (lambda: F.prelu(mr.ones(2, 3), mr.ones(2)), ValueError, r"prelu: got Tensor weight of shape \(2,\).*of 3"),
        (lambda: F.prelu(mr.ones(3), mr.ones(3)), ValueError, "prelu: got"),
        (lambda: nn.PReLU(0), ValueError, "PReLU: got num_parameters=0"),
        (lambda: nn.Softmax()(mr.ones(2)), TypeError, "softmax: got dim=None"),
        *((lambda f=f: f(mr.tensor([1, 2])), TypeError, "got an input of dtype int64")
          for f in (F.elu, F.gelu, F.silu, F.hardswish)),
    ],
)  # fmt: skip
def test_bad_input_is_explained(call, error, text):
    with pytest.raises(error, match=text):
        call()
