"""What works entry by entry gets its arrays in memory order, as CuPy does not look for it; seen on cuda-on-cpu."""

import numpy as np
import pytest

import minires as mr
from minires import cuda_on_cpu, flow, nn
from minires.cuda_on_cpu.array import CudaOnCpuArray
from minires.kernels import layout
from minires.nn import functional as F

pytestmark = pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")
DEVICE = "cuda-on-cpu"


def lies_in_order(array):
    strides = [abs(stride) for stride, n in zip(array.strides, array.shape) if n > 1 and stride]
    return strides == sorted(strides, reverse=True)


@pytest.fixture
def out_of_order(monkeypatch):
    """What NumPy is asked with an array, of the largest there, or a place to write to, that is not in memory order."""
    found, ufunc, function = [], CudaOnCpuArray.__array_ufunc__, CudaOnCpuArray.__array_function__

    def note(name, arrays):
        largest = max(map(np.size, arrays))
        found.extend(name for a in arrays if np.size(a) == largest > 1 and not lies_in_order(a))

    def heard_ufunc(self, called, method, *inputs, **options):
        if method == "__call__":
            note(called.__name__, (*inputs, *options.get("out", ())))
        return ufunc(self, called, method, *inputs, **options)

    def heard_function(self, called, types, args, kwargs):
        if called.__name__ in ("where", "zeros_like", "ones_like"):
            note(called.__name__, args)
        return function(self, called, types, args, kwargs)

    monkeypatch.setattr(CudaOnCpuArray, "__array_ufunc__", heard_ufunc)
    monkeypatch.setattr(CudaOnCpuArray, "__array_function__", heard_function)
    return found


FUNCTIONS = {
    "arithmetic": lambda x: (2 - x) * x / 3 - x / (x * x + 1),
    "powers": lambda x: x**3 + (x.abs() + 1) ** x + x**0,
    "exponentials": lambda x: x.exp() + (x.abs() + 1).log() + x.abs().log1p() + x.abs().sqrt(),
    "steps": lambda x: x.sign() + x.floor() + x.ceil() + x.round(),
    "bounds": lambda x: x.clamp(-0.5, 0.5) + mr.maximum(x, -x) + mr.minimum(x, x * 2),
    "choices": lambda x: mr.where(x > 0, x, x * 0.1) + (x <= x * 2) * x,
    "activations": lambda x: F.leaky_relu(x) + x.sigmoid() + x.tanh() + F.elu(x) + F.hardswish(x) + F.gelu(x),
    "channels": lambda x: x * mr.arange(1, 5).float().reshape(4, 1, 1).to(x.device) - 1,
    "dropout": lambda x: F.dropout(x, 0.5),
    "whole channels dropped": lambda x: F.dropout2d(x, 0.5),
    "three summands": lambda x: x * 2 + x * 3 + x * 4,
}


def results(f, device):
    """f of a convolution's output, which lies with the batch innermost; and the gradients of image and kernel."""
    mr.manual_seed(0)
    x, w = (mr.randn(*shape).to(device).requires_grad_() for shape in ((5, 2, 3, 6), (4, 2, 3, 3)))
    mr.manual_seed(1)
    y = f(F.conv2d(x, w, padding=1))
    F.conv2d(y, mr.ones(1, 4, 3, 3).to(device)).sum().backward()
    return y, x.grad, w.grad


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_array_library_gets_views_in_memory_order(name, out_of_order):
    expected = results(FUNCTIONS[name], "cpu")
    out_of_order.clear()
    found = results(FUNCTIONS[name], DEVICE)
    assert out_of_order == []
    assert found[0].array.transpose(1, 2, 3, 0).flags.c_contiguous  # no copy for the next convolution
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4)


def test_a_gradient_that_is_multiplied_lies_in_order(out_of_order):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = mr.models.ResidualBlock(4, 4)

        def forward(self, x):
            return self.block(x)

    model = Scaled().to(DEVICE)
    x, out_of_order[:] = mr.randn(3, 4, 5, 5).to(DEVICE).requires_grad_(), []
    with flow.scaled(model, {"block.skip": 0.5}):
        model(F.relu(F.conv2d(x, mr.ones(4, 4, 1, 1).to(DEVICE)))).sum().backward()
    assert "multiply" not in out_of_order


def test_arrays_broadcast_along_memory():
    x = np.zeros((4, 3, 2, 5)).transpose(3, 0, 1, 2).view(CudaOnCpuArray)  # (5, 4, 3, 2), the batch innermost
    channel, row = np.ones((4, 1, 1)).view(CudaOnCpuArray), np.ones(2).view(CudaOnCpuArray)
    arrays, (order, back) = layout.in_memory_order(2, channel, x, row)
    assert order == (1, 2, 3, 0) and [np.shape(a) for a in arrays] == [(), (4, 1, 1, 1), (4, 3, 2, 5), (1, 1, 2, 1)]
    assert arrays[2].transpose(back).strides == x.strides
    for nothing_to_do in ((2, 3), (np.asarray(x), 1), (row, channel), (x.transpose(1, 2, 3, 0), 1)):
        assert layout.in_memory_order(*nothing_to_do) == (nothing_to_do, None)
    assert layout.entry_by_entry(np.add, x, row).strides == x.strides
