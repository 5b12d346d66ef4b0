"""A gradient and its summands in numbers: the size of each, the angles between them, and whether they add up.

Most nodes are measured in their own type by BLAS, which costs little beside backward itself. Where a square would leave
the safe range, or large summands cancel, the node is measured again in float64, summand by summand (`minires.norms`).
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import kernels, norms
from ..blas import one_blas_thread
from ..norms import RUN, exact_sum, is_safe, over_blocks, relative, scaled
from ..threads import workspace

CANCELLED = 1e-2  # a sum whose square is smaller than this share of its summands' has lost digits to cancellation


# for a gradient with a single summand, as most have
WITH_ITSELF, ALL_ZERO, NO_OTHERS = np.ones((1, 1)), np.zeros((1, 1)), ((0.0, 0.0),)
WITH_ITSELF.flags.writeable = ALL_ZERO.flags.writeable = False


class Measured(NamedTuple):
    """What is kept of the arrays: the norm of each summand, and the cosine of the angle between each two.

    others: for each summand, the norm of the sum of all the others, and the cosine between the two.
    norm: of the total. error: ‖total − Σ summands‖ / ‖total‖; 0 if both are 0, infinite if only the total is.
    A cosine is 0 where one of the two is 0, and NaN where one is not finite.
    """

    norms: tuple[float, ...]
    cosines: np.ndarray
    others: tuple[tuple[float, float], ...]
    norm: float
    error: float


def measure_summands(summands: Sequence[Any], total: Any) -> Measured:
    """Measure arrays of one shape and dtype, on any device, and the total that they were added up to."""
    if len(summands) == 1:
        return _alone(_flat(on_cpu(total), "K"))
    arrays = [on_cpu(a) for a in (*summands, total)]
    order: Any = "K" if len({a.strides for a in arrays}) == 1 else "C"  # one order for all; "K" avoids copies
    flat = [_flat(a, order) for a in arrays]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _in_own_type(flat[:-1], flat[-1]) or one_blas_thread(_in_float64, flat[:-1], flat[-1])


def _flat(array: np.ndarray, order: Any) -> np.ndarray:
    """The entries in one row; in float32 where float16 has too small a range for their products."""
    return (array.astype(np.float32) if array.dtype == np.float16 else array).ravel(order)


def on_cpu(array: Any) -> np.ndarray:
    """The array in NumPy's memory; called so often that the usual case comes first."""
    return array if type(array) is np.ndarray else kernels.to_device(array, "cpu")


def _alone(total: np.ndarray) -> Measured:
    """A gradient with a single summand is that summand."""
    if total.size > RUN:
        square = over_blocks(_square, 1, total)[0]
    else:  # most parameters are short, and there are many
        with np.errstate(all="ignore"):
            square = float(total.dot(total))
    if is_safe(square, total.dtype):
        norm = math.sqrt(square)
    else:
        norm = one_blas_thread(norms.norm, total) if square or total.any() else 0.0
    if not math.isfinite(norm):
        return Measured((norm,), np.full((1, 1), math.nan), NO_OTHERS, norm, math.nan)
    return Measured((norm,), WITH_ITSELF if norm else ALL_ZERO, NO_OTHERS, norm, 0.0)


def _square(sums: np.ndarray, rows: np.ndarray) -> None:
    """Of each row ‖gradient‖²."""
    np.vecdot(rows, rows, out=sums[0])


def _in_own_type(summands: list[np.ndarray], total: np.ndarray) -> Measured | None:
    """Measured in the arrays' own type; None where that would lose digits."""
    count = len(summands)
    pairs = [(i, j) for i in range(count) for j in range(i + 1)]
    *products, whole, error = over_blocks(functools.partial(_products, pairs), len(pairs) + 2, *summands, total)
    product = dict(zip(pairs, products))
    squares = [product[i, i] for i in range(count)]
    for square, array in zip((*squares, whole), (*summands, total)):
        if not is_safe(square, array.dtype) and (square != 0 or array.any()):
            return None
    if whole < CANCELLED**2 * max(squares):
        return None
    if not is_safe(error, total.dtype) and 0 < whole < math.inf:
        # rounding has left about 2⁻²⁴ of the entries
        scale = 2.0 ** (24 - math.frexp(math.sqrt(whole / total.size))[1])
        error = over_blocks(functools.partial(_square_of_scaled_rest, scale), 1, *summands, total)[0] / scale**2
    norms, norm = [math.sqrt(square) for square in squares], math.sqrt(whole)
    cosines = np.zeros((count, count))
    for i in range(count):
        cosines[i, i] = 1.0 if norms[i] else 0.0
        for j in range(i):
            if norms[i] and norms[j]:
                cosines[i, j] = cosines[j, i] = _cosine(product[i, j] / (norms[i] * norms[j]))
    others = [(norms[1 - i], float(cosines[0, 1])) for i in (0, 1)] if count == 2 else _others(norms, cosines)
    if others is None:
        return None
    return Measured(tuple(norms), cosines, tuple(others), norm, relative(math.sqrt(error), norm))


def _products(pairs: Sequence[tuple[int, int]], sums: np.ndarray, *rows: np.ndarray) -> None:
    """Of each row: the inner product of each pair of summands, ‖total‖², and ‖total − Σ summands‖²."""
    *summands, total = rows
    for (i, j), products in zip(pairs, sums):
        np.vecdot(summands[i], summands[j], out=products)
    np.vecdot(total, total, out=sums[-2])
    rest = _rest(*rows)
    np.vecdot(rest, rest, out=sums[-1])


def _square_of_scaled_rest(scale: float, sums: np.ndarray, *rows: np.ndarray) -> None:
    """Of each row ‖scale · (total − Σ summands)‖²."""
    rest = _rest(*rows)
    rest *= rest.dtype.type(scale)
    np.vecdot(rest, rest, out=sums[0])


def _rest(*rows: np.ndarray) -> np.ndarray:
    """total − Σ summands, where the total comes last."""
    return _rest_of_two(*rows) if len(rows) == 3 else _rest_of_many(*rows)


def _rest_of_two(a: np.ndarray, b: np.ndarray, total: np.ndarray) -> np.ndarray:
    """total − (a + b), as exact as in twice the precision: what a sum rounds off is a number of its own type.

    Knuth's two-sum, as in `norms.exact_sum`.
    """
    virtual, rest = workspace((2, *total.shape), total.dtype)
    np.subtract(total, a, out=virtual)
    np.subtract(total, virtual, out=rest)
    np.subtract(a, rest, out=rest)
    np.subtract(b, virtual, out=virtual)
    rest += virtual
    return rest


def _rest_of_many(*rows: np.ndarray) -> np.ndarray:
    """total − Σ summands in float64; each is converted first, as NumPy subtracts mixed types at half the speed."""
    *summands, total = rows
    rest, wide = workspace((2, *total.shape), np.dtype(np.float64))
    rest[...] = total
    for a in summands:
        wide[...] = a
        rest -= wide
    return rest


def _others(norms: list[float], cosines: np.ndarray) -> list[tuple[float, float]] | None:
    """`Measured.others` from the summands' inner products; None where the others cancel."""
    sizes, found = np.array(norms), []
    gram = np.outer(sizes, sizes) * cosines
    for i in range(len(sizes)):
        keep = np.arange(len(sizes)) != i
        square, apart = float(gram[np.ix_(keep, keep)].sum()), float((sizes[keep] ** 2).sum())
        if square < CANCELLED * apart:
            return None
        norm = math.sqrt(square)
        found.append((norm, _cosine(float(sizes[keep] @ cosines[i, keep]) / norm) if norm else 0.0))
    return found


def _in_float64(summands: list[np.ndarray], total: np.ndarray) -> Measured:
    """Measured in float64: each array is first divided by its largest entry, and sums get back what rounding took."""
    parts, whole = [_Part(a) for a in summands], _Part(total)
    norms = tuple(part.norm for part in parts)
    cosines = np.array([[a.cosine(b) for b in parts] for a in parts])
    rests = [_sum(part for j, part in enumerate(parts) if j != i) for i in range(len(parts))]
    others = tuple((rest.norm, part.cosine(rest)) for part, rest in zip(parts, rests))
    if not all(math.isfinite(norm) for norm in (*norms, whole.norm)):
        return Measured(norms, cosines, others, whole.norm, math.nan)
    error = _sum([whole, *(part.negative() for part in parts)])
    return Measured(norms, cosines, others, whole.norm, relative(error.norm, whole.norm))


class _Part:
    """An array divided by (about) its largest entry, so that its products neither over- nor underflow; and its norm."""

    def __init__(self, array: np.ndarray, scale: float = 1.0):
        self.array, own = scaled(array)
        self.scale = own * scale
        self.size = math.sqrt(float(self.array @ self.array)) if self.array.size else 0.0
        self.norm = self.size * self.scale

    def negative(self) -> "_Part":
        return _Part(-self.array, self.scale)

    def cosine(self, other: "_Part") -> float:
        """The cosine of the angle to another; 0 if one of the two is 0, NaN if one is not finite."""
        return _ratio(float(self.array @ other.array), self.size, other.size)


def _sum(parts: Iterable[_Part]) -> _Part:
    """The sum, in units of the largest scale among the parts, so that it cannot overflow on the way."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    scale = max(part.scale for part in parts)
    return _Part(exact_sum(part.array * (part.scale / scale) for part in parts), scale)


def from_products(scale: float, whole: float, products: Sequence[float], error: float, count: int) -> Measured:
    """`Measured` from sums of products in float64, of arrays that were divided by ``scale``.

    whole: ‖total‖². products: of each two of the ``count`` summands, row by row; then, if there are several, for each
    ‖rest‖² and ⟨summand, rest⟩, where the rest is the sum of all others. error: ‖total − Σ summands‖².
    """
    gram = np.array(products[: count**2]).reshape(count, count)
    sizes = np.sqrt(gram.diagonal())
    cosines = np.array([[_ratio(gram[i, j], sizes[i], sizes[j]) for j in range(count)] for i in range(count)])
    others = list(NO_OTHERS) * count
    for i, (square, product) in enumerate(zip(products[count**2 :: 2], products[count**2 + 1 :: 2])):
        others[i] = math.sqrt(square) * scale, _ratio(product, float(sizes[i]), math.sqrt(square))
    norms, size = tuple(float(s) * scale for s in sizes), math.sqrt(whole)
    return Measured(norms, cosines, tuple(others), size * scale, relative(math.sqrt(error), size))


def _ratio(product: float, a: float, b: float) -> float:
    """A cosine, from the product and the two sizes; 0 if one of these is 0, NaN if one is not finite."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.nan
    return _cosine(float(product) / a / b) if a and b else 0.0


def _cosine(value: float) -> float:
    """The value, brought back to ±1 if rounding has taken it beyond."""
    return min(max(value, -1.0), 1.0)
