"""How the CUDA kernels round, run on the CPU.

Float32 sums: at most four times as much as PyTorch's on the same data. What tensor cores are given: nearly to nearest.
"""

import numpy as np
import pytest
from rounding import CASES, errors, measure, minires, on_device

import minires as mr
from minires import cuda_on_cpu
from minires.kernels.devices import make_cuda_on_cpu
from minires.kernels.launch import allow_tf32
from minires.kernels.product.gpu import product
from minires.nn import functional as F

needs_gxx = pytest.mark.skipif(not cuda_on_cpu.available(), reason="needs g++")

# Root mean square errors allowed: four times PyTorch's (2.13), the largest of the results'.
ALLOWED = {
    "sum of (50000, 10) over (0,)": 5.2e-7,
    "sum of (10, 50000) over (1,)": 5.2e-7,
    "linear": 1.2e-6,
    "batch norm of (20, 24, 7, 7), mean 4": 6e-7,
    "batch norm's variance, (128, 16, 16, 16), mean 4": 1.4e-7,
    "global average pool of 32×32, mean 0": 4e-7,
}


@needs_gxx
@pytest.mark.parametrize("name", ALLOWED)
def test_the_error_of_long_sums(name):
    arrays = CASES[name].arrays(0)
    exact = measure(CASES[name], [a.astype(np.float64) for a in arrays], mr, F, minires)
    for result, (_, rms) in errors(measure(CASES[name], arrays, mr, F, on_device), exact).items():
        assert rms <= ALLOWED[name], f"{result}: {rms:.1e}"


def rounded(x):
    """The numbers that tensor cores are given for those of x: their products with 1."""
    device = make_cuda_on_cpu()
    with allow_tf32():
        return np.asarray(product(device, *map(device.upload, (x[:, None], np.ones((1, 1), np.float32)))))[:, 0]


@needs_gxx
def test_tf32_is_nearly_the_nearest(rng):
    x = rng.standard_normal(4096).astype(np.float32)
    y = rounded(x)
    error = (y - x) / 2.0 ** (np.frexp(x)[1] - 11)  # in units of the last of 10 bits
    assert np.abs(error).max() < 0.667 and np.sqrt(np.mean(error**2)) < 0.31  # to nearest: 0.5 and 0.289
    assert abs(np.mean(error * np.sign(x))) < 0.03
    np.testing.assert_array_equal(rounded(y), y)


@needs_gxx
def test_tf32_keeps_infinity_and_nan():
    some_nans = np.array([0x7FC00000, 0xFFC00000, 0x7FFFFFFF], np.uint32).view(np.float32)  # the last is a GPU's
    x = np.concatenate([np.array([np.inf, -np.inf, 0], np.float32), some_nans])
    np.testing.assert_array_equal(rounded(x), x)
