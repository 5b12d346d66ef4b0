"""Norms, sums and standard deviations of arrays, right wherever the result itself is a number of float64.

Squares leave a type's range long before the numbers do: in float32, entries of 1e-23 have squares of 0 and those of
1e20 infinite ones, and float64 does the same at 1e-162 and 1e154. So a product in the array's own type, which BLAS
computes fast, is trusted only in the middle of that type's range (`is_safe`). Everywhere else the array is first
converted to float64 and multiplied by the power of two that brings its largest entry near 1, which is exact.

Arrays are NumPy's, or another device's that do the same arithmetic.
"""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .threads import parallel

# If a sum of squares lies within these bounds, no square has overflowed, and those that underflow are below rounding.
SAFE = {np.dtype(np.float32): (1e-25, 1e25), np.dtype(np.float64): (1e-250, 1e250)}
RUN = 256  # entries that BLAS adds in their own type; longer runs round more
RUNS = 512  # in a block, which fits a core's caches. `np.vecdot` keeps the interpreter lock if it returns 500 or fewer
SEVERAL = 4  # blocks that are worth several threads


def is_safe(square: float, dtype: Any) -> bool:
    """Whether a sum of squares in float32 or float64 is as accurate as its type; False for NaN and for other types."""
    low, high = SAFE.get(dtype, (math.inf, 0.0))
    return low < square < high


def scaled(array: Any) -> tuple[Any, float]:
    """(array / s in float64, s), where s is the power of two next to the largest entry, so that the division is exact.

    s is 1 where that entry is 0, infinite or NaN, and stays within float64's range where the entry leaves it.
    """
    array = array.astype(np.float64)
    largest = float(abs(array).max()) if array.size else 0.0
    if largest == 0 or not math.isfinite(largest):
        return array, 1.0
    exponent = min(max(math.frexp(largest)[1], -1000), 1000)
    return array * 2.0**-exponent, 2.0**exponent


def norm(array: Any, p: float = 2.0) -> float:
    """(Σ|x|ᵖ)^(1/p) over all entries, in float64; the largest |x| for p = inf. Infinite or NaN if an entry is."""
    if not array.size:
        return 0.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        flat = array.ravel().astype(np.float64)
        if p == 2 and is_safe(square := float(flat @ flat), flat.dtype):
            return math.sqrt(square)
        flat, scale = scaled(flat)
        if p == math.inf:
            return float(abs(flat).max()) * scale
        if p == 2:
            return math.sqrt(float(flat @ flat)) * scale
        return float((abs(flat) ** p).sum()) ** (1 / p) * scale


def norm_of_norms(norms: Iterable[float], p: float = 2.0) -> float:
    """The norm of several arrays taken as one vector, from the norm of each."""
    return norm(np.array(list(norms), np.float64), p)


class Moments(NamedTuple):
    """Mean and standard deviation (over all n entries, not n − 1), and the fraction of entries that are exactly 0."""

    mean: float
    std: float
    zeros: float


def moments(array: np.ndarray) -> Moments:
    """The moments of all entries, in one pass, on several threads if it is large; NaN, NaN and 0 for an empty array.

    Computed in the array's own type where that is safe and at most two bits of the variance cancel in Σx²/n − μ².
    Elsewhere the entries are centred first, and in float64 if they hardly differ, because there the rounding of their
    mean would pass for a deviation.
    """
    if not array.size:
        return Moments(math.nan, math.nan, 0.0)
    if array.dtype not in SAFE:
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    values = array.ravel("K")
    square, total, zeros = over_blocks(_moments, 3, values)
    if zeros == values.size:
        return Moments(0.0, 0.0, 1.0)
    mean, square = total / values.size, square / values.size
    variance = square - mean * mean
    if is_safe(square, values.dtype) and 4 * variance > square:
        return Moments(mean, math.sqrt(variance), zeros / values.size)
    return Moments(*_centred(values), zeros / values.size)


def _moments(sums: np.ndarray, rows: np.ndarray) -> None:
    """Of each row Σx² and Σx; and, in the first place, how many entries of all of them are 0."""
    np.vecdot(rows, rows, out=sums[0])
    np.vecdot(rows, _ones(rows.shape[1], rows.dtype), out=sums[1])  # half the time of NumPy's sum
    sums[2, 0] = np.count_nonzero(rows == 0)


@functools.lru_cache
def _ones(count: int, dtype: np.dtype) -> np.ndarray:
    return np.ones(count, dtype)


def _centred(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, by way of the entries' deviations."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean = values.mean()
        square = over_blocks(functools.partial(_squares_about, mean), 1, values)[0] / values.size
        std = math.sqrt(square) if square >= 0 else math.nan
        if is_safe(square, values.dtype) and std > 1e-3 * abs(mean):
            return float(mean), std
        values, scale = scaled(values)
        return float(values.mean()) * scale, float(values.std()) * scale


def _squares_about(mean: Any, sums: np.ndarray, rows: np.ndarray) -> None:
    """Of each row Σ(x − mean)²."""
    centred = rows - mean
    np.vecdot(centred, centred, out=sums[0])


def over_blocks(work: Callable[..., None], count: int, *flat: np.ndarray) -> list[float]:
    """``count`` sums over all entries of arrays (n): within runs in the arrays' own type, then over these in float64.

    ``work(sums, *rows)`` gets a block of each array as (runs, run), and writes the sums of the runs into ``sums``
    (count, runs), which is 0. What is computed block by block does not go through the machine's memory,
    which would take longer than computing it. Where there are many blocks, several threads take them; the results are
    the same for any number of these. No warnings, as numbers that leave the type's range are for the caller to judge.
    """
    runs, rest = divmod(flat[0].size, RUN)
    sums = np.zeros((count, runs + (rest > 0)), flat[0].dtype)

    def run(starts: Iterable[int]) -> None:
        with np.errstate(all="ignore"):  # each thread has a state of its own
            for start in starts:
                stop = min(start + RUNS, runs)
                work(sums[:, start:stop], *[array[start * RUN : stop * RUN].reshape(-1, RUN) for array in flat])

    with np.errstate(all="ignore"):
        if runs >= SEVERAL * RUNS:
            parallel(run, range(0, runs, RUNS))
        elif rest or runs > RUNS:
            run(range(0, runs, RUNS))
        else:  # the usual small array: a single block
            work(sums, *[array.reshape(-1, RUN) for array in flat])
        if rest:
            work(sums[:, runs:], *[array[runs * RUN :].reshape(1, rest) for array in flat])
        return np.add.reduce(sums, 1, np.float64).tolist()


def exact_sum(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Σ arrays, all of one shape, in float64; what each addition rounds off is added at the end.

    Where large summands cancel, the small ones that they had swallowed come back. Knuth's two-sum: The Art of Computer
    Programming, vol. 2, section 4.2.2, theorem B.
    """
    total: Any = np.float64(0)
    lost: Any = np.float64(0)
    for array in arrays:
        new = total + array
        part = new - total
        lost = lost + ((total - (new - part)) + (array - part))
        total = new
    return np.asarray(total + lost)


def relative(error: float, size: float) -> float:
    """error / size; 0 if both are 0, and infinite if only the size is."""
    if size:
        return error / size
    return math.inf if error else 0.0
