"""Activations: ReLU, the functions that networks used before it, and softmax."""

import numpy as np

from .. import kernels
from .op import Op
from .reduce import axis_of


class ReLU(Op):
    """max(x, 0), with ReLU′(0) = 0, and 1 at NaN. Saves its *output*, which the next layer keeps anyway."""

    kinds = "fui"

    def forward(self, x):
        self.y = kernels.of(x).relu(x)
        return self.y

    def backward(self, grad_output):
        return kernels.of(grad_output).relu_backward(grad_output, self.y)


class LeakyReLU(Op):
    """x where x > 0, else slope·x (the slope also at 0)."""

    kinds = "f"

    def forward(self, x, slope):
        self.x, self.slope = x, slope
        return np.where(x > 0, x, slope * x)

    def backward(self, grad_output):
        return np.where(self.x > 0, grad_output, self.slope * grad_output)


class Sigmoid(Op):
    """σ(x) = 1/(1 + e⁻ˣ): σ′ = σ(1 − σ) ≤ ¼, a factor in each layer that made old networks' gradients vanish."""

    fractional = True

    def forward(self, x):
        decay = np.exp(-np.abs(x))  # at most 1: cannot overflow, and small results keep their digits
        self.y = np.where(x >= 0, 1, decay) / (1 + decay)
        return self.y

    def backward(self, grad_output):
        return grad_output * (self.y * (1 - self.y))


class Tanh(Op):
    """tanh x: its derivative is 1 − tanh²x."""

    fractional = True

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, grad_output):
        return grad_output * (1 - self.y * self.y)


class Softmax(Op):
    """y = eˣ / Σeˣ along an axis: dx = y·(g − Σ g·y)."""

    kinds = "f"

    def forward(self, x, axis):
        self.axes, of = (axis_of("softmax", x.ndim, axis),)[: x.ndim], kernels.of(x)
        if not x.size:  # there is no largest value
            self.y = x.copy()
            return self.y
        exps = np.exp(x - of.reduce_max(x, self.axes, keepdims=True))
        self.y = exps / of.reduce_sum(exps, self.axes, keepdims=True)
        return self.y

    def backward(self, grad_output):
        inner = kernels.of(grad_output).reduce_sum(grad_output * self.y, self.axes, keepdims=True)
        return self.y * (grad_output - inner)


class LogSoftmax(Op):
    """y = x − log Σeˣ along an axis: dx = g − softmax(x)·Σg."""

    kinds = "f"

    def forward(self, x, axis):
        self.axes, of = (axis_of("log_softmax", x.ndim, axis),)[: x.ndim], kernels.of(x)
        if not x.size:
            self.y = x.copy()
            return self.y
        shifted = x - of.reduce_max(x, self.axes, keepdims=True)
        self.y = shifted - np.log(of.reduce_sum(np.exp(shifted), self.axes, keepdims=True))
        return self.y

    def backward(self, grad_output):
        total = kernels.of(grad_output).reduce_sum(grad_output, self.axes, keepdims=True)
        return grad_output - np.exp(self.y) * total
