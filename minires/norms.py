"""Norms, sums and standard deviations of arrays, right wherever the result itself is a number of float64.

Squares leave a type's range long before the numbers do: in float32, entries of 1e-23 have squares of 0 and those of
1e20 infinite ones, and float64 does the same at 1e-162 and 1e154. So a product in the array's own type, which BLAS
computes fast, is trusted only in the middle of that type's range (`is_safe`). Everywhere else the array is first
converted to float64 and multiplied by the power of two that brings its largest entry near 1, which is exact.

Arrays are NumPy's, or another device's that do the same arithmetic.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .blas import ALONE, one_blas_thread
from .threads import parallel

# If a sum of squares lies within these bounds, no square has overflowed, and those that underflow are below rounding.
SAFE = {np.dtype(np.float32): (1e-25, 1e25), np.dtype(np.float64): (1e-250, 1e250)}
BLOCK = 1 << 16  # entries of a piece that, with what is computed from it, fits a core's second-level cache
RUN = 1 << 10  # entries that BLAS adds in their own type; longer runs round more
LONG = 1 << 18  # of a piece for one of several threads, which need the interpreter lock between any two calls


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
    values = (array.astype(np.float32) if array.dtype == np.float16 else array).ravel("K")
    sums = over_blocks(_moments, values)
    total, square, zeros = sums[0] if len(sums) == 1 else map(sum, zip(*sums))
    if zeros == values.size:
        return Moments(0.0, 0.0, 1.0)
    mean, square = total / values.size, square / values.size
    variance = square - mean * mean
    if is_safe(square, values.dtype) and 4 * variance > square:
        return Moments(mean, math.sqrt(variance), zeros / values.size)
    return Moments(*_centred(values), zeros / values.size)


def _moments(block: np.ndarray) -> tuple[float, float, int]:
    """Σx, Σx², and how many are 0."""
    return _sum(block), square_sum(block), int(np.count_nonzero(block == 0))


def _sum(block: np.ndarray) -> float:
    """Σx by products with ones that stay in the first-level cache, which takes a third of the time of NumPy's sum."""
    ones = _ones(block.dtype)
    whole = block.size - block.size % RUN
    rest = float(block[whole:].dot(ones[: block.size - whole]))
    return sum(block[:whole].reshape(-1, RUN).dot(ones).tolist(), rest)


@functools.lru_cache
def _ones(dtype: np.dtype) -> np.ndarray:
    return np.ones(RUN, dtype)


def _centred(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, by way of the entries' deviations."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean = values.mean()
        square = sum(over_blocks(lambda block: square_sum(block - mean), values)) / values.size
        std = math.sqrt(square) if square >= 0 else math.nan
        if is_safe(square, values.dtype) and std > 1e-3 * abs(mean):
            return float(mean), std
        values, scale = scaled(values)
        return float(values.mean()) * scale, float(values.std()) * scale


def square_sum(values: np.ndarray) -> float:
    """Σx² of an array of one axis."""
    return inner(values, values)


def inner(a: np.ndarray, b: np.ndarray) -> float:
    """Σa·b of two arrays of one axis: runs in the arrays' own type, by BLAS, and these in float64."""
    whole = a.size - a.size % RUN
    rest = float(a[whole:].dot(b[whole:]))
    if not whole:
        return rest
    return sum((a[:whole].reshape(-1, 1, RUN) @ b[:whole].reshape(-1, RUN, 1)).ravel().tolist(), rest)


def over_blocks(work: Callable[..., Any], *flat: np.ndarray) -> list[Any]:
    """``work`` on an array of one axis in pieces small enough for a core's cache, or on those of several of one size.

    What is computed piece by piece does not go through the machine's memory, which would take longer than computing it.
    Where there are many pieces, several threads take them; the results come in order, the same for any number of these.
    No warnings, as numbers that leave the type's range are for the caller to judge.
    """
    size = flat[0].size
    if size <= BLOCK:
        return [one_blas_thread(_quietly, work, *flat) if size > ALONE else _quietly(work, *flat)]
    length = BLOCK if size < 4 * LONG else LONG

    def run(starts: Sequence[int]) -> list[Any]:
        return [_quietly(work, *(array[start : start + length] for array in flat)) for start in starts]

    starts = range(0, size, length)
    runs = parallel(run, starts) if length == LONG else [one_blas_thread(run, starts)]
    return [result for results in runs for result in results]


def _quietly(work: Callable[..., Any], *flat: np.ndarray) -> Any:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # each thread has a state of its own
        return work(*flat)


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
