"""Whole training steps: on the device as on the CPU, and captured as eager."""

import functools
import sys
from unittest import mock

import numpy as np
import pytest

import minires as mr
from minires import cuda_on_cpu, kernels, models, nn, optim, train
from minires.data import digits, random_crop_flip
from minires.kernels.devices import why_no_gpu
from minires.train.cuda_graph import GraphedStep, _CudaGraph

DEVICES = [
    pytest.param(
        "cuda-on-cpu",
        marks=pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}"),
    ),
    pytest.param(
        "gpu",
        marks=[pytest.mark.gpu, pytest.mark.skipif(why_no_gpu() is not None, reason=f"no GPU: {why_no_gpu()}")],
    ),
]
on_every_device = pytest.mark.parametrize("device", DEVICES)
on_the_gpu = pytest.mark.parametrize("device", DEVICES[1:])


def make(device, dtype="float32", shortcut="A", optimizer=optim.SGD, **settings):
    mr.manual_seed(0)
    model = models.resnet_cifar(8, width=4, in_channels=1, shortcut=shortcut).to(dtype).to(device)
    return model, optimizer(model.parameters(), **(settings or dict(lr=0.05, momentum=0.9, weight_decay=1e-4)))


def fit(device, images=36, epochs=1, graph=False, fuse=True, **options):
    model, optimizer = make(device, **options)
    schedule = optim.LinearLR(optimizer, 0.1, total_iters=5)
    augment = functools.partial(random_crop_flip, padding=1, flip=False)
    history = train.fit(
        model, digits()[0].subset(images).to(device), optimizer, epochs=epochs, batch_size=8, augment=augment,
        schedule=schedule, progress=False, graph=graph, fuse=fuse,
    )  # fmt: skip
    return history, model, optimizer


@on_every_device
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_resnet_8_step_equals_the_cpu(device, shortcut):
    images, labels = digits()[0][:8]
    ends = []
    for where in ("cpu", device):
        model, optimizer = make(where, "float64", shortcut)
        result = train.train_step(model, optimizer, images, labels)
        grads = {n: p.grad.numpy() for n, p in model.named_parameters()}
        ends.append((result, grads, model.state_dict()))
    (result, grads, state), (result_there, grads_there, state_there) = ends
    assert result_there.loss == pytest.approx(result.loss, rel=1e-12) and result_there.accuracy == result.accuracy
    for here, there in ((grads, grads_there), (state, state_there)):
        for name, value in here.items():
            np.testing.assert_allclose(there[name], value, rtol=1e-9, atol=1e-12 + 1e-10 * np.abs(value).max())


@on_every_device
def test_the_flow_record_there_is_that_of_the_cpu(device):
    images, labels = digits()[0][:8]
    here, there = (
        mr.flow.record(make(where, "float64")[0], *(mr.Tensor(a).to(where) for a in (images.astype(float), labels)))
        for where in ("cpu", device)
    )
    assert [fork.name for fork in here.forks] == [fork.name for fork in there.forks]
    np.testing.assert_allclose([f.skip for f in there.forks], [f.skip for f in here.forks], rtol=1e-8)
    np.testing.assert_allclose([f.branch for f in there.forks], [f.branch for f in here.forks], rtol=1e-8)


@on_every_device
@pytest.mark.parametrize("optimizer", [
    {}, dict(optimizer=optim.Adam, lr=0.01), dict(optimizer=optim.SGD, lr=0.05),
    dict(optimizer=optim.AdamW, lr=0.01, amsgrad=True),
])  # fmt: skip
def test_captured_training_equals_eager_training(device, optimizer):
    """Over a schedule, with a smaller last batch in the middle of it: 2 epochs of 5 steps."""
    eager, model, _ = fit(device, epochs=2, **optimizer)
    captured, graphed, _ = fit(device, epochs=2, graph=True, fuse=False, **optimizer)
    assert captured == eager
    for (name, a), b in zip(model.state_dict().items(), graphed.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b, name)


class Joined(nn.Module):
    """Layers that each get all that came before them, as in a DenseNet: more arrays than CuPy joins without a table."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(1 + i, 1, 3, padding=1) for i in range(9))
        self.head = nn.Linear(2 * 10 * 64, 10)

    def forward(self, x):
        parts = [x]
        for layer in self.layers:
            parts.append(layer(mr.cat(parts, 1)))
        return self.head(mr.stack(parts + parts[::-1], -1).flatten(1))


@on_every_device
def test_a_captured_step_may_join_many_arrays(device):
    data, ends = digits()[0].subset(32).to(device), []
    for graph in (False, True):
        mr.manual_seed(0)
        model = Joined().to(device)
        optimizer = optim.SGD(model.parameters(), lr=0.05)
        options = dict(epochs=2, batch_size=8, progress=False, graph=graph, fuse=False)
        ends.append((train.fit(model, data, optimizer, **options), model.state_dict()))
    (history, state), (captured, there) = ends
    assert captured == history
    for name, value in state.items():
        np.testing.assert_array_equal(there[name], value, name)


@on_every_device
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_fused_training_equals_eager_training_up_to_rounding(device, shortcut):
    eager, model, _ = fit(device, shortcut=shortcut)
    fused, graphed, _ = fit(device, graph=True, shortcut=shortcut)
    np.testing.assert_allclose(fused.step_loss, eager.step_loss, rtol=1e-5)
    assert fused.train_accuracy == eager.train_accuracy
    for (name, a), b in zip(model.state_dict().items(), graphed.state_dict().values(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * max(np.abs(a).max(), 1), err_msg=name)


@on_every_device
def test_a_graph_follows_an_optimiser_that_changes(device):
    """Groups with equal settings that part, as in a schedule for each; a state that is loaded; other settings."""
    images, labels = (mr.Tensor(a).to(device) for a in digits()[0][:8])
    ends = []
    for graph in (False, True):
        model, _ = make(device)
        head, rest = [], []
        for name, p in model.named_parameters():
            (head if name.startswith("fc") else rest).append(p)
        optimizer = optim.SGD([{"params": head}, {"params": rest}], lr=0.05, momentum=0.9)
        step = functools.partial(train.train_step, model, optimizer, loss=nn.functional.cross_entropy)
        if graph:
            step = GraphedStep(model, optimizer, nn.functional.cross_entropy, train.train_step, fuse=False)
        losses = [step(images, labels).loss for _ in range(4)]
        optimizer.param_groups[1]["lr"] = 0.01
        losses += [step(images, labels).loss for _ in range(2)]
        optimizer.load_state_dict(optimizer.state_dict())
        losses += [step(images, labels).loss for _ in range(2)]
        ends.append((losses, model.state_dict()))
    (losses, state), (losses_graphed, state_graphed) = ends
    assert losses_graphed == losses
    for name, value in state.items():
        np.testing.assert_array_equal(state_graphed[name], value, name)


@on_every_device
def test_what_cannot_be_captured_is_told(device):
    data = digits()[0].subset(32).to(device)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).to(device)
    with pytest.raises(RuntimeError, match="graph=False"):
        train.fit(model, data, optim.SGD(model.parameters()), epochs=1, batch_size=8, progress=False, graph=True)
    assert not kernels.device(device).capturing
    train.fit(model, data, optim.SGD(model.parameters()), epochs=1, batch_size=8, progress=False)


@on_every_device
def test_an_optimiser_without_a_kernel_is_not_captured(device):
    model, optimizer = make(device, optimizer=optim.RMSprop, lr=0.01)
    data = digits()[0].subset(16).to(device)
    with pytest.raises(ValueError, match="got RMSprop, which has no kernel; use SGD, Adam, AdamW, or graph=False"):
        train.fit(model, data, optimizer, epochs=1, batch_size=8, progress=False, graph=True)
    train.fit(model, data, optimizer, epochs=1, batch_size=8, progress=False)


def test_an_error_waits_for_the_graph_s_stream(monkeypatch):
    """What the step that failed had launched still works on the weights, and on memory that others would get."""
    cupy = mock.MagicMock()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    graph = _CudaGraph(kernels.device("cpu"))
    with pytest.raises(ValueError, match="a label"), graph.active():
        cupy.cuda.Stream.return_value.synchronize.assert_not_called()
        raise ValueError("a label out of range")
    cupy.cuda.Stream.return_value.synchronize.assert_called_once_with()


def test_a_graph_needs_a_gpu():
    model, optimizer = make("cpu")
    with pytest.raises(ValueError, match=r'graph=True: got a model on the device cpu.*model\.to\("gpu"\)'):
        train.fit(model, digits()[0].subset(8), optimizer, epochs=1, batch_size=8, progress=False, graph=True)


@on_every_device
def test_repeats_are_bit_identical(device):
    (first, model, _), (second, again, _) = fit(device), fit(device)
    assert first == second
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b)


@on_every_device
@pytest.mark.parametrize("graph", [False, True])
def test_a_run_goes_on_from_its_checkpoint(device, graph, tmp_path):
    """Bit for bit; with a graph, its first steps are then eager ones, which fuse the same ops."""

    def run(epochs, file):
        model, optimizer = make(device)
        data = digits()[0].subset(20).to(device)
        options = dict(batch_size=8, progress=False, checkpoint=tmp_path / file, graph=graph)
        return train.fit(model, data, optimizer, epochs=epochs, **options), model.state_dict()

    run(1, "stopped.npz")
    resumed, whole = run(2, "stopped.npz"), run(2, "whole.npz")
    assert resumed[0] == whole[0]
    for a, b in zip(resumed[1].values(), whole[1].values(), strict=True):
        np.testing.assert_array_equal(a, b)


@on_the_gpu
@pytest.mark.parametrize("graph", [False, True])
def test_memory_does_not_grow_over_a_thousand_steps(device, graph):
    import cupy

    seen = []
    model, optimizer = make(device)
    data = digits()[0].subset(800).to(device)
    train.fit(
        model, data, optimizer, epochs=10, batch_size=8, progress=False, graph=graph,
        on_step=lambda step: seen.append(cupy.cuda.runtime.memGetInfo()[0]) if step.step % 100 == 50 else None,
    )  # fmt: skip
    assert min(seen[1:]) == seen[1]


@on_the_gpu
def test_running_out_of_memory_leaves_the_model_usable(device):
    import cupy

    model, optimizer = make(device)
    images, labels = digits()[0][:64]
    train.train_step(model, optimizer, images, labels)
    large, many = (mr.Tensor(a).to(device) for a in (np.tile(images, (64, 1, 1, 1)), np.tile(labels, 64)))
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = model.state_dict()
    pool.set_limit(size=pool.total_bytes() + 20_000_000)  # a few layers of the large batch
    try:
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
            train.train_step(model, optimizer, large, many)
    finally:
        pool.set_limit(size=0)
    for name in (n for n, _ in model.named_parameters()):
        np.testing.assert_array_equal(model.state_dict()[name], before[name])
    assert np.isfinite(train.train_step(model, optimizer, images, labels).loss)
