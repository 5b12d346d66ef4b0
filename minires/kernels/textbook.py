"""The definitions: every kernel as its formula, in plain loops. Slow on purpose; the oracle of the tests.

Each function has the name, arguments and result of its fast twin in `minires.kernels.cpu`.
Images are (N, C, H, W); pairs such as ``stride`` are (vertical, horizontal).
"""

import itertools
import math

import numpy as np

# ── convolution ─────────────────────────────────────────────────────────────────────────────────────────────────────


def taps(x_shape, w_shape, y_shape, stride, padding, dilation, groups):
    """Yield every (n, o, h, w, c, i, j, c_x, h_x, w_x): output position, weight position, input position.

    All three products of convolution run over these index tuples; only what is multiplied differs.
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
    (N, _, H, W), (O, _, kh, kw) = x.shape, weight.shape
    Ho = (H + 2 * padding[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    Wo = (W + 2 * padding[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((N, O, Ho, Wo), x.dtype)
    for n, o, h, w, c, i, j, cx, hx, wx in taps(x.shape, weight.shape, y.shape, stride, padding, dilation, groups):
        y[n, o, h, w] += weight[o, c, i, j] * x[n, cx, hx, wx]
    return y if bias is None else y + bias[:, None, None]


def conv2d_backward(
    grad_y, x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, needs=(True, True, True)
):
    """dx, dw and db: every product w·x of the forward sum sends g·w to its x and g·x to its w.

    grad_y (N, O, H′, W′) -> dx (N, C, H, W), dw (O, C/groups, kh, kw), db (O) = Σ_{n,h,w} g; None where not needed.
    """
    grad_x, grad_w = np.zeros_like(x), np.zeros_like(weight)
    for n, o, h, w, c, i, j, cx, hx, wx in taps(x.shape, weight.shape, grad_y.shape, stride, padding, dilation, groups):
        grad_x[n, cx, hx, wx] += weight[o, c, i, j] * grad_y[n, o, h, w]
        grad_w[o, c, i, j] += x[n, cx, hx, wx] * grad_y[n, o, h, w]
    return tuple(g if need else None for g, need in zip((grad_x, grad_w, grad_y.sum((0, 2, 3))), needs))


# ── batch normalisation ─────────────────────────────────────────────────────────────────────────────────────────────


def per_channel(values, ndim):
    """(C,) -> (1, C, 1, …), so that it broadcasts over an (N, C, …) array; None -> 1 (no scale)."""
    return 1 if values is None else values.reshape(1, -1, *(1,) * (ndim - 2))


def all_but_channels(x):
    """The axes over which batch norm takes its statistics: all but axis 1."""
    return (0, *range(2, x.ndim))


def batch_norm(x, weight=None, bias=None, eps=1e-5):
    """y = γ·(x − μ)/√(σ² + ε) + β with the batch's own μ and biased σ². Ioffe & Szegedy 2015, Algorithm 1.

    x (N, C, …), weight γ and bias β (C) or None -> y (N, C, …), mean (C), var (C).
    """
    mean, var = x.mean(all_but_channels(x)), x.var(all_but_channels(x))
    return batch_norm_eval(x, weight, bias, mean, var, eps), mean, var


def batch_norm_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """Three terms: dx = γ/√(σ²+ε) · (g − mean(g) − x̂·mean(g·x̂)); dγ = Σ g·x̂; dβ = Σ g.

    The second term is there because μ depends on x, the third because σ² does. Returns dx (N, C, …), dγ (C), dβ (C).
    """
    axes = all_but_channels(x)
    inv_std = per_channel(1 / np.sqrt(var + eps), x.ndim)
    x_hat = (x - per_channel(mean, x.ndim)) * inv_std
    through_mean = grad_y.mean(axes, keepdims=True)
    through_var = x_hat * (grad_y * x_hat).mean(axes, keepdims=True)
    grad_x = per_channel(weight, x.ndim) * inv_std * (grad_y - through_mean - through_var)
    grads = grad_x, (grad_y * x_hat).sum(axes), grad_y.sum(axes)
    return tuple(g if need else None for g, need in zip(grads, needs))


def batch_norm_eval(x, weight, bias, mean, var, eps=1e-5):
    """y = γ·(x − μ)/√(σ² + ε) + β with given statistics: one affine map per channel.

    x (N, C, …), weight, bias (C) or None, mean, var (C) -> y (N, C, …).
    """
    x_hat = (x - per_channel(mean, x.ndim)) / np.sqrt(per_channel(var, x.ndim) + x.dtype.type(eps))
    return per_channel(weight, x.ndim) * x_hat + (0 if bias is None else per_channel(bias, x.ndim))


def batch_norm_eval_backward(grad_y, x, weight, mean, var, eps, needs=(True, True, True)):
    """dx = γ/√(σ² + ε)·g; dγ = Σ g·x̂; dβ = Σ g. Returns dx (N, C, …), dγ (C), dβ (C)."""
    axes = all_but_channels(x)
    inv_std = per_channel(1 / np.sqrt(var + eps), x.ndim)
    x_hat = (x - per_channel(mean, x.ndim)) * inv_std
    grads = per_channel(weight, x.ndim) * inv_std * grad_y, (grad_y * x_hat).sum(axes), grad_y.sum(axes)
    return tuple(g if need else None for g, need in zip(grads, needs))


def batch_norm_relu(x, weight, bias, mean, var, eps=1e-5, shortcut=None):
    """max(γ·(x − μ)/√(σ² + ε) + β (+ shortcut), 0): the end of a residual block, in evaluation, as one kernel.

    x, shortcut (N, C, …), weight, bias (C) or None, mean, var (C) -> y (N, C, …). It saves memory traffic, not
    arithmetic, and has no gradient: the layers do not call it, since every layer's output is to be seen and hooked.
    """
    y = batch_norm_eval(x, weight, bias, mean, var, eps)
    return relu(y if shortcut is None else y + shortcut)


# ── ReLU ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def relu(x):
    """y = max(x, 0), elementwise; NaN stays NaN."""
    return np.maximum(x, 0)


def relu_backward(grad_y, y):
    """dx = g where y > 0, else 0: the derivative at 0 is taken as 0. Needs only the output y."""
    return grad_y * (y > 0)


# ── pooling ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def windows(x_shape, kernel_size, stride, padding):
    """Yield (h, w, rows, columns): each output position and the input slice its window covers, clipped to the image."""
    H, W = x_shape[2:]
    Ho, Wo = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((H, W), kernel_size, stride, padding))
    for h, w in itertools.product(range(Ho), range(Wo)):
        top, left = h * stride[0] - padding[0], w * stride[1] - padding[1]
        yield h, w, slice(max(top, 0), min(top + kernel_size[0], H)), slice(max(left, 0), min(left + kernel_size[1], W))


def max_pool2d(x, kernel_size, stride, padding=(0, 0)):
    """y = the largest entry of each window, padding being −∞; tap = i·kw + j of the first entry that attains it.

    x (N, C, H, W) -> y (N, C, H′, W′), tap (N, C, H′, W′), counted from the window's corner, padding included.
    """
    Ho, Wo = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[2:], kernel_size, stride, padding))
    y, tap = np.empty((*x.shape[:2], Ho, Wo), x.dtype), np.empty((*x.shape[:2], Ho, Wo), np.int64)
    for n, c in np.ndindex(x.shape[:2]):
        for h, w, rows, columns in windows(x.shape, kernel_size, stride, padding):
            window = x[n, c, rows, columns]
            y[n, c, h, w] = window.max()
            i, j = np.unravel_index(window.argmax(), window.shape)  # within the image, even if all of it is −∞
            i, j = i + rows.start - (h * stride[0] - padding[0]), j + columns.start - (w * stride[1] - padding[1])
            tap[n, c, h, w] = i * kernel_size[1] + j
    return y, tap


def max_pool2d_backward(grad_y, tap, x_shape, kernel_size, stride, padding=(0, 0)):
    """Each output's gradient goes to the entry it was taken from. Returns dx (N, C, H, W)."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for n, c, h, w in np.ndindex(grad_y.shape):
        i, j = divmod(tap[n, c, h, w], kernel_size[1])
        grad_x[n, c, h * stride[0] + i - padding[0], w * stride[1] + j - padding[1]] += grad_y[n, c, h, w]
    return grad_x


def avg_pool2d(x, kernel_size, stride, padding=(0, 0), count_include_pad=True):
    """y = the sum of each window over kh·kw, or over the entries inside the image if not count_include_pad.

    x (N, C, H, W) -> y (N, C, H′, W′).
    """
    N, C, H, W = x.shape
    Ho, Wo = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((H, W), kernel_size, stride, padding))
    y = np.empty((N, C, Ho, Wo), x.dtype)
    for h, w, rows, columns in windows(x.shape, kernel_size, stride, padding):
        window = x[:, :, rows, columns]
        count = math.prod(kernel_size) if count_include_pad else window[0, 0].size
        y[:, :, h, w] = window.sum((2, 3)) / count
    return y


def avg_pool2d_backward(grad_y, x_shape, kernel_size, stride, padding=(0, 0), count_include_pad=True):
    """Every entry of a window gets the same share of its output's gradient. Returns dx (N, C, H, W)."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for h, w, rows, columns in windows(x_shape, kernel_size, stride, padding):
        window = grad_x[:, :, rows, columns]
        count = math.prod(kernel_size) if count_include_pad else window[0, 0].size
        window += grad_y[:, :, h, w, None, None] / count
    return grad_x


def regions(size, parts):
    """Cut ``size`` into ``parts`` regions, from ⌊i·size/parts⌋ to ⌈(i+1)·size/parts⌉; they may overlap by one."""
    return [slice(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]


def adaptive_avg_pool2d(x, output_size):
    """y[…, h, w] = the mean of region (h, w). x (N, C, H, W) -> y (N, C, *output_size)."""
    y = np.empty((*x.shape[:2], *output_size), x.dtype)
    for h, rows in enumerate(regions(x.shape[2], output_size[0])):
        for w, columns in enumerate(regions(x.shape[3], output_size[1])):
            y[:, :, h, w] = x[:, :, rows, columns].mean((2, 3))
    return y


def adaptive_avg_pool2d_backward(grad_y, x_shape):
    """Every entry of a region gets the same share of its output's gradient. Returns dx (N, C, H, W)."""
    grad_x = np.zeros(x_shape, grad_y.dtype)
    for h, rows in enumerate(regions(x_shape[2], grad_y.shape[2])):
        for w, columns in enumerate(regions(x_shape[3], grad_y.shape[3])):
            region = grad_x[:, :, rows, columns]
            region += grad_y[:, :, h, w, None, None] / region[0, 0].size
    return grad_x


# ── linear layer, sums and loss ─────────────────────────────────────────────────────────────────────────────────────


def linear(x, weight, bias=None):
    """y[…, o] = b[o] + Σ_i w[o, i] · x[…, i]. x (…, in), weight (out, in), bias (out) or None -> y (…, out)."""
    y = np.zeros((*x.shape[:-1], len(weight)), x.dtype)
    for at in np.ndindex(y.shape):
        y[at] = sum((w * v for w, v in zip(weight[at[-1]], x[at[:-1]])), start=x.dtype.type(0))
    return y if bias is None else y + bias


def linear_backward(grad_y, x, weight, needs=(True, True, True)):
    """Every product w·x of the forward sum sends g·w to its x and g·x to its w; db = Σ g over all but the last axis."""
    grad_x, grad_w, grad_b = np.zeros_like(x), np.zeros_like(weight), np.zeros(len(weight), grad_y.dtype)
    for *at, o in np.ndindex(grad_y.shape):
        g = grad_y[(*at, o)]
        grad_x[tuple(at)] += g * weight[o]
        grad_w[o] += g * x[tuple(at)]
        grad_b[o] += g
    return tuple(g if need else None for g, need in zip((grad_x, grad_w, grad_b), needs))


def add(a, b):
    """a + b: an addition node, where skip and branch meet; and where two gradients of one tensor do."""
    return a + b


def matmul(a, b):
    """c[…,m,p] = Σ_k a[…,m,k]·b[…,k,p]; the axes before the last two are stacks of matrices, and broadcast."""
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    c = np.zeros((*stack, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    for k in range(a.shape[-1]):
        c += a[..., :, k, None] * b[..., None, k, :]
    return c


def reduce_sum(x, axes, keepdims=False):
    """Σ x over the axes."""
    return x.sum(axis=axes, keepdims=keepdims)


def reduce_max(x, axes, keepdims=False):
    """The largest x over the axes; NaN if there is one."""
    return x.max(axis=axes, keepdims=keepdims)


def reduce_min(x, axes, keepdims=False):
    """The smallest x over the axes; NaN if there is one."""
    return x.min(axis=axes, keepdims=keepdims)


def argmax(x, axis=None, keepdims=False):
    """The first place along an axis (or in all of x, row by row) where x is largest, or NaN."""
    return x.argmax(axis=axis, keepdims=keepdims)


def argmin(x, axis=None, keepdims=False):
    """The first place along an axis (or in all of x, row by row) where x is smallest, or NaN."""
    return x.argmin(axis=axis, keepdims=keepdims)


def running_update(running_mean, running_var, mean, var, momentum, count):
    """running ← (1 − momentum)·running + momentum·batch, in place, with the unbiased variance var·count/(count − 1)."""
    running_mean[...] = (1 - momentum) * running_mean + momentum * mean
    running_var[...] = (1 - momentum) * running_var + momentum * var * count / (count - 1)


def one_hot(labels, classes, dtype, ignore_index=-100):
    """q[n, k, …] = 1 where k is the label, else 0; all 0 where the label is ignore_index. labels (N, …)."""
    q = np.zeros((len(labels), classes, *labels.shape[1:]), dtype)
    for n, *at in np.ndindex(labels.shape):
        if labels[(n, *at)] != ignore_index:
            q[(n, labels[(n, *at)], *at)] = 1
    return q


def cross_entropy(logits, q):
    """loss = −Σ_k q_k·log p_k with p = softmax(logits) over axis 1. logits, q (N, K, …) -> loss (N, …), p (N, K, …)."""
    shifted = logits - logits.max(1, keepdims=True)  # p is the same, and no exponential overflows
    e = np.exp(shifted)
    total = e.sum(1, keepdims=True)
    p, log_p = e / total, shifted - np.log(total)  # log p where p itself is too small for a float
    loss = np.zeros((logits.shape[0], *logits.shape[2:]), logits.dtype)
    for n, k, *at in np.ndindex(q.shape):
        if q[(n, k, *at)] != 0:
            loss[(n, *at)] -= q[(n, k, *at)] * log_p[(n, k, *at)]
    return loss, p


def cross_entropy_backward(grad_loss, p, q):
    """dz = g·(p·Σ_k q_k − q). grad_loss (N, …), p, q (N, K, …) -> (N, K, …)."""
    return grad_loss[:, None] * (p * q.sum(1, keepdims=True) - q)


# ── batches of images ───────────────────────────────────────────────────────────────────────────────────────────────


def take_images(pixels, index, mean=None, std=None):
    """(pixels[index] − mean)/std, per channel; pixels[index] itself without mean. pixels (M, C, H, W), index (N)."""
    if mean is None:
        return pixels[index]
    dtype = pixels.dtype if pixels.dtype.kind == "f" else np.dtype(np.float32)
    mean, std = (np.array(a, dtype)[:, None, None] for a in (mean, std))
    return np.stack([(pixels[i].astype(dtype) - mean) / std for i in index])


def crop_flip(images, top, left, mirrored, padding):
    """Pad each image with zeros, crop it to its size at (top, left), and mirror it if drawn. images (N, C, H, W)."""
    out = np.zeros_like(images)
    for n, c, h, w in np.ndindex(images.shape):
        row, column = h + top[n] - padding, (images.shape[3] - 1 - w if mirrored[n] else w) + left[n] - padding
        if 0 <= row < images.shape[2] and 0 <= column < images.shape[3]:
            out[n, c, h, w] = images[n, c, row, column]
    return out
