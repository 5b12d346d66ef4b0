"""Group, layer and instance norm against their definition, and the running statistics."""

import math

import numpy as np
import pytest
from differences import check_gradient
from hypothesis import given, strategies as st
from strategies import seeds, shapes

import minires as mr
from minires import nn
from minires.nn import functional as F


def standardised(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def channelwise(a, ndim):
    return a.reshape(-1, *(1,) * (ndim - 2))


@given(st.integers(1, 3), st.integers(1, 3), shapes(1, 2), seeds)
def test_group_norm(groups, each, rest, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, groups * each, *rest)) + 3
    weight, bias = rng.standard_normal((2, groups * each))
    if each * math.prod(rest) > 1:  # the variance is not 0, so that ε need not be large for a smooth function
        grouped = standardised(x.reshape(2, groups, -1), 2, 0.1).reshape(x.shape)
        expected = grouped * channelwise(weight, x.ndim) + channelwise(bias, x.ndim)
        found = F.group_norm(mr.tensor(x), groups, mr.tensor(weight), mr.tensor(bias), 0.1)
        np.testing.assert_allclose(found.array, expected, rtol=1e-10, atol=1e-12)
        check_gradient(lambda x, w, b: F.group_norm(x, groups, w, b, 0.1), x, weight, bias)


@given(shapes(0, 2), shapes(1, 2), seeds)
def test_layer_norm(before, shape, seed):
    rng = np.random.default_rng(seed)
    x, weight, bias = rng.standard_normal((*before, *shape)), rng.standard_normal(shape), rng.standard_normal(shape)
    expected = standardised(x, tuple(range(-len(shape), 0)), 0.1) * weight + bias
    found = F.layer_norm(mr.tensor(x), shape, mr.tensor(weight), mr.tensor(bias), 0.1)
    np.testing.assert_allclose(found.array, expected, rtol=1e-10, atol=1e-12)
    check_gradient(lambda x, w, b: F.layer_norm(x, shape, w, b, 0.1), x, weight, bias)


@given(st.integers(1, 3), st.integers(1, 3), seeds)
def test_instance_norm(samples, channels, seed):
    rng = np.random.default_rng(seed)
    x, (weight, bias) = rng.standard_normal((samples, channels, 2, 3)), rng.standard_normal((2, channels))
    expected = standardised(x, (2, 3), 0.1) * channelwise(weight, 4) + channelwise(bias, 4)
    found = F.instance_norm(mr.tensor(x), None, None, mr.tensor(weight), mr.tensor(bias), eps=0.1)
    np.testing.assert_allclose(found.array, expected, rtol=1e-10, atol=1e-12)
    check_gradient(lambda x, w, b: F.instance_norm(x, None, None, w, b, eps=0.1), x, weight, bias)


def test_what_the_norms_have_in_common():
    """Group norm with one group is layer norm of a sample, and with as many as channels it is instance norm."""
    x = mr.randn(2, 6, 3, 4, dtype=mr.float64)
    np.testing.assert_allclose(F.group_norm(x, 1).array, F.layer_norm(x, (6, 3, 4)).array, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(F.group_norm(x, 6).array, F.instance_norm(x).array, rtol=1e-12, atol=1e-14)


def test_instance_norm_remembers_the_mean_of_the_samples_statistics():
    norm, x = nn.InstanceNorm2d(3, momentum=0.2, track_running_stats=True).double(), mr.randn(4, 3, 2, 5).double()
    y = norm(x)
    np.testing.assert_allclose(y.array, standardised(x.array, (2, 3), 1e-5))
    mean, var = x.array.mean((2, 3)).mean(0), x.array.var((2, 3), ddof=1).mean(0)
    np.testing.assert_allclose(norm.running_mean, 0.2 * mean)
    np.testing.assert_allclose(norm.running_var, 0.8 + 0.2 * var)
    before = norm.state_dict()
    mean, var = (channelwise(before[name], 4) for name in ("running_mean", "running_var"))
    expected = (x.array - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(norm.eval()(x).array, expected)
    assert all(np.array_equal(before[name], array) for name, array in norm.state_dict().items())


def test_a_wrong_scale_leaves_the_running_statistics_as_they_are():
    mean, var = np.zeros(2), np.ones(2)
    with pytest.raises(ValueError, match="instance_norm: got Tensor weight"):
        F.instance_norm(mr.randn(3, 2, 4).double(), mean, var, mr.ones(3).double())
    assert mean.tolist() == [0, 0] and var.tolist() == [1, 1]


def test_instance_norm_recomputed_remembers_once():
    norm, x = nn.InstanceNorm2d(2, track_running_stats=True), mr.randn(3, 2, 2, 2).requires_grad_()
    other = nn.InstanceNorm2d(2, track_running_stats=True)
    mr.checkpoint(norm, x).sum().backward()
    other(x)
    np.testing.assert_array_equal(norm.running_mean, other.running_mean)


def test_instance_norm_of_one_image():
    norm, x = nn.InstanceNorm2d(2, affine=True), mr.randn(2, 3, 4)
    np.testing.assert_array_equal(norm(x).array, norm(x.unsqueeze(0)).array[0])


def test_the_layers_hold_their_scale_and_shift():
    for layer, shape in ((nn.GroupNorm(2, 4), (4,)), (nn.LayerNorm((2, 3)), (2, 3)), (nn.LayerNorm(5), (5,)),
                         (nn.InstanceNorm2d(3, affine=True), (3,))):  # fmt: skip
        assert [(name, p.shape) for name, p in layer.named_parameters()] == [("weight", shape), ("bias", shape)]
    without = [nn.GroupNorm(2, 4, bias=False), nn.LayerNorm(4, bias=False), nn.BatchNorm2d(4, bias=False)]
    assert all([name for name, _ in layer.named_parameters()] == ["weight"] for layer in without)
    none = [nn.GroupNorm(2, 4, affine=False), nn.LayerNorm(4, elementwise_affine=False), nn.InstanceNorm2d(4)]
    assert all(layer.state_dict() == {} for layer in none)
    x = mr.randn(3, 4)
    np.testing.assert_array_equal(nn.GroupNorm(2, 4, 1e-3)(x).array, F.group_norm(x, 2, eps=1e-3).array)
    np.testing.assert_array_equal(nn.LayerNorm(4, 1e-3)(x).array, F.layer_norm(x, (4,), eps=1e-3).array)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(2), nn.InstanceNorm2d(2, track_running_stats=True)])
def test_running_statistics_can_start_again(norm):
    start = norm.state_dict()
    held = norm.running_mean
    norm(3 * mr.randn(4, 2, 3) + 1 if isinstance(norm, nn.BatchNorm1d) else 3 * mr.randn(4, 2, 3, 3) + 1)
    assert not np.array_equal(norm.running_mean, start["running_mean"])
    norm.reset_running_stats()
    assert norm.running_mean is held  # a captured step goes on writing there
    assert all(np.array_equal(start[name], array) for name, array in norm.state_dict().items())
    nn.BatchNorm1d(2, track_running_stats=False).reset_running_stats()


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: F.group_norm(mr.ones(2, 6), 4), r"group_norm: got num_groups=4 for input \(2, 6\)"),
        (lambda: F.group_norm(mr.ones(6), 2), "group_norm: got"),
        (lambda: F.group_norm(mr.ones(1, 2, 1), 2), "group_norm: got one value per group"),
        (lambda: F.group_norm(mr.ones(2, 4), 2, mr.ones(2)), r"group_norm: got Tensor weight of shape \(2,\).*\(4,\)"),
        (lambda: nn.GroupNorm(3, 4), "GroupNorm: got 3 groups of 4 channels"),
        (lambda: F.layer_norm(mr.ones(2, 3), (2,)), r"layer_norm: got normalized_shape \(2,\) for input \(2, 3\)"),
        (lambda: F.layer_norm(mr.ones(2, 3), ()), "layer_norm: got"),
        (lambda: F.layer_norm(mr.ones(2, 3), (3,), bias=mr.ones(2, 3)), "layer_norm: got Tensor bias"),
        (lambda: nn.LayerNorm((3, 0)), r"LayerNorm: got normalized_shape\[1\]=0"),
        (lambda: F.instance_norm(mr.ones(2, 3, 1, 1)), "instance_norm: got an input of shape"),
        (lambda: F.instance_norm(mr.ones(2, 3)), "instance_norm: got an input of shape"),
        (lambda: F.instance_norm(mr.ones(2, 3, 4), np.zeros(3)), "instance_norm: got only one of"),
        (
            lambda: F.instance_norm(mr.ones(2, 3, 4), np.zeros(1), np.ones(1)),
            r"instance_norm: got running_mean and running_var of shapes \(1,\) and \(1,\).*\(3,\)",
        ),
        (lambda: nn.InstanceNorm2d(3)(mr.ones(2, 4, 5, 5)), "InstanceNorm2d: got an input of shape"),
    ],
)
def test_bad_input_is_explained(call, text):
    with pytest.raises(ValueError, match=text):
        call()
