"""CUDA C on the CPU: the GPU kernels of this package, compiled by g++ and run on NumPy arrays. Slow, but strict.

`RawModule` is called like `cupy.RawModule`. Every CUDA thread runs as a fiber, one block after the other, and mistakes
that a GPU may forgive show here: a missing barrier gives a wrong result in one of the two thread orders, shared memory
is NaN until it is written, threads that wait at different barriers are named, and an array of a wrong dtype is refused.
What it sees and what it cannot see: README.md beside this file.
"""

from .build import available, sanitized_environment, why_not
from .module import Kernel, RawModule, thread_order, watching
from .watch import Watch

__all__ = [
    "Kernel",
    "RawModule",
    "Watch",
    "available",
    "sanitized_environment",
    "thread_order",
    "watching",
    "why_not",
]
