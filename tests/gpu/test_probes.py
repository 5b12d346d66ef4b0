"""Every instrument of `minires.flow` on a device: the numbers are those of the CPU."""

import numpy as np
import pytest
from gpu.test_training import make, on_every_device

import minires as mr
from minires import cuda_on_cpu, flow, kernels
from minires.data import digits
from minires.experiments.watched import Runner
from minires.nn import functional as F

needs_compiler = pytest.mark.skipif(not cuda_on_cpu.available(), reason=cuda_on_cpu.why_not())


def batch(device, dtype="float64"):
    images, labels = digits()[0][:6]
    return mr.Tensor(images.astype(dtype)).to(device), mr.Tensor(labels).to(device)


def path_spectrum(model, x, y):
    spectrum = flow.path_spectrum(model, x, y, samples=2, progress=False)
    return spectrum.norms, spectrum.sampled


def lesion(model, x, y):
    found = flow.lesion(model, [(x, y)], progress=False)
    return found.accuracy, found.loss


def landscape(model, x, y):
    found = flow.landscape(model, [(x, y)], points=3, training=True, progress=False)
    return found.loss, found.accuracy


def variance_profile(model, x, y):
    found = flow.variance_profile(model, x, lambda output: F.cross_entropy(output, y.to(output.device)))
    return found.activation, found.gradient


def responses(model, x, y):
    return (flow.responses(model, x).std,)


def shattering(model, x, y):
    images = x.numpy()[:2]
    found = flow.shattering(model, np.linspace(0, 1, 5), start=images[0], direction=images[1] - images[0])
    return found.gradient, flow.gradient_correlation(model, x)


def jacobian(model, x, y):
    found = flow.jacobian(model, x, count=2, iterations=4)
    return (found.values,)


def jacobians(model, x, y):
    return ([j.values for j in flow.jacobians(model.eval(), x, count=1, iterations=3, progress=False)],)


def recording(model, x, y):
    found = flow.record(model, x, y)
    return [fork.cosine for fork in found.forks], [layer.std for layer in found.layers]


PROBES = (
    path_spectrum,
    lesion,
    landscape,
    variance_profile,
    responses,
    shattering,
    jacobian,
    jacobians,
    recording,
)


@on_every_device
@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_sees_there_what_it_sees_on_the_cpu(probe, device):
    model, _ = make("cpu", "float64")
    here = probe(model, *batch("cpu"))
    before = model.to(device).state_dict()
    there = probe(model, *batch(device))
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name], name)
    host = probe(model, *batch("cpu"))  # input from the CPU is moved to the model
    for a, b in zip(host, there, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.fixture
def downloads(monkeypatch):
    """How many numbers each download from the device has brought."""
    device, counts = kernels.device("cuda-on-cpu"), []
    download = device.download
    monkeypatch.setattr(device, "download", lambda array: counts.append(array.size) or download(array))
    return counts


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_recording_reads_its_numbers_at_once_and_no_array(dtype, downloads):
    model, _ = make("cpu", dtype)
    here = flow.record(model, *batch("cpu", dtype))
    model.to("cuda-on-cpu")
    x, y = batch("cuda-on-cpu", dtype)
    with flow.recording(model) as there:
        F.cross_entropy(model(x), y).backward()
    during = [*downloads]
    there.table()
    (numbers,) = downloads[len(during) :]  # one download
    assert max(during, default=0) <= 1 and numbers < 10 * len(there.nodes)
    for a, b in zip(here.forks, there.forks, strict=True):
        assert (b.skip, b.branch, b.total) == pytest.approx((a.skip, a.branch, a.total), rel=1e-4)
        assert b.cosine == pytest.approx(a.cosine, abs=1e-4) and b.sum_error < 1e-6
    for a, b in zip(here.layers, there.layers, strict=True):
        assert (b.std, b.zeros) == pytest.approx((a.std, a.zeros), rel=1e-4, abs=1e-6)


@needs_compiler
def test_record_and_a_watched_training_read_no_array(downloads):
    model, _ = make("cpu", "float32")
    x, y = batch("cuda-on-cpu", "float32")
    flow.record(model.to("cuda-on-cpu"), x, y).table()
    assert sum(count > 1 for count in downloads) == 1
    downloads.clear()
    runner = Runner.start(model, steps=2, device="cuda-on-cpu")
    runner.step(x, y, record=True)
    assert sum(count > 1 for count in downloads) == 2  # what was recorded, and how far the step turned the weights


@needs_compiler
def test_how_far_a_step_turns_the_weights():
    turns = []
    for device in ("cpu", "cuda-on-cpu"):
        model, _ = make("cpu", "float64")
        runner = Runner.start(model, steps=2, dtype="float64", device=device)
        runner.step(*batch(device), record=True)
        turns.append((runner.history.turns, runner.history.weight_norms))
    np.testing.assert_allclose(turns[1], turns[0], rtol=1e-8)
    assert (turns[0][0] > 0).all()
