"""ReLU and addition, in few, long NumPy calls; the formulas are in `definition`.

The form follows from what NumPy does well. It uses vector instructions for the maximum of two arrays, but not for that
of an array and a number (0.17 and 0.5 ns per float32 element on a Zen 3), so here the 0 is a row of zeros, which stays
in the cache. A product of floats and truth values is faster in two passes, the first of which turns the truth values
into floats.

Of several threads, each goes over its whole piece of the array at once. Blocks that fit the cache would save memory
traffic, but are slower nevertheless: after each of the many short calls a thread must get the interpreter lock back
from another, and it sleeps for 50 µs while it waits.
"""

import functools
from contextvars import copy_context

import numpy as np

from ...threads import get_num_threads, parallel

# Found by `python -m benchmarks tune`.
ZEROS = 1 << 15  # elements in the row of zeros
BUFFER = 512  # elements in NumPy's own buffer, where rows are short
MANY = 50_000  # elements that an array must have for the smaller buffer to be faster
PARALLEL_SIZE = 700_000  # elements; below this a second thread costs more than it saves

BITS = {2: np.dtype(np.uint16), 4: np.dtype(np.uint32), 8: np.dtype(np.uint64)}


def relu(x):
    """`definition.relu`: max(x, 0), in the memory layout of x."""
    return relu_into(x, np.empty_like(x))


def relu_into(x, y):
    """Write max(x, 0) to y, which may be x, and return it."""
    if x.size <= ZEROS and x.flags.c_contiguous and y.flags.c_contiguous:
        return np.maximum(x, _zeros(x.dtype, ZEROS)[: x.size].reshape(x.shape), out=y)

    def work(x, y):
        zeros, whole = _zeros(x.dtype, ZEROS), len(x) - len(x) % ZEROS
        if whole:
            np.maximum(x[:whole].reshape(-1, ZEROS), zeros, out=y[:whole].reshape(-1, ZEROS))
        np.maximum(x[whole:], zeros[: len(x) - whole], out=y[whole:])

    if not _in_pieces(work, x, y):
        np.maximum(x, 0, out=y)
    return y


def relu_backward(grad_y, y):
    """`definition.relu_backward`: 0 where y ≤ 0, else the gradient. An output of ReLU is 0, positive or NaN."""
    grad_x = np.empty_like(grad_y)

    def work(grad_y, y, grad_x):
        bits, grad_bits = bits_of(grad_x), bits_of(grad_y)
        np.copyto(bits, (y != 0).view(np.uint8))  # 0 and 1
        np.multiply(bits, grad_bits, out=bits)

    if not _in_pieces(work, grad_y, y, grad_x):
        work(grad_y, y, grad_x)
    return grad_x


def bits_of(x):
    """The same memory as whole numbers: a floating-point number times 0 need not be 0, but its bits are."""
    return x.view(BITS[x.itemsize])


def add(a, b):
    """`definition.add`: a + b, broadcasting."""
    if a.size < PARALLEL_SIZE or not isinstance(b, np.ndarray) or a.shape != b.shape or a.dtype != b.dtype:
        return a + b
    total = np.empty_like(a)
    return total if _in_pieces(lambda a, b, total: np.add(a, b, out=total), a, b, total) else a + b


def for_short_rows(work, rows):
    """The same ``work``, with ``rows * one_number_per_row`` twice as fast where a row has 512 to some thousand numbers.

    If rows are shorter than NumPy's buffer, it handles several at once, and first fills the buffer with copies of their
    numbers, which costs 0.1 to 0.2 ns per element. With a buffer no longer than a row, it takes each row as it is. (For
    rows of fewer than 512 numbers, starting anew for each row would cost as much.)
    """
    if rows.size < MANY or not BUFFER <= rows.shape[1] < np.getbufsize():
        return work

    def run(items):
        np.setbufsize(BUFFER)
        return work(items)

    return lambda items: copy_context().run(run, items)  # with whose end the buffer is what it was


def _in_pieces(work, *arrays):
    """Call ``work`` on matching pieces of the arrays, one per thread, as one-dimensional views in memory order.

    Returns False, with nothing done, unless all arrays have the same memory order, without gaps.
    """
    if len({a.strides for a in arrays}) > 1:
        return False
    flat = [a.ravel("K") for a in arrays]
    if not all(np.may_share_memory(f, a) for f, a in zip(flat, arrays)):
        return False
    size, pieces = flat[0].size, get_num_threads() if flat[0].size >= PARALLEL_SIZE else 1
    if pieces == 1:
        work(*flat)
        return True
    cuts = [slice(size * i // pieces, size * (i + 1) // pieces) for i in range(pieces)]
    parallel(lambda run: [work(*(f[cut] for f in flat)) for cut in run], cuts)
    return True


@functools.lru_cache
def _zeros(dtype, count):
    return np.zeros(count, dtype)
