"""How arrays are laid out in memory: shape (N, C, H, W), but stored with the batch innermost, as (C, H, W, N) would be.

NumPy keeps the memory order of its operands, so an array made batch-last stays so through every elementwise op, and the
conversions below then cost nothing. An array in any other order is copied once.
"""

import functools

import numpy as np

BATCH_FIRST = {ndim: (ndim - 1, *range(ndim - 1)) for ndim in range(1, 33)}  # axes, by how many there are


def batch_last(x):
    """(N, C, H, W) in any memory order -> a contiguous (C, H, W, N)."""
    return np.ascontiguousarray(x.transpose(1, 2, 3, 0))


def batch_first(x):
    """(C, …, N) -> its (N, C, …) view."""
    return x.transpose(BATCH_FIRST[x.ndim])


def along_memory(guide, *arrays):
    """Arrays of one shape, all with their axes in the order in which the guide lies in memory, the outermost first.

    CuPy's elementwise kernels take the axes as they come: with the batch innermost in memory, but first in the shape,
    every thread of a warp would touch another line of memory. NumPy finds the order by itself.
    """
    order, _ = axes_along_memory(guide.strides)
    return tuple([array.transpose(order) for array in arrays])


def in_memory_order(*arrays):
    """(arrays that broadcast, with their axes in the order in which the largest lies in memory; that order and back).

    Numbers stay as they are. The order is None where nothing has to change, as with NumPy's arrays.
    """
    guide = max((a for a in arrays if getattr(a, "ndim", 0)), key=lambda a: (a.ndim, a.size), default=None)
    if guide is None or type(guide) is np.ndarray or guide.flags.c_contiguous:
        return arrays, None
    axes = order, _ = axes_along_memory(guide.strides)
    stretched = (a[(None,) * (len(order) - a.ndim)] if 0 < getattr(a, "ndim", 0) < len(order) else a for a in arrays)
    return [a.transpose(order) if getattr(a, "ndim", 0) else a for a in stretched], axes


def entry_by_entry(function, *arrays):
    """``function(*arrays)``, whose entries each come from those at the same place, in a loop that runs along memory."""
    arrays, axes = (arrays, None) if type(arrays[0]) is np.ndarray else in_memory_order(*arrays)
    return function(*arrays) if axes is None else function(*arrays).transpose(axes[1])


def lying_like(guide, array):
    """A NumPy array in the memory order of a guide of its shape; a copy, unless it is already."""
    order, back = axes_along_memory(guide.strides)
    return np.ascontiguousarray(array.transpose(order)).transpose(back)


@functools.lru_cache(maxsize=4096)
def axes_along_memory(strides):
    """(the axes from the outermost in memory to the innermost, and the order that takes them back)."""
    order = tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis])))
    return order, tuple(sorted(range(len(strides)), key=order.__getitem__))


def put(target, key, values):
    """``target[key] = values``, all of one shape and the key of slices, in a loop that runs along memory."""
    if type(target) is np.ndarray:
        target[key] = values
    else:
        place, values = along_memory(target, target[key], values)
        place[...] = values


def channel_rows(x):
    """(N, C, …) -> contiguous (C, M): all M values of a channel in one row, with the batch innermost."""
    channels = x.shape[1]
    if len(x) > 1:
        x = x.transpose(*range(1, x.ndim), 0)
    return np.ascontiguousarray(x).reshape(channels, -1)


def from_channel_rows(rows, shape):
    """(C, M) rows from `channel_rows` -> a view of shape (N, C, …)."""
    return rows.reshape(*shape[1:], shape[0]).transpose(-1, *range(len(shape) - 1))


def out_size(size, kernel, stride, padding, dilation=1, ceil_mode=False):
    """Number of output positions along one axis, floored: (n + 2p − d(k − 1) − 1) // s + 1.

    With ``ceil_mode``, rounded up: one more window, which overhangs the end, unless it began behind the image.
    """
    free = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return free // stride + 1
    count = -(-free // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


@functools.lru_cache(maxsize=4096)
def out_sizes(in_hw, kernel, stride, padding, dilation=(1, 1), ceil_mode=False):
    """`out_size` along both axes; all arguments but the last are pairs (vertical, horizontal)."""
    return tuple(out_size(*axis, ceil_mode) for axis in zip(in_hw, kernel, stride, padding, dilation))


def view(array, shape, steps, first=0):
    """A view of a contiguous array: entry (i, j, …) is its item number first + i·steps[0] + j·steps[1] + ….

    Raises ValueError if the view would leave the array, or if the array is not contiguous.
    """
    item = array.itemsize
    return np.ndarray(shape, array.dtype, array, first * item, [step * item for step in steps])


def even(total, largest):
    """The block length, ``largest`` at most, that cuts ``total`` into blocks of nearly equal length."""
    return -(-total // -(-total // max(min(largest, total), 1)))


def inside(start, step, count, size):
    """The run lo:hi of range(count) in which 0 ≤ start + r·step < size."""
    lo = min(max(-(start // step), 0), count)
    hi = min(max(-((start - size) // step), lo), count)
    return lo, hi


def every(start, step, count):
    """The slice of ``count`` entries that begins at ``start`` and takes every ``step``-th."""
    return slice(start, start + (count - 1) * step + 1, step)


def copy_window(target, x, top, row_step, left, column_step):
    """target[c, r, s] = x[c, top + r·row_step, left + s·column_step], and 0 outside the image. Both (C, …, …, N)."""
    for margin in _window(top, row_step, left, column_step, *target.shape[1:3], *x.shape[1:3])[0]:
        target[margin] = 0
    copy_inside(target, x, top, row_step, left, column_step)


def copy_inside(target, x, top, row_step, left, column_step):
    """Like `copy_window`, but leave the target alone where the window is outside the image."""
    _, inner, source = _window(top, row_step, left, column_step, *target.shape[1:3], *x.shape[1:3])
    if source:
        (copy_pixels if column_step > 1 else np.copyto)(target[inner], x[source])


def copy_pixels(target, x):
    """target = x, both (C, H, W, N), for arrays in which neighbours along W are not next to each other in memory.

    NumPy would copy N numbers at a time, in a loop that is slow to start. With each pixel as one item of N numbers, a
    whole row is one loop: for N from 2 to 16 that takes between a half and a sixth of the time.
    """
    batch = x.shape[3]
    if 1 < batch <= 16 and target.dtype == x.dtype:
        pixel = np.dtype((np.void, batch * x.itemsize))
        target, x = target.view(pixel), x.view(pixel)
    target[...] = x


@functools.lru_cache(maxsize=4096)
def _window(top, row_step, left, column_step, rows, columns, height, width):
    """(the target's margins outside the image, its part inside, the part of the image that goes there)."""
    r0, r1 = inside(top, row_step, rows, height)
    s0, s1 = inside(left, column_step, columns, width)
    every_channel = slice(None)
    margins: list[tuple[slice, ...]] = [(every_channel, slice(a, b)) for a, b in ((0, r0), (r1, rows)) if a < b]
    margins += [(every_channel, every_channel, slice(a, b)) for a, b in ((0, s0), (s1, columns)) if a < b]
    if r0 == r1 or s0 == s1:
        return margins, None, None
    source = every(top + r0 * row_step, row_step, r1 - r0), every(left + s0 * column_step, column_step, s1 - s0)
    return margins, (every_channel, slice(r0, r1), slice(s0, s1)), (every_channel, *source)
