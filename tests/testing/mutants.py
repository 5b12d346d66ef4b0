"""The main mutants: broken backwards that `minires.testing.gradcheck` must reject, and should name."""

import numpy as np
from testing import subjects as s
from testing.subjects import channels, graph, mean, x_hat

from minires.kernels import cpu
from minires.nn import functional as F
from minires.tensor import apply

GEOMETRY = (1, 1), (1, 1), (1, 1), 1
STRIDED = (2, 2), (1, 1), (1, 1), 1


def _conv(g, x, w, geometry=GEOMETRY):
    return cpu.conv2d_backward(g, x, w, *geometry, (True, True, True))


def _wide(g, w):
    """dx before the padding is cropped, (N, C, H + 2, W + 2)."""
    rows, columns = g.shape[2] + w.shape[2] - 1, g.shape[3] + w.shape[3] - 1
    x = np.zeros((g.shape[0], w.shape[1], rows, columns))
    return cpu.conv2d_backward(g, x, w, (1, 1), (0, 0), (1, 1), 1, (True, False, False))[0]


def _bn_dx(x, gamma, g, with_mean=1.0, with_var=1.0):
    xh, inv_std = x_hat(x)
    return channels(gamma) * inv_std * (g - with_mean * mean(g) - with_var * xh * mean(g * xh))


class _Accumulating:
    """A convolution's dw that is added to an array that is kept."""

    total = None

    def __call__(self, r, g, x, w, b):
        self.total = r if self.total is None else self.total + r
        return self.total


def _overwrite(totals, source, g):
    totals[source] = g


def _twice(totals, source, g):
    totals[source] = totals[source] + 2 * g if source in totals else g


def _add(totals, source, g):
    totals[source] = totals[source] + g if source in totals else g


def _skip_only_inside(x, w1, w2):
    """Two blocks; in the second, a fork inside the graph, the skip's gradient is lost."""
    h = F.relu(s.residual()(x, w1, w2))
    return s.joined(1.0, 0.0)(h, w2, w1)


def _join_negative_branch(x, w1, w2):
    """Two blocks; the second one's branch comes back negated."""
    h = F.relu(s.residual()(x, w1, w2))
    return s.joined(-1.0, 1.0)(h, w2, w1)


class _NoGradForRight(s.BrokenAdd):
    def backward(self, grad_output):
        return grad_output, None


PER_CHANNEL, BY_FACTOR, SUM = "per_channel_factor", "constant_factor", "missing_broadcast_sum"
MEAN_TERM, VAR_TERM, PARTLY = "missing_mean_term", "missing_variance_term", "partly_wrong"
c, strided, bn, ev = s.conv, s.strided, s.bn, s.bn_eval

MAIN = [
    # conv2d, x
    c.broken("dx, kernel not turned", 0, lambda r, g, x, w, b: _conv(g, x, w[:, :, ::-1, ::-1])[0], "flipped"),
    c.broken("dx, kernel neither turned nor swapped", 0,
             lambda r, g, x, w, b: cpu.conv2d(g, w, None, *GEOMETRY), "flipped", "transposed"),
    c.broken("dx, padding cropped at the corner", 0, lambda r, g, x, w, b: _wide(g, w)[:, :, :-2, :-2], "shifted"),
    c.broken("dx not cropped", 0, lambda r, g, x, w, b: _wide(g, w), "wrong_shape"),
    c.broken("dx negative", 0, lambda r, g, x, w, b: -r, "sign"),
    c.broken("dx of the first kernel column lost", 0, lambda r, g, x, w, b: _conv(
        g, x, np.concatenate([0 * w[..., :1], w[..., 1:]], 3))[0], PARTLY),
    c.broken("dx of the batch's first image only", 0,
             lambda r, g, x, w, b: np.concatenate([r[:1], 0 * r[1:]]), PARTLY),
    strided.broken("dx, the rows between strides lost", 0,
                   lambda r, g, x, w, b: r * (np.arange(6) % 2 == 0)[:, None], PARTLY),
    strided.broken("dx divided by the kernel's area", 0, lambda r, g, x, w, b: r / 9, BY_FACTOR),
    # conv2d, w
    c.broken("dw ignores grad_output", 1, lambda r, g, x, w, b: _conv(np.ones_like(g), x, w)[1], "ignores_grad_output"),
    c.broken("dw turned", 1, lambda r, g, x, w, b: r[:, :, ::-1, ::-1], "flipped"),
    c.broken("dw, channels swapped", 1, lambda r, g, x, w, b: r.swapaxes(0, 1), "transposed"),
    c.broken("dw, rows and columns swapped", 1, lambda r, g, x, w, b: r.swapaxes(2, 3), "transposed"),
    c.broken("dw averaged over the batch", 1, lambda r, g, x, w, b: r / len(x), BY_FACTOR),
    c.broken("dw without padding's row", 1, lambda r, g, x, w, b: np.roll(r, 1, 2), "shifted"),
    c.broken("dw kept and added to", 1, _Accumulating(), "accumulates"),
    # conv2d, b
    c.broken("db not summed", 2, lambda r, g, x, w, b: g, SUM),
    c.broken("db is a mean", 2, lambda r, g, x, w, b: g.mean((0, 2, 3)), BY_FACTOR),
    c.broken("db summed over positions only", 2, lambda r, g, x, w, b: g.sum((2, 3)), SUM),
    c.broken("db is None", 2, lambda r, g, x, w, b: None, "no_gradient"),
    # batch norm, training
    bn.broken("dx without the mean term", 0, lambda r, g, x, y, b: _bn_dx(x, y, g, with_mean=0), MEAN_TERM),
    bn.broken("dx without the variance term", 0, lambda r, g, x, y, b: _bn_dx(x, y, g, with_var=0), VAR_TERM),
    bn.broken("dx, statistics held constant", 0, lambda r, g, x, y, b: _bn_dx(x, y, g, 0, 0), MEAN_TERM),
    bn.broken("dx, variance with n − 1", 0, lambda r, g, x, y, b: _bn_dx(x, y, g, with_var=36 / 35), VAR_TERM),
    bn.broken("dx with γ twice", 0, lambda r, g, x, y, b: r * channels(y), PER_CHANNEL),
    bn.broken("dx with σ² for σ", 0, lambda r, g, x, y, b: r * x_hat(x)[1], PER_CHANNEL),
    bn.broken("dx times 7", 0, lambda r, g, x, y, b: 7 * r, BY_FACTOR),
    bn.broken("dx all zeros", 0, lambda r, g, x, y, b: 0 * r, "no_gradient"),
    bn.broken("dγ not summed", 1, lambda r, g, x, y, b: g * x_hat(x)[0], SUM),
    bn.broken("dγ with γ", 1, lambda r, g, x, y, b: r * y, PER_CHANNEL),
    bn.broken("dγ ignores grad_output", 1, lambda r, g, x, y, b: x_hat(x + 0.1 * x**2)[0][0].sum((1, 2)),
              "ignores_grad_output"),
    bn.broken("dβ negative", 2, lambda r, g, x, y, b: -r, "sign"),
    # batch norm, evaluation
    ev.broken("dx with the training formula", 0, lambda r, g, x, y, b: _bn_dx(x, y, g), "wrong_statistics"),
    ev.broken("dx without γ", 0, lambda r, g, x, y, b: r / channels(y), PER_CHANNEL),
    ev.broken("dx without 1/σ", 0, lambda r, g, x, y, b: r / channels(s.INV_STD), PER_CHANNEL),
    ev.broken("dγ without 1/σ", 1, lambda r, g, x, y, b: r / s.INV_STD, PER_CHANNEL),
    ev.broken("dβ a mean over positions", 2, lambda r, g, x, y, b: g.mean((2, 3)).sum(0), BY_FACTOR),
    # ReLU
    s.relu.broken("no mask", 0, lambda r, g, x: g, "wrong_derivative"),
    s.relu.broken("mask alone", 0, lambda r, g, x: (x > 0) * 1.0, "ignores_grad_output"),
    s.relu.broken("grad_output clipped too", 0, lambda r, g, x: np.maximum(r, 0), "not_linear"),
    s.relu.broken("mask inverted", 0, lambda r, g, x: g * (x <= 0), "wrong_derivative"),
    # pooling
    s.max_pool.broken("to every entry of the window", 0, lambda r, g, x: g.repeat(2, 2).repeat(2, 3), PARTLY),
    s.max_pool.broken("windows transposed", 0, lambda r, g, x: r.swapaxes(2, 3), "transposed"),
    s.overlapping_max_pool.broken("last window wins", 0, lambda r, g, x: np.sign(r) * np.minimum(np.abs(r), 0.3),
                                  "not_linear"),
    s.overlapping_max_pool.broken("one column off", 0, lambda r, g, x: np.roll(r, -1, 3), "shifted"),
    s.avg_pool.broken("divided by k, not k²", 0, lambda r, g, x: 2 * r, BY_FACTOR),
    s.avg_pool.broken("to the window's corner", 0,
                      lambda r, g, x: 4 * r * (np.indices((6, 6)) % 2 == 0).all(0), PARTLY),
    s.padded_avg_pool.broken("one row off", 0, lambda r, g, x: np.roll(r, 1, 2), "shifted"),
    # linear
    s.linear.broken("dx with Wᵀ, negative", 0, lambda r, g, x, w, b: -r, "sign"),
    s.linear.broken("dx ignores grad_output", 0, lambda r, g, x, w, b: np.ones_like(g) @ w, "ignores_grad_output"),
    s.linear.broken("dW turned", 1, lambda r, g, x, w, b: r.T, "transposed"),
    s.linear.broken("dW a mean", 1, lambda r, g, x, w, b: r / len(x), BY_FACTOR),
    s.linear.broken("db not summed", 2, lambda r, g, x, w, b: g, SUM),
    s.linear.broken("db float32", 2, lambda r, g, x, w, b: r.astype(np.float32), "wrong_dtype"),
    # cross-entropy
    s.cross_entropy.broken("a sum for the mean", 0, lambda r, g, z, t: r * 6, BY_FACTOR),
    s.cross_entropy.broken("negative", 0, lambda r, g, z, t: -r, "sign"),
    s.cross_entropy.broken("ignores grad_output", 0,
                           lambda r, g, z, t: (s.softmax(z) - s.onehot(z, t)) / 6, "ignores_grad_output"),
    s.cross_entropy.broken("target counted twice", 0, lambda r, g, z, t: r - g * s.onehot(z, t) / 6, "wrong_target"),
    # add
    s.add.broken("db not summed", 1, lambda r, g, a, b: g, SUM),
    s.add.broken("db summed over the batch only", 1, lambda r, g, a, b: g.sum(0), SUM),
    s.add.broken("db a mean", 1, lambda r, g, a, b: r / 32, BY_FACTOR),
    s.add.broken("da doubled", 0, lambda r, g, a, b: 2 * r, BY_FACTOR),
    # a residual block
    graph("walk overwrites at forks", s.residual(), "edge_overwritten", engine=s.walk(_overwrite)),
    graph("walk counts twice", s.residual(), "edge_counted_twice", engine=s.walk(_twice)),
    graph("skip lost at the addition", s.joined(1.0, 0.0), "edge_missing"),
    graph("branch lost at the addition", s.joined(0.0, 1.0), "edge_missing"),
    graph("skip counted twice", s.joined(1.0, 2.0), "edge_counted_twice"),
    graph("branch negated", s.joined(-1.0, 1.0), "edge_sign"),
    graph("branch's input detached", s.residual(branch_input=lambda x: x.detach()), "edge_missing"),
    graph("None for the skip", s.residual(lambda branch, x: apply(_NoGradForRight, branch, x)), "no_gradient"),
    graph("a later skip lost", _skip_only_inside, "edge_missing"),
    graph("a later branch negated", _join_negative_branch, "edge_sign"),
]  # fmt: skip

NOT_WRONG = graph("a walk that is right", s.residual(), (), engine=s.walk(_add))
