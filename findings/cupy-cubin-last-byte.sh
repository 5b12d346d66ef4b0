#!/usr/bin/env bash
# CuPy 14.2.0 with NVRTC 13.5: the binary that nvrtc.getCUBIN returns for a real architecture (sm_90) is one byte short.
# By the ELF file's own headers it ends one byte later. Text from NVRTC, such as PTX, ends in a zero that CuPy cuts off;
# a binary does not.
# One would have guessed that a compiled kernel is a whole ELF file, which other tools can read. No GPU is needed.
#
# Fails if the binary is as long as its headers say.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet cupy-cuda13x==14.2.0 "nvidia-cuda-nvrtc==13.*" numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import struct
import warnings

warnings.simplefilter("ignore")
import cupy
from cupy_backends.cuda.libs import nvrtc

SOURCE = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'
program = nvrtc.createProgram(SOURCE, "twice.cu", [], [])
nvrtc.compileProgram(program, ["--gpu-architecture=sm_90"])
binary = nvrtc.getCUBIN(program)
# ELF64: where the two tables of headers begin, and how long they are
programs, sections = struct.unpack_from("<QQ", binary, 32)
program_size, program_count, section_size, section_count = struct.unpack_from("<4H", binary, 54)
end = max(programs + program_size * program_count, sections + section_size * section_count)
print("cupy", cupy.__version__, "NVRTC", nvrtc.getVersion(), "bytes:", len(binary), "by its headers:", end)
assert binary[:4] == b"\x7fELF" and len(binary) == end - 1
PY
