"""Right code on awkward inputs: exact zeros, whole numbers, ties, saturated softmax, tiny and large numbers, float32.

None of it may be called wrong, on any seed. `alarms` counts how often it is; ``python -m benchmarks alarms`` writes the
table, and `test_mutation` runs it on fewer seeds.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minires as mr
from minires import models, nn
from minires.nn import functional as F
from minires.ops import activation, arithmetic, batchnorm, conv, elementwise, loss, pool, reduce, shape
from minires.testing import VacuousCheckWarning, gradcheck

Draw = Callable[[np.random.Generator], list[Any]]


@dataclass(frozen=True)
class Right:
    """Right code: build(rng) -> (f, inputs, options of gradcheck)."""

    name: str
    build: Callable[[np.random.Generator], tuple[Any, list[Any], dict[str, Any]]]


def alarms(kind: Right, seeds: Iterable[int]) -> Counter:
    """What was wrongly said of right code, and on how many seeds."""
    said: Counter = Counter()
    for seed in seeds:
        f, inputs, options = kind.build(np.random.default_rng(seed))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VacuousCheckWarning)
                report = gradcheck(f, *inputs, seed=seed, raise_on_failure=False, **options)
        except (TypeError, ValueError) as error:
            said[f"{type(error).__name__}: {error}"[:60]] += 1
        else:
            said.update({failure.kind for failure in report.failures})
    return said


# ── inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def normal(*shapes: tuple[int, ...], scale: float = 1.0) -> Draw:
    """Normal arrays."""
    return lambda rng: [scale * rng.standard_normal(size) for size in shapes]


def zeros(*shapes: tuple[int, ...], share: float = 0.1) -> Draw:
    """Normal arrays, of which this share of the entries is exactly 0."""
    return lambda rng: [rng.standard_normal(size) * (rng.random(size) >= share) for size in shapes]


def whole(*shapes: tuple[int, ...], spread: float = 2.0) -> Draw:
    """Whole numbers (as floating point): zeros, ties, and values on bounds."""
    return lambda rng: [np.round(spread * rng.standard_normal(size)) for size in shapes]


def framed(*shapes: tuple[int, ...]) -> Draw:
    """Images with a border of zeros."""
    return lambda rng: [np.pad(rng.standard_normal(size), [(0, 0), (0, 0), (1, 1), (1, 1)]) for size in shapes]


def positive(*shapes: tuple[int, ...], low: float, high: float) -> Draw:
    """Numbers whose logarithm is uniform."""
    return lambda rng: [np.exp(rng.uniform(np.log(low), np.log(high), size)) for size in shapes]


def constant(value: float, *shapes: tuple[int, ...]) -> Draw:
    """The same number everywhere."""
    return lambda rng: [np.full(size, value) for size in shapes]


def single(draw: Draw) -> Draw:
    """The same in float32."""
    return lambda rng: [a.astype(np.float32) for a in draw(rng)]


def labelled(draw: Draw, classes: int, ignored: int | None = None) -> Draw:
    """Logits and their classes, some of them ``ignored``."""

    def drawn(rng):
        (z,) = draw(rng)
        labels = rng.integers(0, classes, (z.shape[0], *z.shape[2:]))
        if ignored is not None:
            labels[rng.random(labels.shape) < 0.3] = ignored
            labels.flat[0] = 0
        return [z, labels]

    return drawn


def _f(name: str, f: Any, draw: Draw, **options: Any) -> Right:
    return Right(name, lambda rng: (f, draw(rng), options))


def _made(name: str, make: Callable[[], Any], draw: Draw, training: bool = True, double: bool = False) -> Right:
    """A module, made anew for every seed."""

    def build(rng):
        mr.manual_seed(int(rng.integers(2**31)))
        module = make()
        module.train(training)
        return module.double() if double else module, draw(rng), {}

    return Right(name, build)


def _closed(name: str, make: Callable[[], nn.Module], wrap: Callable[[Any], Callable], draw: Draw) -> Right:
    """A function that uses a float32 layer from outside."""

    def build(rng):
        mr.manual_seed(int(rng.integers(2**31)))
        return wrap(make()), draw(rng), {}

    return Right(name, build)


def _saturated(z: Any) -> Draw:
    return lambda rng: [np.array(z, float), np.zeros(len(z), int)]


def _leaky(x: Any) -> Any:
    """Leaky ReLU as learners write it: from two ReLUs."""
    return F.relu(x) - 0.1 * F.relu(-x)


def _pair_softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _pair_pool(x: np.ndarray) -> np.ndarray:
    return x.reshape(2, 3, 3, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 3, 3, 2, 4)


def _pair_pool_backward(g: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
    """The first maximum of each window."""
    windows = _pair_pool(x)
    grad = np.zeros(windows.shape)
    np.put_along_axis(grad, windows.argmax(-1)[..., None], g[..., None], -1)
    return (grad.reshape(2, 3, 3, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(x.shape),)


class _Output(nn.Module):
    """The output of a recurrent layer without its states."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return self.layer(x)[0]


RELU_PAIR = lambda x: np.maximum(x, 0), lambda g, x: (g * (x > 0),)
SOFTMAX_PAIR = (
    _pair_softmax,
    lambda g, z: (_pair_softmax(z) * (g - (g * _pair_softmax(z)).sum(-1, keepdims=True)),),
)
ROWS, IMAGE = (5, 6), (2, 3, 6, 4)
W = np.array([0.5, 2.0, 1.0, 3.0])
PAD2 = dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
PLAIN = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)

RIGHT = [
    # kinks at the point itself
    _f("ReLU, a tenth zeros", F.relu, zeros(ROWS)),
    _f("ReLU, a tenth zeros, 2,500 entries", F.relu, zeros((50, 50))),
    _f("ReLU, one zero in 2,500", F.relu, lambda rng: [np.concatenate([[0.0], rng.standard_normal(2499)])]),
    _f("ReLU, border of zeros", F.relu, framed((2, 2, 4, 5))),
    _f("ReLU, whole numbers", F.relu, whole(ROWS)),
    _f("ReLU, zeros alone", F.relu, constant(0.0, ROWS)),
    _f("ReLU as a pair, half zeros", RELU_PAIR, zeros(ROWS, share=0.5)),
    _f("ReLU as an op, half zeros", activation.ReLU, zeros(ROWS, share=0.5)),
    _f("leaky ReLU, a tenth zeros", F.leaky_relu, zeros(ROWS)),
    _f("leaky ReLU, whole numbers", F.leaky_relu, whole(ROWS)),
    _f("leaky ReLU of two ReLUs, zeros", _leaky, zeros(ROWS, share=0.3)),
    _f("abs, a tenth zeros", lambda x: x.abs(), zeros(ROWS)),
    _f("abs as an op, whole numbers", elementwise.Abs, whole(ROWS)),
    _f("clamp(−1, 1), whole numbers", lambda x: x.clamp(-1, 1), whole(ROWS)),
    _f("clamp(−1, 1), all on the bound", lambda x: x.clamp(-1, 1), constant(1.0, ROWS)),
    _f("clamp(min=0), zeros", lambda x: x.clamp(min=0), zeros(ROWS)),
    _f("clamp by tensors, whole numbers", lambda x, low: x.clamp(low, low + 2), whole(ROWS, ROWS)),
    _f("clamp(max=0.1), float32's 0.1", lambda x: x.clamp(max=0.1), lambda rng: [np.float32([0.1, 0.2, -0.3, 0.5])]),
    _f("clamp as an op, whole numbers", elementwise.Clamp, lambda rng: [*whole(ROWS)(rng), -1, 1]),
    _f("where(x > 0, x, 0.1 x), zeros", lambda x: mr.where(x > 0, x, 0.1 * x), zeros(ROWS)),
    _f("where of two inputs, whole numbers", lambda a, b: mr.where(a > b, a, b), whole(ROWS, ROWS)),
    _f("maximum, whole numbers", mr.maximum, whole(ROWS, (6,))),
    _f("minimum, ties everywhere", mr.minimum, constant(0.5, ROWS, ROWS)),
    _f("maximum as an op, whole numbers", elementwise.Maximum, whole(ROWS, ROWS)),
    _f("max(1).values, whole numbers", lambda x: x.max(1)[0], whole(ROWS)),
    _f("max(0).values, constant", lambda x: x.max(0).values, constant(3.0, ROWS)),
    _f("min(1).values, whole numbers", lambda x: x.min(1)[0], whole(ROWS)),
    _f("max as an op, whole numbers", reduce.Max, whole(ROWS), options=dict(axis=1)),
    _f("amax, whole numbers", lambda x: x.amax(1), whole(ROWS)),
    _f("sort, whole numbers", lambda x: x.sort(1)[0], whole(ROWS)),
    _f("topk, whole numbers", lambda x: x.topk(3)[0], whole(ROWS)),
    _f("amin over everything, whole numbers", lambda x: x.amin(), whole(ROWS)),
    _f("max pool, whole numbers", lambda x: F.max_pool2d(x, 2), whole(IMAGE)),
    _f("max pool, overlapping, whole numbers", pool.MaxPool2d, whole((2, 3, 5, 6)), options=PAD2),
    _f("max pool, a constant image", lambda x: F.max_pool2d(x, 3, 2, 1), constant(1.0, (2, 1, 5, 6))),
    _f("max pool as a pair, whole numbers", (lambda x: _pair_pool(x).max(-1), _pair_pool_backward), whole(IMAGE)),
    _f("max pool, border of zeros, ReLU", lambda x: F.relu(F.max_pool2d(x, 2)), framed((2, 2, 4, 4))),
    _f("average pool, whole numbers", lambda x: F.avg_pool2d(x, 2, padding=1), whole(IMAGE)),
    _made("conv without bias, ReLU, conv; border of zeros",
          lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Conv2d(3, 2, 2)),
          lambda rng: [np.pad(rng.standard_normal((2, 2, 3, 3)), [(0, 0), (0, 0), (3, 3), (3, 3)])]),
    _made("conv, max pool, conv; whole numbers",
          lambda: nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(3, 2, 2)),
          whole((2, 1, 8, 8), spread=0.7)),
    _made("linear, ReLU, linear; zero input", lambda: nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(),
                                                                    nn.Linear(8, 3)), constant(0.0, (5, 4))),
    _f("x.abs().sqrt() away from 0, whole numbers", lambda x: (x.abs() + 1).sqrt(), whole(ROWS)),
    # saturated
    _f("cross-entropy of [[20, 0, 0]], class 0", F.cross_entropy, _saturated([[20.0, 0, 0]])),
    _f("cross-entropy of [[35, 0, 0]], class 0", F.cross_entropy, _saturated([[35.0, 0, 0]])),
    _f("cross-entropy of [[50, 0, 0], [0, 0, 0]]", F.cross_entropy, _saturated([[50.0, 0, 0], [0, 0, 0]])),
    _f("cross-entropy of 20·normal", F.cross_entropy, labelled(normal((6, 4), scale=20.0), 4)),
    _f("cross-entropy, one sample, 10·normal", F.cross_entropy, labelled(normal((1, 5), scale=10.0), 5)),
    _f("cross-entropy as an op, 30·normal", loss.CrossEntropy,
       lambda rng: [30 * rng.standard_normal((5, 4)), np.eye(4)[rng.integers(0, 4, 5)]], only="logits"),
    _f("softmax of 20·normal", lambda x: F.softmax(x, 1), normal(ROWS, scale=20.0)),
    _f("softmax of 100·normal", lambda x: F.softmax(x, 1), normal(ROWS, scale=100.0)),
    _f("softmax of [20, 0, 0]", lambda x: F.softmax(x, 0), lambda rng: [np.array([20.0, 0, 0])]),
    _f("softmax as a pair, 20·normal", SOFTMAX_PAIR, normal(ROWS, scale=20.0)),
    _f("log softmax of 20·normal", lambda x: F.log_softmax(x, 1), normal(ROWS, scale=20.0)),
    _f("log softmax of [40, 0, 0]", lambda x: F.log_softmax(x, 0), lambda rng: [np.array([40.0, 0, 0])]),
    _f("sigmoid of 20·normal", F.sigmoid, normal(ROWS, scale=20.0)),
    _f("sigmoid of 30", F.sigmoid, constant(30.0, (3,))),
    _f("sigmoid of −715, which underflows", F.sigmoid, constant(-715.0, (3,))),
    _f("exp of 5·normal", lambda x: x.exp(), normal(ROWS, scale=5.0)),
    _f("tanh of 10·normal", F.tanh, normal(ROWS, scale=10.0)),
    _f("tanh of 15", F.tanh, constant(15.0, (3,))),
    _f("attention, saturated", lambda q, k, v: F.softmax(q @ k.permute(1, 0), 1) @ v,
       normal((4, 8), (5, 8), (5, 3), scale=4.0)),
    # sizes of numbers
    _f("ReLU of 1e−8", F.relu, normal(ROWS, scale=1e-8)),
    _f("x·y of 1e−8 and 1e6", arithmetic.Mul, lambda rng: [1e-8 * rng.standard_normal(ROWS),
                                                           1e6 * rng.standard_normal((6,))]),
    _f("x + 1 of 1e−8", lambda x: x + 1, normal(ROWS, scale=1e-8)),
    _f("x³ of 1e6", lambda x: x**3, normal(ROWS, scale=1e6)),
    _f("exp of 1e−8", lambda x: x.exp(), normal(ROWS, scale=1e-8)),
    _f("tanh of 1e−8", F.tanh, normal(ROWS, scale=1e-8)),
    _f("var of 1e6 + normal", lambda x: x.var(1), lambda rng: [1e6 + rng.standard_normal(ROWS)]),
    _f("sqrt from 1e−6 to 1", lambda x: x.sqrt(), positive(ROWS, low=1e-6, high=1.0)),
    _f("log from 1e−4 to 1e4", lambda x: x.log(), positive(ROWS, low=1e-4, high=1e4)),
    _f("division by 1e−3 to 1", lambda a, b: a / b, positive(ROWS, ROWS, low=1e-3, high=1.0)),
    _f("batch norm of 1e−8", batchnorm.BatchNorm, lambda rng: [1e-8 * rng.standard_normal((4, 3, 3)),
                                                               *rng.standard_normal((2, 3))]),
    _f("batch norm of 1e6 + normal", lambda x: F.batch_norm(x, None, None, training=True),
       lambda rng: [1e6 + rng.standard_normal((8, 3))]),
    _f("batch norm, batch of 2", batchnorm.BatchNorm, normal((2, 3), (3,), (3,))),
    _f("batch norm, a constant channel", lambda x: F.batch_norm(x, None, None, training=True),
       lambda rng: [rng.standard_normal((6, 3)) * [1.0, 0.0, 2.0]]),
    _f("batch norm, whole numbers", batchnorm.BatchNorm, whole((4, 3, 2, 2), (3,), (3,))),
    _f("mse of 1e6", F.mse_loss, normal(ROWS, ROWS, scale=1e6)),
    _f("mse of equal arrays", F.mse_loss, constant(2.0, ROWS, ROWS)),
    _f("conv2d of 1e6 and 1e−6", conv.Conv2d, lambda rng: [1e6 * rng.standard_normal((2, 2, 5, 4)),
                                                           1e-6 * rng.standard_normal((3, 2, 3, 3)), np.zeros(3)],
       options=PLAIN),
    # losses with options
    _f("cross-entropy, ignored targets", lambda z, t: F.cross_entropy(z, t, ignore_index=-1),
       labelled(normal((6, 4)), 4, ignored=-1)),
    _f("cross-entropy, weights, ignored, smoothed, 10·normal",
       lambda z, t: F.cross_entropy(z, t, weight=mr.Tensor(W), ignore_index=-1, label_smoothing=0.1),
       labelled(normal((6, 4), scale=10.0), 4, ignored=-1)),
    _f("cross-entropy of pixels, sum", lambda z, t: F.cross_entropy(z, t, reduction="sum"),
       labelled(normal((2, 4, 3, 2)), 4)),
    _f("nll of log softmax, 20·normal", lambda z, t: F.nll_loss(F.log_softmax(z, 1), t),
       labelled(normal((6, 4), scale=20.0), 4)),
    # shapes
    _f("axes of size 1", lambda a, b: (a * b).sum(2), normal((1, 3, 1), (2, 1, 4))),
    _f("empty", lambda x: x * 2, normal((0, 3))),
    _f("empty, summed", lambda x: x.sum(0), normal((0, 3))),
    _f("a single number", lambda x: x.tanh(), normal(())),
    _f("index with repeats", lambda x: x[[0, 2, 0, 0]], normal((3, 4))),
    _f("broadcast of zeros", lambda a, b: a + b, constant(0.0, (3, 4), (4,))),
    _f("permuted and reshaped", lambda x: x.permute(2, 0, 1).reshape(4, 6), whole((2, 3, 4))),
    _f("pad, zeros", shape.Pad, zeros((2, 3)), options=dict(widths=((1, 0), (0, 2)))),
    _f("matmul, zeros", lambda a, b: a @ b, zeros((3, 4), (4, 2), share=0.5)),
    _f("one input unused", lambda a, b: a * 2, normal(ROWS, ROWS)),
    # modules
    _made("linear, float32", lambda: nn.Linear(6, 3), single(normal(ROWS))),
    _made("conv, batch norm, ReLU, float32",
          lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU()),
          single(normal((3, 2, 5, 4)))),
    _made("conv, ReLU, float16 input", lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()),
          lambda rng: [rng.standard_normal((2, 2, 5, 4)).astype(np.float16)]),
    _made("residual block of zeros and ones", lambda: models.ResidualBlock(2, 2), whole((3, 2, 4, 5), spread=0.5)),
    _made("three residual blocks",
          lambda: nn.Sequential(*[models.ResidualBlock(2, 2) for _ in range(3)]), normal((3, 2, 4, 3))),
    _made("residual blocks, whole numbers, evaluation",
          lambda: nn.Sequential(models.ResidualBlock(2, 2), models.ResidualBlock(2, 3, 2)),
          whole((2, 2, 4, 5)), training=False),
    _made("dropout in evaluation", lambda: nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.ReLU()), zeros(ROWS),
          training=False),
    _made("dropout", lambda: nn.Dropout(0.5), zeros(ROWS)),
    _made("LSTM", lambda: _Output(nn.LSTM(3, 4)), normal((4, 2, 3))),
    _made("LSTM of 2 layers, zeros, float32", lambda: _Output(nn.LSTM(3, 2, 2)), single(zeros((3, 2, 3), share=0.5))),
    _made("RNN of ReLUs, zero input", lambda: _Output(nn.RNN(3, 4, nonlinearity="relu", bias=False)),
          constant(0.0, (3, 2, 3))),
    _closed("a layer from outside, float32", lambda: nn.Linear(6, 3), lambda layer: lambda a: layer(a), normal(ROWS)),
    _closed("a layer from outside, all float32", lambda: nn.Linear(6, 3), lambda layer: lambda a: layer(a).relu(),
            single(normal(ROWS))),
    _closed("a block from outside, float32", lambda: models.ResidualBlock(2, 2),
            lambda block: lambda a: F.tanh(block(a)), normal((3, 2, 4, 3))),
]  # fmt: skip
