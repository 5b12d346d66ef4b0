"""Batch normalisation as an op: gradients in training and evaluation, and what the running statistics become."""

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given
from strategies import seeds, shapes

import minires as mr
from minires.nn import functional as F

images = shapes(2, 4).filter(lambda s: np.prod(s) > s[1])


@given(images, seeds)
def test_gradient_in_training(shape, seed):
    """With a large ε, because two close values make 1/√(σ² + ε) too curved to difference."""
    rng = np.random.default_rng(seed)
    x, gamma, beta = rng.standard_normal(shape), *rng.standard_normal((2, shape[1]))
    check_gradient(lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True, eps=0.1), x, gamma, beta)
    check_gradient(lambda x: F.batch_norm(x, None, None, training=True, eps=0.1), x)


def test_gradient_at_the_usual_epsilon(rng):
    x, gamma, beta = 3 + 2 * rng.standard_normal((4, 3, 5, 5)), *rng.standard_normal((2, 3))
    check_gradient(lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True), x, gamma, beta)


@given(shapes(2, 4), seeds)
def test_gradient_in_evaluation(shape, seed):
    rng = np.random.default_rng(seed)
    x, (gamma, beta, mean) = rng.standard_normal(shape), rng.standard_normal((3, shape[1]))
    var = rng.uniform(0.5, 2, shape[1])
    check_gradient(lambda x, g, b: F.batch_norm(x, mean, var, g, b), x, gamma, beta)
    check_gradient(lambda x: F.batch_norm(x, mean, var), x)


def test_normalises_with_the_biased_and_remembers_the_unbiased_variance(rng):
    x = rng.standard_normal((4, 3, 2, 2))
    mean, var = np.full(3, 5.0), np.full(3, 7.0)
    y = F.batch_norm(mr.tensor(x), mean, var, training=True, momentum=0.1, eps=0.0)
    axes = (0, 2, 3)
    np.testing.assert_allclose(y.array, (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True))
    np.testing.assert_allclose(mean, 0.9 * 5 + 0.1 * x.mean(axes))
    np.testing.assert_allclose(var, 0.9 * 7 + 0.1 * x.var(axes, ddof=1))


def test_epsilon_stands_under_the_root():
    y = F.batch_norm(mr.tensor(np.array([[-1.0], [1.0]])), None, None, training=True, eps=3.0)
    np.testing.assert_allclose(y.array, [[-0.5], [0.5]])


WRONG = {
    "one per channel": (mr.zeros(1, 3), {}, ValueError, r"one value per channel in training.*\(1, 3\).*drop_last=True"),
    "one axis": (mr.zeros(3), {}, ValueError, r"batch_norm: got an input of shape \(3,\)"),
    "whole numbers": (mr.zeros(2, 3, dtype=int), {}, TypeError, "batch_norm: got an input of dtype int64"),
    "weight": (mr.zeros(2, 3), {"weight": mr.ones(2)}, ValueError, r"batch_norm: got weight of shape \(2,\).*\(3,\)"),
    "bias": (mr.zeros(2, 3), {"bias": mr.ones(1, 3)}, ValueError, r"batch_norm: got bias of shape \(1, 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_shapes_that_do_not_fit(name):
    x, options, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        F.batch_norm(x, None, None, training=True, **options)


@pytest.mark.parametrize("training", [True, False])
def test_one_running_array_alone_is_an_error(training):
    for mean, var in ((np.zeros(3), None), (None, np.ones(3))):
        with pytest.raises(ValueError, match="batch_norm: got only one of running_mean and running_var"):
            F.batch_norm(mr.zeros(4, 3), mean, var, training=training)


def test_running_statistics_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"batch_norm: got running_var of shape \(2,\).*expected \(3,\)"):
        F.batch_norm(mr.zeros(4, 3), np.zeros(3), np.ones(2))
