"""What a training step asks of a GPU's host: launches, their arguments, values read back; and bytes of batch norm."""

import numpy as np
import pytest

import minires as mr
from benchmarks.workers import minires_launches as host
from minires import cuda_on_cpu, kernels, nn
from minires.kernels import devices
from minires.kernels.batchnorm import gpu as batchnorm

pytestmark = pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")
DEVICE = "cuda-on-cpu"


def test_a_graphed_resnet_20_step_has_few_nodes():
    seen = host.counted(graph=True)
    assert seen.launches["batch_norm_apply"] == seen.launches["batch_norm_relu_sums"] == 19
    assert seen.launches["batch_norm_statistics"] == 1  # of the first layer, which has three channels
    assert seen.launches["add"] == 9  # of gradients; what is added forward, batch norm adds
    unused = "running_update", "batch_norm_combine", "batch_norm_sums", "relu", "relu_backward"
    assert not any(seen.launches[name] for name in unused)
    assert seen.nodes <= 180 and seen.library.total() <= 25, (seen.launches, seen.library)


def test_an_eager_resnet_20_step_reads_twice():
    """Labels, to be refused if they are out of range; loss and accuracy together."""
    seen = host.counted(graph=False)
    assert seen.reads == 2 and seen.arguments <= 1250


def test_what_is_counted_are_launches_library_calls_and_reads():
    with host.counting() as seen:
        x = kernels.to_device(np.ones((2, 3), np.float32), DEVICE)
        y = kernels.of(x).relu(x) * 2 + x  # a launch, two calls
        assert y.reshape(6).T[1:].sum().item() == 15  # and views, a sum, a value that is read
    assert (dict(seen.launches), seen.arguments, seen.reads) == ({"relu": 1}, 3, 1)
    assert +seen.library == {"multiply": 1, "add": 1, "sum": 1}


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("norm_type", [2.0, np.inf])
def test_clipping_reads_once(count, norm_type, rng):
    ends = []
    values = [rng.standard_normal(3 + i).astype(np.float32) for i in range(count)]
    for device in ("cpu", DEVICE):
        parameters = [nn.Parameter(kernels.to_device(v.copy(), device)) for v in values]
        for p, v in zip(parameters, values):
            p.grad = kernels.to_device(v * 3, device)
        with host.counting() as seen:
            norm = nn.utils.clip_grad_norm_(parameters, 0.5, norm_type)
        ends.append((norm.item(), [p.grad.numpy() for p in parameters]))
        assert seen.reads == (device != "cpu")
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-6)
    for a, b in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6)


def test_batch_norm_reads_its_input_once_for_its_statistics():
    loaded, stored, *_ = host.batch_norm_bytes()
    assert loaded < 2.05 and stored < 1.01  # once for the statistics, and once to apply them


@pytest.mark.slow  # watched kernels are compiled anew
def test_fused_ops_pass_over_memory_less_often():
    """Loads and stores of arrays like x; what a block reads of other blocks' sums comes on top."""
    assert np.floor(host.block_bytes(False)).tolist() == [5, 3, 6, 2]
    assert np.floor(host.block_bytes(True)).tolist() == [3, 1, 5, 2]


def test_launches_are_planned_once(monkeypatch):
    device, made = devices.make_cuda_on_cpu(), []
    monkeypatch.setattr(
        devices, "packed", lambda numbers, packed=devices.packed: made.append(numbers) or packed(numbers)
    )
    x = device.upload(np.ones((4, 3, 2, 2), np.float32))
    first, again = (batchnorm.batch_norm(device, x)[0] for _ in range(2))
    assert len(made) == 2 and (np.asarray(first) == np.asarray(again)).all()
    batchnorm.batch_norm(device, x, eps=1e-3)
    assert len(made) == 3
    monkeypatch.setattr(devices, "MOST_PLANS", 2)
    for eps in (1e-4, 1e-2, 1e-1):
        batchnorm.batch_norm(device, x, eps=eps)
    assert len(device.plans) <= 2


def test_the_number_of_batches_is_counted_on_the_way():
    model = nn.BatchNorm2d(3).to(DEVICE)
    x = mr.randn(4, 3, 5, 5).to(DEVICE)
    model(x)
    with host.counting() as seen:
        model(x)
    assert dict(seen.launches) == {"batch_norm_statistics": 1, "batch_norm_apply": 1}
    assert not seen.library["add"]
    assert int(model.num_batches_tracked) == 2
    with kernels.use(batch_norm=kernels.textbook.batch_norm):  # which has its running statistics moved afterwards
        model(x)
    assert int(model.num_batches_tracked) == 3
    expected = nn.BatchNorm2d(3)
    for _ in range(3):
        expected(x.to("cpu"))
    np.testing.assert_allclose(np.asarray(model.running_var), expected.running_var, rtol=1e-5)
