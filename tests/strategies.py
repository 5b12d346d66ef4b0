"""Legal shapes for Hypothesis to draw, and arrays of equal values that lie differently in memory."""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)


def shapes(min_ndim=0, max_ndim=4, min_side=1, max_side=4):
    """Shapes of small arrays."""
    return st.lists(st.integers(min_side, max_side), min_size=min_ndim, max_size=max_ndim).map(tuple)


def pairs(low, high):
    """Pairs (vertical, horizontal), each its own."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def broadcastable(draw, count=2, max_ndim=3):
    """``count`` shapes that broadcast together: some axes of the full shape are missing in front, some are 1."""
    full = draw(shapes(max_ndim=max_ndim))
    result = []
    for _ in range(count):
        kept = full[draw(st.integers(0, len(full))) :]
        result.append(tuple(1 if draw(st.booleans()) else n for n in kept))
    return result


@dataclass(frozen=True)
class Convolution:
    """The arguments of one convolution."""

    x_shape: tuple
    w_shape: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int

    @property
    def geometry(self):
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def y_shape(self):
        """Floored, as every textbook has it."""
        sides = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(self.x_shape[2:], self.w_shape[2:], self.stride, self.padding, self.dilation)
        )
        return (self.x_shape[0], self.w_shape[0], *sides)

    def arrays(self, seed, dtype=np.float64):
        """Normal x, weight, bias and grad_y."""
        rng = np.random.default_rng(seed)
        shapes = self.x_shape, self.w_shape, self.w_shape[:1], self.y_shape
        return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@st.composite
def convolutions(draw, max_out=4, max_batch=3):
    """Legal convolutions: the output size is drawn, the input derived; 1 for every size is among them."""
    kernel, stride, dilation, padding = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(1, 3)), draw(pairs(0, 3))
    sides = []
    for k, s, d, p in zip(kernel, stride, dilation, padding):
        unused = draw(st.integers(0, s - 1))  # pixels at the end that no window reaches
        sides.append(max((draw(st.integers(1, max_out)) - 1) * s + d * (k - 1) + 1 - 2 * p + unused, 1))
    groups = draw(st.integers(1, 3))
    channels, out = (groups * draw(st.integers(1, 2)) for _ in range(2))
    x_shape = (draw(st.integers(1, max_batch)), channels, *sides)
    return Convolution(x_shape, (out, channels // groups, *kernel), stride, padding, dilation, groups)


@dataclass(frozen=True)
class Pooling:
    """The arguments of one pooling."""

    x_shape: tuple
    kernel_size: tuple
    stride: tuple
    padding: tuple

    @property
    def window(self):
        return self.kernel_size, self.stride, self.padding

    @property
    def y_shape(self):
        sides = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(self.x_shape[2:], *self.window))
        return (*self.x_shape[:2], *sides)


@st.composite
def poolings(draw, max_out=4):
    """Legal poolings: overlapping and gapped windows, padding up to half a window."""
    kernel, stride = draw(pairs(1, 4)), draw(pairs(1, 4))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    sides = [
        max((draw(st.integers(1, max_out)) - 1) * s + k - 2 * p + draw(st.integers(0, s - 1)), 1)
        for k, s, p in zip(kernel, stride, padding)
    ]
    return Pooling((draw(st.integers(1, 3)), draw(st.integers(1, 3)), *sides), kernel, stride, padding)


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
