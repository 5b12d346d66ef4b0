"""Pairs of forward and backward for assignment gradcheck: right ones, and wrong ones that common recipes accept."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..kernels import cpu
from .judge import draw_shape, draw_shapes

EPS, AXES = 1e-5, (0, 2, 3)


@dataclass(frozen=True)
class Mutant:
    """``forward(*arrays)``, ``backward(grad_output, *arrays)``, how inputs are drawn, and which are wrong."""

    forward: Callable
    backward: Callable
    arrays: Callable[[np.random.Generator], list[np.ndarray]]
    wrong: tuple[int, ...] = ()
    right: str = ""  # name of the pair it was made from

    def broken(self, right: str, slot: int, wrong: Callable) -> "Mutant":
        """This pair with gradient ``slot`` replaced by ``wrong(right gradient, grad_output, *arrays)``."""

        def backward(grad_output, *arrays):
            grads = list(self.backward(grad_output, *arrays))
            grads[slot] = wrong(grads[slot], grad_output, *arrays)
            return tuple(grads)

        return Mutant(self.forward, backward, self.arrays, (slot,), right)

    def hopeless(self) -> "Mutant":
        """This pair with random numbers for gradients, the same ones for the same grad_output."""

        def backward(grad_output, *arrays):
            rng = np.random.default_rng(grad_output.size)
            return tuple(rng.standard_normal(a.shape) * grad_output.std() for a in arrays)

        return Mutant(self.forward, backward, self.arrays, tuple(range(6)))


def _normal(*shapes: str) -> Callable:
    """Normal arrays whose shapes are drawn too, from their letters."""
    return lambda rng: [rng.standard_normal(shape) for shape in draw_shapes(rng, *shapes)]


def _away_from_zero(rng: np.random.Generator) -> list[np.ndarray]:
    x = rng.standard_normal(draw_shape(rng, "nmk"))
    return [x + 0.1 * np.sign(x)]


def _channels(a: np.ndarray) -> np.ndarray:
    return a[:, None, None]


def _x_hat(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inv_std = 1 / np.sqrt(x.var(AXES, keepdims=True) + EPS)
    return (x - x.mean(AXES, keepdims=True)) * inv_std, inv_std


def _mean(a: np.ndarray) -> np.ndarray:
    return a.mean(AXES, keepdims=True)


def _batch_norm_dx(g, x, gamma, mean_term=1.0, variance_term=1.0):
    x_hat, inv_std = _x_hat(x)
    return _channels(gamma) * inv_std * (g - mean_term * _mean(g) - variance_term * x_hat * _mean(g * x_hat))


def _slip(x: np.ndarray) -> float:
    count = x.size / x.shape[1]
    return count / (count - 1)


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


GEOMETRY = (1, 1), (1, 1), (1, 1), 1

linear = Mutant(lambda x, w, b: x @ w.T + b, lambda g, x, w, b: (g @ w, g.T @ x, g.sum(0)), _normal("nk", "kk", "k"))
conv2d = Mutant(
    lambda x, w, b: cpu.conv2d(x, w, b, *GEOMETRY),
    lambda g, x, w, b: cpu.conv2d_backward(g, x, w, *GEOMETRY, (True, True, True)),
    _normal("nchw", "cc33", "c"),
)
batch_norm = Mutant(
    lambda x, gamma, beta: _channels(gamma) * _x_hat(x)[0] + _channels(beta),
    lambda g, x, gamma, beta: (_batch_norm_dx(g, x, gamma), (g * _x_hat(x)[0]).sum(AXES), g.sum(AXES)),
    _normal("nchw", "c", "c"),
)
softmax = Mutant(
    _softmax,
    lambda g, z: (_softmax(z) * (g - (g * _softmax(z)).sum(-1, keepdims=True)),),
    _normal("nk"),
)
relu = Mutant(lambda x: np.maximum(x, 0), lambda g, x: (g * (x > 0),), _away_from_zero)
product = Mutant(lambda a, b: a * b, lambda g, a, b: (g * b, g * a), _normal("nm", "nm"))

RIGHT = {"linear": linear, "conv2d": conv2d, "batch norm": batch_norm, "softmax": softmax, "relu": relu,
         "product": product}  # fmt: skip
MUTANTS: dict[str, Mutant] = {
    **RIGHT,
    **{f"{name}, all wrong": pair.hopeless() for name, pair in RIGHT.items()},
    "linear, dx negative": linear.broken("linear", 0, lambda r, g, x, w, b: -r),
    "linear, dW transposed": linear.broken("linear", 1, lambda r, g, x, w, b: r.T),
    "linear, db ignores grad_output": linear.broken("linear", 2, lambda r, g, x, w, b: np.full_like(r, len(x))),
    "product, both factors mixed up": product.broken("product", 1, lambda r, g, a, b: g * b),
    "relu, mask inverted": relu.broken("relu", 0, lambda r, g, x: g * (x <= 0)),
    "relu, one entry wrong": relu.broken("relu", 0, lambda r, g, x: r + (np.arange(x.size).reshape(x.shape) == 17) * g),
    "conv2d, kernel not turned": conv2d.broken(
        "conv2d", 0, lambda r, g, x, w, b: cpu.conv2d_backward(g, x, w[:, :, ::-1, ::-1], *GEOMETRY, (True,) * 3)[0]
    ),
    "conv2d, dw averaged": conv2d.broken("conv2d", 1, lambda r, g, x, w, b: r / len(x)),
    "batch norm, mean term missing": batch_norm.broken(
        "batch norm", 0, lambda r, g, x, gamma, beta: _batch_norm_dx(g, x, gamma, mean_term=0)
    ),
    "batch norm, variance term missing": batch_norm.broken(
        "batch norm", 0, lambda r, g, x, gamma, beta: _batch_norm_dx(g, x, gamma, variance_term=0)
    ),
    "batch norm, n − 1 for n": batch_norm.broken(
        "batch norm", 0, lambda r, g, x, gamma, beta: _batch_norm_dx(g, x, gamma, variance_term=_slip(x))
    ),
    "batch norm, dx times 7": batch_norm.broken("batch norm", 0, lambda r, g, x, gamma, beta: 7 * r),
    "softmax, all zeros": softmax.broken("softmax", 0, lambda r, g, z: 0 * r),
    "softmax, sum not subtracted": softmax.broken("softmax", 0, lambda r, g, z: _softmax(z) * g),
}
