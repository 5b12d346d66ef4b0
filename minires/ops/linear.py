"""Linear: the fully connected layer. The arithmetic is in `minires.kernels`."""

from typing import Any

import numpy as np

from .. import kernels
from .op import Op


class Linear(Op):
    """y = x·Wᵀ + b.

    x (…, in), W (out, in), b (out) or None -> y (…, out).
    Backward: dx = g·W, dW = gᵀ·x and db = Σg, summed over all leading axes.
    """

    kinds = "fui"

    def forward(self, x, weight, bias):
        if getattr(weight, "ndim", 0) != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
            raise ValueError(
                f"linear: got x {x.shape} and weight {np.shape(weight)}; expected x (…, in) and weight (out, in) "
                "with the same 'in'. Flatten images first: nn.Flatten() or torch.flatten(x, 1)"
            )
        if bias is not None and getattr(bias, "shape", None) != weight.shape[:1]:
            raise ValueError(
                f"linear: got bias {np.shape(bias)} for weight {weight.shape}; expected ({weight.shape[0]},)"
            )
        if x.dtype != weight.dtype or (bias is not None and bias.dtype != x.dtype):
            dtypes = ", ".join(str(a.dtype) for a in (x, weight, bias) if a is not None)
            raise TypeError(f"linear: got x, weight and bias of dtype {dtypes}; expected one, floating point as a rule")
        self.x: Any = x if self.needs[1] else None
        self.weight = weight if self.needs[0] else None
        return kernels.of(x).linear(x, weight, bias)

    def backward(self, grad_output):
        return kernels.of(grad_output).linear_backward(grad_output, self.x, self.weight, needs=tuple(self.needs[:3]))
