"""How arrays lie in memory: (N, C, H, W) in shape, but with the batch innermost, as a (C, H, W, N) array would.

NumPy keeps the memory order of its operands, so arrays that were made batch-last stay so through every elementwise op,
and the conversions below cost nothing. An array in any other order is copied once.
"""

import numpy as np


def batch_last(x):
    """(N, C, H, W), however it lies in memory -> a contiguous (C, H, W, N)."""
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0))


def batch_first(x):
    """(C, H, W, N) -> its (N, C, H, W) view."""
    return x.transpose(3, 0, 1, 2)


def channel_rows(x):
    """(N, C, …) -> contiguous (C, M): all M values of a channel in one row, the batch last."""
    return np.ascontiguousarray(x.transpose(*range(1, x.ndim), 0)).reshape(x.shape[1], -1)


def from_channel_rows(rows, shape):
    """(C, M) rows with the batch last -> their view of shape (N, C, …)."""
    return rows.reshape(*shape[1:], shape[0]).transpose(-1, *range(len(shape) - 1))


def inside(start, step, count, size):
    """The run lo:hi of range(count) in which 0 ≤ start + r·step < size."""
    lo = min(max(-(start // step), 0), count)
    hi = min(max(-((start - size) // step), lo), count)
    return lo, hi


def every(start, step, count):
    """The slice that takes ``count`` entries from ``start``, each ``step`` further."""
    return slice(start, start + (count - 1) * step + 1, step)
