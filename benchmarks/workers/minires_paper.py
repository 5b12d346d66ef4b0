"""Convolutions on paper: their launches on an H100, the machine code of these, and a time predicted of both.

Nothing is computed: the launch code runs as on a card, with a loader that only notes what is asked of it. What else a
training step has is counted in launches and bytes. minires is the one that PYTHONPATH names.
"""

import argparse
import dataclasses
import math
from collections import Counter

import cubin
import minires_launches
import numpy as np
from common import report
from gpu_common import CONVOLUTIONS

import minires
from minires.kernels.conv import gpu as conv
from minires.kernels.devices import Device
from minires.kernels.launch import allow_tf32

# An H100 SXM, and what is assumed of it.
MULTIPROCESSORS, CLOCK = 132, 1.755e9  # Hz; its highest is 1.98
REGISTERS, SHARED, THREADS, SCHEDULERS = 65_536, 227 * 1024, 2048, 4  # of a multiprocessor
L2 = 5.5e12  # bytes/s read from the second-level cache
MEMORY = 3.35e12  # bytes/s
LAUNCH, LATENCY = 1.5e-6, 0.6e-6  # seconds: between two kernels of a graph, and for a load that nothing hides
KINDS = ("forward", "input gradient", "weight gradient")


@dataclasses.dataclass
class Launch:
    """source and name: the kernel. grid: blocks in x, y, z. threads: of a block. args: as it gets them."""

    source: object
    name: str
    grid: tuple
    threads: int
    args: tuple

    @property
    def blocks(self):
        return math.prod(self.grid)

    @property
    def numbers(self):
        """Those that the kernel gets in its struct."""
        return np.asarray(self.args[-1]).item()


def launches(case, tf32=False):
    """{kind: the launches} of a convolution (N, C, H, O, kernel, stride)."""
    noted = []

    def load(source, name):
        return lambda grid, block, args: noted.append(Launch(source, name, grid, block[0], args))

    device = Device(
        "paper", np.ndarray, np.empty, upload=np.array, download=np.array, address=lambda array: 0, load=load,
        multiprocessors=MULTIPROCESSORS,
    )  # fmt: skip
    N, C, H, O, k, stride = case
    x, w, at = (
        np.empty((C, H, H, N), np.float32).transpose(3, 0, 1, 2),
        np.empty((O, C, k, k), np.float32),
        (k // 2,) * 2,
    )
    found = {}
    with allow_tf32(tf32):
        y = conv.conv2d(device, x, w, None, (stride, stride), at)
        found["forward"], noted = noted, []
        for kind, needs in (("input gradient", (True, False, False)), ("weight gradient", (False, True, False))):
            conv.conv2d_backward(device, y, x, w, (stride, stride), at, needs=needs)
            found[kind], noted = noted, []
    return found


_compiled: dict[str, cubin.Kernel] = {}


def machine_code(launch):
    if launch.name not in _compiled:
        _compiled.update(cubin.compiled(launch.source, [launch.name]))
    return _compiled[launch.name]


def predicted(launch, terms, cache=L2):
    """Seconds for a launch whose results are sums of so many terms, if the cache gives so many bytes a second.

    The slowest of three: a scheduler issues one instruction a cycle, of its warps in turn; a warp alone would take as
    many cycles as its instructions say; and the tiles come from the second-level cache. Blocks run in rounds, as many
    side by side as registers and shared memory allow. No bank conflict and no wait for memory is counted.
    """
    code = machine_code(launch)
    if launch.name.startswith("sum_parts"):
        parts, size = launch.numbers
        in_flight, lines = code.loop(cubin.LDG).count(cubin.LDG), launch.threads // 32 if launch.threads > 256 else 1
        return LAUNCH + max(math.ceil(parts / lines / in_flight) * LATENCY, 4 * (parts + 1) * size / cache)
    loop = code.hot_loop
    rows, columns = tile(launch.name)
    multiply_adds = loop.count(cubin.FFMA, cubin.DFMA) + 32 * loop.count(cubin.HMMA)  # of a thread
    step = multiply_adds * launch.threads // (rows * columns)
    steps = math.ceil(terms / step)
    warps = launch.threads / 32
    together = min(
        REGISTERS // (math.ceil(code.registers / 8) * 8 * launch.threads),
        SHARED // code.shared,
        THREADS // launch.threads,
    )
    cycles, left = 0.0, math.ceil(launch.blocks / MULTIPROCESSORS)
    while left > 0:
        here = min(left, together)
        cycles += steps * max(math.ceil(here * warps / SCHEDULERS) * len(loop), loop.stalls)
        left -= here
    read = 4.0 * launch.blocks * steps * step * (rows + columns)
    return LAUNCH + max(cycles / CLOCK, read / cache)


def tile(name):
    """(rows, columns) of results that a block computes."""
    numbers = [int(word) for word in name[name.index("<") + 1 : -1].split(", ") if word.isdigit()]
    if name.startswith("conv2d_weight_gradient_pipelined"):
        return numbers[0], {1: 64, 3: 144}[numbers[3]]
    return numbers[0], numbers[1]


def terms(kind, launch, case):
    """How many terms each result of a launch sums, on average over the phases of a strided convolution."""
    _, C, _, O, k, stride = case
    if kind == "weight gradient":
        return launch.numbers[1]  # the length of a part
    return C * k * k if kind == "forward" else O * k * k / stride**2


def seconds(kind, made, case, cache=L2):
    of_each = terms(kind, made[0], case)
    return sum(predicted(launch, of_each, cache) for launch in made)


def row(kind, made, case):
    launch = made[0]
    code = machine_code(launch)
    loop = code.hot_loop
    return {
        "kernel": launch.name,
        "loop": len(loop),
        "ffma": loop.count(cubin.FFMA),
        "hmma": loop.count(cubin.HMMA),
        "stalls": loop.stalls,
        "divisions": loop.count(cubin.MUFU),
        "loads32": loop.loads(cubin.LDG, 32),
        "copies32": loop.loads(cubin.LDGSTS, 32),
        "copies128": loop.loads(cubin.LDGSTS, 128),
        "registers": code.registers,
        "spills": code.count(cubin.LDL, cubin.STL),
        "blocks": launch.blocks,
        "launches": len(made),
        "microseconds": 1e6 * seconds(kind, made, case),
    }


def network(depth, batch=128):
    """The convolutions of a CIFAR ResNet: {case: how many}."""
    blocks, layers = (depth - 2) // 6, Counter({(batch, 3, 32, 16, 3, 1): 1})
    for stage in range(3):
        width, size = 16 << stage, 32 >> stage
        layers[batch, width, size, width, 3, 1] += 2 * blocks - (stage > 0)
        if stage:
            layers[batch, width // 2, 2 * size, width, 3, 2] += 1
    return layers


def step(depth, tf32=False, cache=L2):
    """Milliseconds of all convolutions of a training step."""
    total = 0.0
    for case, number in network(depth).items():
        for kind, made in launches(case, tf32).items():
            if kind != "input gradient" or case[1] > 3:  # nobody asks for the images' gradient
                total += number * seconds(kind, made, case, cache)
    return 1e3 * total


def rest(depth):
    """Milliseconds of all else in a graphed training step: its arrays, each once for each launch, and the launches.

    Of the optimiser's launch, which is given addresses, the weights count five times; the library's calls are short.
    """
    seen = minires_launches.counted(graph=True, depth=depth)
    convolutions = [name for name in seen.launches if name.startswith(("conv2d_", "sum_parts"))]
    moved = sum(seen.bytes.values()) - sum(seen.bytes[name] for name in convolutions)
    moved += 5 * sum(p.array.nbytes for p in minires.models.resnet_cifar(depth).parameters())
    nodes = seen.nodes - sum(seen.launches[name] for name in convolutions)
    return 1e3 * (nodes * LAUNCH + moved / MEMORY)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    cases = [(title, case, False) for title, case in CONVOLUTIONS.items()]
    cases += [(f"{title}, TF32", case, True) for title, case, _ in cases[:3]]
    kernels = {
        title: {kind: row(kind, made, case) for kind, made in launches(case, tf32).items()}
        for title, case, tf32 in (cases[:1] if quick else cases)
    }
    networks = [(f"ResNet-{depth}", depth, False) for depth in ((20,) if quick else (20, 56, 110))]
    networks += [] if quick else [("ResNet-20, TF32", 20, True)]
    steps, at_no_cost = ({name: step(depth, tf32, cache) for name, depth, tf32 in networks} for cache in (L2, math.inf))
    others = {name: rest(depth) for name, depth, tf32 in networks if not tf32}
    version = f"minires {minires.__version__}"
    report(kernels=kernels, steps=steps, tiles_at_no_cost=at_no_cost, rest=others, version=version)


if __name__ == "__main__":
    main()
