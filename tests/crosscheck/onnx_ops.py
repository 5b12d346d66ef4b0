"""ONNX's operators said in minires: a function of the same name, inputs and attributes for each that can be said.

What a function does not take, or raises `Unsayable` for, minires cannot say. Semantics: https://onnx.ai/onnx/operators.
"""

import math

import numpy as np

import minires as mr
from minires import nn
from minires.nn import functional as F
from minires.tensor import Tensor


class Unsayable(Exception):
    """Something that ONNX has and minires has not."""


def unless(sayable: bool, what: str) -> None:
    if not sayable:
        raise Unsayable(what)


def whole(*tensors: Tensor) -> bool:
    return all(t.dtype.kind in "iu" for t in tensors)


# ── elementwise ──


def Add(a, b):
    return a + b


def Sub(a, b):
    return a - b


def Mul(a, b):
    return a * b


def Div(a, b):
    unless(not whole(a, b), "division of whole numbers that drops the remainder")
    return a / b


def Pow(a, b):
    return (a**b).to(a.dtype)


def Neg(x):
    return -x


Abs, Exp, Log, Sqrt, Tanh, Sigmoid = Tensor.abs, Tensor.exp, Tensor.log, Tensor.sqrt, F.tanh, F.sigmoid


def Reciprocal(x):
    return 1 / x


def Relu(x):
    return F.relu(x)


def LeakyRelu(x, *, alpha=0.01):
    return F.leaky_relu(x, alpha)


def Clip(x, low=None, high=None):
    if low is None and high is None:
        return x
    return x.clamp(None if low is None else low.item(), None if high is None else high.item())


def Max(first, *others):
    for other in others:
        first = mr.maximum(first, other)
    return first


def Min(first, *others):
    for other in others:
        first = mr.minimum(first, other)
    return first


def Sum(first, *others):
    return sum(others, start=first)


def Mean(first, *others):
    return sum(others, start=first) / (1 + len(others))


def Where(condition, a, b):
    return mr.where(condition, a, b)


def Equal(a, b):
    return a == b


def Less(a, b):
    return a < b


def LessOrEqual(a, b):
    return a <= b


def Greater(a, b):
    return a > b


def GreaterOrEqual(a, b):
    return a >= b


def Identity(x):
    return nn.Identity()(x)


def Dropout(x, ratio=None, training=None, *, seed=0):
    p, on = 0.5 if ratio is None else float(ratio), training is not None and bool(training)
    unless(not (on and 0 < p < 1), "which values are dropped")
    return F.dropout(x, p, on), (mr.ones_like(x) > 0)


# ── reductions ──


def axes_of(axes, noop_with_empty_axes):
    """dim for a reduction; () for none of them."""
    if axes is None or not axes.numel():
        return () if noop_with_empty_axes else None
    return tuple(int(a) for a in axes.numpy())


def reduction(method):
    def function(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
        dim = axes_of(axes, noop_with_empty_axes)
        return x if dim == () else method(x, dim, bool(keepdims))

    return function


ReduceSum, ReduceMean = reduction(Tensor.sum), reduction(Tensor.mean)
ReduceMax, ReduceMin = reduction(Tensor.amax), reduction(Tensor.amin)
ReduceL1 = reduction(lambda x, dim, keepdim: x.abs().sum(dim, keepdim))
ReduceL2 = reduction(lambda x, dim, keepdim: (x * x).sum(dim, keepdim).sqrt())
ReduceSumSquare = reduction(lambda x, dim, keepdim: (x * x).sum(dim, keepdim))
ReduceLogSum = reduction(lambda x, dim, keepdim: x.sum(dim, keepdim).log())
ReduceLogSumExp = reduction(lambda x, dim, keepdim: x.exp().sum(dim, keepdim).log())


def ArgMax(x, *, axis=0, keepdims=1, select_last_index=0):
    unless(not select_last_index, "the last of equal values")
    return x.argmax(axis, bool(keepdims))


def ArgMin(x, *, axis=0, keepdims=1, select_last_index=0):
    unless(not select_last_index, "the last of equal values")
    return x.argmin(axis, bool(keepdims))


def Softmax(x, *, axis=-1):
    return F.softmax(x, axis)


def LogSoftmax(x, *, axis=-1):
    return F.log_softmax(x, axis)


# ── shape ──


def Reshape(x, shape, *, allowzero=0):
    sizes = [int(n) for n in shape.numpy()]
    return x.reshape(sizes if allowzero else [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)])


def Flatten(x, *, axis=1):
    rows = math.prod(x.shape[: axis if axis >= 0 else x.ndim + axis])
    return x.reshape(rows, x.numel() // rows)


def Transpose(x, *, perm=None):
    return x.permute(*perm) if perm else x.T


def Squeeze(x, axes=None):
    return x.squeeze(None if axes is None else tuple(int(a) for a in axes.numpy()))


def Unsqueeze(x, axes):
    ndim = x.ndim + axes.numel()
    for axis in sorted(int(a) % ndim for a in axes.numpy()):
        x = x.unsqueeze(axis)
    return x


def Expand(x, shape):
    sizes = np.broadcast_shapes(x.shape, tuple(int(n) for n in shape.numpy()))
    return x.expand(*sizes)


def Concat(*tensors, axis):
    return mr.cat(tensors, axis)


def Slice(x, starts, ends, axes=None, steps=None):
    axes = range(starts.numel()) if axes is None else axes.numpy()
    steps = [1] * starts.numel() if steps is None else steps.numpy()
    key = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts.numpy(), ends.numpy(), steps):
        key[axis] = slice(int(start), int(end), int(step))
    return x[tuple(key)]


def Gather(x, indices, *, axis=0):
    return x[(slice(None),) * (axis % x.ndim) + (indices,)]


def Pad(x, pads, value=None, axes=None, *, mode=b"constant"):
    axes = range(x.ndim) if axes is None else [int(a) % x.ndim for a in axes.numpy()]
    widths, given = [0] * (2 * x.ndim), [int(n) for n in pads.numpy()]
    for i, axis in enumerate(axes):
        last = 2 * (x.ndim - 1 - axis)  # ours are listed from the last axis on
        widths[last : last + 2] = given[i], given[i + len(axes)]
    if mode == b"constant":
        return F.pad(x, tuple(widths), value=0.0 if value is None else value.item())
    return F.pad(x, tuple(widths), {b"edge": "replicate", b"reflect": "reflect", b"wrap": "circular"}[mode])


def OneHot(indices, depth, values, *, axis=-1):
    classes, (off, on) = int(depth.item()), values.numpy().tolist()
    indices = indices.long()
    unless(bool(((indices >= -classes).numpy() & (indices < classes).numpy()).all()), "an index out of range")
    hot = F.one_hot(mr.where(indices < 0, indices + classes, indices), classes)
    order = list(range(hot.ndim - 1))
    order.insert(axis % hot.ndim, hot.ndim - 1)
    return mr.where(hot.permute(*order) == 1, float(on), float(off)).to(values.dtype)


# ── layers ──


def MatMul(a, b):
    return a @ b


def Gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return y if c is None else y + beta * c


def padded(x, kernel, strides, pads, auto_pad, dilations=(1, 1), value=0.0, most=None):
    """x with the padding that is not the same on both sides, and the padding that is left: one number for each axis.

    most: the sides of a window of which padding may be half.
    """
    if auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
        pads = [0, 0, 0, 0]
        for i, (n, k, s, d) in enumerate(zip(x.shape[2:], kernel, strides, dilations)):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            small, large = total // 2, total - total // 2
            pads[i], pads[i + 2] = (small, large) if auto_pad == b"SAME_UPPER" else (large, small)
    top, left, bottom, right = pads
    if (top, left) == (bottom, right) and (most is None or all(2 * p <= k for p, k in zip((top, left), most))):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def images(x):
    unless(x.ndim == 4, f"{x.ndim - 2} dimensions of space")


def Conv(
    x, w, b=None, *, auto_pad=b"NOTSET", dilations=(1, 1), group=1, kernel_shape=None, pads=(0,) * 4, strides=(1, 1)
):
    images(x)
    x, padding = padded(x, w.shape[2:], strides, pads, auto_pad, dilations)
    return F.conv2d(x, w, b, tuple(strides), padding, tuple(dilations), group)


def ConvTranspose(
    x, w, b=None, *, auto_pad=b"NOTSET", dilations=(1, 1), group=1, kernel_shape=None, output_padding=(0, 0),
    output_shape=None, pads=(0,) * 4, strides=(1, 1),
):  # fmt: skip
    images(x)
    unless(auto_pad == b"NOTSET" and output_shape is None, "padding by the output's shape")
    unless(list(pads[:2]) == list(pads[2:]), "uneven padding")
    return F.conv_transpose2d(x, w, b, tuple(strides), tuple(pads[:2]), tuple(output_padding), group, tuple(dilations))


def MaxPool(
    x, *, kernel_shape, auto_pad=b"NOTSET", ceil_mode=0, dilations=(1, 1), pads=(0,) * 4, storage_order=0,
    strides=(1, 1),
):  # fmt: skip
    images(x)
    unless(not storage_order, "indices column by column")
    before, (x, padding) = x, padded(x, kernel_shape, strides, pads, auto_pad, dilations, -math.inf, kernel_shape)
    window = tuple(kernel_shape), tuple(strides), padding, tuple(dilations), bool(ceil_mode)
    y, indices = F.max_pool2d(x, *window, return_indices=True)
    first = np.arange(math.prod(y.shape[:2])).reshape(*y.shape[:2], 1, 1) * math.prod(x.shape[2:])
    return y, indices + mr.tensor(first) if x is before else None


def AveragePool(
    x, *, kernel_shape, auto_pad=b"NOTSET", ceil_mode=0, count_include_pad=0, dilations=(1, 1), pads=(0,) * 4,
    strides=(1, 1),
):  # fmt: skip
    images(x)
    unless(list(dilations) == [1, 1], "dilation of a window that is averaged")
    before = x
    x, padding = padded(x, kernel_shape, strides, pads, auto_pad, most=kernel_shape)
    unless(x is before or bool(count_include_pad), "uneven padding that does not count")
    unless(x is before or not ceil_mode, "uneven padding in ceil mode")
    return F.avg_pool2d(x, tuple(kernel_shape), tuple(strides), padding, bool(ceil_mode), bool(count_include_pad))


def GlobalAveragePool(x):
    images(x)
    return F.adaptive_avg_pool2d(x, 1)


def GlobalMaxPool(x):
    return x.amax(tuple(range(2, x.ndim)), True)


def BatchNormalization(x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    y = F.batch_norm(x, mean, var, scale, bias, bool(training_mode), 1 - momentum, epsilon)
    return y, mean, None  # ONNX's running variance is biased


def recurrent(layer, rows, x, w, r, b, lengths, starts, layout, direction):
    """Run one layer with ONNX's weights, its gates in the order ``rows`` of blocks; Y, Y_h and, of an LSTM, Y_c."""
    unless(lengths is None or bool((lengths == x.shape[0]).numpy().all()), "sequences of several lengths")
    hidden, directions = r.shape[-1], len(w)

    def arranged(a, i):
        return np.concatenate([np.split(a[i], len(rows))[row] for row in rows])

    both = np.zeros((directions, 2 * len(rows) * hidden), np.float32) if b is None else b.numpy()
    parts = {"weight_ih": w.numpy(), "weight_hh": r.numpy()}
    parts |= dict(zip(("bias_ih", "bias_hh"), np.split(both, 2, axis=1)))
    ends_of_names = ("", "_reverse")[:directions]
    layer.load_state_dict(
        {f"{name}_l0{end}": arranged(a, i) for name, a in parts.items() for i, end in enumerate(ends_of_names)}
    )
    x, backwards = x.transpose(0, 1) if layout else x, direction == b"reverse"
    y, ends = layer(x.flip(0) if backwards else x, starts)
    y = y.flip(0) if backwards else y
    y = y.reshape(*y.shape[:2], directions, hidden)
    ends = ends if isinstance(ends, tuple) else (ends,)
    if layout:
        return y.transpose(0, 1), *(end.transpose(0, 1) for end in ends)
    return y.transpose(1, 2), *ends


def RNN(
    x, w, r, b=None, lengths=None, start=None, *, hidden_size, activations=(b"Tanh",), direction=b"forward", layout=0
):
    unless(len(set(activations)) == 1, "two nonlinearities")
    how = activations[0].decode().lower()
    layer = nn.RNN(w.shape[-1], hidden_size, nonlinearity=how, bidirectional=len(w) == 2)
    return recurrent(layer, [0], x, w, r, b, lengths, start, layout, direction)


def LSTM(
    x, w, r, b=None, lengths=None, start_h=None, start_c=None, peepholes=None, *, hidden_size, direction=b"forward",
    layout=0,
):  # fmt: skip
    unless(peepholes is None, "peepholes")
    unless((start_h is None) == (start_c is None), "one start state of two")
    starts = None if start_h is None else (start_h, start_c)
    layer = nn.LSTM(w.shape[-1], hidden_size, bidirectional=len(w) == 2)
    return recurrent(layer, [0, 2, 3, 1], x, w, r, b, lengths, starts, layout, direction)


# ── losses ──


def NegativeLogLikelihoodLoss(x, target, weight=None, *, reduction=b"mean", ignore_index=-100):
    return F.nll_loss(x, target, weight, ignore_index=ignore_index, reduction=reduction.decode())


def SoftmaxCrossEntropyLoss(x, target, weight=None, *, reduction=b"mean", ignore_index=-100):
    losses = F.cross_entropy(x, target, weight, ignore_index=ignore_index, reduction=reduction.decode())
    return losses, F.log_softmax(x, 1)
