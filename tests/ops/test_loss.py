"""Losses: their gradients for every kind of target and reduction."""

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given, strategies as st
from strategies import seeds, shapes

import minires as mr
from minires.nn import functional as F

reductions = st.sampled_from(["mean", "sum", "none"])


@st.composite
def classifications(draw):
    """Logits (N, K, …), class indices (N, …) and class weights (K)."""
    batch, classes, positions = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(shapes(max_ndim=2, max_side=3))
    rng = np.random.default_rng(draw(seeds))
    logits = 3 * rng.standard_normal((batch, classes, *positions))
    return logits, rng.integers(0, classes, (batch, *positions)), rng.uniform(0.5, 2, classes)


@given(classifications(), reductions, st.sampled_from([0.0, 0.1, 1.0]), st.booleans(), st.booleans())
def test_cross_entropy_gradient(case, reduction, smoothing, weighted, ignoring):
    logits, target, weight = case
    options = dict(reduction=reduction, label_smoothing=smoothing, weight=mr.tensor(weight) if weighted else None)
    if ignoring and target.size > 1:
        target.flat[-1] = -100
    check_gradient(lambda z: F.cross_entropy(z, mr.tensor(target), **options), logits)


@given(classifications(), reductions, seeds)
def test_cross_entropy_gradient_for_probabilities(case, reduction, seed):
    logits = case[0]
    target = np.random.default_rng(seed).uniform(0, 1, logits.shape)
    check_gradient(lambda z: F.cross_entropy(z, mr.tensor(target), reduction=reduction), logits)


@given(classifications(), reductions)
def test_nll_loss_gradient(case, reduction):
    logits, target, weight = case
    check_gradient(lambda z: F.nll_loss(z, mr.tensor(target), mr.tensor(weight), reduction=reduction), logits)


@given(shapes(), seeds, reductions)
def test_mse_loss_gradient(shape, seed, reduction):
    rng = np.random.default_rng(seed)
    check_gradient(
        lambda x, y: F.mse_loss(x, y, reduction=reduction), rng.standard_normal(shape), rng.standard_normal(shape)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_extreme_logits(dtype):
    """Neither overflow nor 0·∞: a class ruled out by −∞ costs nothing unless it is the target."""
    z = mr.tensor(np.array([[1e4, 0, -1e4], [0, 0, -np.inf]], dtype), requires_grad=True)
    loss = F.cross_entropy(z, mr.tensor([1, 0]), reduction="none")
    np.testing.assert_allclose(loss.array, [1e4, np.log(2)], rtol=1e-6)
    loss.backward(np.ones(2, dtype))
    np.testing.assert_allclose(z.grad, [[1, -1, 0], [-0.5, 0.5, 0]])


@given(st.lists(st.integers(-2, 3), min_size=2, max_size=6), seeds)
def test_pad_gradient(widths, seed):
    """Negative widths crop."""
    widths = widths[: len(widths) // 2 * 2]
    x = np.random.default_rng(seed).standard_normal((4, 5, 6))
    check_gradient(lambda x: F.pad(x, tuple(widths), value=0.5), x)
