"""Reductions in NumPy, as kernels so that other devices can bring their own."""


def reduce_sum(x, axes, keepdims=False):
    """Twin of `textbook.reduce_sum`: Σ over the axes."""
    return x.sum(axis=axes, keepdims=keepdims)


def reduce_max(x, axes, keepdims=False):
    """Twin of `textbook.reduce_max`: the largest over the axes."""
    return x.max(axis=axes, keepdims=keepdims)


def reduce_min(x, axes, keepdims=False):
    """Twin of `textbook.reduce_min`: the smallest over the axes."""
    return x.min(axis=axes, keepdims=keepdims)


def argmax(x, axis=None, keepdims=False):
    """Twin of `textbook.argmax`: the first place of the largest along an axis, or of all."""
    return x.argmax(axis=axis, keepdims=keepdims)


def argmin(x, axis=None, keepdims=False):
    """Twin of `textbook.argmin`: the first place of the smallest along an axis, or of all."""
    return x.argmin(axis=axis, keepdims=keepdims)


def running_update(running_mean, running_var, mean, var, momentum, count):
    """Twin of `textbook.running_update`: changes the running statistics (C) in place."""
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)
