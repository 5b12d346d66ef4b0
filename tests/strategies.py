"""Legal shapes for Hypothesis to draw, and arrays of equal values that lie differently in memory."""

import math

import numpy as np
from hypothesis import strategies as st

from minires.testing.strategies import Convolution, Pooling, broadcastable, convolutions, pairs, poolings, seeds, shapes

__all__ = [
    "Convolution",
    "LAYOUTS",
    "Pooling",
    "broadcastable",
    "convolutions",
    "distinct",
    "layouts",
    "pairs",
    "poolings",
    "seeds",
    "shapes",
]


def _batch_last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0)


def _sliced(a):
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1] + 1), np.nan, a.dtype)
    wide[..., 1::2] = a
    return wide[..., 1::2]


def _reversed(a):
    return np.flip(np.ascontiguousarray(np.flip(a)))


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "row by row": np.ascontiguousarray,
    "column by column": np.asfortranarray,
    "batch last": _batch_last,
    "every other column": _sliced,
    "backwards": _reversed,
    "read-only": _read_only,
}

layouts = st.sampled_from(sorted(LAYOUTS)).map(LAYOUTS.get)


def distinct(shape, seed, dtype=np.float64):
    """Whole numbers in random order, no two alike."""
    return np.random.default_rng(seed).permutation(math.prod(shape)).reshape(shape).astype(dtype)
