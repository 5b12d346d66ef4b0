# %% [markdown]
# # A convolution in five kernels
# Each `.cu` file beside this script is one idea: naive, im2col, implicit product, halo tile and registers, tensor core.
# All have the same signature. This script runs each one, checks it against `kernels.textbook`, and measures: on a GPU
# the time; without one, on `cuda-on-cpu`, the bytes that the threads ask of global memory and the arithmetic they do.

# %%
import sys
from pathlib import Path

import numpy as np

from minires import cuda_on_cpu
from minires.kernels import textbook
from minires.kernels.devices import why_no_gpu
from minires.lesson import QUICK, claim, finish

HERE = Path(__file__).resolve().parent
VERSIONS = ("1_naive", "2_im2col", "3_implicit", "4_halo", "5_tensor_core")
ON_GPU = why_no_gpu() is None
if not ON_GPU and not cuda_on_cpu.available():
    sys.exit(f"this lesson needs a GPU or g++: {cuda_on_cpu.why_not()}")

# %% [markdown]
# The shape is that of the first stage of a CIFAR ResNet, 16 channels on 32 × 32 pixels; on the CPU, in small.

# %%
N, C, O, H, W = (128, 16, 16, 32, 32) if ON_GPU else (1, 4, 16, 8, 8) if QUICK else (2, 16, 16, 16, 16)
rng = np.random.default_rng(0)
x, w = (rng.standard_normal(s, dtype=np.float32) for s in ((N, C, H, W), (O, C, 3, 3)))
if ON_GPU:  # the CPU kernels, themselves tested against the textbook, are quicker at this size
    from minires.kernels import cpu

    expected = cpu.conv2d(x, w, padding=(1, 1))
else:
    expected = textbook.conv2d(x, w, padding=(1, 1))
multiply_adds = N * O * H * W * C * 9


def cut(size, piece):
    return -(-size // piece)


def launches(version):
    """(kernel, grid, block) of each launch a version needs."""
    positions = N * H * W
    if version == "2_im2col":
        return [("gather", (cut(positions, 128), C * 9), 128), ("conv", (cut(positions, 128), O), 128)]
    grid, block = {
        "1_naive": ((cut(positions, 128), O), 128),
        "3_implicit": ((cut(positions, 16), cut(O, 16)), 256),
        "4_halo": ((N * cut(H, 8) * cut(W, 8), cut(O, 16)), 256),
        "5_tensor_core": ((cut(positions, 32), cut(O, 16)), 32),
    }[version]
    return [("conv", grid, block)]


# %% [markdown]
# A version is compiled from its text, by CuPy or by our runner, and launched by the same call.


# %%
def prepare(version):
    """A function that runs the version, and the array it writes to."""
    code = f'#line 1 "{version}.cu"\n{(HERE / f"{version}.cu").read_text()}'
    if ON_GPU:
        import cupy

        module, arrays = cupy.RawModule(code=code, options=("--std=c++17",)), cupy
    else:
        module, arrays = cuda_on_cpu.RawModule(code=code, options=("--std=c++17",)), np
    y = arrays.full((N, O, H, W), np.nan, np.float32)
    columns = arrays.empty(C * 9 * N * H * W, np.float32)
    args = arrays.asarray(x), arrays.asarray(w), y, columns, *map(np.int32, (N, C, O, H, W))
    steps = [(module.get_function(kernel), grid, (block,)) for kernel, grid, block in launches(version)]

    def run():
        for kernel, grid, block in steps:
            kernel(grid, block, args)

    return run, y


def microseconds(run):
    """Median time on the GPU, from CUDA events, after warm-up."""
    import cupy
    from cupyx.profiler import benchmark

    cupy.cuda.Device().synchronize()
    return float(np.median(benchmark(run, n_repeat=50, n_warmup=10).gpu_times)) * 1e6


# %%
rows, bytes_of, races = [], {}, []
for version in VERSIONS:
    run, y = prepare(version)
    tolerance = 3e-3 if version == "5_tensor_core" else 1e-5
    if ON_GPU:
        run()
        result, time = y.get(), microseconds(run)
        rows.append(f"| {version} | {time:.1f} µs | {2 * multiply_adds / time / 1e6:.2f} TFLOP/s |")
    else:
        with cuda_on_cpu.watching(arithmetic=True) as seen:
            run()
        result, bytes_of[version] = y, seen.loaded + seen.stored
        races += seen.races
        work = "tensor core" if version == "5_tensor_core" else f"{seen.operations / 2 / multiply_adds:.2f}"
        per = bytes_of[version] / multiply_adds
        rows.append(f"| {version} | {seen.loaded:,} | {seen.stored:,} | {seen.shared_loaded:,} | {per:.2f} | {work} |")
    error = abs(result - expected).max() / abs(expected).max()
    claim(f"{version} agrees with the reference", error < tolerance, float(error))

# %% [markdown]
# The table. Bytes are what the threads ask for, before any cache; arithmetic is relative to the N·O·H·W·C·9
# multiply-adds of the definition: below 1 where the border is skipped, above where a tile's empty part is computed too.

# %%
print(f"\nN={N}, C={C}, O={O}, {H}×{W}, {'GPU' if ON_GPU else 'counted on cuda-on-cpu'}\n")
if ON_GPU:
    print("| version | time | rate |\n|---|---|---|")
else:
    header = ("version", "loaded", "stored", "loaded from shared memory", "bytes per multiply-add", "arithmetic")
    print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
print("\n".join(rows) + "\n")

# %%
if not ON_GPU:
    claim("im2col moves more than the naive kernel", bytes_of["2_im2col"] > bytes_of["1_naive"])
    gain = bytes_of["1_naive"] / bytes_of["3_implicit"]
    claim("shared memory saves most of the traffic", gain > 5, gain)
    gain = bytes_of["3_implicit"] / bytes_of["4_halo"]
    claim("the halo tile saves again: a pixel is loaded once for nine taps", gain > 1.5, gain)
    claim("no two threads meet in memory without a barrier", not races, len(races))
finish()
