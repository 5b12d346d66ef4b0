"""What the mutants are made from: correct forward and backward functions, and the ways to break them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires import kernels
from minires.autograd import ops_latest_first
from minires.checks import checked
from minires.nn import functional as F
from minires.ops.arithmetic import Add
from minires.tensor import apply

cpu = kernels.cpu


@dataclass(frozen=True)
class Mutant:
    """A subject whose gradient for one input is wrong, and the diagnoses that name the mistake rightly."""

    name: str
    f: Any  # what gradcheck is given
    arrays: Callable[[np.random.Generator], list[np.ndarray]]
    input: int | str
    kinds: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A correct pair of plain functions, and how its inputs are drawn."""

    name: str
    forward: Callable
    backward: Callable
    arrays: Callable[[np.random.Generator], list[np.ndarray]]

    def broken(self, what: str, slot: int, wrong: Callable, *kinds: str) -> Mutant:
        """The pair with gradient ``slot`` replaced by ``wrong(right gradient, grad_output, *arrays)``."""

        def backward(grad_output, *arrays):
            grads = list(self.backward(grad_output, *arrays))
            grads[slot] = wrong(grads[slot], grad_output, *arrays)
            return tuple(grads)

        return Mutant(f"{self.name}: {what}", (self.forward, backward), self.arrays, slot, kinds)


def normal(*shapes):
    """Draw normal arrays of these shapes."""
    return lambda rng: [rng.standard_normal(shape) for shape in shapes]


# ── ops ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

conv = Pair(
    "conv2d",
    lambda x, w, b: cpu.conv2d(x, w, b, (1, 1), (1, 1), (1, 1), 1),
    lambda g, x, w, b: cpu.conv2d_backward(g, x, w, (1, 1), (1, 1), (1, 1), 1, (True, True, True)),
    normal((2, 3, 5, 5), (3, 3, 3, 3), (3,)),
)
strided = Pair(
    "conv2d, stride 2",
    lambda x, w, b: cpu.conv2d(x, w, b, (2, 2), (1, 1), (1, 1), 1),
    lambda g, x, w, b: cpu.conv2d_backward(g, x, w, (2, 2), (1, 1), (1, 1), 1, (True, True, True)),
    normal((2, 2, 6, 6), (4, 2, 3, 3), (4,)),
)

EPS = 1e-5
AXES = (0, 2, 3)


def channels(a):
    """(C,) beside (N, C, H, W)."""
    return a[:, None, None]


def x_hat(x):
    """(x − μ)/√(σ² + ε) and 1/√(σ² + ε), both ready to broadcast."""
    inv_std = 1 / np.sqrt(x.var(AXES, keepdims=True) + EPS)
    return (x - x.mean(AXES, keepdims=True)) * inv_std, inv_std


def mean(a):
    """The mean per channel, ready to broadcast."""
    return a.mean(AXES, keepdims=True)


def _bn_backward(g, x, gamma, beta):
    xh, inv_std = x_hat(x)
    dx = channels(gamma) * inv_std * (g - mean(g) - xh * mean(g * xh))
    return dx, (g * xh).sum(AXES), g.sum(AXES)


bn = Pair(
    "batch norm",
    lambda x, gamma, beta: channels(gamma) * x_hat(x)[0] + channels(beta),
    _bn_backward,
    normal((4, 3, 3, 3), (3,), (3,)),
)

MEAN, VAR = np.array([0.3, -0.5, 1.0]), np.array([0.5, 1.5, 3.0])
INV_STD = 1 / np.sqrt(VAR + EPS)


def eval_hat(x):
    """x̂ with the fixed statistics."""
    return (x - channels(MEAN)) * channels(INV_STD)


bn_eval = Pair(
    "batch norm in evaluation",
    lambda x, gamma, beta: channels(gamma) * eval_hat(x) + channels(beta),
    lambda g, x, gamma, beta: (channels(gamma * INV_STD) * g, (g * eval_hat(x)).sum(AXES), g.sum(AXES)),
    normal((4, 3, 3, 3), (3,), (3,)),
)
relu = Pair("relu", lambda x: np.maximum(x, 0), lambda g, x: (g * (x > 0),), normal((3, 4, 5)))

POOL = (2, 2), (2, 2), (0, 0)
PADDED = (3, 3), (2, 2), (1, 1)
max_pool = Pair(
    "max pool",
    lambda x: cpu.max_pool2d(x, *POOL)[0],
    lambda g, x: (cpu.max_pool2d_backward(g, cpu.max_pool2d(x, *POOL)[1], x.shape, *POOL),),
    normal((2, 2, 6, 6)),
)
overlapping_max_pool = Pair(
    "max pool, overlapping",
    lambda x: cpu.max_pool2d(x, *PADDED)[0],
    lambda g, x: (cpu.max_pool2d_backward(g, cpu.max_pool2d(x, *PADDED)[1], x.shape, *PADDED),),
    normal((2, 2, 6, 6)),
)
avg_pool = Pair(
    "average pool",
    lambda x: cpu.avg_pool2d(x, *POOL),
    lambda g, x: (cpu.avg_pool2d_backward(g, x.shape, *POOL),),
    normal((2, 2, 6, 6)),
)
padded_avg_pool = Pair(
    "average pool, padded",
    lambda x: cpu.avg_pool2d(x, *PADDED),
    lambda g, x: (cpu.avg_pool2d_backward(g, x.shape, *PADDED),),
    normal((2, 2, 6, 6)),
)
linear = Pair(
    "linear",
    lambda x, w, b: x @ w.T + b,
    lambda g, x, w, b: (g @ w, g.T @ x, g.sum(0)),
    normal((5, 4), (4, 4), (4,)),
)


def softmax(z):
    """Over the last axis."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def onehot(z, target):
    """(N, K), 1 at the target."""
    return np.eye(z.shape[1])[target]


cross_entropy = Pair(
    "cross-entropy",
    lambda z, target: -np.log((softmax(z) * onehot(z, target)).sum(-1)).mean(),
    lambda g, z, target: (g * (softmax(z) - onehot(z, target)) / len(z), None),
    lambda rng: [rng.standard_normal((6, 4)), rng.integers(0, 4, 6)],
)
add = Pair(
    "add, broadcast",
    lambda a, b: a + b,
    lambda g, a, b: (g, g.sum((0, 2, 3))[:, None, None]),
    normal((2, 3, 4, 4), (3, 1, 1)),
)

CORRECT = (
    conv, strided, bn, bn_eval, relu, max_pool, overlapping_max_pool, avg_pool, padded_avg_pool, linear,
    cross_entropy, add,
)  # fmt: skip


# ── graphs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class BrokenAdd(Add):
    """a + b with the gradients multiplied by ``factors``."""

    factors: tuple[float, float] = (1.0, 1.0)

    def backward(self, grad_output):
        return tuple(factor * grad_output for factor in self.factors)


def residual(join=lambda branch, x: branch + x, branch_input=lambda x: x):
    """conv–ReLU–conv beside a skip, as a function of x, w1 and w2."""

    def block(x, w1, w2):
        branch = F.conv2d(F.relu(F.conv2d(branch_input(x), w1, padding=1)), w2, padding=1)
        return join(branch, x)

    return block


def joined(branch_factor, skip_factor):
    """A residual block whose addition multiplies the gradients it sends back."""
    op = type("BrokenAdd", (BrokenAdd,), {"factors": (branch_factor, skip_factor)})
    return residual(lambda branch, x: apply(op, branch, x))


block_arrays = normal((2, 2, 4, 4), (2, 2, 3, 3), (2, 2, 3, 3))


def walk(collect):
    """A learner's backward walk, in which ``collect(totals, source, gradient)`` says what happens at a fork."""

    def engine(outputs, grads):
        totals: dict[Any, Any] = {}
        for t, g in zip(outputs, grads):
            totals[t.op] = g
        for op in ops_latest_first([t.op for t in outputs], None):
            back = op.backward(totals.pop(op))
            back = back if isinstance(back, tuple) else (back,)
            for slot, source in enumerate(op.inputs):
                if source is not None:
                    collect(totals, source, checked(back[slot], op, slot))
        for leaf, total in totals.items():
            leaf.grad = total

    return engine


def graph(what, f, kind, input=0, arrays=block_arrays, **options):
    """A mutant at graph level."""
    return Mutant(f"residual block: {what}", f, arrays, input, kind if isinstance(kind, tuple) else (kind,), options)
