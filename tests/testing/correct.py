"""Correct subjects, one for each op of the library and some networks: none of them may be rejected, on any seed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from testing import subjects as s

import minires as mr
from minires import models, nn
from minires.nn import functional as F
from minires.ops import activation, arithmetic, batchnorm, conv, linear, loss, pool, shape


@dataclass(frozen=True)
class Correct:
    """A subject with right gradients: build(rng) -> (f, inputs, options of gradcheck)."""

    name: str
    build: Callable[[np.random.Generator], tuple[Any, list[Any], dict[str, Any]]]
    slow: bool = field(default=False)


def _f(name, f, *shapes, draw=None, **options):
    """A function of Tensors (or an op class, or a pair) of normal arrays, or of what ``draw(rng)`` returns."""
    return Correct(name, lambda rng: (f, (draw or s.normal(*shapes))(rng), options))


def _positive(*shapes):
    return lambda rng: [rng.uniform(0.2, 2, size) for size in shapes]


def _network(name, make, *shapes, slow=False, single=False, training=True):
    """A module, made anew for every seed, in float64 or (single) float32."""

    def build(rng):
        mr.manual_seed(int(rng.integers(2**31)))
        module = make()
        module.train(training)
        arrays = [rng.standard_normal(size) for size in shapes]
        return module, [a.astype(np.float32) for a in arrays] if single else arrays, {}

    return Correct(name, build, slow)


def _wide(rng):
    """A four-layer ReLU net of width 512, in which some unit is always near its kink."""
    weights = [rng.standard_normal((512, n)) * np.sqrt(2 / n) for n in (16, 512, 512)] + [rng.standard_normal((4, 512))]

    def net(x):
        for w in weights[:-1]:
            x = F.relu(F.linear(x, mr.Tensor(w)))
        return F.linear(x, mr.Tensor(weights[-1]))

    return net, [rng.standard_normal((4, 16))], {}


def _labelled(rng):
    return [rng.standard_normal((5, 4)), rng.integers(0, 4, 5)]


def _conv_options(**changes):
    return dict(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1) | changes


PAD2 = dict(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
IMAGE = 2, 3, 5, 5

CORRECT = [
    *(Correct(f"pair: {p.name}", lambda rng, p=p: ((p.forward, p.backward), p.arrays(rng), {})) for p in s.CORRECT),
    _f("Add", arithmetic.Add, (3, 4), (4,)),
    _f("Sub", lambda a, b: a - b, (3, 4), (3, 1)),
    _f("Mul", arithmetic.Mul, (2, 3, 4), (3, 1)),
    _f("Div", lambda a, b: a / b, draw=_positive((3, 4), (4,))),
    _f("Neg", lambda a: -a, (3,)),
    _f("Pow", lambda a: a**3, (3, 4)),
    _f("PowTensor", lambda a, b: a**b, draw=_positive((3, 4), (3, 4))),
    _f("MatMul", lambda a, b: a @ b, (2, 3, 4), (4, 5)),
    _f("Einsum", lambda a, b: mr.einsum("ij,jk->ki", a, b), (2, 3), (3, 4)),
    _f("Exp", lambda x: x.exp(), (3, 4)),
    _f("Log", lambda x: x.log(), draw=_positive((3, 4))),
    _f("Sqrt", lambda x: x.sqrt(), draw=_positive((3, 4))),
    _f("Abs", lambda x: x.abs(), (4, 5)),
    _f("Clamp", lambda x: x.clamp(-0.5, 0.5), (4, 5)),
    _f("Clamp by tensors", lambda x, low: x.clamp(0.1 * low, 1.0), (12, 5), (5,)),
    _f("Maximum", mr.maximum, (4, 5), (5,)),
    _f("Minimum", mr.minimum, (4, 5), (4, 5)),
    _f("Where", lambda a, b: mr.where(mr.tensor([True, False, True]), a, b), (4, 3), (4, 3)),
    _f("ReLU", activation.ReLU, (6, 7)),
    _f("LeakyReLU", F.leaky_relu, (6, 7)),
    _f("Sigmoid", F.sigmoid, (3, 4)),
    _f("Tanh", F.tanh, (3, 4)),
    _f("Softmax", lambda x: F.softmax(x, 1), (3, 4)),
    _f("LogSoftmax", lambda x: F.log_softmax(x, 1), (3, 4)),
    _f("Sum", lambda x: x.sum(1), (3, 4)),
    _f("Mean", lambda x: x.mean((0, 2)), (3, 4, 2)),
    _f("Var", lambda x: x.var(1), (3, 4)),
    _f("Std", lambda x: x.std(1), (3, 4)),
    _f("Norm", lambda x: x.norm(dim=1), (3, 4)),
    _f("Prod", lambda x: x.prod(1), (3, 4)),
    _f("Cumsum", lambda x: x.cumsum(1), (3, 4)),
    _f("Amax", lambda x: x.amax(1), (3, 4)),
    _f("Amin", lambda x: x.amin(0), (3, 4)),
    _f("Max", lambda x: x.max(1).values, (3, 4)),
    _f("Reshape", lambda x: x.reshape(6, 2), (3, 4)),
    _f("Permute", lambda x: x.permute(2, 0, 1), (2, 3, 4)),
    _f("Expand", lambda x: x.expand(4, 3, 2), (3, 1)),
    _f("Clone", shape.Clone, (3, 4)),
    _f("Index", lambda x: x[[0, 2, 0], 1:], (3, 4)),
    _f("Cat", lambda a, b: mr.cat([a, b], 1), (2, 3), (2, 2)),
    _f("Stack", lambda a, b: mr.stack([a, b]), (2, 3), (2, 3)),
    _f("Pad", shape.Pad, (2, 3), options=dict(widths=((1, 0), (0, 2)))),
    _f("Conv2d", conv.Conv2d, (2, 3, 5, 5), (4, 3, 3, 3), (4,), options=_conv_options(padding=(1, 1))),
    _f("Conv2d, strided, dilated, grouped", conv.Conv2d, (2, 4, 7, 6), (6, 2, 2, 3), (6,),
       options=_conv_options(stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=2)),
    _f("BatchNorm", batchnorm.BatchNorm, (4, 3, 3, 3), (3,), (3,)),
    _f("BatchNorm of 2 axes", batchnorm.BatchNorm, (8, 3), (3,), (3,)),
    _f("BatchNormEval", batchnorm.BatchNormEval, (4, 3, 3, 3), (3,), (3,), options=dict(mean=s.MEAN, var=s.VAR)),
    _f("MaxPool2d", pool.MaxPool2d, IMAGE, options=PAD2),
    _f("AvgPool2d", pool.AvgPool2d, IMAGE, options=PAD2),
    _f("AvgPool2d without padding's zeros", pool.AvgPool2d, IMAGE, options=PAD2 | dict(count_include_pad=False)),
    _f("AdaptiveAvgPool2d", pool.AdaptiveAvgPool2d, IMAGE, options=dict(output_size=(2, 3))),
    _f("Linear", linear.Linear, (5, 4), (3, 4), (3,)),
    _f("CrossEntropy", loss.CrossEntropy, draw=lambda rng: [rng.standard_normal((5, 4)), rng.dirichlet(np.ones(4), 5)],
       only="logits"),
    _f("cross_entropy", F.cross_entropy, draw=_labelled),
    _f("cross_entropy, smoothed", lambda z, t: F.cross_entropy(z, t, label_smoothing=0.1), draw=_labelled),
    _f("mse_loss", F.mse_loss, (3, 4), (3, 4)),
    _f("a walk of one's own", s.residual(), (2, 2, 4, 4), (2, 2, 3, 3), (2, 2, 3, 3),
       engine=s.walk(lambda totals, source, g: totals.update({source: totals[source] + g if source in totals else g}))),
    _network("conv, batch norm, ReLU",
             lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU()),
             (3, 2, 5, 5)),
    _network("residual block", lambda: models.ResidualBlock(2, 3, 2), (3, 2, 6, 6)),
    _network("residual block in evaluation", lambda: models.ResidualBlock(2, 2), (2, 2, 5, 5), training=False),
    _network("residual block, float32", lambda: models.ResidualBlock(2, 2), (3, 2, 5, 5), single=True),
    _network("dropout", lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 2)), (5, 4)),
    Correct("ReLU net of width 512", _wide, slow=True),
]  # fmt: skip
