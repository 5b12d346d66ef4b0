"""What a training step of ResNet-20 asks of a GPU's host, in the checkout PYTHONPATH names; counted on cuda-on-cpu.

Nodes of a CUDA graph are launches of our kernels and calls of the array library that compute or copy. What the latter
are is read off the NumPy functions that the ops call, each of which is one of CuPy's.
"""

import statistics
import sys
import time
from collections import Counter
from contextlib import contextmanager

import numpy as np

import minires as mr
from minires import cuda_on_cpu, kernels, optim
from minires.cuda_on_cpu.array import CudaOnCpuArray
from minires.nn import functional as F
from minires.train import train_step
from minires.train.cuda_graph import GraphedStep

try:
    from minires.fusion import fusing
except ImportError:  # an earlier checkout
    fusing = contextmanager(lambda enabled: iter([None]))

DEVICE = "cuda-on-cpu"
VIEWS = {"empty_like", "transpose", "reshape", "broadcast_to", "expand_dims", "squeeze", "moveaxis", "split", "shape"}
METHODS = ("__array_ufunc__", "__array_function__", "__setitem__", "copy", "astype", "sum", "mean", "max", "min")
METHODS += ("argmax", "argmin", "all", "any", "fill")
READS = ("item", "tolist", "__bool__", "__float__", "__int__")


class Step:
    """What was counted: launches by kernel, calls of the array library by name, arguments of launches, values read.

    bytes: of the arrays that the launches of each kernel are given, each array once.
    """

    def __init__(self):
        self.launches, self.library, self.arguments, self.reads = Counter(), Counter(), 0, 0
        self.bytes = Counter()

    @property
    def nodes(self) -> int:
        return self.launches.total() + self.library.total()


@contextmanager
def counting():
    """Count inside a ``with`` block what is asked of the device."""
    device, seen, within = kernels.device(DEVICE), Step(), []
    before = {name: getattr(CudaOnCpuArray, name) for name in (*METHODS, *READS, "__getitem__")}

    def outermost(note, method):
        def heard(self, *args, **options):
            if not within:
                note(self, *args, **options)
            within.append(None)
            try:
                return method(self, *args, **options)
            finally:
                within.pop()

        return heard

    def library(name):
        def note(self, *args, **options):
            called = args[0].__name__ if name.startswith("__array") else name
            same = name == "astype" and options.get("copy") is False and self.dtype == args[0]
            seen.library[called] += called not in VIEWS and not same

        return note

    def take(self, key):  # by a list or an array of positions; all else is a view
        seen.library["take"] += any(isinstance(k, np.ndarray | list) for k in (key if type(key) is tuple else (key,)))

    def read(self, *args):
        seen.reads += 1

    def loader(source, name):
        kernel = load(source, name)

        def launch(grid, block, args):
            seen.launches[name.partition("<")[0]] += 1
            seen.arguments += len(args)
            arrays = {a.__array_interface__["data"][0]: a.nbytes for a in args if getattr(a, "ndim", 0)}
            seen.bytes[name.partition("<")[0]] += sum(arrays.values())
            within.append(None)
            try:
                return kernel(grid, block, args)
            finally:
                within.pop()

        return launch

    for name, method in before.items():
        note = library(name) if name in METHODS else take if name == "__getitem__" else read
        setattr(CudaOnCpuArray, name, outermost(note, method))
    load, device.load = device.load, loader
    plans = getattr(device, "plans", {})
    kept = dict(plans)
    plans.clear()
    try:
        yield seen
    finally:
        plans.clear()
        plans.update(kept)
        device.load = load
        for name, method in before.items():
            if name in CudaOnCpuArray.__dict__:
                setattr(CudaOnCpuArray, name, method)


@contextmanager
def launching_nothing():
    """Launches do nothing inside; only that all labels are right is written, or they would be refused."""
    device = kernels.device(DEVICE)
    load, plans = device.load, getattr(device, "plans", {})

    def nothing(grid, block, args):
        pass

    def all_right(grid, block, args):
        args[1].view(np.ndarray)[:] = args[0].size, 0

    def loader(source, name):
        return all_right if name.startswith("count_labels") else nothing

    plans.clear()
    device.load = loader
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        plans.clear()
        device.load = load


def training(graph=False, images=4, size=8, depth=20):
    """A function that makes one step of a CIFAR ResNet."""
    mr.manual_seed(0)
    model = mr.models.resnet_cifar(depth).to(DEVICE)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    x, y = mr.randn(images, 3, size, size).to(DEVICE), mr.tensor(np.arange(images) % 10).to(DEVICE)
    if graph:
        step = GraphedStep(model, optimizer, F.cross_entropy, train_step)
        return lambda: step(x, y)
    return lambda: train_step(model, optimizer, x, y)


def counted(graph, images=128, size=32, depth=20):
    """A `Step`, the fourth, without what its kernels compute: nothing happens for the first time in it."""
    with launching_nothing():
        step = training(graph, images, size, depth)
        for _ in range(3):
            step()
        with counting() as seen:
            step()
    return seen


def milliseconds(steps=300):
    """Processor time of an eager step's Python, median and least, with launches replaced by nothing."""
    times = []
    with launching_nothing():
        step = training()
        for _ in range(steps):
            start = time.process_time()
            step()
            times.append(1e3 * (time.process_time() - start))
    return statistics.median(times), min(times)


def batch_norm_bytes():
    """Bytes loaded and stored by batch norm, forward and backward, for each byte of its input."""
    x = np.random.default_rng(0).standard_normal((8, 32, 32, 64), dtype=np.float32)  # (C, H, W, N)
    x = kernels.to_device(x, DEVICE).transpose(3, 0, 1, 2)
    own, found = kernels.of(x), []
    with cuda_on_cpu.watching() as seen:
        _, mean, var = own.batch_norm(x, None, None, 1e-5)
    found += [seen.loaded / x.nbytes, seen.stored / x.nbytes]
    with cuda_on_cpu.watching() as seen:
        own.batch_norm_backward(x, x, None, mean, var, 1e-5)
    return [*found, seen.loaded / x.nbytes, seen.stored / x.nbytes]


def block_bytes(graph):
    """Bytes loaded and stored by relu(batch norm(x) + s), forward and backward, for each byte of x."""
    x, s, g = (
        kernels.to_device(a, DEVICE).transpose(3, 0, 1, 2)
        for a in np.random.default_rng(0).standard_normal((3, 8, 32, 32, 64), dtype=np.float32)  # each (C, H, W, N)
    )
    norm, found = mr.nn.BatchNorm2d(8).to(DEVICE), []
    with fusing(graph):
        with cuda_on_cpu.watching() as seen:
            y = (norm(mr.Tensor(x, requires_grad=True)) + mr.Tensor(s, requires_grad=True)).relu()
        found += [seen.loaded / x.nbytes, seen.stored / x.nbytes]
        with cuda_on_cpu.watching() as seen:
            y.backward(mr.Tensor(g))
    return [*found, seen.loaded / x.nbytes, seen.stored / x.nbytes]


if __name__ == "__main__":
    from common import report

    eager, graphed = counted(False), counted(True)
    median, least = milliseconds(10 if "--quick" in sys.argv else 300)
    report(
        ms=median,
        least=least,
        nodes=graphed.nodes,
        launches=graphed.launches.total(),
        library=graphed.library.total(),
        arguments=eager.arguments,
        reads=eager.reads,
        bytes=batch_norm_bytes(),
        block_bytes={"eager": block_bytes(False), "graphed": block_bytes(True)},
        by_kernel=dict(graphed.launches.most_common()),
        by_call=dict(+graphed.library),
        version=f"minires {mr.__version__}, NumPy {np.__version__}",
    )
