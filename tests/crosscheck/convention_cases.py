"""The calls on the page of conventions, and why their results differ from PyTorch's where they do."""

from typing import Any, NamedTuple

import numpy as np

WHOLE = "int64", "uint8", "bool"


class Case(NamedTuple):
    """call: run in both libraries. inputs: x, y, … as lists or arrays. why: the reason if PyTorch differs."""

    call: str
    inputs: dict[str, Any]
    why: str
    dtypes: tuple[str, ...] = ("float32",)


def case(call: str, why: str = "", **inputs: Any) -> Case:
    return Case(call, inputs, why)


def whole(call: str, why: str = "", **inputs: Any) -> Case:
    """The same call for each dtype of whole numbers."""
    return Case(call, inputs or {"x": [2, 0, 1]}, why, WHOLE)


def empty(*shape: int) -> np.ndarray:
    return np.ones(shape)


def image(*rows: list) -> list:
    """(1, 1, H, W)."""
    return [[list(rows)]]


NAN, INF = float("nan"), float("inf")

FIRST_NAN = "the first NaN, as in max(0); PyTorch pools the last one"
ROOT = "NumPy, and PyTorch too, sometimes take the square root, which is NaN, and sometimes the power, which is ∞"
NO_MEAN = "a mean of nothing is an error here, not a NaN that spreads"
NO_IMAGE = "an empty batch, or no channel, is an error here: it is a mistake in the data"
NO_CHANNEL = "no channel is an error here: it is a mistake in the sizes"
FLOATS_ONLY = "a layer takes floating point only"
ONE_FLOAT = "two floating-point types in one op are an error here: it is seldom meant, and slow"
WRAPS = "PyTorch wraps a number that uint8 has not before it compares (its issue 101653)"

TIES = [
    case("x.max()", x=[1, 3, 3]),
    case("x.min()", x=[2, 1, 1]),
    case("x.max(0)", x=[1, 3, 3]),
    case("x.min(0)", x=[2, 1, 1]),
    case("x.amax()", x=[1, 3, 3]),
    case("x.amin()", x=[2, 1, 1]),
    case("x.amax((0, 1))", x=[[3, 1], [3, 3]]),
    case("x.argmax()", x=[1, 3, 3]),
    case("x.argmin()", x=[2, 1, 1]),
    case("x.argmax(0)", x=[[3, 1], [3, 2]]),
    case("maximum(x, y)", x=[1, 2], y=[1, 3]),
    case("minimum(x, y)", x=[1, 2], y=[1, 3]),
    case("F.max_pool2d(x, 2)", x=image([1, 3], [3, 3])),
    case("F.max_pool2d(x, 2, 1)", x=image([1, 3, 3], [3, 3, 3])),
    case("F.max_pool2d(x, 2, return_indices=True)[1]", x=image([1, 3], [3, 3])),
    case("F.adaptive_max_pool2d(x, 1)", x=image([1, 3], [3, 3])),
    case("x[[0, 0, 1]]", x=[5, 7]),
    case("x[tensor([0, 0, 1])]", x=[5, 7]),
]

KINKS = [
    case("F.relu(x)", x=[-1, -0.0, 0.0, 1]),
    case("x.relu()", x=[-1, -0.0, 0.0, 1]),
    case("F.leaky_relu(x, 0.5)", x=[-1, -0.0, 0.0, 1]),
    case("F.leaky_relu(x, -1.0)", x=[-1, 0.0, 1]),
    case("x.abs()", x=[-1, -0.0, 0.0, 1]),
    case("x.clamp(0, 1)", x=[-1, 0, 0.5, 1, 2]),
    case("x.clamp(max=1)", x=[1, 2]),
    case("x.clamp(1, 0)", x=[-1, 0.5, 2]),
    case("maximum(x, y)", x=[0.0], y=[-0.0]),
    case("x.sqrt()", x=[0, 1]),
    case("(x * x).sum().sqrt()", x=[0, 0]),
    case("x.log()", x=[0, 1]),
    case("1 / x", x=[0.0, -0.0, 1]),
    case("x / x", x=[0.0, 1]),
    case("x ** 0", x=[-1, 0, 2]),
    case("x ** 1", x=[-1, 0, 2]),
    case("x ** 2", x=[-1, 0, 2]),
    case("x ** 0.5", x=[-1, 0, 4]),
    case("x ** -1", x=[-1, 0, 2]),
    case("x ** y", x=[0, 0, 0], y=[0, 1, 2]),
    case("x ** y", x=[-1, -1, 0], y=[2, 0.5, -1]),
    case("0 ** x", x=[0, 1, 2]),
    case("F.mse_loss(x, y)", x=[1.0], y=[1.0]),
    case("F.sigmoid(x)", x=[-1000, 0, 1000]),
    case("F.tanh(x)", x=[-1000, 0, 1000]),
    case("x.exp()", x=[-1000, 0, 1000]),
]

NAN_AND_INF = [
    case("F.relu(x)", x=[NAN, INF, -INF]),
    case("F.leaky_relu(x)", x=[NAN, INF, -INF]),
    case("F.sigmoid(x)", x=[NAN, INF, -INF]),
    case("F.tanh(x)", x=[NAN, INF, -INF]),
    case("x.abs()", x=[NAN, INF, -INF]),
    case("x.sqrt()", x=[NAN, INF, -1]),
    case("x.log()", x=[NAN, INF, -1]),
    case("x.clamp(0, 1)", x=[NAN, INF, -INF]),
    case("x.clamp(nan, 1)", x=[0, 2]),
    case("x.max()", x=[1, NAN, 3]),
    case("x.max(0)", x=[1, NAN, NAN]),
    case("x.min(0)", x=[1, NAN, NAN]),
    case("x.amax()", x=[1, NAN, NAN]),
    case("x.amin()", x=[1, NAN, NAN]),
    case("x.argmax()", x=[1, NAN, NAN]),
    case("x.argmin()", x=[1, NAN, NAN]),
    case("x.max(0)", x=[-INF, -INF]),
    case("maximum(x, y)", x=[NAN, 1, NAN], y=[1, NAN, NAN]),
    case("minimum(x, y)", x=[NAN, 1, NAN], y=[1, NAN, NAN]),
    case("maximum(x, y)", x=[INF, -INF], y=[INF, -INF]),
    case("F.max_pool2d(x, 2)", FIRST_NAN, x=image([1, NAN], [3, NAN])),
    case("F.max_pool2d(x, 2)", x=image([-INF, -INF], [-INF, -INF])),
    case("F.max_pool2d(x, 3, padding=1)", x=image([-INF])),
    case("F.adaptive_max_pool2d(x, 1)", FIRST_NAN, x=image([1, NAN], [3, NAN])),
    case("F.avg_pool2d(x, 2)", x=image([1, INF], [3, -INF])),
    case("x.sum()", x=[INF, -INF]),
    case("x.mean()", x=[INF, 1]),
    case("x.var()", x=[INF, 1]),
    case("x ** 0.5", ROOT, x=[-INF, INF]),
    case("x ** y", x=[-INF], y=[0.5]),
    case("x == x", x=[NAN, INF]),
    case("x > y", x=[NAN, 1], y=[1, NAN]),
    case("where(x > 0, x.log(), 0.0)", x=[0, 1]),
    case("where(x > 0, x, y)", x=[NAN, 1], y=[2, NAN]),
    case("F.softmax(x, 0)", x=[-INF, 0]),
    case("F.softmax(x, 0)", x=[-INF, -INF]),
    case("F.softmax(x, 0)", x=[INF, 0]),
    case("F.log_softmax(x, 0)", x=[-INF, 0]),
    case("F.log_softmax(x, 0)", x=[-INF, -INF]),
    case("F.cross_entropy(x, tensor([1]))", x=[[-INF, 0, 0]]),
    case("F.cross_entropy(x, tensor([0]))", x=[[-INF, 0, 0]]),
    case("F.cross_entropy(x, tensor([0]))", x=[[INF, 0, 0]]),
    case("F.cross_entropy(x, tensor([0, -100]))", x=[[1, 1], [NAN, NAN]]),
    case(
        "F.cross_entropy(x, y.detach())",
        "a class of probability 0 costs nothing, whatever its logit",
        x=[[-INF, 0]],
        y=[[0, 1]],
    ),
    case("F.nll_loss(x, tensor([1]))", x=[[-INF, -1]]),
    case("F.mse_loss(x, y)", x=[INF], y=[INF]),
    case("F.relu(x) * inf", x=[-1, 1]),
    case("F.leaky_relu(x, 0.0) * inf", x=[-1, 1]),
    case("x.clamp(0, 1) * inf", x=[-1, 0.5]),
    case("x.amax() * inf", x=[1, 2]),
    case("x.max(0).values * inf", x=[1, 2]),
    case("maximum(x, y) * inf", x=[1, 2], y=[2, 1]),
    case("F.max_pool2d(x, 2) * inf", x=image([1, 2], [3, 4])),
    case("where(x > 0, x, y) * inf", x=[-1, 1], y=[3, 3]),
    case("x.abs() * inf", x=[-1, 0, 1]),
    case("F.softmax(x, 0) * inf", x=[0, 0]),
    case("F.dropout(x, 1.0)", x=[INF, NAN, 1]),
    case("F.batch_norm(x, None, None, training=True)", x=[[1], [NAN], [2]]),
]

EMPTY = [
    case("x.sum()", x=empty(0, 3)),
    case("x.sum(0)", x=empty(0, 3)),
    case("x.mean()", NO_MEAN, x=empty(0, 3)),
    case("x.mean(0)", NO_MEAN, x=empty(0, 3)),
    case("x.mean(1)", x=empty(0, 3)),
    case("x.var()", NO_MEAN, x=empty(0)),
    case("x.var()", "the variance of one value divides 0 by 0: an error here", x=[5]),
    case("x.var(1)", x=empty(0, 3)),
    case("x.sum(())", x=[1, 2]),
    case("x.mean(())", x=[1, 2]),
    case("x.amax(())", x=[1, 2]),
    case("x.squeeze(())", x=[[1, 2]]),
    case("x.max()", x=empty(0)),
    case("x.max(0)", x=empty(0, 3)),
    case("x.max(1)", x=empty(0, 3)),
    case("x.amax(1)", x=empty(0, 3)),
    case("x.amax(0)", x=empty(0, 3)),
    case("x.argmax()", x=empty(0)),
    case("x.argmax(1)", x=empty(0, 3)),
    case("F.relu(x)", x=empty(0, 3)),
    case("F.softmax(x, 0)", x=empty(0, 3)),
    case("F.softmax(x, 1)", x=empty(0, 3)),
    case("F.log_softmax(x, 1)", x=empty(3, 0)),
    case("cat([x, y])", x=empty(0, 3), y=empty(1, 3)),
    case("cat([x, y])", "PyTorch skips tensors of shape (0,), for old programs", x=empty(0), y=empty(1, 3)),
    case("cat([])"),
    case("stack([x, x])", x=empty(0)),
    case("x.reshape(-1)", x=empty(0, 3)),
    case("x.reshape(0, -1)", x=empty(0, 3)),
    case("x.flatten(1)", x=empty(0, 3, 2)),
    case("x[:0]", x=[1, 2]),
    case("x[[]]", x=[1, 2]),
    case("x @ y", x=empty(2, 0), y=empty(0, 2)),
    case("F.linear(x, y)", x=empty(0, 3), y=empty(2, 3)),
    case("F.linear(x, y)", x=empty(2, 0), y=empty(3, 0)),
    case("F.conv2d(x, y)", x=empty(0, 1, 3, 3), y=empty(1, 1, 3, 3)),
    case("F.conv2d(x, y)", NO_CHANNEL, x=empty(1, 0, 3, 3), y=empty(1, 0, 3, 3)),
    case("F.conv2d(x, y)", x=empty(1, 1, 3, 3), y=empty(0, 1, 3, 3)),
    case("F.max_pool2d(x, 2)", x=empty(0, 1, 2, 2)),
    case("F.max_pool2d(x, 2)", x=empty(1, 0, 2, 2)),
    case("F.avg_pool2d(x, 2)", x=empty(0, 1, 2, 2)),
    case("F.avg_pool2d(x, 2)", x=empty(1, 1, 0, 2)),
    case("F.adaptive_avg_pool2d(x, 1)", x=empty(0, 1, 2, 2)),
    case("F.adaptive_avg_pool2d(x, 1)", NO_CHANNEL, x=empty(1, 0, 2, 2)),
    case("F.adaptive_avg_pool2d(x, 0)", x=empty(1, 1, 2, 2)),
    case('F.pad(x, (1, 1), "reflect")', x=empty(0, 1, 2)),
    case('F.pad(x, (1, 1), "reflect")', "nothing is lost if there are no channels", x=empty(1, 0, 2)),
    case("F.pad(x, (1, 1))", x=empty(0)),
    case("F.batch_norm(x, None, None, training=True)", NO_IMAGE, x=empty(0, 3)),
    case("F.batch_norm(x, None, None, training=True)", x=[[1, 2]]),
    case("F.batch_norm(x, zeros(3), ones(3))", NO_IMAGE, x=empty(0, 3)),
    case("F.dropout(x, 0.5)", x=empty(0, 3)),
    case("F.cross_entropy(x, zeros(0).long())", NO_MEAN, x=empty(0, 3)),
    case('F.cross_entropy(x, zeros(0).long(), reduction="sum")', NO_IMAGE, x=empty(0, 3)),
    case('F.cross_entropy(x, zeros(0).long(), reduction="none")', NO_IMAGE, x=empty(0, 3)),
    case("F.cross_entropy(x, tensor([-100]))", NO_MEAN, x=[[1, 2]]),
    case('F.cross_entropy(x, tensor([-100]), reduction="sum")', x=[[1, 2]]),
    case("F.cross_entropy(x, tensor([0]), tensor([0.0, 1.0]))", NO_MEAN, x=[[1, 2]]),
    case("F.nll_loss(x, zeros(0).long())", NO_MEAN, x=empty(0, 3)),
    case("F.mse_loss(x, y)", NO_MEAN, x=empty(0), y=empty(0)),
    case("F.one_hot(zeros(0).long())"),
    case("F.one_hot(zeros(0).long(), 3)"),
]

WHOLE_NUMBERS = [
    whole("-x"),
    whole("x + x"),
    whole("x + 1"),
    whole("x + True"),
    whole("x + 1.5"),
    whole("x - x"),
    whole("1 - x"),
    whole("x - 3"),
    whole("x * x"),
    whole("x * 2"),
    whole("x / x"),
    whole("x / 2"),
    whole("2 / x"),
    whole("x ** 2"),
    whole("x ** -1"),
    whole("x ** 0.5"),
    whole("x ** x"),
    whole("2 ** x"),
    whole("x @ x"),
    whole("x == 1"),
    whole("x < 1.5"),
    whole("x < -1", WRAPS),
    whole("x == 258", WRAPS),
    whole("x + x.float()"),
    whole("x.float() > x"),
    whole("x + tensor(1.5)"),
    whole("maximum(x, x)"),
    whole("minimum(x, x * 2)"),
    whole("where(x > 0, x, 0)"),
    whole("where(x > 0, x, 0.5)"),
    whole("cat([x, x.float()])"),
    whole("stack([x, x.long()])"),
    whole("x.abs()"),
    whole("x.exp()"),
    whole("x.log()"),
    whole("x.sqrt()"),
    whole("x.sigmoid()"),
    whole("x.tanh()"),
    whole("x.relu()"),
    whole("x.clamp(0, 1)"),
    whole("x.clamp(0.5)"),
    whole("x.sum()"),
    whole("x.mean()"),
    whole("x.var()"),
    whole("x.max()"),
    whole("x.amin()"),
    whole("x.min(0)"),
    whole("x.argmax()"),
    whole("x.argmin()"),
    whole("x[x > 0]"),
    whole(
        "tensor([5, 6, 7])[x]",
        "whole numbers are indices; PyTorch takes uint8 for a mask, as it did before it had bool",
    ),
    whole("F.relu(x)", FLOATS_ONLY),
    whole("F.leaky_relu(x)"),
    whole("F.sigmoid(x)"),
    whole("F.softmax(x, 0)"),
    whole("F.log_softmax(x, 0)"),
    whole("F.dropout(x, 0.0)", FLOATS_ONLY),
    whole("F.pad(x, (1, 0))"),
    whole("F.pad(x, (1, 0), value=0.5)"),
    whole("F.one_hot(x)", "whole numbers of any size are indices"),
    whole("F.linear(x, x.reshape(1, 3))", FLOATS_ONLY),
    whole("F.mse_loss(x, x)"),
    whole("F.conv2d(x, x)", FLOATS_ONLY, x=image([2])),
    whole("F.max_pool2d(x, 2)", x=image([2, 0], [1, 1])),
    whole("F.avg_pool2d(x, 2)", FLOATS_ONLY, x=image([2, 0], [1, 1])),
    whole("F.cross_entropy(tensor([[1.0, 2.0, 3.0]]), x)", x=[1]),
    whole("F.cross_entropy(x, tensor([0]))", x=[[2, 0]]),
    whole("zeros_like(x)"),
    whole("x.double()"),
]

TYPES = [
    case("tensor(1)"),
    case("tensor([1, 2.5])"),
    case("tensor([True])"),
    case("tensor([])"),
    case("arange(3)"),
    case("arange(3.0)"),
    case("arange(0, 1, 0.5)"),
    case("zeros(2)"),
    case("full((2,), 7)"),
    case("full((2,), 7.0)"),
    case("full((2,), True)"),
    case("x * 2.5", x=[2]),
    case("x.double() * 2.5", x=[2]),
    case("x + x.double()", ONE_FLOAT, x=[2]),
    case("x + tensor(1.5).double()", ONE_FLOAT, x=[2]),
    case("x @ x.double()", x=[2]),
    case("cat([x, x.double()])", ONE_FLOAT, x=[2]),
    case("where(x > 0, x, x.double())", ONE_FLOAT, x=[2]),
    case("F.linear(x, x.double().reshape(1, 1))", x=[2]),
    case("F.mse_loss(x, x.double())", ONE_FLOAT, x=[2]),
    case("x == x.double()", x=[2]),
]

TOPICS = [
    ("Ties", "Which of several equal values is taken, and who gets its gradient.", TIES),
    ("Kinks and edges", "Where a function has no derivative, or is not defined.", KINKS),
    ("NaN and infinity", "Also an infinite gradient that meets an entry that was not chosen.", NAN_AND_INF),
    ("Nothing", "Tensors without values, and means of nothing.", EMPTY),
    ("Whole numbers and booleans", "One line for each dtype, if they differ.", WHOLE_NUMBERS),
    ("Types", "What numbers become, and what becomes of two floating-point types.", TYPES),
]
