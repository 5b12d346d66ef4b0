"""Matrix products and the linear layer in NumPy. Twins of their namesakes in `minires.kernels.textbook`."""


def matmul(a, b):
    """Twin of `textbook.matmul`. a (…, M, K), b (…, K, P) -> (…, M, P)."""
    return a @ b


def linear(x, weight, bias=None):
    """Twin of `textbook.linear`. x (…, in), weight (out, in), bias (out) or None -> y (…, out)."""
    y = x @ weight.T
    return y if bias is None else y + bias


def linear_backward(grad_y, x, weight, needs=(True, True, True)):
    """Twin of `textbook.linear_backward`. Returns dx (…, in), dw (out, in), db (out), or None each."""
    g = grad_y.reshape(-1, grad_y.shape[-1])  # (rows, out)
    grad_x = grad_y @ weight if needs[0] else None
    grad_weight = g.T @ x.reshape(-1, x.shape[-1]) if needs[1] else None
    return grad_x, grad_weight, g.sum(0) if needs[2] else None
