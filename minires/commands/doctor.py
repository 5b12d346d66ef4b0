"""``minires doctor``: what this machine has, and which devices can be used."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, blas, cuda_on_cpu
from ..installed import other_package
from ..kernels import devices
from ..terminal import fitted
from ..threads import get_num_threads


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``minires``."""
    parser = commands.add_parser(
        "doctor",
        help="report what this machine has, which devices can be used, and why others cannot",
        description="Report what this machine has, which of the devices cpu, gpu and cuda-on-cpu can be used, and what "
        "the others lack.",
    )
    parser.set_defaults(command=run)


def run() -> int:
    """Print what this machine has, and which devices can be used."""
    print(fitted(report()))
    return 0


def report() -> str:
    """A few lines of text: versions, then one line for each device, saying whether it can be used and why not."""
    rows = [
        ("minires", f"{__version__}, Python {platform.python_version()}, NumPy {np.__version__}"),
        ("package", other_package() or f"minires-lab, from {Path(__file__).parents[1]}"),
        ("machine", f"{platform.machine()}, {os.cpu_count()} cores, {get_num_threads()} threads in the kernels"),
        ("BLAS", _blas()),
        ("NVIDIA driver", _driver()),
        ("CuPy", _cupy()),
        ("C++ compiler", _first_line(["g++", "--version"]) or "none: g++ is not on the PATH"),
        ("", ""),
        ("device cpu", "yes: NumPy, the default"),
        ("device gpu", _usable(devices.why_no_gpu(), "CUDA kernels through CuPy")),
        ("device cuda-on-cpu", _usable(_why_no_runner(), "the CUDA kernels on the CPU, to learn from; slow")),
    ]
    return "\n".join(f"{name:<20}{text}".rstrip() for name, text in rows)


def _usable(reason: str | None, what: str) -> str:
    return f"yes: {what}" if reason is None else f"no: {reason}"


def _why_no_runner() -> str | None:
    return None if cuda_on_cpu.available() else cuda_on_cpu.why_not()


def _blas() -> str:
    kernels = os.environ.get("OPENBLAS_CORETYPE")
    asked = f"; OPENBLAS_CORETYPE={kernels} asks for these kernels: without it, others may be faster" if kernels else ""
    return blas.describe() + asked


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return _first_line(query) or "none: nvidia-smi finds no GPU"


def _cupy() -> str:
    try:
        import cupy
    except ImportError:
        return f"not installed; on a machine with an NVIDIA GPU: {devices.INSTALL}"
    except OSError as error:
        return f"cannot be imported: {error}"
    try:
        nvrtc = ".".join(map(str, cupy.cuda.nvrtc.getVersion()))
    except Exception:  # of several kinds, depending on how CuPy looked for the library
        return f"{cupy.__version__}, without the compiler NVRTC: {devices.INSTALL}"
    if devices.no_headers():
        return f"{cupy.__version__}, with NVRTC {nvrtc}, but without CUDA's headers: {devices.INSTALL}"
    return f"{cupy.__version__}, compiling with NVRTC {nvrtc}"


def _first_line(command: list[str]) -> str:
    """The first line that a program prints, or nothing if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""
