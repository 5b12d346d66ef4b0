"""The CUDA kernels' float32 sums, run on the CPU, round at most four times as much as PyTorch's on the same data."""

import numpy as np
import pytest
from rounding import CASES, errors, measure, minires, on_device

import minires as mr
from minires import cuda_on_cpu
from minires.nn import functional as F

# Root mean square errors allowed: four times PyTorch's (2.13), the largest of the results'.
ALLOWED = {
    "sum of (50000, 10) over (0,)": 5.2e-7,
    "sum of (10, 50000) over (1,)": 5.2e-7,
    "linear": 1.2e-6,
    "batch norm of (20, 24, 7, 7), mean 4": 6e-7,
    "batch norm's variance, (128, 16, 16, 16), mean 4": 1.4e-7,
    "global average pool of 32×32, mean 0": 4e-7,
}


@pytest.mark.skipif(not cuda_on_cpu.available(), reason="needs g++")
@pytest.mark.parametrize("name", ALLOWED)
def test_the_error_of_long_sums(name):
    arrays = CASES[name].arrays(0)
    exact = measure(CASES[name], [a.astype(np.float64) for a in arrays], mr, F, minires)
    for result, (_, rms) in errors(measure(CASES[name], arrays, mr, F, on_device), exact).items():
        assert rms <= ALLOWED[name], f"{result}: {rms:.1e}"
