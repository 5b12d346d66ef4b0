"""Numbers of arrays on a device: measured there, and all read at once when the first of them is asked for.

Each number that is read makes the program wait for the device. So a recording that runs there reads none.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels import device_of
from ..kernels.measure import gpu as kernels
from ..norms import Moments
from .summands import Measured, from_products


class Unread:
    """Numbers on their way: ``later`` takes an array of them, and returns what will be made of it on request."""

    def __init__(self) -> None:
        self._waiting: list[Any] = []  # arrays of float64 with one axis, on the device
        self._read: list[list[float]] = []

    def later(self, numbers: Any, finish: Callable[[list[float]], Any]) -> Callable[[], Any]:
        """A function that returns ``finish(the numbers)``."""
        self._waiting.append(numbers)
        place = len(self._read) + len(self._waiting) - 1
        return lambda: finish(self._get(place))

    def _get(self, place: int) -> list[float]:
        if place >= len(self._read):
            ends = [0, *itertools.accumulate(a.size for a in self._waiting)]
            everything = np.concatenate(self._waiting)
            values = device_of(everything).download(everything).tolist()
            self._read += [values[start:end] for start, end in itertools.pairwise(ends)]
            self._waiting.clear()
        return self._read[place]


def moments(unread: Unread, array: Any) -> Callable[[], Moments]:
    """What `norms.moments` says of an array."""
    if not array.size:
        return lambda: Moments(math.nan, math.nan, 0.0)
    (x,) = kernels.flat([array])
    on = device_of(x)
    return unread.later(kernels.moments(on, x, kernels.unit(on, x)), lambda numbers: Moments(*numbers))


def measure_summands(unread: Unread, summands: Sequence[Any], total: Any) -> Callable[[], Measured]:
    """What `summands.measure_summands` says of the summands and the total that they were added up to."""
    count = len(summands)
    if not total.size:
        return lambda: from_products(1.0, 0.0, [0.0] * (count**2 + 2 * count), 0.0, count)
    *parts, whole = kernels.flat([*summands, total] if count > 1 else [total])
    on = device_of(whole)
    unit = kernels.unit(on, *parts, whole)
    if count == 1:
        products = kernels.inner(on, whole, whole, unit)
    elif count == 2:
        products = kernels.pair(on, parts[0], parts[1], whole, unit)
    else:
        products = _products(on, parts, whole, unit)
    found = products if unit is None else np.concatenate([products, unit])

    def finish(numbers: list[float]) -> Measured:
        scale = 1.0 if unit is None else numbers.pop()
        scale = scale if 0 < scale < math.inf else 1.0
        if count == 1:
            square = numbers[0]
            return from_products(scale, square, [square], 0 * square, count)
        if count == 2:
            aa, ab, bb, tt, error = numbers
            return from_products(scale, tt, [aa, ab, ab, bb, bb, ab, aa, ab], error, count)
        return from_products(scale, numbers[0], numbers[1:-1], numbers[-1], count)

    return unread.later(found, finish)


def turned(unread: Unread, before: Any, after: Any) -> Callable[[], tuple[float, float]]:
    """‖before‖, and the angle between the two in degrees, exact for small angles too (Kahan); both of float64."""
    a, b = kernels.flat([before, after])
    on = device_of(a)
    aa, bb = (kernels.inner(on, x, x, None) for x in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):  # a weight of 0 has no direction: NaN
        one, two = a / np.sqrt(aa), b / np.sqrt(bb)
    apart, together = one - two, one + two
    numbers = np.concatenate([aa, *(kernels.inner(on, x, x, None) for x in (apart, together))])

    def finish(numbers: list[float]) -> tuple[float, float]:
        size, across, along = map(math.sqrt, numbers)
        return size, math.degrees(2 * math.atan2(across, along))

    return unread.later(numbers, finish)


def _products(on: Any, parts: Sequence[Any], whole: Any, unit: Any) -> Any:
    """‖total‖²; all products of summands; of each, ‖rest‖² and ⟨summand, rest⟩ with the sum of all others; ‖error‖²."""
    parts, whole = [part.astype(np.float64) for part in parts], whole.astype(np.float64)
    pairs = [(whole, whole), *itertools.product(parts, parts)]
    for i, part in enumerate(parts):
        rest = functools.reduce(operator.add, parts[:i] + parts[i + 1 :])
        pairs += [(rest, rest), (part, rest)]
    error = functools.reduce(operator.sub, parts, whole)
    return np.concatenate([kernels.inner(on, a, b, unit) for a, b in [*pairs, (error, error)]])
