"""Convolution in two dimensions, by its definition: one product for every pair of output position and tap."""

import itertools

import numpy as np

from ..layout import out_sizes


def taps(x_shape, w_shape, y_shape, stride, padding, dilation, groups):
    """Yield every (n, o, h, w, c, i, j, c_x, h_x, w_x): output position, weight position, input position.

    The output and both gradients run over these same index tuples; only what is multiplied differs.
    """
    (N, _, H, W), (O, C_group, kh, kw), (_, _, Ho, Wo) = x_shape, w_shape, y_shape
    for n, o, h, w in itertools.product(range(N), range(O), range(Ho), range(Wo)):
        first_channel = o // (O // groups) * C_group
        for c, i, j in itertools.product(range(C_group), range(kh), range(kw)):
            h_x = h * stride[0] + i * dilation[0] - padding[0]
            w_x = w * stride[1] + j * dilation[1] - padding[1]
            if 0 <= h_x < H and 0 <= w_x < W:  # the padding is zeros: nothing to add
                yield n, o, h, w, c, i, j, first_channel + c, h_x, w_x


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """y[n,o,h,w] = b[o] + Σ_{c,i,j} w[o,c,i,j] · x[n, c, h·s+i·d−p, w·s+j·d−p].

    x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O) or None -> y (N, O, H′, W′).
    """
    out_hw = out_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    y = np.zeros((len(x), len(weight), *out_hw), x.dtype)
    for n, o, h, w, c, i, j, cx, hx, wx in taps(x.shape, weight.shape, y.shape, stride, padding, dilation, groups):
        y[n, o, h, w] += weight[o, c, i, j] * x[n, cx, hx, wx]
    return y if bias is None else y + bias[:, None, None]


def conv2d_backward(
    grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True, True, True)
):
    """dx, dw and db: every product w·x of the forward sum sends g·w to its x and g·x to its w, and db = Σ_{n,h,w} g.

    grad_y (N, O, H′, W′) -> dx (N, C, H, W), dw (O, C/groups, kh, kw), db (O); None where not needed.
    """
    grad_x, grad_w = np.zeros_like(x), np.zeros_like(weight)
    for n, o, h, w, c, i, j, cx, hx, wx in taps(x.shape, weight.shape, grad_y.shape, stride, padding, dilation, groups):
        grad_x[n, cx, hx, wx] += weight[o, c, i, j] * grad_y[n, o, h, w]
        grad_w[o, c, i, j] += x[n, cx, hx, wx] * grad_y[n, o, h, w]
    return tuple(g if need else None for g, need in zip((grad_x, grad_w, grad_y.sum((0, 2, 3))), needs))
