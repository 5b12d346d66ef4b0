"""The kernels' own sources: what is not in them, what happens without each barrier, and what is seen in memory."""

import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from gpu.cases import CASES

from minires.kernels import gpu
from minires.kernels.gpu import cuda_on_cpu
from minires.kernels.gpu.cuda_on_cpu import thread_order, watching
from minires.kernels.gpu.devices import make_cuda_on_cpu
from minires.kernels.gpu.load import source

needs_compiler = pytest.mark.skipif(not cuda_on_cpu.available(), reason=cuda_on_cpu.why_not())

TEXTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in resources.files(gpu).iterdir()
    if path.name.endswith((".cu", ".cuh"))
}
BARRIER = re.compile(r"__sync(threads|warp)\([^)]*\);")


def code_of(text):
    """The text without comments and strings' contents, in as many lines."""
    return re.sub(r"//[^\n]*|/\*[\s\S]*?\*/", lambda m: "\n" * m[0].count("\n"), text)


def test_there_are_kernels_to_read():
    assert {"conv.cu", "batchnorm.cu", "product.cuh"} <= TEXTS.keys()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_atomics_and_no_sums_in_global_memory(name):
    """A kernel writes an entry of an array whole: `atomicAdd` and `y[i] += v` would make the order of a sum matter."""
    code = code_of(TEXTS[name])
    assert not re.search(r"\batomic\w*\s*\(|\b(red|atom)\.", code)
    arrays = re.findall(r"(?<!const )\b(?:T|float|double|int|unsigned char)\s*\*\s*(?:__restrict__\s+)?(\w+)", code)
    for array in set(arrays):
        found = re.search(rf"(?<![\w.]){array}\[[^\n;]*\]\s*([-+*/|&^]|<<|>>)=|(\+\+|--)\s*{array}\[", code)
        assert not found, f"{name}: {found[0]}"


def test_the_reader_finds_what_it_looks_for(monkeypatch):
    planted = "__global__ void k(const float* x, float* y) { y[threadIdx.x + 1] += x[0]; }"
    monkeypatch.setitem(TEXTS, "planted.cu", planted)
    with pytest.raises(AssertionError, match=r"y.threadIdx"):
        test_no_atomics_and_no_sums_in_global_memory("planted.cu")
    monkeypatch.setitem(TEXTS, "planted.cu", "atomicAdd(y, 1.0f);")
    with pytest.raises(AssertionError):
        test_no_atomics_and_no_sums_in_global_memory("planted.cu")


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
        for content in source(file).splitlines():
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
    affected = [case for case in CASES if changed(f"{case.file}.cu") != source(f"{case.file}.cu")]
    assert affected
    # the quick ones first; one noticed difference is enough
    for case in sorted(affected, key=lambda case: case.file == "conv"):
        for order in ("forward", "reverse"):
            with thread_order(order):
                try:
                    case.check(device)
                except AssertionError:
                    return
    pytest.fail(f"nothing changed without the barrier in {name}:{line}")


# One case of each family here, all of them when slow tests run: watched kernels are compiled anew.
QUICK = ("linear, 5 rows", "batch norm of features", "loss float32", "SGD float32", "elementwise float32")


def quick_or_slow(case):
    return pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.slow)


@needs_compiler
@pytest.mark.parametrize("case", [quick_or_slow(case) for case in CASES])
def test_no_two_threads_meet_in_memory_without_a_barrier(case):
    with watching() as seen:
        case.run(make_cuda_on_cpu())
    assert seen.launches and seen.loaded
    assert seen.races == []


@needs_compiler
@pytest.mark.slow
def test_sanitizers_find_nothing():
    script = (
        "from gpu.cases import CASES\n"
        "from minires.kernels.gpu.devices import make_cuda_on_cpu\n"
        "device = make_cuda_on_cpu()\n"
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
