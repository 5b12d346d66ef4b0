"""Tensor methods and functions against PyTorch: values, gradients, shapes and ties."""

import numpy as np
import pytest

import minires as mr

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")

DIMS = [None, 0, 1, -1, (0, 2), (-1, 0)]


def same(function):
    """The same expression for both libraries, which it takes as its first argument."""
    return (lambda *t: function(mr, *t)), (lambda *t: function(torch, *t))


def on_method(name, *args, **options):
    def call(t):
        return getattr(t, name)(*args, **options)

    return call, call


# ── reductions ──


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "var"])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("keepdim", [False, True])
def test_reductions(agree, randn, name, dim, keepdim):
    if dim is None and name in ("amax", "amin"):
        agree(*on_method(name), randn(3, 4, 2))
    else:
        agree(*on_method(name, dim=dim, keepdim=keepdim), randn(3, 4, 2))


@pytest.mark.parametrize("options", [dict(unbiased=False), dict(unbiased=True), dict(correction=0), dict(correction=2)])
@pytest.mark.parametrize("dim", [0, (1, 2)])
def test_variance_corrections(agree, randn, options, dim):
    agree(*on_method("var", dim, **options), randn(3, 4, 2))


def test_whole_reductions(agree, randn):
    for name in ("sum", "mean", "var", "max", "min"):
        agree(*on_method(name), randn(3, 4))
    agree(lambda t: t.var(unbiased=False), lambda t: t.var(unbiased=False), randn(3, 4))


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_extremes_along_a_dimension(agree, randn, name, dim, keepdim):
    x = randn(3, 4, 2)
    agree(lambda t: getattr(t, name)(dim, keepdim)[0], lambda t: getattr(t, name)(dim, keepdim)[0], x)
    ours, theirs = (getattr(lib.tensor(x), name)(dim, keepdim) for lib in (mr, torch))
    np.testing.assert_array_equal(ours.indices.numpy(), theirs.indices.numpy())
    arg_ours, arg_theirs = (getattr(lib.tensor(x), f"arg{name}") for lib in (mr, torch))
    np.testing.assert_array_equal(arg_ours(dim).numpy(), arg_theirs(dim).numpy())
    assert arg_ours().item() == arg_theirs().item()


# ── ties and kinks ──

TIED = np.array([[1.0, 3.0, 3.0, -1.0], [2.0, 2.0, 2.0, 2.0], [0.0, -0.0, -1.0, 0.0]])


@pytest.mark.parametrize("name", ["amax", "amin"])
@pytest.mark.parametrize("dim", [0, 1, (0, 1)])
def test_amax_and_amin_share_the_gradient_among_ties(agree, name, dim):
    agree(*on_method(name, dim), TIED)


@pytest.mark.parametrize("name", ["max", "min"])
def test_whole_max_and_min_share_the_gradient_among_ties(agree, name):
    agree(*on_method(name), TIED)


@pytest.mark.parametrize("name", ["max", "min"])
def test_max_and_min_along_a_dimension_give_it_to_the_first(agree, name):
    agree(lambda t: getattr(t, name)(1)[0], lambda t: getattr(t, name)(1)[0], TIED)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_maximum_and_minimum_halve_it_at_ties(agree, name):
    agree(*same(lambda lib, a, b: getattr(lib, name)(a, b)), TIED, TIED[::-1].copy())


@pytest.mark.parametrize("limits", [dict(min=0.0), dict(max=2.0), dict(min=0.0, max=2.0), dict(min=2.0, max=2.0)])
def test_clamp_passes_it_on_the_bounds(agree, limits):
    agree(*on_method("clamp", **limits), TIED)


def test_relu_and_abs_at_zero(agree):
    agree(*on_method("relu"), TIED)
    agree(*on_method("abs"), TIED)


# ── arithmetic and elementwise functions ──


@pytest.mark.parametrize(
    "expression",
    [
        lambda lib, a, b: a + b,
        lambda lib, a, b: a - b,
        lambda lib, a, b: a * b,
        lambda lib, a, b: a / b,
        lambda lib, a, b: a.abs() ** b,
        lambda lib, a, b: 2 - a / 3 + 4 * b - (-a),
        lambda lib, a, b: 1 / b + 2.0**a,
        lambda lib, a, b: a * a * a + a,  # one tensor, several consumers
        lambda lib, a, b: lib.where(a > b, a, b * 2),
        lambda lib, a, b: lib.maximum(a, b) + lib.minimum(a, b) * 3,
    ],
)
@pytest.mark.parametrize("shapes", [((3, 4),) * 2, ((3, 4), (4,)), ((3, 1), (1, 4)), ((2, 3, 4), (3, 1)), ((), (3,))])
def test_arithmetic_broadcasts(agree, randn, expression, shapes):
    agree(*same(expression), *(randn(*s) for s in shapes))


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "abs", "tanh", "sigmoid", "relu"])
def test_elementwise(agree, randn, name):
    agree(*on_method(name), np.abs(randn(3, 4)) + 0.1)


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -1, -2.5, 0, 1])
def test_powers(agree, randn, exponent):
    agree(*same(lambda lib, a: a**exponent), np.abs(randn(3, 4)) + 0.1)


def test_powers_at_zero(agree):
    for exponent in (0, 1, 2, 3):
        agree(*same(lambda lib, a, n=exponent: a**n), np.array([0.0, -1.0, 2.0]))


@pytest.mark.parametrize(
    "shapes",
    [((3, 4), (4, 2)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2))],
)
def test_matmul(agree, randn, shapes):
    agree(*same(lambda lib, a, b: a @ b), *(randn(*s) for s in shapes))


# ── shapes ──


@pytest.mark.parametrize(
    "expression",
    [
        lambda lib, t: t.reshape(6, 4),
        lambda lib, t: t.reshape((-1, 2)),
        lambda lib, t: t.view(3, -1),
        lambda lib, t: t.flatten(),
        lambda lib, t: t.flatten(1),
        lambda lib, t: t.flatten(0, 1),
        lambda lib, t: lib.flatten(t, 1),
        lambda lib, t: t.transpose(0, 2),
        lambda lib, t: t.transpose(-1, 1),
        lambda lib, t: t.permute(2, 0, 1),
        lambda lib, t: t.permute((1, -1, 0)),
        lambda lib, t: t[0].T,
        lambda lib, t: t.unsqueeze(1),
        lambda lib, t: t.unsqueeze(-1),
        lambda lib, t: t[:, :1].squeeze(),
        lambda lib, t: t[:, :1].squeeze(1),
        lambda lib, t: t.squeeze(1),
        lambda lib, t: t[:, :1].expand(3, 5, 2),
        lambda lib, t: t[:, :1].expand(2, 3, -1, 2),
        lambda lib, t: lib.cat([t, t * 2], 1),
        lambda lib, t: lib.cat((t, t[:, :, :1]), dim=-1),
        lambda lib, t: lib.stack([t, t * 2], 1),
        lambda lib, t: lib.stack([t, t], -1),
    ],
)
def test_shapes(agree, randn, expression):
    agree(*same(expression), randn(3, 4, 2))


@pytest.mark.parametrize(
    "expression",
    [
        lambda lib, t: t[1],
        lambda lib, t: t[-1, 2],
        lambda lib, t: t[1:, ::2],
        lambda lib, t: t[..., 0],
        lambda lib, t: t[:, None, 1],
        lambda lib, t: t[[0, 2, 0]],
        lambda lib, t: t[lib.tensor([0, 0, 1]), lib.tensor([1, 1, 3])],
        lambda lib, t: t[:, lib.tensor([[0, 1], [1, 1]])],
        lambda lib, t: t[t > 0],
        lambda lib, t: t[t[:, 0, 0] > -9],
        lambda lib, t: t[lib.arange(3), :, lib.tensor([1, 0, 1])],
    ],
)
def test_indexing(agree, randn, expression):
    agree(*same(expression), randn(3, 4, 2))


def test_conversions_keep_their_types():
    for lib in (mr, torch):
        assert str(lib.tensor([1.5]).dtype).endswith("float32")
        assert str(lib.tensor([1]).dtype).endswith("int64")
        assert str(lib.arange(3).dtype).endswith("int64")
        assert str((lib.tensor([1, 2]) / 2).dtype).endswith("float32")
        assert str((lib.tensor([1, 2]) * 0.5).dtype).endswith("float32")
        assert str((lib.tensor([1.5]) * 2).dtype).endswith("float32")
        assert str((lib.tensor([1]) + lib.tensor([1.5])).dtype).endswith("float32")
        assert str((lib.tensor([1, 2]) == 1).dtype).endswith("bool")
