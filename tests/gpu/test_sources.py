"""The kernels' own sources: what is not in them, what happens without each barrier, and what is seen in memory."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu.cases import CASES, QUICK_TO_WATCH, device_for, quick_or_slow

from minires import cuda_on_cpu, kernels
from minires.cuda_on_cpu import thread_order, watching
from minires.kernels.devices import make_cuda_on_cpu
from minires.kernels.load import read
from minires.kernels.update.gpu import Row, Update

needs_compiler = pytest.mark.skipif(not cuda_on_cpu.available(), reason=cuda_on_cpu.why_not())

FOLDER = Path(kernels.__file__).parent
TEXTS = {path.relative_to(FOLDER).as_posix(): path.read_text("utf-8") for path in FOLDER.rglob("*.cu*")}
BARRIER = re.compile(r"(__sync(threads|warp)\([^)]*\)|\bwait_for_copies<[^>]*>\(\));")  # and waits for copies


def code_of(text):
    """The text without comments and strings' contents, in as many lines."""
    return re.sub(r"//[^\n]*|/\*[\s\S]*?\*/", lambda m: "\n" * m[0].count("\n"), text)


def test_there_are_kernels_to_read():
    assert {"conv/conv.cu", "batchnorm/batchnorm.cu", "product/product.cuh"} <= TEXTS.keys()


# How a thread may find an entry that is its own: none of the others of its block has the same.
OWN = (
    r"const int {i} = blockIdx\.x \* blockDim\.x \+ threadIdx\.x;",
    r"for \(int {i} = first \+ threadIdx\.x; {i} < last; {i} \+= blockDim\.x\)",
)
# Or how it is the only thread of a row of blocks, blockIdx.y, to do something: inside this.
ALONE = r"if \(blockIdx\.x == 0 && threadIdx\.x == 0\) \{[^{}]*\}"
ROW = r"const int {i} = blockIdx\.y\b"
SHARED = "scratch"  # what a device function is handed of its kernel's shared memory; barriers are for that


def declarations(code):
    """The top-level declarations of a file: kernels, device functions, structs."""
    return re.split(r"^(?=template|struct|__global__|__device__)", code, flags=re.MULTILINE)


def check_stores(code):
    """The arrays in global memory that are read and written; AssertionError unless a thread has each entry to itself.

    A kernel writes an entry of an array whole: `atomicAdd`, `y[i] += v` and `y[i] = y[i] + v` would make the order of a
    sum matter, or lose a part of it. What is both read and written must therefore be subscripted, wherever it is, by
    one variable that counts the threads (`OWN`), or by the row of one that is `ALONE`. That the entries of two *blocks*
    differ is seen in memory, see below.
    """
    assert not re.search(r"\batomic\w*\s*\(|\b(red|atom)\.", code)
    in_place = set()
    for part in declarations(code):
        arrays = re.findall(
            r"(?<!const )\b(?:T|float|double|int|unsigned char|long long) ?\* ?(?:__restrict__ )?(\w+)", part
        )
        for array in set(arrays) - {SHARED}:
            name = rf"(?<![\w.]){array}\b"
            operator = r"([-+*/|&^]|<<|>>)"
            entry = rf"{name}\[[^\n;]*\]"
            for what, pattern in (
                ("a store through a pointer", rf"[;{{}}]\s*\*\s*(\({name}[^;]*\)|{name})\s*{operator}?=(?!=)"),
                ("a sum in global memory", rf"{entry}\s*{operator}=|{entry}(\+\+|--)|(\+\+|--){entry}"),
            ):
                found = re.search(pattern, part)
                assert not found, f"{what}: {found[0]}"
            uses = re.findall(rf"{name}\[((?:[^\[\]]|\[[^\]]*\])*)\]\s*(=(?!=))?", part)
            if {bool(store) for _, store in uses} == {True, False}:
                indices = sorted({index for index, _ in uses})
                defined = len(re.findall(rf"\bint {re.escape(indices[0])} =", part))
                alone = not re.search(name, re.sub(ALONE, "", part).partition("{")[2])
                forms = (ROW,) if alone else OWN
                own = sum(len(re.findall(form.format(i=re.escape(indices[0])), part)) for form in forms)
                assert len(indices) == 1 and 0 < defined == own, f"{array} is read and written, at {indices}"
                in_place.add(array)
    return in_place


IN_PLACE = {
    "update/update.cu": {"w", "m", "v", "largest"},
    "batchnorm/batchnorm.cu": {"running_mean", "running_var", "batches"},
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_atomics_and_no_sums_in_global_memory(name):
    assert check_stores(code_of(TEXTS[name])) == IN_PLACE.get(name, set())


@pytest.mark.parametrize(
    "line",
    [
        "atomicAdd(y, 1.0f);",
        "y[threadIdx.x + 1] += x[0];",
        "y[0]++;",
        "++y[0];",
        "*y = x[0];",
        "*(y + threadIdx.x) = x[0];",
        "y[0] = y[0] + x[threadIdx.x];",
        "const int i = threadIdx.x / 2; y[i] = y[i] + x[0];",
        "const float old = y[blockIdx.x]; y[blockIdx.x] = old + x[0];",
        "const int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = y[i + 1];",
        "const int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = y[i]; { int i = 0; y[i] = x[0]; }",
        "for (int i = first + threadIdx.x; i < last; i += 1) y[i] = y[i] + x[i];",
        "const int c = blockIdx.y; y[c] = y[c] + x[c];",
        "const int c = blockIdx.y; if (blockIdx.x == 0 && threadIdx.x == 0) { y[c] = y[c] + x[c]; } y[c] = 1;",
        "const int c = blockIdx.x; if (blockIdx.x == 0 && threadIdx.x == 0) { y[c] = y[c] + x[c]; }",
        "const int c = blockIdx.y; if (threadIdx.x == 0) { y[c] = y[c] + x[c]; }",
    ],
)
def test_the_reader_finds_what_it_looks_for(line):
    with pytest.raises(AssertionError):
        check_stores(f"__global__ void k(const float* x, float* y) {{ {line} }}")


@pytest.mark.parametrize(
    "line",
    [
        "y[x[0] > 0] = x[threadIdx.x];",
        "const int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = y[i] + x[i];",
        "for (int i = first + threadIdx.x; i < last; i += blockDim.x) y[i] = y[i] + x[i];",
        "const int c = blockIdx.y; if (blockIdx.x == 0 && threadIdx.x == 0) { y[c] = y[c] + x[c]; }",
    ],
)
def test_the_reader_lets_pass_what_is_a_thread_s_own(line):
    check_stores(f"__global__ void k(const float* x, float* y) {{ {line} }}")


BARRIERS = [
    (name, line)
    for name, text in sorted(TEXTS.items())
    for line, content in enumerate(code_of(text).splitlines(), 1)
    if BARRIER.search(content)
]


def without(name, line):
    """The source of a kernel file as the loader has it, with the barrier in that line of `name` left out."""

    def changed(file):
        here, number, lines = "", 0, []
        for content in read(file).splitlines():
            if directive := re.fullmatch(r'#line (\d+) "([^"]+)"', content):
                here, number = directive[2], int(directive[1]) - 1
            else:
                number += 1
                if (here, number) == (name, line):
                    assert BARRIER.search(content), content
                    content = BARRIER.sub(";", content)
            lines.append(content)
        return "\n".join(lines) + "\n"

    return changed


@needs_compiler
@pytest.mark.parametrize(("name", "line"), BARRIERS, ids=lambda value: str(value))
def test_every_deleted_barrier_is_noticed(name, line):
    changed = without(name, line)
    device = make_cuda_on_cpu(changed)
    affected = [case for case in CASES if changed(case.file) != read(case.file)]
    assert affected
    # the quick ones first; one noticed difference is enough
    for case in sorted(affected, key=lambda case: case.file.startswith("conv/")):
        for order in ("forward", "reverse"):
            with thread_order(order):
                try:
                    case.check(device)
                except AssertionError:
                    return
    pytest.fail(f"nothing changed without the barrier in {name}:{line}")


@needs_compiler
@pytest.mark.parametrize("case", quick_or_slow(QUICK_TO_WATCH))
def test_no_two_threads_meet_in_memory_without_a_barrier(case):
    device = device_for(case, QUICK_TO_WATCH)
    with watching() as seen:
        device.upload = kept_in(seen.also, device.upload)
        case.run(device)
    assert seen.launches and seen.loaded and seen.stored
    assert seen.races == []


def kept_in(arrays, upload):
    """``upload``, its results watched too: an optimiser's kernel finds parameters through a table of addresses."""

    def uploading(array):
        arrays.append(upload(array))
        return arrays[-1]

    return uploading


@needs_compiler
@pytest.mark.parametrize("state", ["weight", "velocity"])
def test_two_rows_of_one_parameter_meet(state):
    """What is written through the table of addresses is watched: here the table names an array twice."""
    device = make_cuda_on_cpu()
    arrays = [device.upload(np.ones(5, np.float32)) for _ in range(6)]
    arrays[3 if state == "weight" else 5] = arrays[0 if state == "weight" else 2]
    update = Update(device, "sgd", np.dtype(np.float32))
    update.send_settings([(0.1, 0.9, 1.0, 0.0, 0.0, 1.0)])
    with watching() as seen:
        seen.also += arrays
        update([Row(arrays[i], arrays[i + 1], (arrays[i + 2],), 0) for i in (0, 3)])
    assert any("of watched array" in line for line in seen.races), seen.races


@needs_compiler
@pytest.mark.slow
def test_sanitizers_find_nothing():
    script = (
        "from gpu.cases import CASES, make_for_all_cases\n"
        "device = make_for_all_cases()\n"
        "for case in CASES:\n"
        "    case.check(device)\n"
        "print(len(CASES), 'cases')\n"
    )
    environment = cuda_on_cpu.sanitized_environment()
    here = Path(__file__).resolve().parent
    environment["PYTHONPATH"] = f"{here.parent}:{here.parent.parent}"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(CASES)} cases\n"
