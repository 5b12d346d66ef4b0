"""Every kernel compiles for the GPUs of four generations, with no GPU present, without spilling registers.

Needs CuPy and NVRTC, ``python -m pip install -e '.[cuda13]'``; skipped without.
"""

import re
from pathlib import Path

import pytest
from gpu.cases import SOURCES

from minires.kernels.load import OPTIONS, read

cuda = pytest.importorskip("cupy.cuda", reason="needs CuPy: python -m pip install -e '.[cuda13]'", exc_type=ImportError)
nvrtc = cuda.nvrtc
try:
    nvrtc.getVersion()
except Exception as error:
    pytest.skip(f"needs NVRTC: python -m pip install -e '.[cuda13]' ({error})", allow_module_level=True)

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
# A multiprocessor has 65,536 registers. 72 leave room for three blocks of 256 threads, the size of nearly all blocks. A
# product keeps its results and the next tiles in registers: 128 leave room for four of its blocks of 128 threads, 168
# for three. The latter is for float64 (registers twice as wide), tensor cores and the tile of 32 rows.
REGISTERS, REGISTERS_PRODUCT, REGISTERS_WIDE_PRODUCT = 72, 128, 168


def instances(source, architecture):
    """Those that a GPU of this architecture is asked for: before Ampere, none that copies ahead or computes in TF32."""
    if architecture != "sm_75":
        return source.instances
    return [name for name in source.instances if not re.match(r"conv2d_\w+_pipelined|(conv2d_|matmul).*true>", name)]


def compiled(source, architecture):
    """{instance: (registers, spilled bytes)}, from the assembler's log. All instances of the file, in one program."""
    program = nvrtc.createProgram(read(source.file), source.file, (), ())
    for name in instances(source, architecture):
        nvrtc.addNameExpression(program, name)
    options = (
        f"-arch={architecture}",
        *OPTIONS,
        "-ftz=true",
        "--device-as-default-execution-space",
        "--ptxas-options=-v",
    )
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    assert len(nvrtc.getCUBIN(program)) > 1000
    lowered = {nvrtc.getLoweredName(program, name): name for name in instances(source, architecture)}
    found = {}
    for part in nvrtc.getProgramLog(program).split("Compiling entry function")[1:]:
        entry = re.match(r" '(\w+)'", part)[1]
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill", part)))
        found[lowered[entry]] = int(re.search(r"Used (\d+) registers", part)[1]), spilled
    nvrtc.destroyProgram(program)
    return found


def ceiling(name):
    kernel, arguments = re.fullmatch(r"(\w+)<(.*)>", name).groups()
    if not kernel.startswith(("matmul", "conv2d_")):
        return REGISTERS
    if kernel.endswith("_pipelined"):
        return REGISTERS_PRODUCT
    dtype, rows, *_, tf32 = arguments.split(", ")
    return REGISTERS_WIDE_PRODUCT if dtype == "double" or tf32 == "true" or rows == "32" else REGISTERS_PRODUCT


@pytest.mark.parametrize("architecture", ARCHITECTURES)
# Convolution has so many instances that NVRTC takes half a minute and more for them.
@pytest.mark.parametrize(
    "source", [pytest.param(s, id=s.file, marks=[pytest.mark.slow] * s.file.startswith("conv/")) for s in SOURCES]
)
def test_compiles_without_spills(source, architecture):
    if not instances(source, architecture):
        pytest.skip(f"{architecture} is asked for none of them")
    found = compiled(source, architecture)
    assert found.keys() == set(instances(source, architecture))
    assert {name: spilled for name, (_, spilled) in found.items() if spilled} == {}
    assert {name: registers for name, (registers, _) in found.items() if registers > ceiling(name)} == {}


LESSONS = sorted((Path(__file__).resolve().parents[2] / "lessons" / "kernels").glob("*.cu"))


@pytest.mark.parametrize("file", LESSONS, ids=lambda path: path.name)
def test_the_lesson_s_kernels_compile_without_spills(file):
    program = nvrtc.createProgram(file.read_text(encoding="utf-8"), file.name, (), ())
    try:
        nvrtc.compileProgram(program, ("-arch=sm_80", *OPTIONS, "--ptxas-options=-v"))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    spilled = re.findall(r"(\d+) bytes spill", nvrtc.getProgramLog(program))
    assert spilled and set(spilled) == {"0"}


if __name__ == "__main__":  # the summary of the log
    for architecture in ARCHITECTURES:
        for source in filter(lambda source: instances(source, architecture), SOURCES):
            used = compiled(source, architecture).values()
            registers = [n for n, _ in used]
            spilled = sum(spilled for _, spilled in used)
            range_ = f"{len(used)} kernels, registers {min(registers)} to {max(registers)}"
            print(architecture, source.file, f"{range_}, {spilled} bytes spilled")
