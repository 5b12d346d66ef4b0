"""Sums in NumPy, as kernels so that other devices can bring their own."""


def reduce_sum(x, axes, keepdims=False):
    """Twin of `textbook.reduce_sum`: Σ over the axes."""
    return x.sum(axis=axes, keepdims=keepdims)


def running_update(running_mean, running_var, mean, var, momentum, count):
    """Twin of `textbook.running_update`: changes the running statistics (C) in place."""
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * (count / (count - 1)) - running_var)
