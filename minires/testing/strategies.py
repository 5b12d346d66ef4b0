"""Hypothesis strategies: legal and illegal shapes and arguments for the ops.

Legal ones draw the output size and derive the input, so that no example is thrown away. Illegal ones are calls with one
mistake each, which must end in a ValueError, TypeError or IndexError and never in a wrong answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "minires.testing.strategies needs hypothesis, which comes with the extra `test`: "
        "python -m pip install -e '.[test]', in the folder of the repository"
    ) from error

from ..kernels.layout import out_sizes
from ..nn import functional as F
from ..tensor import Tensor

seeds = st.integers(0, 2**32 - 1)


def shapes(min_ndim=0, max_ndim=4, min_side=1, max_side=4):
    """Shapes of small arrays."""
    return st.lists(st.integers(min_side, max_side), min_size=min_ndim, max_size=max_ndim).map(tuple)


def pairs(low, high):
    """Pairs (vertical, horizontal), drawn independently."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def broadcastable(draw, count=2, max_ndim=3):
    """``count`` shapes that broadcast together: some axes of the full shape are missing in front, some are 1."""
    full = draw(shapes(max_ndim=max_ndim))
    result = []
    for _ in range(count):
        kept = full[draw(st.integers(0, len(full))) :]
        result.append(tuple(1 if draw(st.booleans()) else n for n in kept))
    return result


@dataclass(frozen=True)
class Convolution:
    """The arguments of one convolution."""

    x_shape: tuple
    w_shape: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int

    @property
    def geometry(self):
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def y_shape(self):
        sides = out_sizes(self.x_shape[2:], self.w_shape[2:], self.stride, self.padding, self.dilation)
        return (self.x_shape[0], self.w_shape[0], *sides)

    def arrays(self, seed, dtype=np.float64):
        """Normal x, weight, bias and grad_y."""
        rng = np.random.default_rng(seed)
        shapes = self.x_shape, self.w_shape, self.w_shape[:1], self.y_shape
        return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@st.composite
def convolutions(draw, max_out=4, max_batch=3, kernels=None):
    """Legal convolutions: the output size is drawn and the input size derived; all sizes can be 1."""
    kernel = draw(pairs(1, 4) if kernels is None else kernels)
    stride, dilation, padding = draw(pairs(1, 3)), draw(pairs(1, 3)), draw(pairs(0, 3))
    sides = []
    for k, s, d, p in zip(kernel, stride, dilation, padding):
        unused = draw(st.integers(0, s - 1))  # pixels at the end that no window reaches
        sides.append(max((draw(st.integers(1, max_out)) - 1) * s + d * (k - 1) + 1 - 2 * p + unused, 1))
    groups = draw(st.integers(1, 3))
    channels, out = (groups * draw(st.integers(1, 2)) for _ in range(2))
    x_shape = (draw(st.integers(1, max_batch)), channels, *sides)
    return Convolution(x_shape, (out, channels // groups, *kernel), stride, padding, dilation, groups)


@dataclass(frozen=True)
class Pooling:
    """The arguments of one pooling."""

    x_shape: tuple
    kernel_size: tuple
    stride: tuple
    padding: tuple
    dilation: tuple = (1, 1)
    ceil_mode: bool = False

    @property
    def window(self):
        return self.kernel_size, self.stride, self.padding

    @property
    def y_shape(self):
        return (*self.x_shape[:2], *out_sizes(self.x_shape[2:], *self.window, self.dilation, self.ceil_mode))


@st.composite
def poolings(draw, max_out=4, max_dilation=1, ceil_modes=(False,)):
    """Legal poolings: overlapping and gapped windows, padding up to half a window."""
    kernel, stride = draw(pairs(1, 4)), draw(pairs(1, 4))
    padding, dilation = tuple(draw(st.integers(0, k // 2)) for k in kernel), draw(pairs(1, max_dilation))
    sides = [
        # at least d, so that a window that begins in the padding reaches the image
        max((draw(st.integers(1, max_out)) - 1) * s + d * (k - 1) + 1 - 2 * p + draw(st.integers(0, s - 1)), d)
        for k, s, p, d in zip(kernel, stride, padding, dilation)
    ]
    x_shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *sides)
    return Pooling(x_shape, kernel, stride, padding, dilation, draw(st.sampled_from(ceil_modes)))


@dataclass(frozen=True)
class Call:
    """A function of Tensors, its arrays and its options; ``what`` says which mistake an illegal one contains."""

    function: Callable
    arrays: tuple[Any, ...]
    options: dict[str, Any]
    what: str = ""

    def __call__(self) -> Tensor:
        """Make the call, with the arrays as Tensors."""
        return self.function(*(Tensor(a) if isinstance(a, np.ndarray) else a for a in self.arrays), **self.options)

    def of(self, *tensors: Tensor) -> Tensor:
        """The call on other tensors, in the form that `gradcheck` takes."""
        return self.function(*tensors, **self.options)


# ── legal calls, one strategy for each op ───────────────────────────────────────────────────────────────────────────


def _normal(seed: int, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(np.asarray(rng.standard_normal(shape)) for shape in shapes)


@st.composite
def conv2d_calls(draw: Any) -> Call:
    """F.conv2d of x (N, C, H, W), weight (O, C/groups, kh, kw) and bias (O), see `convolutions`."""
    case = draw(convolutions(max_out=3, max_batch=2))
    options = dict(stride=case.stride, padding=case.padding, dilation=case.dilation, groups=case.groups)
    return Call(F.conv2d, tuple(case.arrays(draw(seeds))[:3]), options)


@st.composite
def pool2d_calls(draw: Any) -> Call:
    """F.max_pool2d or F.avg_pool2d of x (N, C, H, W), see `poolings`."""
    case = draw(poolings(max_out=3))
    options = dict(kernel_size=case.kernel_size, stride=case.stride, padding=case.padding)
    return Call(draw(st.sampled_from([F.max_pool2d, F.avg_pool2d])), _normal(draw(seeds), case.x_shape), options)


@st.composite
def batch_norm_calls(draw: Any) -> Call:
    """F.batch_norm of x (N, C, …), γ and β (C), in training, or with running statistics (C)."""
    count, channels = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    x_shape = (count, channels, *draw(shapes(max_ndim=2, max_side=3)))
    training = draw(st.booleans())
    arrays = _normal(draw(seeds), x_shape, (channels,), (channels,))
    mean, var = _normal(draw(seeds), (channels,), (channels,))

    def batch_norm(x, gamma, beta):
        return F.batch_norm(x, None if training else mean, None if training else var**2 + 0.1, gamma, beta, training)

    return Call(batch_norm, arrays, {})


@st.composite
def linear_calls(draw: Any) -> Call:
    """F.linear of x (…, in), weight (out, in) and bias (out)."""
    lead, size, out = draw(shapes(max_ndim=2)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return Call(F.linear, _normal(draw(seeds), (*lead, size), (out, size), (out,)), {})


@st.composite
def cross_entropy_calls(draw: Any) -> Call:
    """F.cross_entropy of logits (N, K, …) and classes (N, …), with or without smoothing."""
    count, classes, rest = draw(st.integers(1, 4)), draw(st.integers(2, 5)), draw(shapes(max_ndim=2, max_side=3))
    seed = draw(seeds)
    target = np.random.default_rng(seed).integers(0, classes, (count, *rest))
    options = dict(
        reduction=draw(st.sampled_from(["mean", "sum", "none"])), label_smoothing=draw(st.sampled_from([0.0, 0.1]))
    )
    return Call(F.cross_entropy, (*_normal(seed, (count, classes, *rest)), target), options)


@st.composite
def binary_calls(draw: Any) -> Call:
    """a + b, a − b or a · b of shapes that broadcast together."""
    operators: list[Callable] = [Tensor.__add__, Tensor.__sub__, Tensor.__mul__]
    return Call(draw(st.sampled_from(operators)), _normal(draw(seeds), *draw(broadcastable())), {})


@st.composite
def elementwise_calls(draw: Any) -> Call:
    """relu, leaky_relu, sigmoid, tanh or exp of x (…)."""
    functions: list[Callable] = [F.relu, F.leaky_relu, F.sigmoid, F.tanh, Tensor.exp]
    return Call(draw(st.sampled_from(functions)), _normal(draw(seeds), draw(shapes())), {})


def legal_calls() -> st.SearchStrategy[Call]:
    """A legal call of any of them."""
    return st.one_of(
        conv2d_calls(), pool2d_calls(), batch_norm_calls(), linear_calls(), cross_entropy_calls(), binary_calls(),
        elementwise_calls(),
    )  # fmt: skip


# ── illegal calls: a legal one with one mistake ─────────────────────────────────────────────────────────────────────


@st.composite
def illegal_conv2d_calls(draw: Any) -> Call:
    """F.conv2d with one argument that does not fit."""
    call = draw(conv2d_calls())
    x, weight, bias = call.arrays
    wide = np.zeros((*weight.shape[:2], x.shape[2] + 2 * call.options["padding"][0] + 1, weight.shape[3]))
    mistakes: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "a channel too many": ((np.concatenate([x, x[:, :1]], 1), weight, bias), {}),
        "no channel axis": ((x[0, 0], weight, bias), {}),
        "no channels": ((x[:, :0], weight[:, :0], bias), {}),
        "a bias too long": ((x, weight, np.zeros(len(bias) + 1)), {}),
        "a kernel larger than the image": ((x, wide, bias), {}),
        "stride 0": (call.arrays, {"stride": 0}),
        "negative padding": (call.arrays, {"padding": -1}),
        "whole numbers": ((x.astype(np.int64), weight, bias), {}),
        "groups that do not divide": (call.arrays, {"groups": x.shape[1] + 1}),
        "padding that is no number": (call.arrays, {"padding": "half"}),
    }
    return _mistaken(call, mistakes, draw)


@st.composite
def illegal_pool2d_calls(draw: Any) -> Call:
    """F.max_pool2d or F.avg_pool2d with one argument that does not fit."""
    call = draw(pool2d_calls())
    (x,), (kh, kw) = call.arrays, call.options["kernel_size"]
    mistakes: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "padding of more than half a window": (call.arrays, {"padding": (kh // 2 + 1, kw // 2 + 1)}),
        "a window larger than the image": (call.arrays, {"kernel_size": (x.shape[2] + 1, 1), "padding": 0}),
        "stride 0": (call.arrays, {"stride": 0}),
        "no channel axis": ((x[0, 0],), {}),
        "no channels": ((x[:, :0],), {}),
        "truth values": ((x > 0,), {}),
    }
    return _mistaken(call, mistakes, draw)


@st.composite
def illegal_linear_calls(draw: Any) -> Call:
    """F.linear with one array that does not fit."""
    call = draw(linear_calls())
    x, weight, bias = call.arrays
    mistakes: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "an input too wide": ((np.concatenate([x, x[..., :1]], -1), weight, bias), {}),
        "a bias too long": ((x, weight, np.zeros(len(bias) + 1)), {}),
        "a weight of 3 axes": ((x, weight[None], bias), {}),
    }
    return _mistaken(call, mistakes, draw)


@st.composite
def illegal_batch_norm_calls(draw: Any) -> Call:
    """F.batch_norm with one array that does not fit."""
    call = draw(batch_norm_calls())
    x, gamma, beta = call.arrays
    mistakes: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "γ too long": ((x, np.zeros(len(gamma) + 1), beta), {}),
        "β too long": ((x, gamma, np.zeros(len(beta) + 1)), {}),
        "one axis": ((x.ravel(), gamma, beta), {}),
    }
    return _mistaken(call, mistakes, draw)


@st.composite
def illegal_cross_entropy_calls(draw: Any) -> Call:
    """F.cross_entropy with a target or an option that does not fit."""
    call = draw(cross_entropy_calls())
    z, target = call.arrays
    mistakes: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "a class too large": ((z, np.full_like(target, z.shape[1])), {}),
        "a negative class": ((z, np.full_like(target, -1)), {}),
        "a target too many": ((z, np.concatenate([target, target[:1]])), {}),
        "probabilities of another shape": ((z, np.zeros(target.shape)), {}),
        "smoothing above 1": (call.arrays, {"label_smoothing": 1.5}),
        "an unknown reduction": (call.arrays, {"reduction": "max"}),
    }
    return _mistaken(call, mistakes, draw)


@st.composite
def illegal_binary_calls(draw: Any) -> Call:
    """a + b, a − b or a · b of shapes that do not broadcast: an axis is n in one and n + 1 in the other."""
    call = draw(binary_calls())
    shape = draw(shapes(min_ndim=1, min_side=2))
    axis = draw(st.integers(0, len(shape) - 1))
    other = tuple(n + (k == axis) for k, n in enumerate(shape))
    return replace(call, arrays=_normal(draw(seeds), shape, other), what="shapes that do not broadcast")


def illegal_calls() -> st.SearchStrategy[Call]:
    """An illegal call of any of them."""
    return st.one_of(
        illegal_conv2d_calls(), illegal_pool2d_calls(), illegal_linear_calls(), illegal_batch_norm_calls(),
        illegal_cross_entropy_calls(), illegal_binary_calls(),
    )  # fmt: skip


def _mistaken(call: Call, mistakes: dict[str, tuple[tuple[Any, ...], dict[str, Any]]], draw: Any) -> Call:
    what = draw(st.sampled_from(sorted(mistakes)))
    arrays, options = mistakes[what]
    return Call(call.function, arrays, call.options | options, what)
