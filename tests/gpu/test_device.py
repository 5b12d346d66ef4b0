"""Tensors, modules and data sets on another device: they stay there, and do not mix."""

import functools
import re
import sys
import types

import numpy as np
import pytest

import minires as mr
from minires import cuda_on_cpu, kernels, models, nn, optim
from minires.commands import compare, doctor
from minires.commands.cli import main
from minires.data import Dataset, random_crop_flip
from minires.fusion import fusing
from minires.kernels import devices
from minires.nn import functional as F

pytestmark = pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")
DEVICE = "cuda-on-cpu"


def test_what_is_computed_there_stays_there(rng):
    x = mr.tensor(rng.standard_normal((3, 4)), device=DEVICE)
    results = x + 1, x * x, x.sum(), x.mean(), x.max(1).values, x.var(), x.reshape(4, 3), x.T, x[0], x[0, 0], x > 0
    results += mr.tensor(x), x.long().relu(), (x > 0).to(mr.uint8).relu(), (x > 0).to(mr.uint8).any(), *mr.where(x > 0)
    results += x.exp(), x.sigmoid(), x.clamp(0, 1), F.pad(x, (1, 1)), mr.cat([x, x]), mr.where(x > 0, x, 0), x @ x.T
    assert {t.device for t in results} == {DEVICE}
    np.testing.assert_allclose((x @ x.T).numpy(), x.numpy() @ x.numpy().T)


@pytest.mark.parametrize("f", [
    lambda x: (x * 2 - x / 3 + x**2).sum(), lambda x: x.max(1).values.sum(), lambda x: x.amax(0).mean(),
    lambda x: x.clamp(-1, 1).var(), lambda x: F.softmax(x, 1)[:, 0].sum(), lambda x: mr.stack([x, x]).tanh().mean(),
    lambda x: x[[0, 0, 1]].abs().sum(), lambda x: F.leaky_relu(x.T @ x).sum(), lambda x: F.log_softmax(x, 1)[0, 1],
])  # fmt: skip
def test_gradients_there_equal_those_on_the_cpu(f, rng):
    values = rng.standard_normal((4, 3))
    here, there = mr.tensor(values, requires_grad=True), mr.tensor(values, requires_grad=True, device=DEVICE)
    f(here).backward()
    f(there).backward()
    assert there.grad.device == DEVICE
    np.testing.assert_allclose(there.grad.numpy(), here.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("f", [
    lambda x, w: F.conv_transpose2d(x, w, None, 2, 1, 1), lambda x, w: F.conv2d(x, w, padding="same"),
    lambda x, w: F.conv2d(F.pad(x, (0, 1)), w[:, :2], groups=np.int64(2)),
    lambda x, w: F.conv_transpose2d(x, w, groups=np.int64(2)),
    lambda x, w: F.conv2d(x[:0], w), lambda x, w: F.conv2d(F.pad(x, (1, 2, 2, 0), "reflect"), w),
    lambda x, w: F.conv2d(F.pad(x, (1, 2, -1, 1), "circular"), w),
    lambda x, w: F.max_pool2d(F.conv2d(x[0], w), 2, 1, 1),
    lambda x, w: F.adaptive_max_pool2d(F.conv2d(x, w), (2, 3)), lambda x, w: F.max_pool2d(F.conv2d(x, w)[:0], 2),
])  # fmt: skip
def test_convolutions_and_pools_there_equal_those_on_the_cpu(f, rng):
    arrays = rng.standard_normal((2, 4, 5, 6)), rng.standard_normal((4, 4, 2, 2))
    here, there = ([mr.tensor(a, requires_grad=True, device=device) for a in arrays] for device in ("cpu", DEVICE))
    y, y_there = f(*here), f(*there)
    np.testing.assert_allclose(y_there.numpy(), y.numpy(), rtol=1e-12, atol=1e-12)
    y.sum().backward()
    y_there.sum().backward()
    for a, b in zip(here, there):
        np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", [
    lambda x: F.max_pool2d(x, 2, 1, 1, 2, True, True), lambda x: F.adaptive_max_pool2d(x, (2, 3), True),
])  # fmt: skip
def test_indices_there_equal_those_on_the_cpu(f, rng):
    x = mr.tensor(rng.standard_normal((2, 4, 5, 6)))
    for a, b in zip(f(x.to(DEVICE)), f(x)):
        assert a.device == DEVICE and a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("key", [
    [5], ([0], [9]), (slice(None), [-5]), (..., [4]), (None, [3]), (0, [4]), ([True, False, True], [1, 4]),
    (np.array(1), [4]), mr.tensor([0, 3]),
], ids=str)  # fmt: skip
def test_positions_outside_are_refused_there_too(key):
    """CuPy would take others within."""
    x = mr.arange(12).reshape(3, 4).to(DEVICE)
    key = key.to(DEVICE) if isinstance(key, mr.Tensor) else key
    with pytest.raises(IndexError, match="out of bounds"):
        x[key]
    with pytest.raises(IndexError, match="out of bounds"):
        x[key] = 1
    np.testing.assert_array_equal(x, np.arange(12).reshape(3, 4))


def test_a_move_is_part_of_the_graph(rng):
    x = mr.tensor(rng.standard_normal(3), requires_grad=True)
    (x.to(DEVICE) * 2).sum().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [2, 2, 2]


def test_mixed_devices_are_named_with_both_tensors():
    x, y = mr.ones(2, 3), mr.ones(3).to(DEVICE)
    message = r"Add: got inputs of float32 \(2, 3\) on cpu and float32 \(3,\) on cuda-on-cpu.*x\.to\(y\.device\)"
    with pytest.raises(TypeError, match=message):
        x + y
    with pytest.raises(TypeError, match=r"Conv2d: got inputs of .* on cpu and .* on cuda-on-cpu"):
        nn.Conv2d(1, 1, 1).to(DEVICE)(mr.ones(1, 1, 2, 2))
    with pytest.raises(TypeError, match=r"cross_entropy: got an input .* on cuda-on-cpu and targets .* on cpu"):
        F.cross_entropy(mr.ones(2, 3).to(DEVICE), mr.tensor(np.array([0, 1])))
    with pytest.raises(TypeError, match="add: got a NumPy array of shape"):
        y.array + np.ones(3, np.float32)
    with pytest.raises(TypeError, match="assignment: got a NumPy array"):
        y.array[...] = np.ones(3, np.float32)


def test_a_model_moves_with_buffers_and_back():
    model = models.resnet_cifar(8, width=4, in_channels=1)
    before = model.state_dict()
    model.to(DEVICE)
    assert {kernels.device_of(a).name for a in [*(p.array for p in model.parameters()), *model.buffers()]} == {DEVICE}
    after = model.state_dict()
    assert all((after[n] == before[n]).all() and after[n].dtype == before[n].dtype for n in before)
    model.load_state_dict(before)
    assert {p.device for p in model.parameters()} == {DEVICE}
    assert {p.device for p in model.to("cpu").parameters()} == {"cpu"}


def test_counts_stay_whole_numbers_whatever_the_dtype():
    model = nn.BatchNorm2d(2).to("float64")
    assert model.running_mean.dtype == np.float64 and model.num_batches_tracked.dtype == np.int64


def test_an_unusable_gpu_is_told_with_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(devices, "why_no_gpu", lambda: f"CuPy cannot be imported; install it: {devices.INSTALL}")
    monkeypatch.setattr(devices, "by_type", {np.ndarray: devices.CPU})
    with pytest.raises(RuntimeError, match=r"device gpu: CuPy cannot be imported; .*pip install -e '\.\[cuda13\]'"):
        mr.ones(2).to("gpu")
    assert main(["compare", "--device", "gpu", "--out", str(tmp_path)]) == 1
    assert "minires: device gpu: CuPy cannot" in capsys.readouterr().err


def test_a_gpu_without_nvrtc_is_told_with_what_to_install(monkeypatch):
    def missing():
        raise RuntimeError("CuPy failed to load libnvrtc.so.13")

    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=ZeroDivisionError)
    cuda = types.SimpleNamespace(runtime=runtime, nvrtc=types.SimpleNamespace(getVersion=missing))
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(__version__="14.0", cuda=cuda))
    assert re.search(r"finds no compiler \(.*libnvrtc.*pip install -e '\.\[cuda13\]'", devices.why_no_gpu())
    assert "without the compiler NVRTC" in doctor.report()


def test_a_gpu_without_cuda_s_headers_is_told_with_what_to_install(monkeypatch):
    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=ZeroDivisionError)
    cuda = types.SimpleNamespace(runtime=runtime, nvrtc=types.SimpleNamespace(getVersion=lambda: (13, 0)))
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(__version__="14.0", cuda=cuda))
    asked, found = [], "/usr/local/cuda/include"
    pathfinder = types.SimpleNamespace(find_nvidia_header_directory=lambda name: asked.append(name) or found)
    monkeypatch.setitem(sys.modules, "cuda", types.SimpleNamespace(pathfinder=pathfinder))
    assert devices.why_no_gpu() is None and "14.0, compiling with NVRTC 13.0" in doctor.report()
    found = None
    assert re.search(r"finds no headers of CUDA.*pip install -e '\.\[cuda13\]'", devices.why_no_gpu())
    assert "without CUDA's headers" in doctor.report() and set(asked) == {"cudart"}
    monkeypatch.setitem(sys.modules, "cuda", None)  # a CuPy that does not bring it
    assert devices.why_no_gpu() is None


def test_a_missing_compiler_is_told(monkeypatch):
    monkeypatch.setattr(cuda_on_cpu, "available", lambda: False)
    monkeypatch.setattr(cuda_on_cpu, "why_not", lambda: "there is no g++")
    with pytest.raises(RuntimeError, match=r"device cuda-on-cpu: there is no g\+\+"):
        devices.make_cuda_on_cpu()


def test_doctor_names_every_device(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(f"device {name}" in out for name in kernels.DEVICES) and "CuPy" in out


def test_doctor_names_the_blas_and_who_chose_its_kernels(monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert re.search(r"^BLAS +\S+ [\d.]+ \(\w+.*\)$", doctor.report(), re.M)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "OPENBLAS_CORETYPE=Haswell asks for these kernels" in doctor.report()


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f8", "f8"), ("f4", "f8"), ("f2", "f2")], ids="".join)
@pytest.mark.parametrize("step", [1, 2])
def test_running_statistics_move_there_as_on_the_cpu(fuse, dtypes, step, rng):
    """Of whatever type, and lying anywhere: a kernel knows neither unless it is told."""
    values, ends = rng.standard_normal((4, 3, 2, 2)).astype(np.float32), []
    for device in ("cpu", DEVICE):
        x = mr.tensor(values, device=device)
        mean, var = (kernels.to_device(np.ones(3 * step, dtype), device) for dtype in dtypes)
        with fusing(fuse):
            F.relu(F.batch_norm(x, mean[::step], var[::step], training=True))
            F.instance_norm(x, mean[::step], var[::step])
        ends.append([np.asarray(kernels.to_device(a, "cpu"), np.float64) for a in (mean, var)])
    np.testing.assert_allclose(ends[1], ends[0], rtol=2e-3 if "f2" in dtypes else 1e-6)


@pytest.mark.slow
def test_compare_runs_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "load_data", lambda *_, **__: tuple(d.subset(64) for d in mr.data.digits()))
    arguments = "compare --depth 8 --width 2 --epochs 1 --batch-size 32 --quiet --seed 1".split()
    runs = {}
    for device in ("cpu", DEVICE):
        assert main([*arguments, "--device", device, "--out", str(tmp_path / device)]) == 0
        lines = capsys.readouterr().out.splitlines()
        runs[device] = [line for line in lines if line.startswith(("training loss", "parameters"))]
    assert runs["cpu"] == runs[DEVICE] != []


@pytest.mark.parametrize("bytes_", [True, False])
def test_batches_made_there_are_those_of_the_cpu(bytes_, rng):
    pixels = rng.integers(0, 256, (10, 3, 5, 4)).astype(np.uint8 if bytes_ else np.float32)
    scale = dict(mean=(1.0, 2.0, 3.0), std=(50.0, 60.0, 70.0)) if bytes_ else {}
    here = Dataset(pixels, rng.integers(0, 2, 10), ("a", "b"), **scale)
    there, options = here.to(DEVICE), dict(seed=3, augment=functools.partial(random_crop_flip, padding=np.int64(2)))
    assert there.device == DEVICE and there.to(DEVICE) is there
    for (x, y), (gx, gy) in zip(mr.data.batches(here, 4, **options), mr.data.batches(there, 4, **options), strict=True):
        assert kernels.device_of(gx).name == kernels.device_of(gy).name == DEVICE
        np.testing.assert_array_equal(np.asarray(gy), y)
        np.testing.assert_allclose(np.asarray(gx), x, rtol=1e-6)
    assert there[3][0].shape == here[3][0].shape


@pytest.mark.parametrize("make", [
    lambda ps: optim.SGD(ps, 0.1, momentum=0.9, weight_decay=0.01, dampening=0.2), lambda ps: optim.SGD(ps, 0.1),
    lambda ps: optim.SGD(ps, 0.1, momentum=0.9, nesterov=True), lambda ps: optim.Adam(ps, 0.01, weight_decay=0.1),
    lambda ps: optim.AdamW([{"params": ps[:1], "lr": 0.1}, {"params": ps[1:]}], 0.01),
    lambda ps: optim.SGD(ps, 0.1, momentum=0.9, weight_decay=0.1, maximize=True),
    lambda ps: optim.Adam([{"params": ps[:2], "amsgrad": True}, {"params": ps[2:]}], 0.01, maximize=True),
    lambda ps: optim.RMSprop(ps, 0.01, momentum=0.9, centered=True), lambda ps: optim.Adagrad(ps, 0.1),
    lambda ps: optim.Adadelta(ps, weight_decay=0.1), lambda ps: optim.Adamax(ps, maximize=True), optim.NAdam,
    lambda ps: optim.RAdam(ps, 0.1, weight_decay=0.1, decoupled_weight_decay=True),
])  # fmt: skip
def test_optimisers_step_there_as_on_the_cpu(make, rng):
    values, ends = [rng.standard_normal(s) for s in ((3, 4), (1500,), ())], {}
    for device in ("cpu", DEVICE):
        ps = [nn.Parameter(v.copy()) for v in values]
        for p in ps:
            p.array = kernels.to_device(p.array, device)
        optimizer = make(ps)
        for step in range(4):
            grads = np.random.default_rng(step)
            for i, p in enumerate(ps):
                grad = grads.standard_normal(p.shape)
                p.grad = None if (i, step) == (1, 1) else kernels.to_device(np.asarray(grad), device)
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
        ends[device] = [p.numpy() for p in ps]
    for a, b in zip(*ends.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_swaps_hold_on_every_device():
    x = mr.ones(2).to(DEVICE)
    with kernels.use(relu=lambda x: x + 10):
        assert F.relu(x).numpy().tolist() == [11, 11]
    assert F.relu(x).numpy().tolist() == [1, 1]


def test_tf32_is_off_unless_allowed(rng):
    x = mr.tensor(rng.standard_normal((4, 40)).astype(np.float32))
    layer = nn.Linear(40, 3)
    exact = layer(x).numpy()
    layer.to(DEVICE)
    np.testing.assert_allclose(layer(x.to(DEVICE)).numpy(), exact, atol=1e-5)
    with kernels.allow_tf32():
        rounded = np.abs(layer(x.to(DEVICE)).numpy() - exact).max()
    assert 1e-5 < rounded < 5e-3
