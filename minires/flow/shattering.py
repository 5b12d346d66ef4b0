"""Shattered gradients: in a deep plain network the gradients at two inputs have nothing to do with each other.

Along a line of inputs the gradient of a shallow network looks like brown noise, that of a deep plain network like white
noise; shortcuts keep it correlated (Balduzzi et al. 2017, arXiv 1702.08591, fig. 1 and 2). Between unrelated inputs the
correlation falls as 2^−L with the number L of ReLU layers in a plain network, but only about as 1/√L in a residual one
of single-layer blocks with batch norm (section 3).

A gradient *at one input* must not depend on the others: batch norm, which mixes the examples of a batch, is frozen at
the statistics of all inputs together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import autograd
from ..arguments import described
from ..nn import BatchNorm1d, BatchNorm2d, Module
from ..norms import scaled
from ..tensor import Tensor
from .inside import as_input, passages
from .keeping import keeping


@dataclass(frozen=True)
class Shattering:
    """The slope of one output along a line of inputs. points (P,): positions t. gradient (P,): df/dt there."""

    points: np.ndarray
    gradient: np.ndarray

    @property
    def autocorrelation(self) -> np.ndarray:
        """R[k] = Σ (gᵢ − ḡ)(gᵢ₊ₖ − ḡ) / Σ (gᵢ − ḡ)², lags k = 0 … P − 1, (P,); NaN if the gradient is constant."""
        return _autocorrelation(self.gradient)


def shattering(
    model: Module,
    points: Any = None,
    *,
    start: Any = 0.0,
    direction: Any = 1.0,
    output: int = 0,
) -> Shattering:
    """The gradient df/dt of a network along the line of inputs x = start + t·direction, and its autocorrelation.

    model: takes (P, …) and returns (P, K); f is its output number ``output``. It is left exactly as it was.
    points (P,): the grid of t, equally spaced; 256 points in [−2, 2] if not given, as in the paper.
    start, direction: arrays of one input's shape, without the batch axis, or numbers for a network of one scalar input.
    Raises ValueError if the points are fewer than 3 or not equally spaced, or the model takes no inputs of this shape.
    """
    t = np.linspace(-2, 2, 256) if points is None else np.asarray(points, np.float64)
    if t.ndim != 1 or len(t) < 3 or not np.allclose(np.diff(t), t[1] - t[0], rtol=1e-3, atol=0) or t[1] == t[0]:
        raise ValueError(
            f"shattering: got points of shape {t.shape}; expected at least 3 equally spaced numbers, such as "
            "np.linspace(-2, 2, 256)"
        )
    start, direction = np.broadcast_arrays(*(np.atleast_1d(np.asarray(a, np.float64)) for a in (start, direction)))
    x = start + t.reshape(-1, *[1] * direction.ndim) * direction
    _check_taken(model, x)
    g = _input_gradients("shattering", model, x, output)
    return Shattering(t, (g * direction).reshape(len(t), -1).sum(1))


def _check_taken(model: Module, line: np.ndarray) -> None:
    """Raise ValueError, which says what to pass, if the model does not take the inputs on the line."""
    two = as_input("shattering", model, line[:2])  # a batch norm without running statistics takes no single one
    with keeping(model), autograd.no_grad():
        try:
            model.eval()(two)
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"shattering: got a line of inputs of shape {line.shape[1:]}, which {type(model).__name__} does not "
                f"take ({error}); pass start and direction as arrays of one input's shape, without the batch axis, "
                "such as start=images[0], direction=images[1] - images[0]"
            ) from error


def gradient_correlation(model: Module, x: Any, *, output: int = 0) -> float:
    """Mean cosine between the gradients ∂f/∂x at every two of the inputs x (N, …), f being output number ``output``.

    At initialisation it is near 2^−L in a plain network of L layers BN–ReLU. The model is left exactly as it was.
    Raises ValueError for fewer than two inputs.
    """
    if len(np.atleast_1d(x)) < 2:
        raise ValueError(f"gradient_correlation: got an input of shape {np.shape(x)}; expected at least two examples")
    g = _input_gradients("gradient_correlation", model, x, output).reshape(len(x), -1)
    g = np.stack([scaled(row)[0] for row in g])
    norms = np.linalg.norm(g, axis=1, keepdims=True)
    g = g / np.where(norms > 0, norms, 1)  # a gradient of zero correlates with nothing
    n = len(g)
    return float(((g @ g.T).sum() - (g * g).sum()) / (n * (n - 1)))


def freeze_statistics(model: Module, x: Tensor) -> None:
    """Put the model into evaluation mode, every batch norm having the statistics of the batch x.

    Call it inside `keeping`, which restores mode and statistics. Raises ValueError for a batch norm that keeps none.
    """
    norms = [module for module in model.modules() if isinstance(module, BatchNorm1d | BatchNorm2d)]
    for norm in norms:
        if norm.running_mean is None:
            raise ValueError(
                "freeze_statistics: got a batch norm with track_running_stats=False, which uses each batch's own "
                "statistics and cannot be frozen; build it with running statistics"
            )
    momenta = [norm.momentum for norm in norms]
    try:
        model.eval()  # dropout stays off
        for norm in norms:
            norm.training, norm.momentum = True, 1.0
        with autograd.no_grad(), passages({str(i): norm for i, norm in enumerate(norms)}) as seen:
            model(x)
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
    for i, entered in {name.partition("#")[0]: entered for name, entered, _ in seen}.items():
        count = entered.array.size // entered.shape[1]
        norms[int(i)].running_var *= (count - 1) / count  # it is Σ(x − x̄)²/(n − 1), and a batch is divided by Σ(…)²/n
    model.eval()


def _input_gradients(function: str, model: Module, x: Any, output: int) -> np.ndarray:
    """∂f/∂x at every example, of the shape of x, in float64."""
    x = as_input(function, model, x, requires_grad=True)
    with keeping(model), autograd.switch(grad_enabled=True, recorder=None):
        freeze_statistics(model, x)
        y = model(x)
        if not isinstance(y, Tensor):
            raise TypeError(
                f"{function}: got a model that returns {described(y)}; expected one tensor (N, K). Put it into a "
                "module whose forward returns the one that you mean"
            )
        if y.ndim != 2 or not -y.shape[1] <= output < y.shape[1]:
            raise ValueError(
                f"{function}: got output={output} of a model that returns shape {y.shape}; expected (N, K) and a "
                "number below K"
            )
        (g,) = autograd.grad(y[:, output].sum(), x)
    return np.asarray(g, np.float64)


def _autocorrelation(g: np.ndarray) -> np.ndarray:
    g, _ = scaled(g)
    centred = g - g.mean()
    if np.abs(centred).max() <= 1e-6 * np.abs(g).max():
        return np.full(len(g), np.nan)
    return np.correlate(centred, centred, "full")[len(g) - 1 :] / (centred @ centred)
