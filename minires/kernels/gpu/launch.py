"""What a launch needs, on a GPU and on the CPU runner alike: arrays, a loader, and how to cut work into blocks.

A `Device` is handed to every function of this package that launches a kernel. It has CuPy's arrays and compiler, or
NumPy's arrays and the runner of `cuda_on_cpu`; the functions are the same, so tests without a GPU run all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .load import TILES, instance

BLOCK = 256  # threads of an elementwise block
ITEMS = 4  # entries a thread takes where a kernel is nothing but reading and writing
LARGEST = 2**31  # entries of an array: kernels count in 32 bits
RUN = 1024  # entries at least that a block of a reduction sums

C_NAMES = {"f4": "float", "f8": "double", "u1": "unsigned char", "i4": "int"}


class Switches:
    """tf32: use tensor cores in float32 products; `minires.kernels.allow_tf32` sets it."""

    tf32 = False


switches = Switches()


@dataclass
class Device:
    """One kind of array and how kernels reach it.

    array_type: of its arrays. allocate(shape, dtype), upload, download: a new array, one from NumPy's, one to NumPy's.
    address: of the first entry in the device's memory. load: a `load.Loader`.
    multiprocessors: how many blocks run side by side, at least. launches_at_once: a launch has run when it returns.
    capturing: whether launches are now recorded into a CUDA graph, so that nothing may be read back or sent;
    what must be sent waits in after_capture.
    """

    name: str
    array_type: type
    allocate: Callable[..., Any]
    upload: Callable[[np.ndarray], Any]
    download: Callable[[Any], np.ndarray]
    address: Callable[[Any], int]
    load: Callable[[str, str], Any]
    multiprocessors: int
    launches_at_once: bool = False
    capturing: bool = False
    after_capture: list[Callable[[], None]] = field(default_factory=list)

    def empty(self, shape: Any, dtype: Any) -> Any:
        """A new array, row by row, of undefined contents. Raises ValueError beyond what 32 bits can count."""
        array = self.allocate(shape, dtype)
        _check_size(array)
        return array

    def launch(self, file: str, kernel: str, template: tuple, grid: tuple, block: int, *args: Any) -> None:
        """Launch ``kernel<template>`` of a file. Whole numbers are passed as int, the others as the types they have."""
        numbers = tuple(np.int32(a) if isinstance(a, bool | int) else a for a in args)
        self.load(f"{file}.cu", instance(kernel, *template))(grid, (block,), numbers)


def c_name(dtype: np.dtype) -> str:
    """The name of a dtype in CUDA C. Raises TypeError for one that no kernel is compiled for."""
    try:
        return C_NAMES[np.dtype(dtype).str[1:]]
    except KeyError:
        raise TypeError(f"kernels.gpu: got {dtype} values; the kernels are for float32 and float64") from None


def contiguous(x: Any) -> Any:
    """x itself if its memory is row by row, else a copy that is. Raises ValueError beyond what 32 bits can count."""
    _check_size(x)
    return x if x.flags.c_contiguous else x.copy()


def _check_size(x: Any) -> None:
    if x.size >= LARGEST:
        raise ValueError(
            f"kernels.gpu: got an array of shape {x.shape}; the kernels count up to 2³¹ values: use a smaller batch"
        )


def batch_last(x: Any) -> Any:
    """(N, C, …), however it lies in memory -> a contiguous (C, …, N). See `kernels.cpu.layout`."""
    return contiguous(x.transpose(*range(1, x.ndim), 0))


def batch_first(x: Any) -> Any:
    """(C, …, N) -> its (N, C, …) view."""
    return x.transpose(x.ndim - 1, *range(x.ndim - 1))


def cut(size: int, piece: int) -> int:
    """How many pieces of a length cover ``size``."""
    return -(-size // piece)


def blocks(size: int, per_block: int = BLOCK) -> tuple[int]:
    """The grid that covers ``size`` entries."""
    return (max(cut(size, per_block), 1),)


def runs(on: Device, rows: int, length: int) -> tuple[int, int]:
    """(number, length) of the runs into which each row is cut, to keep all multiprocessors busy."""
    number = min(cut(length, RUN), max(4 * on.multiprocessors // rows, 1))
    per_run = cut(length, number)
    return cut(length, per_run), per_run


def tile_for(dtype: np.dtype, rows: int) -> tuple[tuple[int, int, int, int], bool]:
    """(tile, TF32) for a product with so many rows: no taller than need be. float64 has one tile."""
    if dtype == np.float64:
        return TILES[0], False
    if switches.tf32:
        return TILES[-1], True
    return next((tile for tile in TILES if tile[0] >= rows), TILES[-1]), False
