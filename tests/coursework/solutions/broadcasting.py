"""Reference solution."""


def sum_to(grad, shape):
    grad = grad.sum(tuple(range(grad.ndim - len(shape))))
    return grad.sum(tuple(k for k, n in enumerate(shape) if n == 1), keepdims=True)


def add_backward(grad_output, a, b):
    return sum_to(grad_output, a.shape), sum_to(grad_output, b.shape)


def multiply_backward(grad_output, a, b):
    return sum_to(grad_output * b, a.shape), sum_to(grad_output * a, b.shape)
