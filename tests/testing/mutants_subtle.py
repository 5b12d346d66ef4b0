"""The subtle mutants: wrong only for some grad_outputs, at kinks, where a function saturates, or by very little.

And an LSTM's, as a pair of functions and as a graph.
"""

import numpy as np
from testing import subjects as s
from testing.awkward import whole, zeros
from testing.subjects import Mutant, Pair, channels, mean, normal

import minires as mr
from minires.nn import functional as F
from minires.ops import activation
from minires.tensor import apply

# ── grad_output ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _as_it_lies_in_memory(g):
    """The entries in the order of memory, read as if the array were contiguous."""
    return g.ravel(order="K").reshape(g.shape)


def _from_its_start(g):
    """As many numbers as the array has, from where it starts, whatever its strides are."""
    strides = np.cumprod([8, *g.shape[:0:-1]])[::-1]
    return np.lib.stride_tricks.as_strided(g, g.shape, tuple(int(n) for n in strides))


def _single(g):
    return g.astype(np.float32).astype(np.float64)


large_relu = Pair("relu of 2,500", s.relu.forward, s.relu.backward, normal((50, 50)))
steep = Pair("exp of 2·normal", np.exp, lambda g, x: (g * np.exp(x),), lambda rng: [2 * rng.standard_normal((3, 4))])
scaled = Pair("product", lambda x, w: x * w, lambda g, x, w: (g * w, g * x), normal((4, 5), (4, 5)))

# ── batch norm with running statistics ──────────────────────────────────────────────────────────────────────────────


def _bn_with(x, gamma, g, mu, var):
    """The training formula of dx with other statistics."""
    inv_std = 1 / np.sqrt(channels(var) + s.EPS)
    x_hat = (x - channels(mu)) * inv_std
    return channels(gamma) * inv_std * (g - mean(g) - x_hat * mean(g * x_hat))


# ── kinks and saturation ────────────────────────────────────────────────────────────────────────────────────────────

zero_relu = Pair("relu of zeros", s.relu.forward, s.relu.backward, zeros((4, 5), share=0.3))
leaky = Pair(
    "leaky relu of zeros",
    lambda x: np.where(x > 0, x, 0.1 * x),
    lambda g, x: (g * np.where(x > 0, 1.0, 0.1),),
    zeros((4, 5), share=0.3),
)
absolute = Pair("abs of whole numbers", np.abs, lambda g, x: (g * np.sign(x),), whole((4, 5), spread=1.0))


def _winner(g, x):
    grad = np.zeros_like(x)
    np.put_along_axis(grad, x.argmax(1)[:, None], g[:, None], 1)
    return (grad,)


maximum = Pair("max of whole numbers", lambda x: x.max(1), _winner, whole((6, 5), spread=0.7))
clamp = Pair(
    "clamp of whole numbers",
    lambda x: np.clip(x, -1, 1),
    lambda g, x: (g * ((x >= -1) & (x <= 1)),),
    whole((4, 5)),
)
sharp_softmax = Pair(
    "softmax, saturated",
    s.softmax,
    lambda g, z: (s.softmax(z) * (g - (g * s.softmax(z)).sum(-1, keepdims=True)),),
    lambda rng: [np.array([[20.0, 0, 0], [0, 15.0, 1.0]])],
)


def _sharp_loss(z):
    shifted = z - z.max(1, keepdims=True)
    return (np.log(np.exp(shifted).sum(1)) - shifted[:, 0]).mean()


sharp_loss = Pair(
    "cross-entropy, saturated",
    _sharp_loss,
    lambda g, z: (g * (s.softmax(z) - np.eye(3)[[0]]) / len(z),),
    lambda rng: [np.array([[20.0, 0, 0]])],
)

# ── LSTM, as a pair ─────────────────────────────────────────────────────────────────────────────────────────────────


def _sigmoid(a):
    return 1 / (1 + np.exp(-a))


def _lstm(x, w, u, b):
    """All (i, f, g, o, c before, c, h before) of a sequence x (L, N, I); w (4H, I), u (4H, H), b (4H)."""
    size = u.shape[1]
    h = c = np.zeros((x.shape[1], size))
    steps = []
    for now in x:
        i, f, g, o = np.split(now @ w.T + h @ u.T + b, 4, axis=1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        before, start = c, h
        c = f * c + i * g
        h = o * np.tanh(c)
        steps.append((i, f, g, o, before, c, start, h))
    return steps


def _lstm_backward(
    grad, x, w, u, b, through_h=1.0, through_c=1.0, sigmoid_f=True, tanh_c=True, swap=False, last=False, tanh_g=True,
    sigmoid_o=True, forget=True,
):  # fmt: skip
    steps = _lstm(x, w, u, b)
    dx, dw, du, db = (np.zeros_like(a) for a in (x, w, u, b))
    dh, dc = (np.zeros_like(steps[0][0]) for _ in range(2))
    for t in reversed(range(len(x))):
        i, f, g, o, before, c, start, _ = steps[t]
        dh = grad[t] + through_h * dh
        dc = through_c * dc + dh * o * (1 - np.tanh(c) ** 2 if tanh_c else 1)
        parts = [
            dc * g * i * (1 - i),
            dc * before * (f * (1 - f) if sigmoid_f else 1),
            dc * i * (1 - g**2 if tanh_g else 1),
            dh * np.tanh(c) * (o * (1 - o) if sigmoid_o else 1),
        ]
        if swap:
            parts[0], parts[1] = parts[1], parts[0]
        da = np.concatenate(parts, axis=1)
        dx[t] = da @ w
        if last:
            dw[...] = 0
        dw += da.T @ x[t]
        du += da.T @ start
        db += da.sum(0)
        dh, dc = da @ u, dc * (f if forget else 1)
    return dx, dw, du, db


lstm = Pair(
    "LSTM",
    lambda x, w, u, b: np.stack([step[-1] for step in _lstm(x, w, u, b)]),
    _lstm_backward,
    normal((4, 3, 2), (12, 2), (12, 3), (12,)),
)


def _lstm_broken(what, slot, kinds, **mistake):
    return lstm.broken(what, slot, lambda r, g, *arrays: _lstm_backward(g, *arrays, **mistake)[slot], *kinds)


# ── LSTM, as a graph ────────────────────────────────────────────────────────────────────────────────────────────────


class SigmoidWithoutDerivative(activation.Sigmoid):
    """σ(x), whose backward is that of a linear function."""

    def backward(self, grad_output):
        return grad_output * self.y


class TanhSquareForgotten(activation.Tanh):
    """tanh x, whose backward is 1 − tanh x."""

    def backward(self, grad_output):
        return grad_output * (1 - self.y)


def _cell(sigmoid=lambda x: x.sigmoid(), tanh=lambda x: x.tanh(), carry=lambda c: c, recur=lambda h: h):
    def run(x, w, u, b):
        size = u.shape[1]
        h = c = mr.zeros(x.shape[1], size).double()
        outputs = []
        for t in range(x.shape[0]):
            a = F.linear(x[t], w) + F.linear(recur(h), u) + b
            i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
            c = sigmoid(f) * carry(c) + sigmoid(i) * g.tanh()
            h = sigmoid(o) * tanh(c)
            outputs.append(h)
        return mr.stack(outputs)

    return run


def _graph(what, f, slot, *kinds, **options):
    return Mutant(f"LSTM as a graph: {what}", f, lstm.arrays, slot, kinds, options)


FLOAT32, LAYOUT, AT_KINK, GATE, OP = "wrong_dtype", "memory_layout", "wrong_at_kink", "lstm", "wrong_op"

SUBTLE = [
    # grad_output
    s.relu.broken("reads grad_output in the order of memory", 0,
                  lambda r, g, x: _as_it_lies_in_memory(g) * (x > 0), LAYOUT),
    s.relu.broken("reads grad_output as if contiguous", 0, lambda r, g, x: _from_its_start(g) * (x > 0), LAYOUT),
    s.linear.broken("dW reads grad_output as if contiguous", 1, lambda r, g, x, w, b: _from_its_start(g).T @ x, LAYOUT),
    s.linear.broken("db sums memory's rows", 2,
                    lambda r, g, x, w, b: _as_it_lies_in_memory(g).sum(0), LAYOUT),
    s.relu.broken("clips grad_output at ±20", 0, lambda r, g, x: np.clip(g, -20, 20) * (x > 0), "not_linear"),
    s.linear.broken("dx clipped at norm 100", 0, lambda r, g, x, w, b: r / max(1, np.linalg.norm(r) / 100),
                    "not_linear"),
    s.relu.broken("drops grad_outputs below 1e−4", 0, lambda r, g, x: r * (np.abs(r) > 1e-4), "not_linear"),
    # precision
    s.relu.broken("float32 inside", 0, lambda r, g, x: _single(r), FLOAT32),
    s.linear.broken("dx, product in float32", 0,
                    lambda r, g, x, w, b: (g.astype(np.float32) @ w.astype(np.float32)).astype(np.float64), FLOAT32),
    s.bn.broken("dx, mean in float32", 0,
                lambda r, g, x, y, b: r + channels(y) * s.x_hat(x)[1] * (mean(g) - _single(mean(g))), FLOAT32),
    s.linear.broken("dW in float16", 1, lambda r, g, x, w, b: r.astype(np.float16).astype(np.float64), FLOAT32),
    # where the function goes far
    steep.broken("reads grad_output as it lies in memory", 0,
                 lambda r, g, x: _as_it_lies_in_memory(g) * np.exp(x), LAYOUT),
    steep.broken("float32 inside", 0, lambda r, g, x: _single(r), FLOAT32),
    # by very little
    scaled.broken("dx times 1 + 5e−6", 0, lambda r, g, x, w: r * (1 + 5e-6), "constant_factor"),
    s.conv.broken("dw times 1 − 5e−6", 1, lambda r, g, x, w, b: r * (1 - 5e-6), "constant_factor"),
    s.bn.broken("dx times 1 + 5e−6", 0, lambda r, g, x, y, b: r * (1 + 5e-6), "constant_factor"),
    large_relu.broken("one wrong entry", 0, lambda r, g, x: r + g * (np.arange(2500).reshape(50, 50) == 777),
                      "partly_wrong"),
    # statistics
    s.bn.broken("dx with running statistics", 0, lambda r, g, x, y, b: _bn_with(x, y, g, s.MEAN, s.VAR),
                "wrong_statistics"),
    s.bn.broken("dx with the running variance", 0,
                lambda r, g, x, y, b: _bn_with(x, y, g, x.mean(s.AXES), s.VAR), "wrong_statistics"),
    s.bn.broken("dx with the running mean", 0,
                lambda r, g, x, y, b: _bn_with(x, y, g, s.MEAN, x.var(s.AXES)), "wrong_statistics",
                "missing_variance_term", "missing_mean_term"),
    # kinks
    zero_relu.broken("7 at 0", 0, lambda r, g, x: r + 7 * g * (x == 0), AT_KINK),
    zero_relu.broken("no mask", 0, lambda r, g, x: g, "wrong_derivative"),
    zero_relu.broken("halved", 0, lambda r, g, x: r / 2, "constant_factor"),
    leaky.broken("0 at 0", 0, lambda r, g, x: r * (x != 0), AT_KINK),
    leaky.broken("slope 0.2", 0, lambda r, g, x: g * np.where(x > 0, 1, 0.2), "wrong_derivative"),
    absolute.broken("x/|x|", 0, lambda r, g, x: g * x / np.where(x == 0, np.nan, np.abs(x)), "partly_wrong"),
    absolute.broken("the sign wrong", 0, lambda r, g, x: -r, "sign"),
    maximum.broken("to each of the tied", 0, lambda r, g, x: g[:, None] * (x == x.max(1, keepdims=True)), AT_KINK),
    maximum.broken("to the last index", 0, lambda r, g, x: np.roll(r, 1, 1), "shifted", "partly_wrong"),
    clamp.broken("no mask", 0, lambda r, g, x: g, "wrong_derivative"),
    clamp.broken("doubled", 0, lambda r, g, x: 2 * r, "constant_factor"),
    # saturation
    sharp_softmax.broken("doubled", 0, lambda r, g, z: 2 * r, "constant_factor"),
    sharp_softmax.broken("sum not subtracted", 0, lambda r, g, z: g * s.softmax(z), "missing_sum_term"),
    sharp_softmax.broken("divided by N", 0, lambda r, g, z: r / 2, "constant_factor"),
    sharp_loss.broken("negative", 0, lambda r, g, z: -r, "sign"),
    sharp_loss.broken("one and a half", 0, lambda r, g, z: 1.5 * r, "constant_factor"),
    sharp_loss.broken("target not subtracted", 0, lambda r, g, z: g * s.softmax(z), "partly_wrong",
                      "per_channel_factor"),
    # LSTM
    *(_lstm_broken(f"d{'xwub'[k]}, forget gate's derivative missing", k, [GATE], sigmoid_f=False) for k in range(4)),
    *(_lstm_broken(f"d{'xwub'[k]}, cell gate's derivative missing", k, [GATE], tanh_g=False) for k in (0, 1)),
    *(_lstm_broken(f"d{'xwub'[k]}, output gate's derivative missing", k, [GATE], sigmoid_o=False) for k in (0, 1)),
    *(_lstm_broken(f"d{'xwub'[k]}, tanh's derivative at the output missing", k, [GATE], tanh_c=False)
      for k in (0, 1)),
    *(_lstm_broken(f"d{'xwub'[k]}, input and forget gate swapped", k, [GATE], swap=True) for k in (0, 1)),
    *(_lstm_broken(f"d{'xwub'[k]}, h's gradient cut in time", k, [GATE], through_h=0.0) for k in (0, 1)),
    *(_lstm_broken(f"d{'xwub'[k]}, c's gradient cut in time", k, [GATE], through_c=0.0) for k in (0, 1)),
    *(_lstm_broken(f"d{'xwub'[k]}, c's gradient not gated", k, [GATE], forget=False) for k in (0, 1)),
    _lstm_broken("dw of the first step alone", 1, [GATE], last=True),
    *(_graph(f"sigmoid's derivative, d{'xwub'[k]}", _cell(sigmoid=lambda x: apply(SigmoidWithoutDerivative, x)), k, OP)
      for k in range(4)),
    _graph("tanh's derivative", _cell(tanh=lambda x: apply(TanhSquareForgotten, x)), 0, OP),
    _graph("c detached", _cell(carry=lambda c: c.detach()), 0, "edge_missing", GATE),
    _graph("h detached", _cell(recur=lambda h: h.detach()), 0, "edge_missing", GATE),
    _graph("h detached, dw", _cell(recur=lambda h: h.detach()), 1, "edge_missing", GATE),
]  # fmt: skip
