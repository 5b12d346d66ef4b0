"""The runner of CUDA C on the CPU: what it computes, what it refuses, and what it notices."""

import contextlib
import re
import subprocess
import sys

import numpy as np
import pytest

from minires import cuda_on_cpu
from minires.cuda_on_cpu import RawModule, build, thread_order, watching

pytestmark = pytest.mark.skipif(not cuda_on_cpu.available(), reason=cuda_on_cpu.why_not())

ORDERS = pytest.mark.parametrize("order", ["forward", "reverse"])


def kernel(code, name="k", **options):
    """A kernel from a text that declares it extern "C"."""
    return RawModule(code=f'#line 1 "test.cu"\n{code}', **options).get_function(name)


REVERSE = """
extern "C" __global__ void k(const float* x, float* y) {  // each block of 64 threads turns its part around
    __shared__ float tile[64];
    const int t = threadIdx.x, first = blockIdx.x * 64;
    tile[t] = x[first + t];
    __syncthreads();
    y[first + t] = tile[63 - t];
}
"""


@ORDERS
def test_shared_memory_and_barriers(rng, order):
    x, y = rng.standard_normal(192, dtype=np.float32), np.zeros(192, np.float32)
    with thread_order(order):
        kernel(REVERSE)((3,), (64,), (x, y))
    np.testing.assert_array_equal(y, x.reshape(3, 64)[:, ::-1].ravel())


@ORDERS
def test_a_deleted_barrier_is_noticed_in_both_orders_here(rng, order):
    x, y = rng.standard_normal(64, dtype=np.float32), np.zeros(64, np.float32)
    with thread_order(order):
        kernel(REVERSE.replace("__syncthreads();", ""))((1,), (64,), (x, y))
    assert np.isnan(y).sum() == 32  # half of the threads read before the other half has written


def test_shared_memory_is_nan_for_every_block():
    code = """
    extern "C" __global__ void k(float* y) {
        __shared__ float fixed[2];
        extern __shared__ float sized[];
        y[3 * blockIdx.x] = fixed[1];
        y[3 * blockIdx.x + 1] = sized[1];
        y[3 * blockIdx.x + 2] = 1;
        fixed[1] = sized[1] = 5;
    }"""
    y = np.zeros((2, 3), np.float32)
    kernel(code)((2,), (1,), (y,), shared_mem=8)
    np.testing.assert_array_equal(y, [[np.nan, np.nan, 1]] * 2)


@ORDERS
def test_threads_and_blocks_know_their_place(order):
    code = """
    extern "C" __global__ void k(int* y) {
        int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
        y[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
    }"""
    y = np.zeros((24, 30), np.int32)
    with thread_order(order):
        kernel(code)((2, 3, 4), (5, 3, 2), (y,))
    np.testing.assert_array_equal(y, 1000 * np.arange(24)[:, None] + np.arange(30))


@ORDERS
def test_exchanges_within_a_warp(order):
    code = """
    extern "C" __global__ void k(const float* x, float* y, unsigned* votes, int width) {
        const int t = threadIdx.x;
        y[t] = __shfl_sync(~0u, x[t], 3, width);
        y[64 + t] = __shfl_xor_sync(~0u, x[t], 4, width);
        y[128 + t] = __shfl_down_sync(~0u, x[t], 2, width);
        y[192 + t] = __shfl_up_sync(~0u, x[t], 2, width);
        votes[t] = __ballot_sync(~0u, t % 3 == 0);
        votes[64 + t] = __any_sync(~0u, t == 40);
        votes[128 + t] = __all_sync(~0u, t < 40);
    }"""
    x, lane = np.arange(64, dtype=np.float32), np.arange(64)
    for width in (32, 8):
        y, votes = np.zeros((4, 64), np.float32), np.zeros((3, 64), np.uint32)
        with thread_order(order):
            kernel(code)((1,), (64,), (x, y, votes, width))
        inside, group = lane % width, lane // width * width
        np.testing.assert_array_equal(y[0], group + 3)
        np.testing.assert_array_equal(y[1], lane ^ 4)
        np.testing.assert_array_equal(y[2], np.where(inside + 2 < width, lane + 2, lane))
        np.testing.assert_array_equal(y[3], np.where(inside >= 2, lane - 2, lane))
    thirds = [sum(1 << i for i in range(32) if (w * 32 + i) % 3 == 0) for w in range(2)]
    np.testing.assert_array_equal(votes[0], np.repeat(thirds, 32))
    np.testing.assert_array_equal(votes[1:], np.repeat([[0, 1], [1, 0]], 32, axis=1))


def test_warps_split_by_masks():
    code = """
    extern "C" __global__ void k(float* y) {
        const int t = threadIdx.x;
        const unsigned half = t < 16 ? 0xffffu : 0xffff0000u;
        float v = t;
        if (t < 16) for (int d = 8; d; d /= 2) v += __shfl_xor_sync(half, v, d);
        y[t] = v + __shfl_sync(~0u, v, 31);
    }"""
    y = np.zeros(32, np.float32)
    kernel(code)((1,), (32,), (y,))
    np.testing.assert_array_equal(y, np.where(np.arange(32) < 16, 120, np.arange(32)) + 31)


def test_templates_and_several_types(rng):
    code = """
    template <typename T, int FACTOR> __global__ void k(const T* x, T* y, T shift, int n) {
        const int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) y[i] = FACTOR * x[i] + shift;
    }"""
    module = RawModule(code=code, name_expressions=("k<float, 2>", "k<double, 3>"), options=("--std=c++17",))
    for name, dtype, factor in (("k<float, 2>", np.float32, 2), ("k<double, 3>", np.float64, 3)):
        x, y = rng.standard_normal(100).astype(dtype), np.zeros(101, dtype)
        module.get_function(name)((4,), (32,), (x, y, dtype(0.5), np.int32(100)))
        np.testing.assert_allclose(y[:100], factor * x + dtype(0.5), rtol=1e-6)
        assert y[100] == 0


def test_vector_loads_and_arithmetic(rng):
    code = """
    extern "C" __global__ void k(const float* x, float* y) {
        const float4 v = __ldg((const float4*)x + threadIdx.x);
        ((float2*)y)[threadIdx.x] = make_float2(fmaf(v.x, v.y, v.z), rsqrtf(max(v.w, 1e-3f)));
    }"""
    x, y = rng.random((8, 4), dtype=np.float32), np.zeros((8, 2), np.float32)
    kernel(code)((1,), (8,), (x, y))
    expected = np.stack([x[:, 0] * x[:, 1] + x[:, 2], 1 / np.sqrt(np.maximum(x[:, 3], 1e-3))], axis=1)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


COPY_AHEAD = """
extern "C" __global__ void k(const float* x, float* y, int steps) {  // steps × 64 numbers, each row turned around
    __shared__ alignas(16) float rows[3][64];
    const int t = threadIdx.x;
    auto fetch = [&](int row) { if (t < 16) copy_async<16>(&rows[row % 3][4 * t], x + 64 * row + 4 * t, true); };
    for (int row = 0; row < 2; ++row) { fetch(row); commit_copies(); }
    for (int row = 0; row < steps; ++row) {
        wait_for_copies<1>();
        __syncthreads();
        if (row + 2 < steps) fetch(row + 2);
        commit_copies();
        y[64 * row + t] = rows[row % 3][63 - t];
    }
}
"""


def copy_ahead(rng, code, order, variant=contextlib.nullcontext):
    x, y = rng.standard_normal((5, 64), dtype=np.float32), np.zeros((5, 64), np.float32)
    with thread_order(order), variant() as seen:
        kernel(code)((1,), (64,), (x, y, 5))
    return np.array_equal(y, x[:, ::-1]), seen


@ORDERS
def test_asynchronous_copies(rng, order):
    assert copy_ahead(rng, COPY_AHEAD, order)[0]
    right, seen = copy_ahead(rng, COPY_AHEAD, order, watching)
    assert right and seen.races == []
    assert (seen.loaded, seen.shared_stored) == (5 * 256, 5 * 256)  # of each copy, once


@ORDERS
@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("wait_for_copies<1>();", ""),
        ("wait_for_copies<1>();", "wait_for_copies<2>();"),
        ("commit_copies();\n        y", "y"),
        ("__syncthreads();", ""),
        ("row + 2", "row + 3"),  # into the row that is being read
    ],
)
def test_a_missing_wait_is_noticed(rng, order, written, instead):
    assert COPY_AHEAD.count(written) in (1, 2)
    assert not copy_ahead(rng, COPY_AHEAD.replace(written, instead), order)[0]


def test_a_copy_races_from_its_beginning_to_its_arrival(rng):
    late = COPY_AHEAD.replace("__syncthreads();", "").replace(
        "wait_for_copies<1>();", "__syncthreads(); wait_for_copies<1>();"
    )
    for code in (late, COPY_AHEAD.replace("row + 2", "row + 3")):
        assert copy_ahead(rng, code, "forward", watching)[1].races


@pytest.mark.parametrize("inside", [0, 1])
@pytest.mark.parametrize("size", [4, 8, 16])
def test_copies_of_each_size_and_of_zeros(size, inside):
    code = f"""
    extern "C" __global__ void k(const float* x, float* y, int inside) {{
        __shared__ alignas(16) float s[4];
        copy_async<{size}>(s, inside ? x : nullptr, inside);
        commit_copies();
        wait_for_copies<0>();
        for (int i = 0; i < 4; ++i) y[i] = s[i];
    }}"""
    x, y = np.arange(1, 5, dtype=np.float32), np.zeros(4, np.float32)
    kernel(code)((1,), (1,), (x, y, inside))
    np.testing.assert_array_equal(y, np.where(np.arange(4) < size // 4, inside * x, np.nan))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "copy_async<16>(s + 1, x, true);",
            r"at test.cu:3, thread \(0, 0, 0\) begins a copy .* no multiple of 16 bytes",
        ),
        ("copy_async<16>(s, x + 1, true);", "no multiple of 16 bytes"),
        ("copy_async<4>(y, x, true);", "outside shared memory, of 4 bytes"),
    ],
)
def test_copies_that_a_gpu_would_refuse(line, message):
    code = f'extern "C" __global__ void k(const float* x, float* y) {{\n__shared__ alignas(16) float s[8];\n{line} }}'
    with pytest.raises(RuntimeError, match=message):
        kernel(code)((1,), (1,), (aligned(8), aligned(8)))


def aligned(size):
    """Zeros that begin at a multiple of 16 bytes."""
    room = np.zeros(size + 4, np.float32)
    first = -room.ctypes.data // 4 % 4
    return room[first : first + size]


@ORDERS
def test_the_tensor_core_product(rng, order):
    code = """
    extern "C" __global__ void k(const float* a, const float* b, float* d, int rounded) {
        const int group = threadIdx.x / 4, quad = threadIdx.x % 4;
        float fa[4], fb[2], fd[4];
        for (int i = 0; i < 4; ++i) {
            fa[i] = a[(group + i % 2 * 8) * 8 + quad + i / 2 * 4];
            if (rounded) fa[i] = to_tf32(fa[i]);
            fd[i] = d[(group + i / 2 * 8) * 8 + quad * 2 + i % 2];
        }
        for (int i = 0; i < 2; ++i) {
            fb[i] = b[(quad + i * 4) * 8 + group];
            if (rounded) fb[i] = to_tf32(fb[i]);
        }
        mma_m16n8k8(fd, fa, fb);
        for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + quad * 2 + i % 2] = fd[i];
    }"""
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, 8), (8, 8), (16, 8)))

    def tf32(x, half):
        """Keep 10 bits of the mantissa: to nearest with half = 0x1000, cut off with 0."""
        return ((x.view(np.uint32) + np.uint32(half)) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)

    for rounded, half in ((1, 0x1000), (0, 0)):
        d = c.copy()
        with thread_order(order):
            kernel(code)((1,), (32,), (a, b, d, rounded))
        np.testing.assert_allclose(d, tf32(a, half) @ tf32(b, half) + c, rtol=1e-6, atol=1e-6)
    assert abs(d - (a @ b + c)).max() > 1e-4  # and that is not the product of the whole numbers


def test_diverging_threads_are_named():
    code = """
    extern "C" __global__ void k(float* y) {
        if (threadIdx.x < 40) __syncthreads();
        else __syncthreads();
        y[threadIdx.x] = 1;
    }"""
    with pytest.raises(RuntimeError, match=r"k: barrier divergence.*\(0, 0, 0\).*test.cu:3.*\(40, 0, 0\).*test.cu:4"):
        kernel(code)((1,), (64,), (np.zeros(64, np.float32),))


def test_a_warp_that_waits_for_a_lane_at_another_barrier():
    code = """
    extern "C" __global__ void k(float* y) {
        if (blockIdx.x == 1 && threadIdx.x == 7) __syncthreads();
        y[threadIdx.x] = __shfl_sync(~0u, y[threadIdx.x], 0);
    }"""
    message = r"warp barrier of test.cu:4, .*\(7, 0, 0\) waits at the block.*block \(1, 0, 0\)"
    with pytest.raises(RuntimeError, match=message):
        kernel(code)((2,), (32,), (np.zeros(32, np.float32),))
    x, y = np.ones(64, np.float32), np.zeros(64, np.float32)
    kernel(REVERSE)((1,), (64,), (x, y))  # and the next launch is none the worse for it
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("if (t < 8) y[t] = __shfl_sync(0xffu, y[t], 8);", "reads from lane 8, which takes no part"),
        ("y[t] = __shfl_sync(0xffu, y[t], 0);", "left out by its own mask"),
    ],
)
def test_exchanges_with_lanes_that_take_no_part(line, message):
    code = f'extern "C" __global__ void k(float* y) {{ const int t = threadIdx.x; {line} }}'
    with pytest.raises(RuntimeError, match=message):
        kernel(code)((1,), (32,), (np.zeros(32, np.float32),))


def test_threads_that_have_ended_are_not_waited_for():
    code = """
    extern "C" __global__ void k(float* y, int n) {
        if (threadIdx.x >= n) return;
        __syncthreads();
        y[threadIdx.x] = 1;
    }"""
    y = np.zeros(64, np.float32)
    kernel(code)((1,), (64,), (y, 40))
    assert y.sum() == 40


COPY = 'extern "C" __global__ void k(const float* x, float* y, float a, int n) { y[0] = a * x[n]; }'
X, Y = np.ones(4, np.float32), np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((X, Y, np.float32(1)), TypeError, "3 arguments; the kernel has 4"),
        ((X, Y, 1.0, 0), TypeError, r"argument 2 is 1\.0 \(float\); expected np.float32"),
        ((X, Y, np.float64(1), 0), TypeError, r"argument 2 .*float64.* expected np.float32"),
        ((X, Y, np.float32(1), np.int64(0)), TypeError, r"argument 3 .*int64.* expected np.int32"),
        ((X, Y, np.float32(1), 2**31), TypeError, r"argument 3 is 2147483648 \(int\); expected np.int32"),
        ((X.astype(np.float64), Y, np.float32(1), 0), TypeError, "argument 0 is an array of float64"),
        ((X, [1.0], np.float32(1), 0), TypeError, "argument 1 is a list; expected an array of float32"),
        ((X[::2], Y, np.float32(1), 0), ValueError, "argument 0 is not contiguous"),
        ((X, np.broadcast_to(np.float32(1), (1,)), np.float32(1), 0), ValueError, "argument 1 is read-only"),
    ],
)
def test_arguments_that_do_not_fit(args, error, message):
    with pytest.raises(error, match=message):
        kernel(COPY)((1,), (1,), args)


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        ((0,), (1,), 0, r"grid \(0,\)"),
        ((1, 65536), (1,), 0, "grid"),
        ((1,), (1, 1, 65), 0, "block"),
        ((1,), (64, 32), 0, "up to 1024 threads"),
        ((1,), (1,), 50_000, "max_dynamic_shared_size_bytes"),
    ],
)
def test_launches_that_cuda_refuses(grid, block, shared, message):
    with pytest.raises(ValueError, match=message):
        kernel(COPY)(grid, block, (X, Y, np.float32(1), 0), shared_mem=shared)


def test_more_shared_memory_when_asked_for():
    code = 'extern "C" __global__ void k(float* y) { extern __shared__ float s[]; s[25000] = 7; y[0] = s[25000]; }'
    big = kernel(code)
    big.max_dynamic_shared_size_bytes = 100_004
    y = np.zeros(1, np.float32)
    big((1,), (1,), (y,), shared_mem=100_004)
    assert y[0] == 7


def test_what_does_not_compile():
    with pytest.raises(RuntimeError, match=r"test.cu:2:\d+: error: .*nonsense"):
        kernel('extern "C" __global__ void k(float* y) {\n nonsense; }')((1,), (1,), (Y,))
    with pytest.raises(RuntimeError, match="atomics are left out on purpose"):
        kernel('extern "C" __global__ void k(float* y) { atomicAdd(y, 1.0f); }')((1,), (1,), (Y,))
    with pytest.raises(KeyError, match="no kernel 'scale'; this module has k"):
        RawModule(code=COPY).get_function("scale")
    with pytest.raises(ValueError, match="--gpu-code"):
        kernel(COPY, options=("--gpu-code=sm_90",))((1,), (1,), (X, Y, np.float32(1), 0))
    with pytest.raises(ValueError, match='"forward" or "reverse"'), thread_order("backward"):
        pass


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    build.why_not.cache_clear()
    try:
        assert not cuda_on_cpu.available()
        assert "there is none on the PATH: install it" in cuda_on_cpu.why_not()
        with pytest.raises(RuntimeError, match="apt install g"):
            kernel(COPY)((1,), (1,), (X, Y, np.float32(1), 0))
    finally:
        build.why_not.cache_clear()


def test_two_processes_may_compile_the_same(tmp_path):
    script = (
        "import numpy as np; from minires.cuda_on_cpu import RawModule; y = np.zeros(1, np.float32);"
        "RawModule(code='extern \"C\" __global__ void k(float* y) { y[0] = 3; }').get_function('k')((1,), (1,), (y,));"
        "print(y[0])"
    )
    environment = {**build.os.environ, "MINIRES_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in "ab"]
    assert [process.communicate()[0].strip() for process in both] == ["3.0", "3.0"]
    kept = sorted(path.name.split("-")[0] for path in (tmp_path / "cuda-on-cpu").iterdir())
    assert kept == ["kernels", "runner"]  # one of each, and nothing temporary


# ── watched memory ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_bytes_and_operations_are_counted(rng):
    code = """
    extern "C" __global__ void k(const float* x, float* y) {
        __shared__ float s[32];
        const int t = threadIdx.x;
        s[t] = x[t];
        __syncthreads();
        y[t] = 2.0f * s[31 - t] + (t % 2 ? 1.0f : x[32 + t]);
    }"""
    x, y = rng.standard_normal(64, dtype=np.float32), np.zeros(32, np.float32)
    run = kernel(code)
    for arithmetic in (False, True):
        with watching(arithmetic) as seen:
            run((1,), (32,), (x, y))
        assert (seen.loaded, seen.stored) == (4 * (32 + 16), 4 * 32)
        assert (seen.shared_loaded, seen.shared_stored) == (4 * 32, 4 * 32)
        assert (seen.races, seen.launches) == ([], ["k"])
        np.testing.assert_allclose(y, 2 * x[31::-1] + np.where(np.arange(32) % 2, 1, x[32:]), rtol=1e-6)
    assert seen.operations == 2 * 32


@pytest.mark.parametrize(
    ("line", "race"),
    [
        ("y[0] += x[i];", r"k: thread \(1, 0, 0\) of block 0 loads byte 0 of argument 1, which thread \(0, 0, 0\)"),
        ("y[t] = x[i];", r"k: thread \(0, 0, 0\) of block 1 stores byte 0 of argument 1, which .* of block 0 stored"),
        ("y[i] = x[i]; y[127 - i] = 1;", "of block 1"),
        ("s[t] = x[i]; __syncwarp(); y[i] = s[63 - t];", "loads byte .* of static shared memory"),
        ("s[t] = x[i]; __syncthreads(); float v = s[63 - t]; s[t] = v; y[i] = v;", "stores byte .*, which .* loaded"),
    ],
)
def test_races_are_reported(rng, line, race):
    code = f"""
    extern "C" __global__ void k(const float* x, float* y) {{
        __shared__ float s[64];
        const int t = threadIdx.x, i = blockIdx.x * 64 + t;
        {line}
    }}"""
    with watching() as seen:
        kernel(code)((2,), (64,), (rng.standard_normal(128, dtype=np.float32), np.zeros(128, np.float32)))
    assert any(re.search(race, line) for line in seen.races), seen.races


@pytest.mark.parametrize(
    "line",
    [
        "y[i] = x[i];",
        "s[t] = x[i]; __syncwarp(); y[i] = s[t ^ 31];",
        "s[t] = x[i]; __syncthreads(); float v = s[63 - t]; __syncthreads(); s[t] = v; y[i] = s[t];",
    ],
)
def test_ordered_accesses_are_no_races(rng, line):
    code = f"""
    extern "C" __global__ void k(const float* x, float* y) {{
        __shared__ float s[64];
        const int t = threadIdx.x, i = blockIdx.x * 64 + t;
        {line}
    }}"""
    with watching() as seen:
        kernel(code)((2,), (64,), (rng.standard_normal(128, dtype=np.float32), np.zeros(128, np.float32)))
    assert seen.races == []


# ── sanitizers ──────────────────────────────────────────────────────────────────────────────────────────────────────

PLANTED = """
import sys
import numpy as np
from minires.cuda_on_cpu import RawModule
code = '''
#line 1 "planted.cu"
extern "C" __global__ void k(const float* x, float* y, int n, int m) {
    __shared__ float s[32];
    extern __shared__ float d[];
    float own[4] = {};
    const int t = threadIdx.x;
    switch (m) {
        case 0: s[t] = x[t]; __syncthreads(); y[t + n] = s[31 - t]; break;
        case 1: s[t + n] = x[t]; __syncthreads(); y[t] = s[t]; break;
        case 2: d[t + n] = x[t]; __syncthreads(); y[t] = d[t]; break;
        case 3: own[t % 4 + n] = x[t]; __syncthreads(); y[t] = own[t % 4]; break;
        case 4: if (t < 7) ((float4*)y)[t] = *(const float4*)(x + 4 * t + n); break;
        case 5: y[t] = x[t] + float(2147483647 - 31 + t + n);
    }
}'''
x, y, args = np.ones(32, np.float32), np.empty(32, np.float32), map(np.int32, map(int, sys.argv[1:]))
RawModule(code=code, sanitize=True).get_function("k")((1,), (32,), (x, y, *args), shared_mem=128)
print("nothing found")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "report"),
    [
        (0, "heap-buffer-overflow"),
        (1, "index 32 out of bounds"),
        (2, "use-after-poison"),
        (3, "index 4 out of bounds"),
        (4, "misaligned address"),
        (5, "signed integer overflow"),
    ],
)
def test_sanitizers_find_what_was_planted(case, report):
    def run(shift):
        command = [sys.executable, "-c", PLANTED, str(shift), str(case)]
        return subprocess.run(
            command, capture_output=True, text=True, env=cuda_on_cpu.sanitized_environment(), check=False
        )

    fine, planted = run(0), run(1)
    assert fine.stdout == "nothing found\n", fine.stderr
    assert planted.returncode != 0 and "planted.cu" in planted.stderr and report in planted.stderr


def test_sanitizers_need_their_own_process():
    with pytest.raises(RuntimeError, match="env=sanitized_environment"):
        kernel(COPY, sanitize=True)((1,), (1,), (X, Y, np.float32(1), 0))
