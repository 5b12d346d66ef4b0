"""Activations: ReLU, the functions that networks used before it and since, and softmax."""

import math

import numpy as np

from .. import kernels
from .op import Elementwise, Op, wide
from .reduce import axis_of


class ReLU(Op):
    """max(x, 0), with ReLU′(0) = 0, and 1 at NaN. Saves its *output*, which the next layer keeps anyway."""

    kinds = "fui"

    def forward(self, x):
        self.y = kernels.of(x).relu(x)
        return self.y

    def backward(self, grad_output):
        return kernels.of(grad_output).relu_backward(grad_output, self.y)


class LeakyReLU(Elementwise):
    """x where x > 0, else slope·x (the slope also at 0)."""

    kinds = "f"

    def forward(self, x, slope):
        self.x, self.slope = x, slope
        return np.where(x > 0, x, slope * x)

    def backward(self, grad_output):
        return np.where(self.x > 0, grad_output, self.slope * grad_output)


class Sigmoid(Elementwise):
    """σ(x) = 1/(1 + e⁻ˣ): σ′ = σ(1 − σ) ≤ ¼, a factor in each layer that made old networks' gradients vanish."""

    fractional = True

    def forward(self, x):
        decay = np.exp(-np.abs(x))  # at most 1: cannot overflow, and small results keep their digits
        self.y = np.where(x >= 0, 1, decay) / (1 + decay)
        return self.y

    def backward(self, grad_output):
        return grad_output * (self.y * (1 - self.y))


class Tanh(Elementwise):
    """tanh x: its derivative is 1 − tanh²x."""

    fractional = True

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, grad_output):
        return grad_output * (1 - self.y * self.y)


class ELU(Elementwise):
    """x where x > 0, else α(eˣ − 1): the derivative is 1, or αeˣ (also at 0)."""

    kinds = "f"

    def forward(self, x, alpha):
        self.below, self.x, self.alpha = x <= 0, np.minimum(x, 0), alpha
        return np.where(self.below, alpha * np.expm1(self.x), x)

    def backward(self, grad_output):
        return np.where(self.below, grad_output * (self.alpha * np.exp(self.x)), grad_output)


class Hardswish(Elementwise):
    """x·min(max(x + 3, 0), 6)/6: the derivative is 0 for x ≤ −3, 1 for x ≥ 3, else x/3 + ½."""

    kinds = "f"

    def forward(self, x):
        self.x = x
        return x * (np.clip(x + 3, 0, 6) / 6)

    def backward(self, grad_output):
        inside = grad_output * (self.x / 3 + 0.5)
        return np.where(self.x <= -3, np.zeros_like(inside), np.where(self.x >= 3, grad_output, inside))


class GELU(Elementwise):
    """x·Φ(x), where Φ(x) = (1 + erf(x/√2))/2 is the normal distribution: the derivative is Φ(x) + x·φ(x)."""

    kinds = "f"

    def forward(self, x):
        self.x, self.cdf = x, (1 + erf(x * math.sqrt(0.5))) / 2
        return x * self.cdf

    def backward(self, grad_output):
        density = np.exp(-self.x * self.x / 2) / math.sqrt(2 * math.pi)
        return grad_output * (self.cdf + self.x * density)


def erf(x):
    """The error function, 2/√π ∫₀ˣ e^(−t²) dt, on any device: its error is at most 2e-15 in float64, 1e-6 in float32.

    It is also the sine transform (2/π) ∫₀^∞ e^(−t²/4) sin(xt)/t dt. The trapezoidal rule with steps of ½ is exact to
    1e-20 for |x| < 6, because what it confuses with erf(x) is 1 − erf(4π − |x|); what follows 23 steps is below 1e-17.
    """
    inside = np.clip(x, -6, 6)  # beyond, erf is ±1 to 2e-17
    total = inside / 4
    for n in range(1, 24):
        total += math.exp(-n * n / 16) / n * np.sin(inside * (n / 2))
    return np.where(np.abs(x) >= 6, np.sign(x), np.clip(2 / math.pi * total, -1, 1))


class Softmax(Op):
    """y = eˣ / Σeˣ along an axis: dx = y·(g − Σ g·y)."""

    kinds = "f"

    def forward(self, x, axis):
        self.axes, of = (axis_of("softmax", x.ndim, axis),)[: x.ndim], kernels.of(x)
        if not x.size:  # there is no largest value
            self.y = x.copy()
            return self.y
        exps = np.exp(wide(x) - of.reduce_max(x, self.axes, keepdims=True))
        self.y = (exps / of.reduce_sum(exps, self.axes, keepdims=True)).astype(x.dtype, copy=False)
        return self.y

    def backward(self, grad_output):
        g, y = wide(grad_output), wide(self.y)
        inner = kernels.of(g).reduce_sum(g * y, self.axes, keepdims=True)
        return (y * (g - inner)).astype(grad_output.dtype, copy=False)


class LogSoftmax(Op):
    """y = x − log Σeˣ along an axis: dx = g − softmax(x)·Σg."""

    kinds = "f"

    def forward(self, x, axis):
        self.axes, of = (axis_of("log_softmax", x.ndim, axis),)[: x.ndim], kernels.of(x)
        if not x.size:
            self.y = x.copy()
            return self.y
        shifted = wide(x) - of.reduce_max(x, self.axes, keepdims=True)
        y = shifted - np.log(of.reduce_sum(np.exp(shifted), self.axes, keepdims=True))
        self.y = y.astype(x.dtype, copy=False)
        return self.y

    def backward(self, grad_output):
        g = wide(grad_output)
        total = kernels.of(g).reduce_sum(g, self.axes, keepdims=True)
        return (g - np.exp(wide(self.y)) * total).astype(grad_output.dtype, copy=False)
