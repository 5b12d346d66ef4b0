"""The words for a wrong gradient: what they claim must be true of it, and their advice must mend it."""

import numpy as np
import pytest

import minires as mr
from minires.testing import gradcheck

RNG = np.random.default_rng(11)


def said(forward, backward, *arrays, slot=0):
    """(kind, words) for the gradient of one array."""
    report = gradcheck((forward, backward), *arrays, only=slot, raise_on_failure=False)
    (failure,) = report.failures
    return failure.kind, failure.likely


def normal(*shape):
    return RNG.standard_normal(shape)


def scale(x, gamma):
    return x * gamma


def shift(x, bias):
    return x + bias[:, None, None]


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("axes", [(None,), (None, slice(None), None, None)])
def test_axes_of_length_1_too_many_are_to_be_dropped(axes):
    kind, words = said(shift, lambda g, x, b: (g, g.sum((0, 2, 3))[axes]), normal(2, 3, 4, 5), normal(3), slot=1)
    assert kind == "wrong_shape" and "drop the axes" in words and "keep the axes" not in words


def test_axes_of_length_1_too_few_are_to_be_kept():
    kind, words = said(scale, lambda g, x, gamma: (g * gamma, (g * x).sum(0)), normal(5, 3), normal(1, 3), slot=1)
    assert kind == "wrong_shape" and "keep the axes" in words


def test_gradients_in_another_order_are_recognised_by_their_shapes():
    def backward(g, x, w):
        return g.T @ x, g @ w

    assert "w has that shape" in said(lambda x, w: x @ w.T, backward, normal(5, 3), normal(4, 3))[1]


def test_a_dict_of_gradients_and_none_are_called_what_they_are():
    for given, name in (({"x": 1, "gamma": 2}, "a dict"), (None, "None"), ((1.0,), "1 gradients")):
        report = gradcheck((scale, lambda g, x, gamma, r=given: r), normal(3), normal(3), raise_on_failure=False)
        assert f"backward returned {name} for 2 inputs" in report.failures[0].likely
        assert "raised" not in str(report)


class Short(mr.Op):
    """A product whose backward forgets an input, or gives a Tensor."""

    grads = staticmethod(lambda g: g)

    def forward(self, a, b):
        return a * b

    def backward(self, g):
        return self.grads(g)


class Wrapped(Short):
    """The same with Tensors."""

    grads = staticmethod(lambda g: (mr.Tensor(g), mr.Tensor(g)))


def test_an_op_that_runs_is_not_said_not_to_run():
    for op, words in ((Short, "too few gradients, or too many"), (Wrapped, "something else than an array")):
        report = gradcheck(lambda a, b, op=op: mr.apply(op, a, b), normal(3), normal(3), raise_on_failure=False)
        assert {failure.kind for failure in report.failures} == {"raises"}
        assert words in str(report) and "does not run" not in str(report)


# ── factors ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def pool(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


def pool_backward(g, x, share=1.0):
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // 2, 2, w // 2, 2)
    return ((cells == cells.max((3, 5), keepdims=True)) * g[:, :, :, None, :, None] * share).reshape(x.shape)


@pytest.mark.parametrize(
    ("forward", "backward", "arrays", "slot", "words"),
    [
        (pool, lambda g, x: pool_backward(g, x, 0.25), [normal(2, 3, 4, 6)], 0, "1/(2·2), the size of a window"),
        (shift, lambda g, x, b: (g, g.mean((0, 2, 3))), [normal(4, 3, 3, 3), normal(3)], 1, "1/(N·H·W) of"),
        (shift, lambda g, x, b: (g / 2, g.sum((0, 2, 3))), [normal(2, 3, 2, 5), normal(3)], 0, "1/N of"),
        (scale, lambda g, x, b: (g * b, (g * x).mean(0)), [normal(6, 3), normal(3)], 1, "1/6, axis 0 of"),
        (lambda x: x.mean(1), lambda g, x: np.repeat(g[:, None], 5, 1) / 4, [normal(4, 5)], 0, "5/4, both from"),
    ],
)
def test_a_factor_is_called_after_what_is_likely_to_be_divided_by(forward, backward, arrays, slot, words):
    kind, found = said(forward, backward, *arrays, slot=slot)
    assert kind == "constant_factor" and words in found


def test_numbers_that_differ_look_different():
    x = normal(4, 3)
    report = gradcheck((np.sin, lambda g, x: g * np.cos(x) * (1 + 1e-5)), x, raise_on_failure=False)
    worst = str(report).splitlines()[1]
    assert worst.partition("backward ")[2].partition(",")[0] != worst.partition("numeric ")[2].partition(" ")[0]


# ── terms and operands ──────────────────────────────────────────────────────────────────────────────────────────────


def x_hat(x, axes):
    std = np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return (x - x.mean(axes, keepdims=True)) / std, std


def norm_backward(g, x, axes, mean=np.mean, var=np.mean):
    h, std = x_hat(x, axes)
    return (g - mean(g, axes, keepdims=True) - h * var(g * h, axes, keepdims=True)) / std


def none(a, axes, keepdims):
    return 0.0


def test_sums_for_means_are_not_called_missing():
    axes = (0, 2, 3)
    words = said(
        lambda x: x_hat(x, axes)[0], lambda g, x: norm_backward(g, x, axes, np.sum, np.sum), normal(4, 2, 3, 3)
    )[1]
    assert "batch norm's mean and variance terms are both missing, or wrong" in words


def test_a_layer_norm_is_not_called_a_batch_norm():
    x = normal(4, 6)
    for mean, var in ((none, np.mean), (np.mean, none), (none, none)):
        words = said(lambda x: x_hat(x, (1,))[0], lambda g, x, m=mean, v=var: norm_backward(g, x, (1,), m, v), x)[1]
        assert "the normalisation's" in words and "batch norm" not in words


def test_a_layer_norm_without_gamma_is_named():
    def forward(x, gamma):
        return x_hat(x, (1,))[0] * gamma

    for power, words in ((0, "as if gamma were 1: forgotten?"), (2, "as if gamma were squared: once too often?")):

        def backward(g, x, gamma, power=power):
            return norm_backward(g * gamma**power, x, (1,)), (g * x_hat(x, (1,))[0]).sum(0)

        assert said(forward, backward, normal(4, 6), normal(6)) == ("swapped_operands", words)


def test_a_sum_over_the_wrong_axes_is_not_called_a_wrong_derivative():
    kind, words = said(shift, lambda g, x, b: (g, g.sum((0, 1, 2))), normal(2, 3, 4, 3), normal(3), slot=1)
    assert kind == "missing_broadcast_sum" and "derivative" not in words
    assert "summed over axes (0, 1, 2), and should be grad_output itself, summed over axes (0, 2, 3)" in words


@pytest.mark.parametrize("x", [normal(1, 5), normal(5)])
def test_nothing_is_concluded_from_a_grad_output_of_one_number(x):
    """Every gradient of one output is proportional to grad_output."""

    def forward(x):
        return np.sin(x).sum() ** 2

    def backward(g, x):
        return 2 * g * np.sin(x).sum() * np.cos(x) + g * np.arange(5.0)

    assert said(forward, backward, x)[0] != "per_channel_factor"


def test_a_mask_alone_and_random_numbers_are_among_the_causes():
    assert "a mask alone?" in said(lambda x: np.maximum(x, 0), lambda g, x: x > 0, normal(4, 5))[1]
    drawn = np.random.default_rng(0)
    kind, words = said(lambda x: 2 * x, lambda g, x: g * drawn.integers(2, size=x.shape), normal(4, 5))
    assert kind == "accumulates" and "or is it random?" in words
