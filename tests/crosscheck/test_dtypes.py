"""Dtypes against PyTorch: every operator, method and function, for every type and pair of types.

The rule: PyTorch's result type and value, or an error that says what to do. `refused` and `computed` list where one of
the two raises and the other does not.
"""

import itertools
import operator

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minires as mr

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
RTOL = {"float16": 4e-3, "float32": 2e-6, "float64": 1e-12}
few, some = settings(max_examples=2, deadline=None), settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def F(lib):
    return lib.nn.functional


UNARY = {
    "neg": lambda lib, x: -x,
    "neg()": lambda lib, x: x.neg(),
    **{name: (lambda lib, x, name=name: getattr(x, name)()) for name in
       ("exp", "log", "sqrt", "abs", "relu", "sigmoid", "tanh", "sum", "mean", "var", "max", "min", "amax", "amin",
        "argmax", "argmin", "float", "double", "long", "flatten", "squeeze")},
    **{f"{name}(1)": (lambda lib, x, name=name: getattr(x, name)(1)) for name in
       ("sum", "mean", "var", "amax", "amin", "argmax", "argmin", "unsqueeze")},
    **{f"{name}(0, keepdim)": (lambda lib, x, name=name: getattr(x, name)(0, keepdim=True)) for name in
       ("sum", "mean", "amax", "amin", "argmax", "argmin")},
    **{f"{name}(())": (lambda lib, x, name=name: getattr(x, name)(())) for name in
       ("sum", "mean", "var", "amax", "amin")},
    "max(0).values": lambda lib, x: x.max(0).values, "max(1).indices": lambda lib, x: x.max(1).indices,
    "min(0).values": lambda lib, x: x.min(0).values, "min(1).indices": lambda lib, x: x.min(1).indices,
    "clamp(1, 3)": lambda lib, x: x.clamp(1, 3), "clamp(0.5)": lambda lib, x: x.clamp(0.5),
    "clamp(max=2.5)": lambda lib, x: x.clamp(max=2.5),
    "F.relu": lambda lib, x: F(lib).relu(x), "F.sigmoid": lambda lib, x: F(lib).sigmoid(x),
    "F.tanh": lambda lib, x: F(lib).tanh(x), "F.leaky_relu": lambda lib, x: F(lib).leaky_relu(x),
    "F.softmax": lambda lib, x: F(lib).softmax(x, 0), "F.log_softmax": lambda lib, x: F(lib).log_softmax(x, 1),
    "F.dropout": lambda lib, x: F(lib).dropout(x, 0.5, training=False),
    "F.pad": lambda lib, x: F(lib).pad(x, (1, 1)), "F.mse_loss": lambda lib, x: F(lib).mse_loss(x, x * 1),
    "F.max_pool2d": lambda lib, x: F(lib).max_pool2d(x[None, None], 2),
    "F.avg_pool2d": lambda lib, x: F(lib).avg_pool2d(x[None, None], 2),
    "F.adaptive_avg_pool2d": lambda lib, x: F(lib).adaptive_avg_pool2d(x[None, None], 1),
    "F.batch_norm": lambda lib, x: F(lib).batch_norm(x, None, None, training=True, eps=1.0),
    "F.one_hot": lambda lib, x: F(lib).one_hot(x.abs()),
    "reshape": lambda lib, x: x.reshape(-1), "T": lambda lib, x: x.T, "expand": lambda lib, x: x.expand(2, *x.shape),
    "transpose": lambda lib, x: x.transpose(0, 1), "permute": lambda lib, x: x.permute(1, 0),
    "x[0]": lambda lib, x: x[0], "x[mask]": lambda lib, x: x[x > 1], "x[(0, 0), :]": lambda lib, x: x[(0, 0), :],
    "where(x)": lambda lib, x: lib.where(x > 1, x, 0), "where(0.5)": lambda lib, x: lib.where(x > 1, x, 0.5),
    "zeros_like": lambda lib, x: lib.zeros_like(x), "ones_like": lambda lib, x: lib.ones_like(x),
}  # fmt: skip

BINARY = {
    **{f.__name__: (lambda lib, x, y, f=f: f(x, y)) for f in
       (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow,
        operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)},
    "matmul": lambda lib, x, y: x @ y.T,
    "maximum": lambda lib, x, y: lib.maximum(x, y), "minimum": lambda lib, x, y: lib.minimum(x, y),
    "where": lambda lib, x, y: lib.where(x > 1, x, y),
    "cat": lambda lib, x, y: lib.cat([x, y]), "stack": lambda lib, x, y: lib.stack([x, y], 1),
    "F.linear": lambda lib, x, y: F(lib).linear(x, y), "F.mse_loss": lambda lib, x, y: F(lib).mse_loss(x, y),
    **{f.__name__: (lambda lib, x, y, f=f: f(x, y)) for f in
       (operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow)},
}  # fmt: skip

WITH_NUMBER = {
    name: BINARY[name]
    for name in ("add", "sub", "mul", "truediv", "pow", "eq", "ne", "lt", "le", "gt", "ge", "where",
                 "iadd", "isub", "imul", "itruediv", "ipow")
}  # fmt: skip

# ── where the two differ, and how ──


def refused(name, *types):
    """Whether ours raises an error where PyTorch has a result."""
    whole, floats = {t for t in types if "float" not in str(t)}, {t for t in types if str(t).startswith("float")}
    if name in ("eq", "ne", "lt", "le", "gt", "ge"):
        return False
    if len(floats) > 1:  # floating-point types do not mix
        return True
    if name in ("F.dropout", "F.max_pool2d", "F.avg_pool2d", "F.mse_loss"):
        return bool(whole)  # layers take floating point
    return name in ("pow", "ipow") and types[0] == "bool" and isinstance(types[1], bool)


def computed(name, *types):
    """Whether ours has a result where PyTorch raises: that of the types its own rules give in other functions."""
    if name == "F.one_hot":  # PyTorch takes int64 only
        return True
    return (name == "matmul" and types[0] != types[1]) or (name in ("sub", "isub") and isinstance(types[1], bool))


def outcome(lib, function, *operands):
    """(dtype, values), or the error."""
    made = [lib.tensor(a) if isinstance(a, np.ndarray) else a for a in operands]
    try:
        result = function(lib, *made)
    except (RuntimeError, TypeError, ValueError, OverflowError, IndexError) as error:
        return error
    return str(result.dtype).removeprefix("torch."), result.numpy()


def agree(name, function, *operands):
    """PyTorch's type and value; an error that names the function where it has none, or where we say so."""
    types = [str(a.dtype) if isinstance(a, np.ndarray) else a for a in operands]
    ours, theirs = outcome(mr, function, *operands), outcome(torch, function, *operands)
    case = f"{name} of {types}: {ours!r}, PyTorch has {theirs!r}"
    if isinstance(ours, Exception):
        assert isinstance(theirs, Exception) or refused(name, *types), case
        assert ": got " in str(ours) or "unsupported operand" in str(ours), case
    elif isinstance(theirs, Exception):
        assert computed(name, *types), case
    else:
        assert ours[0] == theirs[0], case
        tolerance = RTOL.get(ours[0], 0)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=tolerance, atol=tolerance, err_msg=case)


WHOLE = [
    "sum",
    "amin",
    "amax",
    "min",
    "max",
    "argmin",
    "argmax",
    "neg",
    "abs",
    "relu",
    "exp",
    "log",
    "sqrt",
    "sigmoid",
    "tanh",
]


def numbers(rng, dtype, shape, high=5):
    return rng.integers(0, high, shape).astype(dtype)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", UNARY)
@few
@given(seeds)
def test_one_operand(name, seed):
    rng = np.random.default_rng(seed)
    for dtype in DTYPES:
        agree(name, UNARY[name], numbers(rng, dtype, (3, 4)))


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("name", BINARY)
@few
@given(seeds)
def test_two_operands(name, seed):
    """Also with a single value, of shape (), on either side: it decides the type only if it is of a higher rank."""
    rng = np.random.default_rng(seed)
    for first, second in itertools.product(DTYPES, DTYPES):
        x, y = numbers(rng, first, (2, 3), 4), numbers(rng, second, (2, 3), 4)
        agree(name, BINARY[name], x, y)
        if name not in ("matmul", "cat", "stack", "F.linear", "F.mse_loss"):
            agree(name, BINARY[name], x, y[0, 0, ...])
            agree(name, BINARY[name], x[0, 0, ...], y)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("name", WITH_NUMBER)
@few
@given(seeds)
def test_a_tensor_and_a_number(name, seed):
    rng = np.random.default_rng(seed)
    for dtype, number in itertools.product(DTYPES, [True, False, 0, 1, 3, 0.5, 2.0]):
        x = numbers(rng, dtype, (2, 3), 4)
        agree(name, WITH_NUMBER[name], x, number)
        if name[0] != "i" and name != "where":
            agree(name, lambda lib, x, n: WITH_NUMBER[name](lib, n, x), x, number)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value", "ignore:overflow")
@some
@given(st.sampled_from(DTYPES[1:6]), st.data())
def test_whole_numbers_as_large_and_as_small_as_there_are(name, dtype, data):
    info = np.iinfo(dtype)
    entries = st.sampled_from([info.min, info.min + 1, 0, 1, info.max - 1, info.max]) | st.integers(info.min, info.max)
    x = np.array(data.draw(st.lists(entries, min_size=2, max_size=5)), dtype)
    agree(name, lambda lib, x: getattr(x, name)(), x)
    if name in ("min", "max"):
        agree(name, lambda lib, x: getattr(x, name)(0).values, x)
        agree(name, lambda lib, x: getattr(x, name)(0).indices, x)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("exponent", [-2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_the_gradient_of_powers_at_zero_and_infinity(dtype, exponent):
    base, cotangent = np.array([0.0, 0.5, 1.0, 2.0, np.inf], dtype), np.array([1, -1, 2, 1, 1], dtype)
    found = []
    for lib in (mr, torch):
        for call in (lambda a, b: a**b, lambda a, b: a**exponent, lambda a, b: 0.0**b):
            a, b = lib.tensor(base, requires_grad=True), lib.tensor(np.full(5, exponent, dtype), requires_grad=True)
            y = call(a, b)
            y.backward(cotangent if lib is mr else torch.tensor(cotangent))
            found.append([y.detach().numpy(), *(np.zeros(0) if t.grad is None else np.asarray(t.grad) for t in (a, b))])
    for ours, theirs in zip(found[:3], found[3:]):
        for x, y in zip(ours, theirs):
            np.testing.assert_allclose(x, y, rtol=RTOL[dtype], atol=RTOL[dtype])


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, x: x.sum(True), lambda lib, x: x.sum(False), lambda lib, x: x.mean(True), lambda lib, x: x.sum(1.0),
        lambda lib, x: x.sum(0, 1), lambda lib, x: x.var(0, 2),
        lambda lib, x: x.var(False, False), lambda lib, x: x.max(True), lambda lib, x: x.amax(True),
        lambda lib, x: x.argmax(True), lambda lib, x: x.argmin(0.0), lambda lib, x: x.squeeze(True),
        lambda lib, x: x.unsqueeze(True), lambda lib, x: x.flatten(True), lambda lib, x: x.transpose(True, 0),
        lambda lib, x: x.permute(True, False), lambda lib, x: x.size(True), lambda lib, x: F(lib).softmax(x, True),
        lambda lib, x: F(lib).log_softmax(x, (0, 1)), lambda lib, x: lib.cat([x, x], True),
        lambda lib, x: lib.stack([x, x], True), lambda lib, x: x.max((0, 1)), lambda lib, x: x.unsqueeze((0, 1)),
    ],
)  # fmt: skip
def test_what_is_no_dimension_in_pytorch_is_none_here(call):
    for lib in (mr, torch):
        with pytest.raises(TypeError):
            call(lib, lib.tensor(np.arange(6.0).reshape(2, 3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.var(False), lambda x: x.var(True), lambda x: x.var(unbiased=False), lambda x: x.var(1, False),
        lambda x: x.var(1, False, True), lambda x: x.var(1, correction=0.5), lambda x: x.squeeze(()),
        lambda x: x[0, 0].max(0).values, lambda x: x[0, 0].min(-1).indices,
    ],
)  # fmt: skip
def test_short_forms(call):
    x = np.arange(6.0).reshape(2, 3) ** 2
    np.testing.assert_allclose(call(mr.tensor(x)).numpy(), call(torch.tensor(x)).numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "key",
    [
        ((0, 0), slice(None)), (slice(None), (1, 1, 0)), (..., (0, 0)), ([0, 0], (1, 1)), ((0, 1), (1, 1), 0),
        ((True, False, True), [1, 1]), (range(2), 1), ([[0, 0], [1, 0]],), (None, (2, 2)), ([],), ((-1, 2, -1), 0),
        (np.array([0, 0]), ...), [0, 0], [True, False, True],
    ],
    ids=str,
)  # fmt: skip
def test_a_repeated_entry_gets_both_gradients_however_it_is_named(key):
    values = np.arange(24.0).reshape(3, 4, 2)
    x, t = mr.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    y, z = x[key], t[tuple(list(k) if isinstance(k, range) else k for k in key) if isinstance(key, tuple) else key]
    assert y.shape == tuple(z.shape)
    cotangent = np.arange(1.0, 1 + y.numel()).reshape(y.shape)
    y.backward(cotangent)
    z.backward(torch.tensor(cotangent))
    np.testing.assert_array_equal(y.numpy(), z.detach().numpy())
    np.testing.assert_array_equal(x.grad, t.grad.numpy())
