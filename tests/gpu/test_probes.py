"""Every instrument of `minires.flow` on a device: the numbers are those of the CPU."""

import numpy as np
import pytest
from gpu.test_training import make, on_every_device

import minires as mr
from minires import flow
from minires.data import digits
from minires.nn import functional as F


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
