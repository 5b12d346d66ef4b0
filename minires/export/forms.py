"""How each op is said in ONNX: one small function per op, and `FORMS`, the table of them all.

A form gets the trace to write to, the op as it is when its forward has just run, and the op's inputs: values of the
graph, constants (arrays) or None. It returns the value that stands for the op's output. A size that may depend on the
batch goes into a `Shape`, and nowhere else: what it is at run time is found out in `graph`.
For an op of your own: ``FORMS[Cube] = lambda trace, op, x: trace.node("Pow", x, trace.number(3.0))``.
"""

import string
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import (
    Op,
    activation,
    arithmetic,
    batchnorm,
    conv,
    elementwise,
    linear as linear_op,
    loss,
    pool,
    reduce,
    shape,
)
from .graph import NoForm, Shape, Trace

END = np.iinfo(np.int64).max  # beyond every axis: ONNX cuts it down to the axis's length


# ── layers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def conv2d(trace: Trace, op: Any, x: Any, weight: Any, bias: Any) -> Any:
    stride, padding, dilation, groups = op.geometry
    ends = padding * 2  # top, left, bottom, right
    return trace.node("Conv", x, weight, bias, strides=stride, pads=ends, dilations=dilation, group=groups)


def conv_transpose2d(trace: Trace, op: Any, x: Any, weight: Any, bias: Any) -> Any:
    stride, padding, dilation, groups = op.geometry
    options = dict(strides=stride, pads=padding * 2, dilations=dilation, group=groups)
    return trace.node("ConvTranspose", x, weight, bias, **options, output_padding=op.output_padding)


def linear(trace: Trace, op: Any, x: Any, weight: Any, bias: Any) -> Any:
    """Gemm takes matrices only, but the weight as it is."""
    if len(op.shape) == 2:
        return trace.node("Gemm", x, weight, bias, transB=1)
    y = trace.node("MatMul", x, trace.node("Transpose", weight, perm=(1, 0)))
    return y if bias is None else trace.node("Add", y, bias)


def batch_norm(trace: Trace, op: Any, x: Any, weight: Any, bias: Any) -> Any:
    """γ and β must be there; mean and variance are the module's buffers."""
    weight = np.ones(op.mean.shape, op.dtype) if weight is None else weight
    bias = np.zeros(op.mean.shape, op.dtype) if bias is None else bias
    mean, var = trace.constant(op.mean, op), trace.constant(op.var, op)
    return trace.node("BatchNormalization", x, weight, bias, mean, var, epsilon=float(op.eps))


def batch_norm_training(trace: Trace, op: Any, *inputs: Any) -> Any:
    raise NoForm("it computes with the batch's own statistics; give the layer running ones (track_running_stats=True)")


def max_pool(trace: Trace, op: Any, x: Any) -> Any:
    (kernel, stride, padding), (dilation, ceil_mode) = op.geometry[:3], op.geometry[3:] or ((1, 1), False)
    unusual = dict(dilations=dilation, ceil_mode=int(ceil_mode)) if op.geometry[3:] else {}
    return trace.node("MaxPool", x, kernel_shape=kernel, strides=stride, pads=padding * 2, **unusual)


def avg_pool(trace: Trace, op: Any, x: Any) -> Any:
    (kernel, stride, padding, counted), (ceil_mode, divisor) = op.geometry[:4], op.geometry[4:] or (False, None)
    if divisor is not None:
        raise NoForm("it divides by a number of its own (divisor_override); multiply by a constant instead")
    options = dict(count_include_pad=int(counted), **({"ceil_mode": 1} if ceil_mode else {}))
    return trace.node("AveragePool", x, kernel_shape=kernel, strides=stride, pads=padding * 2, **options)


def adaptive_avg_pool(trace: Trace, op: Any, x: Any) -> Any:
    """Global; or windows of one size; or, as ONNX has no others, a product with a matrix of weights on each side."""
    sizes, wanted = op.in_shape[2:], op.shape[2:]
    if wanted == (1, 1):
        return trace.node("GlobalAveragePool", x)
    if all(n % m == 0 for n, m in zip(sizes, wanted)):
        window = tuple(n // m for n, m in zip(sizes, wanted))
        return trace.node("AveragePool", x, kernel_shape=window, strides=window)
    rows, columns = (regions(n, m, op.dtype) for n, m in zip(sizes, wanted))
    return trace.node("MatMul", trace.node("MatMul", rows, x), columns.T)


def regions(n: int, m: int, dtype: Any) -> np.ndarray:
    """(m, n): row i averages the entries from ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉."""
    weights = np.zeros((m, n), dtype)
    for i in range(m):
        first, end = i * n // m, -(-(i + 1) * n // m)
        weights[i, first:end] = 1 / (end - first)
    return weights


def cross_entropy(trace: Trace, op: Any, *inputs: Any) -> Any:
    raise NoForm("export the network without its loss")


# ── elementwise, arithmetic ─────────────────────────────────────────────────────────────────────────────────────────


def same(name: str) -> Callable[..., Any]:
    """The form of an op that ONNX has too, with the same inputs and nothing else."""
    return lambda trace, op, *inputs: trace.node(name, *inputs)


def leaky_relu(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("LeakyRelu", x, alpha=op.slope)


def elu(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("Elu", x, alpha=op.alpha)


def softmax(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node(type(op).__name__, x, axis=op.axes[0])


def power(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("Pow", x, trace.number(op.exponent))


def clamp(trace: Trace, op: Any, x: Any, low: Any, high: Any) -> Any:
    """Clip takes numbers only."""
    if all(bound is None or (isinstance(bound, np.ndarray) and bound.ndim == 0) for bound in (low, high)):
        return trace.node("Clip", x, low, high)
    x = x if low is None else trace.node("Max", x, low)
    return x if high is None else trace.node("Min", x, high)


def rounded(trace: Trace, op: Any, x: Any) -> Any:
    """To whole numbers, halves to the even one, as ours."""
    if op.decimals:
        raise NoForm(f"decimals={op.decimals}, ONNX rounds to whole numbers; round x * 10**n, and divide by 10**n")
    return trace.node("Round", x)


def where(trace: Trace, op: Any, condition: Any, a: Any, b: Any) -> Any:
    return trace.node("Where", condition.astype(bool), a, b)


def einsum(trace: Trace, op: Any, *inputs: Any) -> Any:
    """Axes that the equation had as an ellipsis have signs of their own here, where ONNX takes letters only."""
    letters = str.maketrans(dict(zip(dict.fromkeys("".join(op.terms)), string.ascii_letters)))
    terms = [term.translate(letters) for term in (*op.terms, op.result)]
    return trace.node("Einsum", *inputs, equation=f"{','.join(terms[:-1])}->{terms[-1]}")


# ── reductions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def reduced(name: str) -> Callable[..., Any]:
    """The form of a reduction that ONNX has too."""
    return lambda trace, op, x: trace.node(name, x, trace.whole(op.axes), keepdims=int(op.keepdims))


def variance(trace: Trace, op: Any, x: Any) -> Any:
    """Σ(x − x̄)²/n, times n/(n − correction)."""
    axes = trace.whole(op.axes)
    centred = trace.node("Sub", x, trace.node("ReduceMean", x, axes, keepdims=1))
    y = trace.node("ReduceMean", trace.node("Mul", centred, centred), axes, keepdims=int(op.keepdims))
    return y if op.divisor == op.count else trace.node("Mul", y, trace.number(op.count / op.divisor))


def deviation(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("Sqrt", variance(trace, op, x))


def norm(trace: Trace, op: Any, x: Any) -> Any:
    """(Σ|x|ᵖ)^(1/p); ONNX has an operator of its own for p = 1 and 2. A count, p = 0, leads to no graph."""
    if op.p in (1, 2):
        return reduced(f"ReduceL{int(op.p)}")(trace, op, x)
    powers = trace.node("Pow", trace.node("Abs", x), trace.number(op.p))
    return trace.node("Pow", reduced("ReduceSum")(trace, op, powers), trace.number(1 / op.p))


def running_sum(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("CumSum", x, trace.whole(op.axis)) if op.shape else x


# ── shape ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def unchanged(trace: Trace, op: Any, x: Any) -> Any:
    """The same numbers elsewhere in memory, or on another device."""
    return x


def cast(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("Cast", x, to=op.dtype)


def reshape(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("Reshape", x, Shape(op.shape))


def permute(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("Transpose", x, perm=tuple(op.inverse.index(axis) for axis in range(len(op.inverse))))


def expand(trace: Trace, op: Any, x: Any) -> Any:
    return trace.node("Expand", x, Shape(op.shape))


def cat(trace: Trace, op: Any, *inputs: Any) -> Any:
    return trace.node("Concat", *inputs, axis=op.axis)


def stack(trace: Trace, op: Any, *inputs: Any) -> Any:
    parts = [trace.node("Unsqueeze", x, trace.whole([op.axis])) for x in inputs]
    return trace.node("Concat", *parts, axis=op.axis)


def pad(trace: Trace, op: Any, x: Any) -> Any:
    """Widths (before all axes, then behind); negative ones crop, as here."""
    before = [inside.start - source.start for inside, source in zip(op.inside, op.source)]
    behind = [n - m - first for n, m, first in zip(op.shape, op.in_shape, before)]
    around = np.ones(op.shape, bool)
    around[tuple(op.inside)] = False
    value = trace.host(trace.output)[around][0].item() if around.any() else 0.0
    return trace.node("Pad", x, trace.whole([*before, *behind]), trace.number(value))


def index(trace: Trace, op: Any, x: Any) -> Any:
    """First all slices, then an array of positions, then the axes that go, from the last on, then those that come."""
    key = [int(k) if getattr(k, "ndim", None) == 0 and k.dtype.kind != "b" else k for k in op.key]
    arrays = [k for k in key if hasattr(k, "dtype")]
    if any(isinstance(k, bool) or (hasattr(k, "dtype") and k.dtype.kind == "b") for k in key):
        raise NoForm("a mask picks a number of entries that only a run can tell; use where")
    if len(arrays) > 1 or (arrays and any(isinstance(k, int) for k in key)):
        raise NoForm("it has several arrays of positions, or one beside a number; index one axis after another")
    if Ellipsis in [k for k in key if not hasattr(k, "dtype")]:
        place = next(i for i, k in enumerate(key) if k is Ellipsis)
        missing = len(op.in_shape) - sum(k is not None and k is not Ellipsis for k in key)
        key[place : place + 1] = [slice(None)] * missing
    slices: list[Any] = []
    numbers: list[Any] = []
    positions: list[Any] = []
    added: list[int] = []
    axis = place = 0  # in the input, in the output
    for k in key:
        if k is None:
            added.append(place)
        elif isinstance(k, slice):
            slices.append((axis, k))
        else:
            (numbers if isinstance(k, int) else positions).append((axis, k))
        axis += k is not None
        place += k.ndim if hasattr(k, "ndim") else not isinstance(k, int)
    x = sliced(trace, x, [(axis, s) for axis, s in slices if s != slice(None)])
    for axis, k in [*positions, *reversed(numbers)]:
        x = trace.node("Gather", x, trace.host(k).astype(np.int64) if positions else trace.whole(k), axis=axis)
    return trace.node("Unsqueeze", x, trace.whole(added)) if added else x


def sliced(trace: Trace, x: Any, slices: list[tuple[int, slice]]) -> Any:
    """x[…, start:stop:step, …]; without a start or stop, from one end to the other, however long the axis is."""
    if not slices:
        return x
    steps = [1 if s.step is None else s.step for _, s in slices]
    starts = [(0 if step > 0 else END) if s.start is None else s.start for (_, s), step in zip(slices, steps)]
    ends = [(END if step > 0 else -END) if s.stop is None else s.stop for (_, s), step in zip(slices, steps)]
    axes = [axis for axis, _ in slices]
    return trace.node("Slice", x, *(trace.whole(numbers) for numbers in (starts, ends, axes, steps)))


FORMS: dict[type[Op], Callable[..., Any]] = {
    conv.Conv2d: conv2d,
    conv.ConvTranspose2d: conv_transpose2d,
    linear_op.Linear: linear,
    batchnorm.BatchNormEval: batch_norm,
    batchnorm.BatchNorm: batch_norm_training,
    pool.MaxPool2d: max_pool,
    pool.AvgPool2d: avg_pool,
    pool.AdaptiveAvgPool2d: adaptive_avg_pool,
    loss.CrossEntropy: cross_entropy,
    activation.ReLU: same("Relu"),
    activation.LeakyReLU: leaky_relu,
    activation.Sigmoid: same("Sigmoid"),
    activation.Tanh: same("Tanh"),
    activation.ELU: elu,
    activation.GELU: same("Gelu"),
    activation.Hardswish: same("HardSwish"),
    activation.Softmax: softmax,
    activation.LogSoftmax: softmax,
    arithmetic.Add: same("Add"),
    arithmetic.Sub: same("Sub"),
    arithmetic.Mul: same("Mul"),
    arithmetic.Div: same("Div"),
    arithmetic.Neg: same("Neg"),
    arithmetic.Pow: power,
    arithmetic.PowTensor: same("Pow"),
    arithmetic.MatMul: same("MatMul"),
    arithmetic.Einsum: einsum,
    elementwise.Exp: same("Exp"),
    elementwise.Log: same("Log"),
    elementwise.Sqrt: same("Sqrt"),
    elementwise.Abs: same("Abs"),
    elementwise.Sign: same("Sign"),
    elementwise.Floor: same("Floor"),
    elementwise.Ceil: same("Ceil"),
    elementwise.Round: rounded,
    elementwise.Clamp: clamp,
    elementwise.Maximum: same("Max"),
    elementwise.Minimum: same("Min"),
    elementwise.Where: where,
    reduce.Sum: reduced("ReduceSum"),
    reduce.Mean: reduced("ReduceMean"),
    reduce.Var: variance,
    reduce.Std: deviation,
    reduce.Amax: reduced("ReduceMax"),
    reduce.Amin: reduced("ReduceMin"),
    reduce.Max: reduced("ReduceMax"),
    reduce.Min: reduced("ReduceMin"),
    reduce.Norm: norm,
    reduce.Prod: reduced("ReduceProd"),
    reduce.Cumsum: running_sum,
    shape.Reshape: reshape,
    shape.Permute: permute,
    shape.Expand: expand,
    shape.Index: index,
    shape.Cat: cat,
    shape.Stack: stack,
    shape.Pad: pad,
    shape.Clone: unchanged,
    shape.Move: unchanged,
    shape.Cast: cast,
}
