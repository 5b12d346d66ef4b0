"""`Shapes`: the methods of a Tensor that rearrange its values, built on reshape, permute, expand and x[key]."""

import math
from typing import Any, NamedTuple

import numpy as np

from . import kernels
from .arguments import check_tensor, new_sizes, sizes as _sizes, whole
from .ops import reduce


class Sorted(NamedTuple):
    """What ``x.sort()`` and ``x.topk(k)`` return."""

    values: Any
    indices: Any


class Shapes:
    """The part of `minires.Tensor` that is defined here. Names, arguments and defaults are PyTorch's."""

    __slots__ = ()

    def flatten(self, start_dim=0, end_dim=-1):
        """Axes ``start_dim`` to ``end_dim`` made one."""
        start, end = (reduce.axis_of("flatten", self.ndim, d) for d in (start_dim, end_dim))
        if start > end:
            raise ValueError(f"flatten: got start_dim={start_dim} behind end_dim={end_dim} for shape {self.shape}")
        merged = math.prod(self.shape[start : end + 1])  # not -1, which is ambiguous for an empty batch
        return self.reshape(*self.shape[:start], merged, *self.shape[end + 1 :])

    def ravel(self):
        """All axes made one."""
        return self.flatten()

    def transpose(self, dim0, dim1):
        """Two axes exchanged."""
        axes = list(range(self.ndim))
        if axes:
            dim0, dim1 = (reduce.axis_of("transpose", self.ndim, d) for d in (dim0, dim1))
            axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
        return self.permute(*axes)

    def squeeze(self, dim=None):
        """Without the axes of size 1, or without those given."""
        gone = reduce.axes_of("squeeze", self.ndim, dim)
        return self.reshape(*(n for i, n in enumerate(self.shape) if not (i in gone and n == 1)))

    def unsqueeze(self, dim):
        """With an axis of size 1 put in at ``dim``."""
        dim = reduce.axis_of("unsqueeze", self.ndim + 1, dim)
        return self.reshape(*self.shape[:dim], 1, *self.shape[dim:])

    def flip(self, *axes, dims=None):
        """The order of the entries along these axes reversed: ``flip(0, 1)`` or ``flip(dims=(0, 1))``."""
        axes = reduce.axes_of("flip", self.ndim, _sizes("flip", axes if dims is None else dims))
        return self[tuple([slice(None, None, -1 if i in axes else None) for i in range(self.ndim)])]

    def t(self):
        """The transpose of a matrix."""
        if self.ndim > 2:
            raise ValueError(f"t: got a tensor of shape {self.shape}, expected two dimensions at most; use transpose")
        return self.permute(*reversed(range(self.ndim)))

    def expand_as(self, other):
        """`expand` to the shape of another tensor."""
        check_tensor("expand_as", other)
        return self.expand(*other.shape)

    def view_as(self, other):
        """`reshape` to the shape of another tensor."""
        check_tensor("view_as", other)
        return self.view(*other.shape)

    def repeat(self, *sizes):
        """Copies side by side: ``sizes`` says how many along each axis."""
        sizes = new_sizes("repeat", sizes)
        if len(sizes) < self.ndim:
            raise ValueError(f"repeat: got {len(sizes)} numbers for shape {self.shape}; give one for each dimension")
        shape = (1,) * (len(sizes) - self.ndim) + self.shape  # as many entries as sizes
        tiled = self.reshape(*(m for n in shape for m in (1, n))).expand(
            *(m for pair in zip(sizes, shape) for m in pair)
        )
        return tiled.clone().reshape(*(r * n for r, n in zip(sizes, shape)))

    # parts
    def narrow(self, dim, start, length):
        """``length`` entries along ``dim`` from ``start`` on."""
        dim = reduce.axis_of("narrow", self.ndim, dim)
        start, length = whole("narrow", start), whole("narrow", length)
        n = self.shape[dim] if self.ndim else 0
        first = start + n if start < 0 else start
        if not (self.ndim and 0 <= first <= first + length <= n):
            raise IndexError(
                f"narrow: got start={start}, length={length} for dim={dim} of a tensor of shape {self.shape}"
            )
        return self[(slice(None),) * dim + (slice(first, first + length),)]

    def split(self, split_size, dim=0):
        """Parts of this size, the last one perhaps smaller, or of these sizes."""
        dim = reduce.axis_of("split", self.ndim, dim)
        n = self.shape[dim] if self.ndim else 0
        sizes = [whole("split", size) for size in split_size] if isinstance(split_size, tuple | list) else None
        sizes = pieces(n, split_size) if sizes is None else sizes
        if not self.ndim or sum(sizes) != n or min(sizes, default=0) < 0:
            raise ValueError(
                f"split: got {split_size} for dim={dim} of shape {self.shape}; the parts must add up to it"
            )
        return tuple([self.narrow(dim, sum(sizes[:i]), size) for i, size in enumerate(sizes)])

    def chunk(self, chunks, dim=0):
        """At most ``chunks`` parts, all of one size except perhaps the last."""
        chunks = whole("chunk", chunks)
        dim = reduce.axis_of("chunk", self.ndim, dim)
        if chunks < 1 or not self.ndim:
            raise ValueError(f"chunk: got {chunks} chunks for shape {self.shape}; expected at least 1, and a dimension")
        n = self.shape[dim]
        return self.split([0] * chunks if n == 0 else pieces(n, -(-n // chunks)), dim)

    def unbind(self, dim=0):
        """The slices along a dimension, each without that dimension."""
        dim = reduce.axis_of("unbind", self.ndim, dim)
        if not self.ndim:
            raise ValueError("unbind: got a tensor of shape (), which has no dimension")
        return tuple([self[(slice(None),) * dim + (i,)] for i in range(self.shape[dim])])

    def gather(self, dim, index):
        """Along ``dim`` the entries that ``index`` names: for dim 0, y[i, j] = x[index[i, j], j]."""
        check_tensor("gather", index)
        dim, sizes = reduce.axis_of("gather", self.ndim, dim), index.shape
        if 0 in sizes:
            return self.flatten()[:0].reshape(sizes)
        if not self.ndim and len(sizes) < 2:
            return self.reshape(1).gather(0, index.reshape(-1)).reshape(sizes)
        small = len(sizes) == self.ndim and all(i == dim or m <= n for i, (m, n) in enumerate(zip(sizes, self.shape)))
        if not small or index.dtype.kind not in "iu":
            raise ValueError(
                f"gather: got a {index.dtype} index of shape {sizes} for shape {self.shape}; expected whole numbers, "
                f"and, except along dim={dim}, at most as many as the tensor has"
            )
        if not 0 <= int(index.array.min()) <= int(index.array.max()) < self.shape[dim]:
            raise IndexError(f"gather: got indices outside of dim={dim} of shape {self.shape}")
        places = [
            kernels.to_device(np.arange(n), self.device).reshape(-1, *(1,) * (len(sizes) - 1 - i))
            for i, n in enumerate(sizes)
        ]
        places[dim] = index.long()
        return self[tuple(places)]

    def sort(self, dim=-1, descending=False, stable=False):
        """The values in order along a dimension, and where they were."""
        order = self.argsort(dim, descending, stable)
        return Sorted(self.gather(dim, order), order)

    def topk(self, k, dim=-1, largest=True, sorted=True):
        """The k largest (or smallest) values along a dimension, in order, and where they are."""
        k, dim = whole("topk", k), reduce.axis_of("topk", self.ndim, dim)
        n = self.shape[dim] if self.ndim else 1
        if not 0 <= k <= n:
            raise ValueError(f"topk: got k={k} for dim={dim} of shape {self.shape}; expected 0 to {n}")
        order = self.argsort(dim, descending=largest)
        order = order.narrow(dim, 0, k) if self.ndim else order
        return Sorted(self.gather(dim, order), order)


def pieces(n, size):
    """The sizes of the pieces if n entries are cut into pieces of one size; the last may be smaller."""
    size = whole("split", size)
    if size < 0 or (size == 0 and n):
        raise ValueError(f"split: got a size of {size} for {n} entries; expected a positive one")
    return [size] * (n // size) + [n % size] * (n % size > 0) if n else [0]
