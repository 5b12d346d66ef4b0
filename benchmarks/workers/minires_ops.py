"""Every kernel call of a training step, timed alone: ``minires_ops.py CASE step`` (see `common.arguments`).

The kernels are watched while one step runs, which tells their names, how often each is called with which shapes, and
real arguments as they lie in memory. Then each is called again and again with these.
"""

from common import arguments, minires_version, report

options = arguments()
case = options.case

import statistics  # noqa: E402
import time  # noqa: E402
from math import prod  # noqa: E402

import numpy as np  # noqa: E402

import minires as mr  # noqa: E402
from minires import kernels  # noqa: E402
from minires.models import ResidualBlock, ResNet, resnet50  # noqa: E402
from minires.nn import functional as F  # noqa: E402


def describe(value):
    """An argument as JSON: an array by its shape and type."""
    if isinstance(value, np.ndarray):
        return {"shape": value.shape, "dtype": str(value.dtype)}
    if isinstance(value, np.dtype):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


class Call:
    """One kernel with one set of shapes: arguments that can be used again, and how often they were seen."""

    def __init__(self, name, arguments, keywords):
        self.name, self.arguments, self.keywords, self.count = name, arguments, keywords, 0

    def spec(self):
        return {
            "kernel": self.name,
            "arguments": [describe(a) for a in self.arguments],
            "keywords": {k: describe(v) for k, v in self.keywords.items()},
        }


def watch_a_step():
    """The calls of one training step, by what they are."""
    mr.manual_seed(0)
    if options.name == "resnet50":
        model = resnet50()
    else:
        shortcut = "A" if case.stem == "cifar" else "B"
        shape = dict(stem=case.stem, in_channels=case.channels, num_classes=case.classes, shortcut=shortcut)
        model = ResNet(ResidualBlock, case.blocks, case.widths, **shape)
    calls = {}

    def watched(name, kernel):
        def call(*arguments, **keywords):
            new = Call(name, arguments, keywords)
            calls.setdefault(repr(new.spec()), new).count += 1
            return kernel(*arguments, **keywords)

        return call

    x, y = mr.randn(case.batch, case.channels, case.size, case.size), mr.tensor(np.arange(case.batch) % 10)
    backend = kernels.of(x.array)
    with kernels.use(**{name: watched(name, getattr(backend, name)) for name in kernels.NAMES}):
        F.cross_entropy(model(x), y).backward()
    return list(calls.values()), backend


def flops(call, results):
    """Multiplications and additions of a convolution (0 for all else, which memory limits)."""
    if call.name == "conv2d":
        _, weight, *_ = call.arguments
        return 2 * results[0].size * prod(weight.shape[1:])
    if call.name == "conv2d_backward":
        grad_y, _, weight, *_ = call.arguments
        return 2 * grad_y.size * prod(weight.shape[1:]) * sum(call.keywords.get("needs", (True, True))[:2])
    return 0


def milliseconds(function, seconds=0.1):
    """Median of about ``seconds`` of calls, at least three."""
    function()
    times = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
        if options.quick:
            break
    return 1e3 * statistics.median(times)


mr.set_num_threads(options.threads)
calls, backend = watch_a_step()
measured, times = [], []
for call in calls:
    kernel = getattr(backend, call.name)
    results = kernel(*call.arguments, **call.keywords)
    results = [r for r in (results if isinstance(results, tuple) else (results,)) if r is not None]
    operands = (*call.arguments, *call.keywords.values(), *results)
    arrays = {id(a): a for a in operands if isinstance(a, np.ndarray)}.values()
    times.append(milliseconds(lambda: kernel(*call.arguments, **call.keywords)))  # noqa: B023
    measured.append(
        {
            **call.spec(),
            "count": call.count,
            "flops": flops(call, results),
            "bytes": sum(a.nbytes for a in arrays),  # every operand read or written once
        }
    )
report(calls=measured, ms=times, threads=options.threads, version=minires_version())
