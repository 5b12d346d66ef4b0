"""What every worker does: read its command line, time a step after warm-up, report memory and time as JSON.

The peers' workers run on old Pythons too, so this file keeps to what Python 3.8 knows.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import time
from typing import NamedTuple


class Case(NamedTuple):
    """A network and its input.

    stem: "cifar" (3×3 convolution; shortcuts of option A) or "imagenet" (7×7 convolution and max pooling; option B);
    blocks: number of blocks in each stage; widths: their channels; batch images of channels × size × size.
    """

    title: str
    stem: str
    blocks: tuple
    widths: tuple
    channels: int
    size: int
    batch: int
    classes: int


def cifar(depth, width=16, channels=3, size=32, batch=128, title=None):
    """ResNet of 6n+2 layers."""
    title = title or "ResNet-{}{}".format(depth, "" if width == 16 else f" width {width}")
    return Case(title, "cifar", ((depth - 2) // 6,) * 3, (width, 2 * width, 4 * width), channels, size, batch, 10)


CASES = {
    "resnet20": cifar(20),
    "resnet56": cifar(56),
    "resnet110": cifar(110),
    "resnet1202": cifar(1202),
    "digits56": cifar(56, 8, 1, 8, 64),
    "resnet18": Case("ResNet-18", "imagenet", (2, 2, 2, 2), (64, 128, 256, 512), 3, 224, 8, 1000),
    "resnet50": Case("ResNet-50", "imagenet", (3, 4, 6, 3), (64, 128, 256, 512), 3, 224, 8, 1000),  # kernels only
}


def mpiexec():
    """The mpiexec beside this Python, as the mpich wheel brings it, or the one on the path; exits without either."""
    beside = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    found = beside if os.path.exists(beside) else shutil.which("mpiexec")
    return found or sys.exit("there is no mpiexec: python -m pip install -e '.[mpi]'")


def arguments():
    """The worker's command line: ``WORKER CASE step|inference [options]``; changes of the case go into ``.case``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CASES)
    parser.add_argument("mode", choices=["step", "inference"])
    parser.add_argument("--batch", type=int)
    parser.add_argument("--width", type=int, help="of the first stage, CIFAR networks")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores this process may use")
    parser.add_argument("--quick", action="store_true", help="one warm-up, one measurement")
    parser.add_argument("--channels-last", action="store_true", help="PyTorch's other memory format")
    parser.add_argument("--recompute-every", type=int, default=0, help="minires: recompute this many blocks at a time")
    parser.add_argument(
        "--recording", choices=["norms", "arrays", "hooks"], help="record every edge; hooks: PyTorch's own"
    )
    arguments = parser.parse_args()
    arguments.case = CASES[arguments.name]
    if arguments.width:
        arguments.case = arguments.case._replace(widths=tuple(arguments.width << i for i in range(3)))
    if arguments.batch:
        arguments.case = arguments.case._replace(batch=arguments.batch)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read when NumPy is imported
        os.environ[variable] = str(arguments.threads)
    return arguments


def cores():
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def blocks(case):
    """[(input channels, output channels, stride)] of the blocks, in order."""
    found, inputs = [], case.widths[0]
    for stage, (count, width) in enumerate(zip(case.blocks, case.widths)):
        for i in range(count):
            found.append((inputs, width, 2 if i == 0 and stage else 1))
            inputs = width
    return found


def padded_identity(inputs, outputs):
    """The weight (outputs, inputs, 1, 1) of a convolution that pads with zero channels on both sides (option A)."""
    first = (outputs - inputs) // 2
    return [[[[float(o == i + first)]] for i in range(inputs)] for o in range(outputs)]


def flops(case, mode="step"):
    """Multiplications and additions of all convolutions and the last layer. A step: forward and both gradients, but
    for the gradient of the images themselves.
    """
    size = case.size
    if case.stem == "cifar":
        stem = size**2 * case.widths[0] * case.channels * 9
    else:
        size //= 2
        stem = size**2 * case.widths[0] * case.channels * 49
        size //= 2
    body = 0
    for inputs, outputs, stride in blocks(case):
        size //= stride
        body += size**2 * outputs * 9 * (inputs + outputs)
        if case.stem == "imagenet" and inputs != outputs:
            body += size**2 * outputs * inputs
    body += case.widths[-1] * case.classes
    return 2 * case.batch * ((3 * body + 2 * stem) if mode == "step" else body + stem)


def measure(step, arguments, most=15, seconds=4.0):
    """Time ``step``: warm up twice, then repeat for about ``seconds``, ``most`` times at most (quick: once and once).

    A step of more than three seconds is warmed up once: what takes so long has found its memory by then.

    Returns ms (median) and the processor time of all threads, cpu_ms (median), of this process, its peak memory, and
    what it had before the first step, in MB.
    """
    base = peak_mb()
    for _ in range(1 if arguments.quick else 2):
        start = time.perf_counter()
        step()
        if time.perf_counter() - start > 3:
            break
    times, cpu_times = [], []
    while not times or (not arguments.quick and len(times) < most and sum(times) < seconds):
        start, cpu_start = time.perf_counter(), time.process_time()
        step()
        times.append(time.perf_counter() - start)
        cpu_times.append(time.process_time() - cpu_start)
    cpu_ms = 1e3 * statistics.median(cpu_times)
    return {
        "ms": 1e3 * statistics.median(times),
        "cpu_ms": cpu_ms,
        "peak_mb": peak_mb(),
        "base_mb": base,
        "threads": arguments.threads,
    }


def peak_mb():
    """The most memory this process has had resident so far, in MB."""
    if os.path.exists("/proc/self/status"):  # Linux's ru_maxrss starts with what the *parent* had
        with open("/proc/self/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(**values):
    """Print the result as the last line of output."""
    print(json.dumps(values))


def minires_version():
    """The versions of minires, NumPy and its BLAS, and the processor whose kernels that one runs."""
    import numpy

    import minires
    from minires.blas import describe

    return f"minires {minires.__version__}, NumPy {numpy.__version__}, {describe()}"
