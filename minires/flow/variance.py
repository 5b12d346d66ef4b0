"""How the variance of activations and gradients grows from block to block.

At initialisation a residual block adds the variance of its branch to that of its shortcut. Without normalisation the
branch returns the variance it gets, and the variance doubles with every block: 2^ℓ. A branch that starts with batch
norm returns the same variance whatever it gets, and the variance grows by a constant: 1 + ℓ. So the deeper the block,
the less its branch counts: batch norm biases residual blocks towards the identity (De & Smith 2020, arXiv 2002.10444).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import autograd, html
from ..nn import Module
from ..tensor import Tensor
from .inside import as_input, check_all_ran, find_blocks, passages
from .keeping import keeping


@dataclass(frozen=True)
class VarianceProfile:
    """Variance over all values (examples, channels, positions) at the first block's input and at every block's output.

    names: of the blocks, in the order of the calls, with "input" before them. activation: (blocks + 1). gradient: the
    variance of the gradient there, (blocks + 1), or None if there was no backward pass.
    """

    names: list[str]
    activation: np.ndarray
    gradient: np.ndarray | None = None

    @property
    def slope(self) -> float:
        """Growth of the activations' variance per block, fitted by a straight line."""
        return _slope(self.activation)

    @property
    def log2_slope(self) -> float:
        """Doublings of the activations' variance per block, fitted by a straight line to log₂."""
        return _slope(_log2(self.activation))

    @property
    def gradient_log2_slope(self) -> float:
        """Doublings of the gradient's variance per block, from input to output (negative: it grows going back)."""
        if self.gradient is None:
            raise ValueError("gradient_log2_slope: no gradient was recorded; call variance_profile(…, backward=loss)")
        return _slope(_log2(self.gradient))

    def table(self) -> html.Text:
        """The numbers as text."""
        rows = [f"{'block':<24}{'activation':>12}{'gradient':>12}"]
        for i, name in enumerate(self.names):
            gradient = "" if self.gradient is None else f"{self.gradient[i]:>12.4g}"
            rows.append(f"{name:<24}{self.activation[i]:>12.4g}{gradient}")
        return html.Text("\n".join(rows))


def variance_profile(
    model: Module,
    x: Any,
    backward: Callable[[Tensor], Tensor] | None = None,
    *,
    blocks: Iterable[Module | str] | None = None,
) -> VarianceProfile:
    """Variance of the activations, and on request that of the gradient, at every block.

    x (N, …): the model's input; its mode is used as it is, and it is left exactly as it was.
    backward: takes the model's output and returns the scalar whose gradient is wanted, such as
    ``lambda output: F.cross_entropy(output, y)``. blocks: modules of the model or their names, if it has no
    ``blocks()``.
    Raises ValueError if there are no blocks, one of them is not run, or x is empty.
    """
    found = find_blocks("variance_profile", model, blocks)
    x = as_input("variance_profile", model, x, requires_grad=backward is not None)
    alone = autograd.switch(grad_enabled=backward is not None, recorder=None)
    with keeping(model), passages(found) as seen, alone:
        output = model(x)
        check_all_ran("variance_profile", found, seen)
        tensors = [seen[0][1], *(y for _, _, y in seen)]
        gradients = None
        if backward is not None:
            gradients = autograd.grad(backward(output), tensors, allow_unused=True)
    return VarianceProfile(
        names=["input", *(name for name, _, _ in seen)],
        activation=np.array([_variance(t) for t in tensors]),
        gradient=None if gradients is None else np.array([_variance(g) for g in gradients]),
    )


def _variance(tensor: Tensor | None) -> float:
    return 0.0 if tensor is None else float(tensor.array.var(dtype=np.float64))


def _log2(values: np.ndarray) -> np.ndarray:
    """NaN where there is no variance at all."""
    return np.log2(np.where(values > 0, values, np.nan))


def _slope(values: np.ndarray) -> float:
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])
