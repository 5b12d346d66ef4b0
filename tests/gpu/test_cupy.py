"""CuPy has what the ops need from the array library: seen on cuda-on-cpu, looked up in CuPy, which takes no GPU.

On the device "gpu" every NumPy function that an op calls is answered by CuPy's function of that name. Here the calls
are recorded, and each must exist in CuPy and take the arguments it was given. Skipped without CuPy.
"""

import functools
import inspect
import sys

import numpy as np
import pytest

import minires as mr
from minires import cuda_on_cpu, kernels, models, nn
from minires.cuda_on_cpu.array import CudaOnCpuArray
from minires.nn import functional as F

cupy = pytest.importorskip("cupy", reason="needs CuPy: python -m pip install -e '.[cuda13]'", exc_type=ImportError)
pytestmark = pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")
DEVICE = "cuda-on-cpu"

OPS = [
    lambda x: (x * 2 - x / 3 + x**2 - 1) ** 2, lambda x: x**0, lambda x: (x.abs() + 1) ** x, lambda x: x.exp().log(),
    lambda x: x.abs().sqrt(), lambda x: x.clamp(0, 1), lambda x: x.clamp(max=0.5), lambda x: mr.maximum(x, -x),
    lambda x: mr.minimum(x, x * 2), lambda x: mr.where(x > 0, x, 0.0), lambda x: x.sigmoid() + x.tanh() + x.relu(),
    lambda x: F.leaky_relu(x), lambda x: F.softmax(x, 1), lambda x: F.log_softmax(x, 0), lambda x: x.sum(0) + x.mean(0),
    lambda x: x.var(1), lambda x: x.amax(0), lambda x: x.amin(), lambda x: x.max(1).values, lambda x: x.min(0).values,
    lambda x: x.reshape(2, 2, 3).permute(2, 0, 1), lambda x: x[:1].expand(3, 3), lambda x: x[[0, 0, 2]],
    lambda x: x[1:, ::2], lambda x: x[x > 0], lambda x: mr.cat([x, x], 1), lambda x: mr.stack([x, x], 1),
    lambda x: F.pad(x, (1, -1)), lambda x: x.double().float(), lambda x: x.T @ x, lambda x: x @ x[0],
    lambda x: F.cross_entropy(x, (x > 0).long().argmax(1), weight=mr.ones(3).to(x.device), label_smoothing=0.1),
    lambda x: F.cross_entropy(x, F.softmax(x, 1).detach()), lambda x: F.mse_loss(x, x * 2), lambda x: x + x[0],
    lambda x: F.nll_loss(F.log_softmax(x, 1), x.argmin(1)), lambda x: F.one_hot(x.argmax(1), 3) * x, lambda x: x == x,
    lambda x: F.relu6(x) + F.elu(x) + F.gelu(x) + F.gelu(x, "tanh") + F.silu(x) + F.hardswish(x),
    lambda x: F.prelu(x, x[0]), lambda x: F.layer_norm(x, (3,)), lambda x: F.group_norm(x, 1, x[0], x[1]),
    lambda x: F.dropout2d(x[:, :, None]), lambda x: F.interpolate(x[None, None], (5, 2)),
    lambda x: F.adaptive_max_pool2d(x[None, None], 2),
    lambda x: nn.InstanceNorm2d(1, affine=True, track_running_stats=True).to(x.device)(x[None, None]),
    lambda x: nn.utils.parameters_to_vector([x, x]), lambda x: mr.where(x > 0)[0], lambda x: mr.tensor(x),
    lambda x: (x > 0).to(mr.uint8).any(), lambda x: (x > 0).to(mr.uint8).all(1), lambda x: x.long().relu(),
    lambda x: x.long() @ x.long().T, lambda x: x.argsort(1), lambda x: x.topk(2).values, lambda x: x.cumsum(0),
    lambda x: x.prod(1), lambda x: x.new_full((2,), 3), lambda x: mr.full_like(x, 2), lambda x: x.flip(0).repeat(2, 1),
]  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """What NumPy is asked with a device's array: (name, method, number of arguments, their names), and attributes."""
    calls, attributes = {}, set()
    ufunc, function = CudaOnCpuArray.__array_ufunc__, CudaOnCpuArray.__array_function__

    def heard_ufunc(self, called, method, *inputs, **options):
        if method != "reduce" and "subok" not in options:  # those are what x.sum() and x.mean() become
            calls[called.__name__, method, len(inputs), tuple(options)] = None
        return ufunc(self, called, method, *inputs, **options)

    def heard_function(self, called, types, args, kwargs):
        name = ".".join([*called.__module__.split(".")[1:], called.__name__])
        calls[name, "", len(args), tuple(kwargs)] = None
        return function(self, called, types, args, kwargs)

    def heard_attribute(self, name):
        attributes.add(name)
        return np.ndarray.__getattribute__(self, name)

    monkeypatch.setattr(CudaOnCpuArray, "__array_ufunc__", heard_ufunc)
    monkeypatch.setattr(CudaOnCpuArray, "__array_function__", heard_function)
    monkeypatch.setattr(CudaOnCpuArray, "__getattribute__", heard_attribute)
    for name in ("asarray", "array", "ascontiguousarray"):
        monkeypatch.setattr(np, name, functools.partial(only_of_the_host, getattr(np, name)))
    return calls, attributes


def only_of_the_host(convert, value, *args, **options):
    """NumPy's ``convert``; as with CuPy it takes no array of the device, except for the device itself."""
    if type(value) is CudaOnCpuArray and not sys._getframe(1).f_code.co_filename.endswith("devices.py"):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")
    return convert(value, *args, **options)


RUNNER_S = {"ctypes", "view"}  # which only the runner and its device use
OURS = {"requires_grad"}  # by which a Tensor is told from an array


def check_that_cupy_has(calls, attributes):
    missing = {name for name in attributes - RUNNER_S - OURS - set(dir(cupy.ndarray)) if not name.startswith("__")}
    assert not missing
    for name, method, count, names in calls:
        found = functools.reduce(getattr, name.split("."), cupy)
        if isinstance(found, cupy.ufunc):
            assert found.nin <= count <= found.nargs or method == "at", (name, method, count)
            assert callable(getattr(found, method or "__call__")) and set(names) <= {"out", "dtype"}, name
        else:
            inspect.signature(found).bind(*range(count), **dict.fromkeys(names))


def test_cupy_has_what_the_ops_ask_for(asked, rng):
    for f in OPS:
        x = mr.tensor(rng.standard_normal((4, 3)).astype(np.float32), requires_grad=True, device=DEVICE)
        y = f(x)
        assert y.device == DEVICE
        if y.requires_grad:
            y.sum().backward()
    assert ("where", "", 3, ()) in asked[0] and {"transpose", "astype"} <= asked[1]
    check_that_cupy_has(*asked)


def test_cupy_has_what_a_training_step_asks_for(asked):
    images, labels = (mr.Tensor(a).to(DEVICE) for a in mr.data.digits()[0][:4])
    model = nn.Sequential(models.resnet_cifar(8, width=4, in_channels=1), nn.Dropout(0.1)).to(DEVICE)
    optimizer = mr.optim.Adam(model.parameters())
    for _ in range(2):
        mr.train.train_step(model, optimizer, images, labels)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    check_that_cupy_has(*asked)


def test_cupy_adds_at_a_key_of_several_parts_only_by_its_own_function():
    """`np.add.at` leads nowhere from a tuple, with CuPy's arrays (14.2) as here, where tests notice that it is used."""
    x, i = mr.ones(4, 3).to(DEVICE).array, mr.tensor([0, 0, 2]).to(DEVICE).array
    with pytest.raises(TypeError):
        np.add.at(x, (i, slice(None)), x[i])
    kernels.device(DEVICE).add_at(x, (i, slice(None)), x[i])
    assert np.asarray(x).tolist() == [[3, 3, 3], [1, 1, 1], [2, 2, 2], [1, 1, 1]] and callable(cupy.add.at)
