"""What can be told of a kernel's speed from its machine code: bounds on the convolutions' loops, without a GPU.

Needs CuPy and NVRTC, ``python -m pip install -e '.[cuda13]'``; skipped without.
The table is `python -m benchmarks paper`.
"""

import json
import sys
from pathlib import Path

import pytest

import benchmarks
from minires import cuda_on_cpu
from minires.kernels.load import Source

sys.path.insert(0, str(Path(benchmarks.__file__).parent / "workers"))  # its programs find each other there
import cubin
import minires_paper as paper

needs_nvrtc = pytest.mark.skipif(bool(cubin.why_not()), reason=cubin.why_not())

STAGES = [(128, 16, 32, 16, 3, 1), (128, 32, 16, 32, 3, 1), (128, 64, 8, 64, 3, 1)]  # N, C, H, O, kernel, stride
FEWEST_BLOCKS = 264  # two for each multiprocessor of an H100

COUNTED = """
extern "C" __global__ void k(const float4* x, float* y, int steps, int n, float a) {
    __shared__ float s[128];
    s[threadIdx.x] = a;
    __syncthreads();
    float sum[4] = {};
    for (int i = 0; i < steps; ++i) {
        const float4 v = x[i * n + threadIdx.x BY];
        const float b = s[(i + threadIdx.x) & 127];
        sum[0] += v.x * b; sum[1] += v.y * b; sum[2] += v.z * b; sum[3] += v.w * b;
    }
    y[threadIdx.x] = sum[0] + sum[1] + sum[2] + sum[3];
}
"""


@needs_nvrtc
def test_instructions_are_counted():
    for by, divisions in (("", 0), ("/ (n + i)", 1)):
        code = "#pragma unroll 1\n    for (int i".join(COUNTED.replace(" BY", by).split("for (int i"))
        kernel = cubin.compiled(Source("k.cu", []), ["k"], code)["k"]
        loop = kernel.hot_loop
        assert (loop.count(cubin.FFMA), loop.count(cubin.MUFU), kernel.count(cubin.LDL, cubin.STL)) == (4, divisions, 0)
        assert (loop.loads(cubin.LDG, 128), loop.loads(cubin.LDG, 32), loop.loads(cubin.LDS, 32)) == (1, 0, 1)
        assert 8 < len(loop) < len(kernel) and len(loop) <= loop.stalls and 8 < kernel.registers < 64
        assert 512 <= kernel.shared <= 512 + 1024


@needs_nvrtc
def test_spills_are_counted():
    code = """extern "C" __global__ void __launch_bounds__(1024, 2) k(float* y, int n) {
        float v[64];
        for (int i = 0; i < 64; ++i) v[i] = y[i * n + threadIdx.x];
        __syncthreads();
        for (int i = 0; i < 64; ++i) y[i * n] = v[i] * v[63 - i];
    }"""
    assert cubin.compiled(Source("k.cu", []), ["k"], code)["k"].count(cubin.LDL, cubin.STL) > 32


def test_what_is_not_a_cubin():
    with pytest.raises(ValueError, match="expected a 64-bit ELF file"):
        cubin.kernels(b"__global__ void k() {}")


# At least this share of the loop's instructions multiplies and adds.
SHARES = {"forward": 0.7, "input gradient": 0.65, "weight gradient": 0.65}


@needs_nvrtc
@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.parametrize("case", STAGES, ids=str)
def test_the_loops_of_a_cifar_resnet_s_convolutions(case, kind):
    found = paper.row(kind, paper.launches(case)[kind], case)
    assert found["ffma"] >= SHARES[kind] * found["loop"], found
    assert found["stalls"] <= 1.6 * found["loop"]
    assert (found["divisions"], found["loads32"], found["spills"]) == (0, 0, 0) and found["copies128"] > 0


# At most this many instructions for 16 or 18 of the tensor cores; the others round what these are given, and fetch it.
INSTRUCTIONS = {"forward": 180, "input gradient": 195, "weight gradient": 215}


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("kind", INSTRUCTIONS)
@pytest.mark.parametrize("case", STAGES, ids=str)
def test_tensor_cores_multiply_no_wasted_rows(case, kind):
    launch = paper.launches(case, tf32=True)[kind][0]
    assert paper.tile(launch.name)[0] <= case[1]
    found = paper.row(kind, [launch], case)
    assert found["hmma"] >= 16 and found["loop"] <= INSTRUCTIONS[kind] and found["stalls"] <= 480
    assert (found["divisions"], found["loads32"], found["spills"]) == (0, 0, 0)


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("case", [(127, *case[1:]) for case in STAGES], ids=str)
def test_no_division_where_the_kernel_s_size_is_known(case):
    """Of batches that cannot be copied by fours; the weight gradient divides once for each row of a tile."""
    for kind in ("forward", "input gradient"):
        found = paper.row(kind, paper.launches(case)[kind], case)
        assert "pipelined" not in found["kernel"] and found["divisions"] == 0


PAGE = json.loads((Path(benchmarks.__file__).parent / "results" / "paper.json").read_text(encoding="utf-8"))["now"]


@needs_nvrtc
@pytest.mark.slow
def test_the_page_shows_the_kernels_as_they_are():
    """Launches are the same; another NVRTC may make a few instructions more or less of them."""
    for title, case in paper.CONVOLUTIONS.items():
        for kind, made in paper.launches(case).items():
            shown, found = PAGE["kernels"][title][kind], paper.row(kind, made, case)
            same = "kernel", "blocks", "launches", "ffma", "divisions", "loads32", "copies128", "spills"
            assert [found[what] for what in same] == [shown[what] for what in same], (title, kind)
            assert found["loop"] == pytest.approx(shown["loop"], rel=0.03)
            assert found["stalls"] == pytest.approx(shown["stalls"], rel=0.05)


@pytest.mark.skipif(not cuda_on_cpu.available(), reason=f"cuda-on-cpu: {cuda_on_cpu.why_not()}")
def test_the_page_s_prediction_of_all_else_in_a_step_is_that_of_its_launches():
    found = paper.rest(20)
    assert found == pytest.approx(PAGE["rest"]["ResNet-20"], rel=0.01)
    assert PAGE["steps"]["ResNet-20"] + found < 2.4  # milliseconds, the goal: 1.2 times PyTorch's, as estimated


def test_every_convolution_of_a_cifar_resnet_fills_the_card():
    for case in paper.network(20):
        for kind, made in paper.launches(case).items():
            if case[1] > 3:  # all but the first layer
                assert made[0].blocks >= FEWEST_BLOCKS, (case, kind, made[0])
