"""Reference solution: a loop over the kernel's positions."""

import numpy as np


def padded(x, padding):
    return np.pad(x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])


def windows(shape, weight_shape, stride):
    """(i, j, the slice of the padded image that kernel position (i, j) meets) for every position."""
    kh, kw = weight_shape[2:]
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(shape[2:], (kh, kw), stride))
    for i in range(kh):
        for j in range(kw):
            end = i + stride[0] * (rows - 1) + 1, j + stride[1] * (columns - 1) + 1
            yield i, j, np.s_[:, :, i : end[0] : stride[0], j : end[1] : stride[1]]


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    x = padded(x, padding)
    y = 0
    for i, j, window in windows(x.shape, weight.shape, stride):
        y = y + np.einsum("nchw,oc->nohw", x[window], weight[:, :, i, j])
    return y if bias is None else y + bias[:, None, None]


def conv2d_backward(grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True,) * 3):
    x = padded(x, padding)
    grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    for i, j, window in windows(x.shape, weight.shape, stride):
        grad_x[window] += np.einsum("nohw,oc->nchw", grad_y, weight[:, :, i, j])
        grad_weight[:, :, i, j] = np.einsum("nohw,nchw->oc", grad_y, x[window])
    height, width = x.shape[2] - padding[0], x.shape[3] - padding[1]
    return grad_x[:, :, padding[0] : height, padding[1] : width], grad_weight, grad_y.sum((0, 2, 3))
