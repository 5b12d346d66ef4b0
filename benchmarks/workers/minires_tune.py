"""Kernel calls timed with several values of one constant: ``minires_tune.py MODULE NAME CALLS FACTORS``.

The values take turns, so that a slow moment of the machine meets all of them.
"""

import argparse
import importlib
import itertools
import math
import statistics
import time

from common import CASES, blocks, cores, minires_version, report

parser = argparse.ArgumentParser()
parser.add_argument("module")
parser.add_argument("name")
parser.add_argument("calls", choices=["networks", "thresholds", "rows", "sums", "parameters"])
parser.add_argument("factors")
parser.add_argument("--quick", action="store_true")
options = parser.parse_args()

import numpy as np  # noqa: E402

import minires as mr  # noqa: E402
from minires.kernels import cpu  # noqa: E402

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def images(batch, channels, size):
    """(N, C, H, W), the batch last in memory."""
    return normal(channels, size, size, batch).transpose(3, 0, 1, 2)


def convolution(batch, inputs, outputs, size, kernel=3, stride=1):
    """Forward and backward of one layer."""
    x, w = images(batch, inputs, size), normal(outputs, inputs, kernel, kernel)
    geometry = (stride, stride), (kernel // 2, kernel // 2)
    g = np.array(cpu.conv2d(x, w, None, *geometry), order="K")
    return lambda: (cpu.conv2d(x, w, None, *geometry), cpu.conv2d_backward(g, x, w, *geometry))


def networks():
    """The convolutions of four networks, each shape once."""
    shapes = set()
    for name, batch in (("resnet20", 128), ("resnet18", 8), ("digits56", 64), ("resnet56", 1)):
        case = CASES[name]
        size = case.size // 4 if case.stem == "imagenet" else case.size
        for inputs, outputs, stride in blocks(case):
            shapes |= {(batch, inputs, outputs, size, 3, stride), (batch, outputs, outputs, size // stride, 3, 1)}
            size //= stride
    return [convolution(*shape) for shape in sorted(shapes)]


def thresholds():
    """Layers small enough for the choices between arrangements, and between one thread and several."""
    grid = itertools.product((1, 4, 16, 64), (8, 12, 16, 24, 32), (8, 16))
    return [convolution(batch, channels, channels, size) for batch, channels, size in grid]


def rows():
    """Batch norm, ReLU and addition on arrays from 32 kB to 8 MB."""
    found = []
    for batch, channels, size in itertools.product((8, 128), (16, 64), (8, 16, 32)):
        x, g, w = images(batch, channels, size), images(batch, channels, size), normal(channels)
        _, mean, var = cpu.batch_norm(x, w, w)
        found += [
            lambda x=x, w=w: cpu.batch_norm(x, w, w),
            lambda x=x, g=g, w=w, mean=mean, var=var: cpu.batch_norm_backward(g, x, w, mean, var, 1e-5),
            lambda x=x: cpu.relu(x),
            lambda x=x, g=g: (cpu.relu_backward(g, x), cpu.add(x, g)),
        ]
    return found


def sums():
    """Sums over the leading axis, of 10³ to 10⁵ numbers."""
    arrays = [normal(*shape) for shape in itertools.product((100, 300, 1000), (10, 30, 100))]
    return [lambda x=x: cpu.reduce_sum(x, (0,)) for x in arrays]


def parameters():
    """A step of SGD with momentum and of Adam, on parameters from 10⁴ to 10⁷ values."""
    found = []
    for optimizer, size in itertools.product((mr.optim.SGD, mr.optim.Adam), (10_000, 300_000, 10_000_000)):
        p = mr.nn.Parameter(normal(size))
        p.grad = normal(size)
        options = {"momentum": 0.9, "weight_decay": 1e-4} if optimizer is mr.optim.SGD else {}
        found.append(optimizer([p], lr=1e-3, **options).step)
    return found


module = importlib.import_module(f"minires.{options.module}")
in_force = getattr(module, options.name)
values = [max(round(in_force * float(factor)), 1) for factor in options.factors.split(",")]
logs = {value: 0.0 for value in values}
calls = globals()[options.calls]()
for call in calls:
    times = {value: [] for value in values}
    start = time.perf_counter()
    while len(times[in_force]) < 2 or (not options.quick and time.perf_counter() - start < 0.15 * len(values)):
        for value in values:
            setattr(module, options.name, value)
            before = time.perf_counter()
            call()
            times[value].append(time.perf_counter() - before)
    setattr(module, options.name, in_force)
    for value in values:
        logs[value] += math.log(statistics.median(times[value][1:]) / statistics.median(times[in_force][1:]))
report(
    values=values,
    in_force=in_force,
    ms=[math.exp(logs[value] / len(calls)) for value in values],
    threads=cores(),
    version=minires_version(),
)
