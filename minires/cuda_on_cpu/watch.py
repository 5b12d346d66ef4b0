"""What was seen of kernels that ran under `watching`: bytes moved, operations, and races between threads."""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..blocks import contextmanager


class _Range(ctypes.Structure):
    """An array to watch, as observe.h knows it: where it is in memory, and what the kernel did with it."""

    _fields_ = (
        ("begin", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("loaded", ctypes.c_uint64),
        ("stored", ctypes.c_uint64),
    )


class _Totals(ctypes.Structure):
    _fields_ = (("shared_loaded", ctypes.c_uint64), ("shared_stored", ctypes.c_uint64), ("operations", ctypes.c_uint64))


@dataclass
class Watch:
    """Sums over the launches of a ``with watching()`` block.

    `loaded` and `stored` are bytes of global memory (the watched arrays), as the threads ask for them: what a cache
    would answer is counted too. `shared_loaded` and `shared_stored` are bytes of shared memory. `operations` counts
    float32 additions, subtractions, multiplications, divisions and calls such as exp, and a fused multiply-add as two.
    `races` has a line for each of the first pairs of accesses, at least one of them a store, that no barrier orders.
    `launches` lists the kernels. `also` lists arrays to watch as well as the arguments: those that kernels reach by way
    of a table of addresses. You may append to it inside the block.
    """

    loaded: int = 0
    stored: int = 0
    shared_loaded: int = 0
    shared_stored: int = 0
    operations: int = 0
    races: list[str] = field(default_factory=list)
    launches: list[str] = field(default_factory=list)
    also: list[np.ndarray] = field(default_factory=list)


@contextmanager
def observed(
    library: ctypes.CDLL, kernel: str, args: Sequence[Any], watches: Sequence[Watch], variant: str
) -> Iterator[None]:
    """Tell the library which arrays to observe during one launch, and add what it saw to the watches."""
    if variant not in ("watch", "count"):
        yield
        return
    arrays = {f"argument {i}": arg for i, arg in enumerate(args) if isinstance(arg, np.ndarray) and arg.nbytes}
    also = (a for watch in watches for a in watch.also if a.nbytes)  # an argument among them is found as the argument
    arrays |= {f"watched array {i}": a for i, a in enumerate(also)}
    ranges = (_Range * max(len(arrays), 1))(*(_Range(a.ctypes.data, a.nbytes, 0, 0) for a in arrays.values()))
    totals = _Totals()
    # The kernels' library is linked to the runner's, which defines these functions.
    library.observe_begin(ranges, len(arrays), variant == "count")
    try:
        yield
    finally:
        library.observe_end.restype = ctypes.c_char_p
        races = library.observe_end(ranges, ctypes.byref(totals)).decode().splitlines()
    named = [_with_name(line, list(arrays)) for line in races]
    for watch in watches:
        watch.loaded += sum(r.loaded for r in ranges)
        watch.stored += sum(r.stored for r in ranges)
        watch.shared_loaded += totals.shared_loaded
        watch.shared_stored += totals.shared_stored
        watch.operations += totals.operations
        watch.races += [f"{kernel}: {line}" for line in named]
        watch.launches.append(kernel)


def _with_name(line: str, names: Sequence[str]) -> str:
    """Replace the runner's "argument #0", the first range it was given, by the name of that argument or array."""
    for k, name in enumerate(names):
        line = line.replace(f"argument #{k},", f"{name},")
    return line
