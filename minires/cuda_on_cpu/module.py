"""A stand-in for `cupy.RawModule`: the same calls, on NumPy arrays, with checks that CuPy leaves out."""

import ctypes
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..blocks import contextmanager
from . import build
from .watch import Watch, observed

SCALARS = {  # by the C++ compiler's one-letter name of the type
    "b": np.bool_,
    "a": np.int8,
    "h": np.uint8,
    "s": np.int16,
    "t": np.uint16,
    "i": np.int32,
    "j": np.uint32,
    "l": np.int64,
    "m": np.uint64,
    "x": np.int64,
    "y": np.uint64,
    "f": np.float32,
    "d": np.float64,
    "c": np.int8,
    "N11cuda_on_cpu7countedE": np.float32,
}
MAX_THREADS, MAX_BLOCK, MAX_GRID = 1024, (1024, 1024, 64), (2**31 - 1, 65535, 65535)
FREE_SHARED = 48 * 1024  # bytes of dynamic shared memory that a kernel may use without asking
MAX_SHARED = 227 * 1024  # of an H100

_one_at_a_time = threading.RLock()  # the runner's library has only one state
_reversed = False
_variant = os.environ.get("MINIRES_CUDA_ON_CPU", "plain")
_watches: list[Watch] = []


@contextmanager
def thread_order(order: str) -> Iterator[None]:
    """Run the threads of a block in the order "forward" or "reverse" inside a ``with`` block.

    A thread that reads what another writes, without a barrier between them, reads too early in one of the two orders.
    """
    global _reversed
    if order not in ("forward", "reverse"):
        raise ValueError(f'thread_order: got {order!r}; expected "forward" or "reverse"')
    before, _reversed = _reversed, order == "reverse"
    try:
        yield
    finally:
        _reversed = before


@contextmanager
def watching(arithmetic: bool = False) -> Iterator[Watch]:
    """Count the bytes that kernels load and store inside a ``with`` block, and report races between their threads.

    ``with watching() as seen: kernel(…)`` sets ``seen.loaded`` and ``seen.stored``, in bytes, ``seen.races`` and more:
    see `Watch`. With `arithmetic`, ``seen.operations`` counts float32 operations too. Kernels are compiled again for
    this, and run more slowly.
    """
    global _variant
    watch = Watch()
    before, _variant = _variant, "count" if arithmetic else "watch"
    try:
        _watches.append(watch)
        yield watch
    finally:
        _variant = before
        _watches.remove(watch)


class RawModule:
    """Kernels in CUDA C, run on the CPU: called like `cupy.RawModule`, compiled by g++ when one of them first runs.

    `name_expressions` lists template instances such as "scale<float>"; kernels declared ``extern "C"`` need no mention.
    `sanitize` compiles with the address and undefined-behaviour sanitizers, which needs `build.sanitized_environment`.
    """

    def __init__(
        self,
        *,
        code: str,
        options: Sequence[str] = (),
        name_expressions: Sequence[str] | None = None,
        sanitize: bool = False,
    ):
        self.options = tuple(options)
        plain = re.findall(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(', code)
        self.names = [*dict.fromkeys([*(name_expressions or ()), *plain])]
        self.sanitize = sanitize
        file = re.search(r'^#line 1 "([^"]+)"(?![\s\S]*^#line 1 ")', code, re.MULTILINE)
        self.stem = Path(file[1]).stem if file else "kernels"
        self.source = self._translated(code)
        self._libraries: dict[str, ctypes.CDLL] = {}

    def _translated(self, code: str) -> str:
        # Dynamic shared memory is declared as an array without a size; here it points to what the launch asks for.
        code = re.sub(
            r"extern\s+__shared__\s+((?:__align__\s*\(\d+\)|alignas\s*\(\d+\))\s+)?([\w\s:]+?)\s*\b(\w+)\s*\[\s*\]\s*;",
            r"\2* \3 = (\2*)cuda_on_cpu::dynamic_memory;",
            code,
        )
        export = 'extern "C" __attribute__((visibility("default"))) const char*'
        entries = "".join(
            f"{export} launch_{i}(const cuda_on_cpu::Launch* how, void** arguments)"
            f" {{ return cuda_on_cpu::launch(&{name}, how, arguments); }}\n"
            f"{export} const* signature_{i}() {{ return cuda_on_cpu::signature(&{name}); }}\n"
            for i, name in enumerate(self.names)
        )
        return f'#include "cuda.h"\n#line 1 "{self.stem}.cu"\n{code}\n#line 1 "entries"\n{entries}'

    def library(self, variant: str) -> ctypes.CDLL:
        """The compiled kernels of a variant: plain, sanitize, watch or count."""
        with _one_at_a_time:
            if variant not in self._libraries:
                if variant == "sanitize" and "asan" not in os.environ.get("LD_PRELOAD", ""):
                    raise RuntimeError(
                        "cuda-on-cpu: the sanitizers must be loaded before Python; run this in a subprocess with "
                        "env=sanitized_environment()"
                    )
                path = build.library(self.source, self.stem, self.options, variant)
                self._libraries[variant] = ctypes.CDLL(str(path))
            return self._libraries[variant]

    def get_function(self, name: str) -> "Kernel":
        """The kernel with that name or name expression. Raises KeyError if the module has none."""
        if name not in self.names:
            raise KeyError(f"get_function: no kernel {name!r}; this module has {', '.join(self.names) or 'none'}")
        return Kernel(self, name)


class Kernel:
    """One kernel, called as ``kernel(grid, block, args, shared_mem=0)`` like a `cupy.RawKernel`.

    `args` are contiguous NumPy arrays, None for a null pointer, and NumPy scalars of the parameters' types; a Python
    int may stand for any integer parameter, a Python float for a double, and an array of size one, of shape (), for a
    struct or number that is passed by value. Raises TypeError or ValueError for arguments
    that do not fit the kernel, and RuntimeError for mistakes that show while it runs, such as threads that wait at
    different barriers.
    """

    def __init__(self, module: RawModule, name: str):
        self.module, self.name = module, name
        self.max_dynamic_shared_size_bytes = FREE_SHARED
        self._entries: dict[str, tuple[Callable, list[str]]] = {}

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        variant = "sanitize" if self.module.sanitize else _variant
        with _one_at_a_time:
            launch, types = self._entry(variant)
            how = self._launch_record(grid, block, shared_mem)
            slots = self._slots(args, types)
            pointers = (ctypes.c_void_p * len(slots))(*(slot.ctypes.data for slot in slots))
            with observed(self.module.library(variant), self.name, args, _watches, variant):
                error = launch(ctypes.byref(how), pointers)
        if error:
            raise RuntimeError(f"{self.name}: {error.decode()}")

    def _entry(self, variant: str) -> tuple[Callable, list[str]]:
        if variant not in self._entries:
            library, i = self.module.library(variant), self.module.names.index(self.name)
            launch, signature = library[f"launch_{i}"], library[f"signature_{i}"]
            launch.restype, signature.restype = ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)
            types = itertools.takewhile(bool, signature())  # a null pointer ends the list
            self._entries[variant] = launch, [name.decode() for name in types if name]
        return self._entries[variant]

    def _launch_record(self, grid: Sequence[int], block: Sequence[int], shared_mem: int) -> "_Launch":
        sizes = []
        for what, given, limits in (("grid", grid, MAX_GRID), ("block", block, MAX_BLOCK)):
            size = (*given, 1, 1, 1)[:3]
            if len(given) > 3 or any(not 1 <= n <= limit for n, limit in zip(size, limits)):
                raise ValueError(f"{self.name}: got the {what} {tuple(given)}; CUDA takes 1 to {limits}")
            sizes.append(size)
        if np.prod(sizes[1]) > MAX_THREADS:
            raise ValueError(f"{self.name}: got the block {tuple(block)}; CUDA takes up to {MAX_THREADS} threads")
        if not 0 <= shared_mem <= min(self.max_dynamic_shared_size_bytes, MAX_SHARED):
            raise ValueError(
                f"{self.name}: got shared_mem={shared_mem} bytes; {self.max_dynamic_shared_size_bytes} are allowed; "
                f"set kernel.max_dynamic_shared_size_bytes for more (up to {MAX_SHARED})"
            )
        return _Launch(tuple(map(int, sizes[0])), tuple(map(int, sizes[1])), int(_reversed), int(shared_mem))

    def _slots(self, args: Sequence[Any], types: list[str]) -> list[np.ndarray]:
        """One buffer per argument, as the driver takes them, holding an array's address or a number."""
        if len(args) != len(types):
            raise TypeError(f"{self.name}: got {len(args)} arguments; the kernel has {len(types)} parameters")
        return [
            self._pointer(i, arg, kind) if kind.startswith("P") else self._number(i, arg, kind)
            for i, (arg, kind) in enumerate(zip(args, types))
        ]

    def _pointer(self, i: int, arg: Any, kind: str) -> np.ndarray:
        constant, element = kind[1] == "K", kind.lstrip("PK")
        wanted = SCALARS.get(element)  # None for a pointer to void or to a vector: any array
        if arg is None:
            return np.array([0], np.uintp)
        expected = "an array" if wanted is None else f"an array of {wanted.__name__}"
        if not isinstance(arg, np.ndarray):
            raise TypeError(f"{self.name}: argument {i} is a {type(arg).__name__}; expected {expected}")
        if wanted is not None and arg.dtype != wanted:
            raise TypeError(f"{self.name}: argument {i} is an array of {arg.dtype}; expected {expected}")
        if not arg.flags.c_contiguous:
            raise ValueError(f"{self.name}: argument {i} is not contiguous, and a kernel sees no strides; pass a copy")
        if not constant and not arg.flags.writeable:
            raise ValueError(f"{self.name}: argument {i} is read-only, and the kernel may write to it")
        return np.array([arg.ctypes.data], np.uintp)

    def _number(self, i: int, arg: Any, kind: str) -> np.ndarray:
        if kind[0] == "S" and kind[1:].isdigit():
            size = arg.nbytes if isinstance(arg, np.ndarray) and arg.dtype.names and not arg.ndim else None
            if size != int(kind[1:]):
                what = type(arg).__name__ if size is None else f"struct of {size} bytes"
                raise TypeError(f"{self.name}: argument {i} is a {what}; expected a struct of {kind[1:]} bytes")
            return arg
        if kind not in SCALARS:
            raise TypeError(f"{self.name}: parameter {i} is neither a pointer nor a number ({kind})")
        wanted = SCALARS[kind]
        if isinstance(arg, np.generic | np.ndarray) and arg.ndim == 0:
            fits = arg.dtype == wanted
        elif isinstance(arg, bool):
            fits = wanted is np.bool_
        elif isinstance(arg, int):
            fits = issubclass(wanted, np.integer) and np.iinfo(wanted).min <= arg <= np.iinfo(wanted).max
        else:
            fits = isinstance(arg, float) and wanted is np.float64
        if not fits:
            got = f"{arg!r} ({getattr(arg, 'dtype', type(arg).__name__)})"
            raise TypeError(f"{self.name}: argument {i} is {got}; expected np.{wanted.__name__}(…)")
        return np.array([arg], wanted)


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("reversed", ctypes.c_int),
        ("shared_mem", ctypes.c_uint64),
    )
