"""What the launches of all families share: names of types, memory layout, and how to cut work into blocks.

A function in a family's ``gpu.py`` computes sizes, grid and workspace, and launches through the `devices.Device` that
is its first argument: a GPU, or the CPU runner of `minires.cuda_on_cpu`. That is how tests without a GPU run all of it.
"""

from typing import Any

import numpy as np

from ..state import switch

TILES = ((16, 128, 4, 4), (32, 128, 4, 8), (64, 64, 8, 4))  # BM, BP, TM, TP of product.cuh, 128 threads each
BLOCK = 256  # threads of an elementwise block
ITEMS = 4  # entries per thread where a kernel does little but read and write
LARGEST = 2**31 - 2**16  # an array must have fewer entries: kernels count in 32 bits, a little beyond the end too
MOST_LAYERS = 65_535  # CUDA's limit for blockIdx.y and z
RUN = 1024  # entries for each block that reduces a part of a row

BATCH_LAST = {ndim: (*range(1, ndim), 0) for ndim in range(1, 33)}  # axes, by how many there are

C_NAMES = {
    np.dtype(dtype): name
    for dtype, name in ((np.float32, "float"), (np.float64, "double"), (np.uint8, "unsigned char"), (np.int32, "int"))
}


def c_name(dtype: np.dtype) -> str:
    """The name of a dtype in CUDA C. Raises TypeError for one that no kernel is compiled for."""
    try:
        return C_NAMES[dtype]
    except KeyError:
        raise TypeError(f"gpu kernels: got {dtype} values; the kernels are for float32 and float64") from None


def contiguous(x: Any) -> Any:
    """x if it is stored row by row, else a copy that is. Raises ValueError for more entries than 32 bits can count."""
    if x.size >= LARGEST:
        check_size(x)
    return x if x.flags.c_contiguous else x.copy()


def check_size(x: Any) -> None:
    if x.size >= LARGEST:
        raise ValueError(
            f"gpu kernels: got an array of shape {x.shape}; the kernels count up to 2³¹ values: use a smaller batch"
        )


def batch_last(x: Any) -> Any:
    """(N, C, …) in any memory order -> a contiguous (C, …, N). See `layout`."""
    return contiguous(x.transpose(BATCH_LAST[x.ndim]))


def cut(size: int, piece: int) -> int:
    """How many pieces of length ``piece`` cover ``size``."""
    return -(-size // piece)


def blocks(size: int, per_block: int = BLOCK) -> tuple[int]:
    """The grid that covers ``size`` entries."""
    return (max(cut(size, per_block), 1),)


def runs(processors: int, rows: int, length: int) -> tuple[int, int]:
    """(number, length) of the runs that each row is cut into, to keep all multiprocessors busy."""
    number = min(cut(length, RUN), max(4 * processors // rows, 1))
    per_run = cut(length, number)
    return cut(length, per_run), per_run


def allow_tf32(allowed: bool = True) -> switch:
    """Let float32 products (convolutions, linear layers, ``@``) run on tensor cores inside a ``with`` block.

    Tensor cores round their operands to TF32, which has 10 bits of mantissa instead of 23: several times faster on
    large layers, with a relative error of about 5e-4 in each product. Off by default; no effect on the device "cpu",
    nor on GPUs older than Ampere (2020).
    """
    return switch(tf32=allowed)


def tile_for(dtype: np.dtype, rows: int, tf32: bool) -> tuple[tuple[int, int, int, int], bool]:
    """(tile, TF32) for a product with this many rows: a tile no taller than needed. float64 has only one."""
    if dtype == np.float64:
        return TILES[0], False
    if tf32:
        return TILES[-1], True
    return next((tile for tile in TILES if tile[0] >= rows), TILES[-1]), False
