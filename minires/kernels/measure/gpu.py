"""What a recording measures of arrays, by measure.cu: few numbers, in float64, that stay on the device until asked for.

All functions take arrays of one shape, in one row each (see `flat`), and return arrays of float64 on the device. The
``unit`` of float64 is the largest of their numbers, so that no square leaves its range; float32 needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..launch import BLOCK, c_name, contiguous, runs
from ..load import TYPES, Source
from ..reduce.gpu import reduce_columns

MEASURE = Source(
    "measure/measure.cu",
    [
        *((kernel, t) for kernel in ("moments", "inner", "pair") for t in TYPES),
        *((kernel, "double") for kernel in ("largest", "combine_moments")),
    ],
)

WARP = 32


def flat(arrays: Sequence[Any]) -> list[Any]:
    """The arrays in one row each, all in the same order: that in which they lie in memory, if they agree on one.

    float16 becomes float32.
    """
    first = arrays[0]
    order = [*range(first.ndim)]
    if len({a.strides for a in arrays}) == 1:
        order = sorted(order, key=lambda axis: -first.strides[axis])
    rows = (contiguous(a.transpose(*order)).reshape(-1) for a in arrays)
    return [row.astype(np.float32) if row.dtype == np.float16 else row for row in rows]


def unit(on: Any, *rows: Any) -> Any:
    """The largest of all numbers, in float64: (1). None for float32, which is measured as it is."""
    if rows[0].dtype != np.float64:
        return None
    parts = [_in_runs(on, "largest", 1, x) for x in rows]
    return reduce_columns(on, "Max", np.concatenate(parts), 1)


def moments(on: Any, x: Any, unit: Any) -> Any:
    """(mean, standard deviation, fraction of zeros): (3)."""
    number, length = runs(on.multiprocessors, 1, x.size)
    parts, y = _in_runs(on, "moments", 3, x, unit=unit), on.empty(3, np.float64)
    numbers = x.size, length, number
    on.launch(MEASURE, "combine_moments", ("double",), (1,), WARP, parts, unit, y, numbers=numbers)
    return y


def inner(on: Any, a: Any, b: Any, unit: Any) -> Any:
    """Σ a·b / unit²: (1)."""
    return reduce_columns(on, "Sum", _in_runs(on, "inner", 1, a, b, unit=unit), 1)


def pair(on: Any, a: Any, b: Any, total: Any, unit: Any) -> Any:
    """Σ a·a, Σ a·b, Σ b·b, Σ t·t and Σ (t − a − b)², each / unit²: (5)."""
    return reduce_columns(on, "Sum", _in_runs(on, "pair", 5, a, b, total, unit=unit), 1)


def _in_runs(on: Any, kernel: str, count: int, *rows: Any, unit: Any = None) -> Any:
    """Launch a kernel that makes ``count`` numbers of every run: (runs, count)."""
    size = rows[0].size
    number, length = runs(on.multiprocessors, 1, size)
    parts = on.empty((number, count), np.float64)
    arrays = (*rows, parts) if kernel == "largest" else (*rows, unit, parts)
    on.launch(MEASURE, kernel, (c_name(rows[0].dtype),), (number,), BLOCK, *arrays, numbers=(size, length, number))
    return parts
