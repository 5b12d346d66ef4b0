"""Infinite and NaN values and gradients: what did not contribute gets 0, not 0·∞; NaN passes as in PyTorch.

On every device, so by the definition, in NumPy and in CUDA. The expected values are PyTorch's (2.13).
"""

import numpy as np
import pytest

import minires as mr
from minires import cuda_on_cpu, kernels
from minires.kernels import cpu, textbook
from minires.nn import functional as F

inf, nan = float("inf"), float("nan")
DEVICES = ["cpu", pytest.param("cuda-on-cpu", marks=pytest.mark.skipif(not cuda_on_cpu.available(), reason="no g++"))]
X = [-1.0, 0.0, 1.0, nan, inf, -inf]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def gradient(f, x, g, device):
    x = mr.Tensor(kernels.to_device(np.array(x, np.float32), device), requires_grad=True)
    y = f(x)
    y.backward(kernels.to_device(np.full(y.shape, g, np.float32), device))
    return np.array(mr.Tensor(x.grad).numpy()).tolist()


@pytest.mark.parametrize("g", [7.0, inf, -inf, nan])
@pytest.mark.parametrize(
    ("f", "passes"),
    [
        (F.relu, [0, 0, 1, 1, 1, 0]),
        (lambda x: x.relu(), [0, 0, 1, 1, 1, 0]),
        (lambda x: x.clamp(-0.5, 2), [0, 1, 1, 0, 0, 0]),
        (lambda x: x.clamp(min=0), [0, 1, 1, 0, 1, 0]),
        (lambda x: x.clamp(max=0.5), [1, 1, 0, 0, 0, 1]),
        (lambda x: mr.where(x > 0, x, 0.0), [0, 0, 1, 0, 1, 0]),
        (lambda x: mr.maximum(x, mr.full(6, 0.5).to(x.device)), [0, 0, 1, 1, 1, 0]),
        (lambda x: mr.minimum(x, mr.full(6, 0.5).to(x.device)), [1, 1, 0, 1, 0, 1]),
        (lambda x: mr.maximum(x, mr.full(6, nan).to(x.device)), [1, 1, 1, 1, 1, 1]),
    ],
    ids=["relu", "method", "clamp", "from below", "from above", "where", "maximum", "minimum", "of nan"],
)
def test_the_gradient_passes_or_is_zero(f, passes, g, device):
    np.testing.assert_array_equal(gradient(f, X, g, device), [g if p else 0 for p in passes])


@pytest.mark.parametrize("g", [inf, nan])
def test_ties_share_it(g, device):
    assert np.array_equal(gradient(lambda x: mr.maximum(x, x.detach()), [1.0, 2.0], g, device), [g, g], equal_nan=True)


@pytest.mark.parametrize("g", [7.0, inf, nan])
def test_leaky_relu(g, device):
    """Its slope is the derivative at 0, and at NaN."""
    found = gradient(lambda x: F.leaky_relu(x, 0.25), X, g, device)
    np.testing.assert_array_equal(found, np.array([0.25, 0.25, 1, 0.25, 1, 0.25]) * g)


@pytest.mark.parametrize("g", [7.0, inf, -inf, nan])
@pytest.mark.parametrize("window", [((2, 2), (2, 2), (0, 0)), ((3, 3), (1, 1), (1, 1)), ((2, 3), (1, 2), (1, 0))])
def test_max_pool(g, window, device, rng):
    """Only the largest entries of the windows get any, and each no more than the sum of what they sent."""
    x = rng.permutation(2 * 3 * 6 * 6).reshape(2, 3, 6, 6).astype(np.float32)
    y, tap = textbook.max_pool2d(x, *window)
    one_bad = np.ones(y.shape, np.float32)
    one_bad[0, 0, 0, 0] = g
    expected = textbook.max_pool2d_backward(one_bad, tap, x.shape, *window)
    here = kernels.to_device(x, device)
    _, tap = kernels.of(here).max_pool2d(here, *window)
    found = kernels.of(here).max_pool2d_backward(kernels.to_device(one_bad, device), tap, x.shape, *window)
    np.testing.assert_array_equal(np.array(found), expected)
    assert np.isfinite(expected).sum() >= expected.size - 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_s_kernels_agree(dtype, device):
    y = np.array([0, 0, 0, 0, 1, 1, 1, inf, nan, -nan], dtype)
    g = np.array([inf, -inf, nan, 3, inf, nan, 3, 3, 3, inf], dtype)
    expected = [0, 0, 0, 0, inf, nan, 3, 3, 3, inf]
    for function in (textbook.relu_backward, cpu.relu_backward):
        np.testing.assert_array_equal(function(g, y), expected)
    there = kernels.to_device(g, device), kernels.to_device(y, device)
    np.testing.assert_array_equal(np.array(kernels.of(there[0]).relu_backward(*there)), expected)


def test_no_nan_comes_of_an_infinite_gradient_behind_a_dead_unit():
    """The unit's weights are not to blame, and not to be lost."""
    w = mr.tensor([[1.0], [-1.0]], requires_grad=True)
    hidden = F.relu(F.linear(mr.tensor([[2.0]]), w))
    hidden.backward(np.array([[1.0, inf]], np.float32))
    assert w.grad.tolist() == [[2], [0]]


@pytest.mark.parametrize("f", [F.softmax, F.log_softmax], ids=["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "dim"), [((3, 0), 1), ((0, 3), 1), ((0, 3), 0), ((2, 0, 3), 1)])
def test_softmax_of_nothing_is_nothing(f, shape, dim, device):
    x = mr.Tensor(kernels.to_device(np.zeros(shape, np.float32), device), requires_grad=True)
    y = f(x, dim)
    y.backward(kernels.to_device(np.zeros(shape, np.float32), device))
    assert y.shape == x.grad.shape == shape


def test_a_linear_layer_of_nothing_is_its_bias(device):
    x, w, b = (
        mr.Tensor(kernels.to_device(np.ones(shape, np.float32), device), requires_grad=True)
        for shape in ((4, 0), (2, 0), (2,))
    )
    y = F.linear(x, w, b)
    y.backward(kernels.to_device(np.ones((4, 2), np.float32), device))
    assert np.array_equal(np.array(y.array), np.ones((4, 2))) and np.array(b.grad).tolist() == [4, 4]
