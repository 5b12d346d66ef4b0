"""The table of kernels: fast ones and definitions share names and signatures, and `use` swaps and restores."""

import inspect

import numpy as np
import pytest

import minires as mr
from minires import kernels, nn
from minires.kernels import cpu, textbook
from minires.nn import functional as F


@pytest.mark.parametrize("name", kernels.NAMES)
def test_twins_have_one_signature(name):
    fast, plain = (inspect.signature(f) for f in (getattr(kernels.of(np.ones(1)), name), getattr(textbook, name)))
    assert fast == plain


def test_every_fast_kernel_is_in_the_table():
    names = {name for name, f in vars(cpu).items() if inspect.isfunction(f)}
    assert names <= set(kernels.NAMES) == set(vars(kernels.of(np.ones(1))))


def test_of_names_what_it_cannot_compute():
    with pytest.raises(TypeError, match=r"kernels\.of: got a list; expected a NumPy or CuPy array"):
        kernels.of([1.0])


def test_devices_are_named():
    x = np.ones(1)
    assert kernels.device_of(x).name == "cpu" and kernels.to_device(x, "cpu") is x
    with pytest.raises(ValueError, match=r"to_device: got device 'tpu'"):
        kernels.to_device(x, "tpu")
    with pytest.raises(TypeError, match="device_of: got a list"):
        kernels.device_of([1.0])


def test_use_swaps_and_restores():
    x = mr.tensor([-1.0, 2.0])
    with kernels.use(relu=lambda x: x + 10):
        assert F.relu(x).array.tolist() == [9.0, 12.0]
        with kernels.use(relu=lambda x: x * 0):
            assert F.relu(x).array.tolist() == [0.0, 0.0]
        assert F.relu(x).array.tolist() == [9.0, 12.0]
    assert F.relu(x).array.tolist() == [0.0, 2.0]


def test_use_restores_after_an_error():
    before = dict(vars(kernels.of(np.ones(1))))
    with pytest.raises(ZeroDivisionError), kernels.use(relu=None, conv2d=None):
        1 / 0  # noqa: B018
    assert vars(kernels.of(np.ones(1))) == before


def test_use_names_an_unknown_kernel_and_swaps_nothing():
    before = dict(vars(kernels.of(np.ones(1))))
    with pytest.raises(ValueError, match=r"kernels\.use: got 'convolve', which is no kernel; there are .*conv2d"):
        kernels.use(relu=None, convolve=None).__enter__()
    assert vars(kernels.of(np.ones(1))) == before


def test_a_model_runs_on_the_textbook(rng):
    """Forward and backward of a small network agree, whichever kernels compute them; and they are really called."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2, 1),
        nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3),
    ).to(np.float64)  # fmt: skip
    x, labels, called = mr.tensor(rng.standard_normal((3, 2, 10, 10))), mr.tensor(np.array([2, 0, 1])), set()

    def counted(name):
        def kernel(*args, **options):
            called.add(name)
            return getattr(textbook, name)(*args, **options)

        return kernel

    def run():
        model.zero_grad()
        y = model.train()(x)
        products = y @ y.T
        (F.cross_entropy(y + y, labels) + products.amax() + products.amin() + products.max(1).values.sum()).backward()
        places = products.argmin(1).array
        return [y.array, places, *(p.grad for p in model.parameters()), model.eval()(x).array]

    fast = run()
    with kernels.use(**{name: counted(name) for name in kernels.NAMES}):
        model[1].running_mean[...], model[1].running_var[...] = 0, 1
        plain = run()
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    over_ranks = {"batch_norm_statistics", "batch_norm_input_gradient"}
    assert called == set(kernels.NAMES) - {"batch_norm_eval_backward", "take_images", "crop_flip"} - over_ranks
