"""Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167), as ops.

    x̂ = (x − μ) / √(σ² + ε),   y = γ·x̂ + β

Each channel has its μ and σ² (biased), over all other axes: the batch's own in training, fixed ones in evaluation.
"""

import numpy as np

from .. import kernels
from .op import Op, wide


class BatchNorm(Op):
    """Training: the batch's own statistics, through which gradients flow too (three terms, see the textbook kernel).

    x (N, C, …), γ (C), β (C) -> y (N, C, …). Puts ``mean`` and ``var`` (biased) into the dict ``statistics``, if given.
    """

    kinds = "f"

    def forward(self, x, weight=None, bias=None, eps=1e-5, statistics=None):
        check_batch_norm(x, weight, bias)
        if x.size and x.size == x.shape[1]:
            raise ValueError(
                f"batch_norm: got one value per channel in training, input shape {x.shape}; its variance is 0, so the "
                "output would not depend on the input. Use a larger batch, or eval() for single inputs"
            )
        self.x, self.weight, self.eps = x, weight, eps
        if not x.size:  # there are no statistics
            return x.copy()
        y, self.mean, self.var = kernels.of(x).batch_norm(wide(x), wide(weight), wide(bias), eps)
        if statistics is not None:
            statistics.update(mean=self.mean, var=self.var)
        return y.astype(x.dtype, copy=False)

    def backward(self, grad_output):
        if not self.x.size:
            return nothing(grad_output, self.needs)
        return narrow(
            grad_output.dtype,
            kernels.of(grad_output).batch_norm_backward(
                wide(grad_output), wide(self.x), wide(self.weight), self.mean, self.var, self.eps, tuple(self.needs[:3])
            ),
        )


class BatchNormEval(Op):
    """Evaluation: fixed statistics, so each channel is one affine map.

    x (N, C, …), γ (C), β (C); mean (C) and var (C) are constants -> y (N, C, …).
    """

    kinds = "f"

    def forward(self, x, weight=None, bias=None, *, mean, var, eps=1e-5):
        check_batch_norm(x, weight, bias, mean, var)
        self.x, self.weight, self.eps = x, weight, eps
        if any(self.needs):  # copies: running statistics may change before backward
            self.mean, self.var = mean.copy(), var.copy()
        if not x.size:
            return x.copy()
        y = kernels.of(x).batch_norm_eval(wide(x), wide(weight), wide(bias), wide(mean), wide(var), eps)
        return y.astype(x.dtype, copy=False)

    def backward(self, grad_output):
        if not self.x.size:
            return nothing(grad_output, self.needs)
        wide_arrays = [wide(array) for array in (grad_output, self.x, self.weight, self.mean, self.var)]
        grads = kernels.of(grad_output).batch_norm_eval_backward(*wide_arrays, self.eps, tuple(self.needs[:3]))
        return narrow(grad_output.dtype, grads)


def narrow(dtype, grads):
    """The gradients in the dtype of the input: those of float16 were computed in float32."""
    return tuple([None if grad is None else grad.astype(dtype, copy=False) for grad in grads])


def nothing(grad_output, needs):
    """The gradients of an empty batch: an empty one, and zeros for weight and bias (C)."""
    zeros = np.zeros_like(grad_output, shape=grad_output.shape[1:2])
    return tuple([grad if need else None for grad, need in zip((grad_output, zeros, zeros), needs)])


def check_batch_norm(x, weight, bias, mean=None, var=None):
    """Raise ValueError or TypeError if the arguments do not fit together."""
    if x.dtype.kind != "f":
        raise TypeError(f"batch_norm: got an input of dtype {x.dtype}, expected floating point; convert it first")
    if x.ndim < 2:
        raise ValueError(f"batch_norm: got an input of shape {x.shape}, expected (N, C, …)")
    per_channel = x.shape[1:2]
    for name, array in (("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", var)):
        if array is not None and not hasattr(array, "ndim"):
            raise TypeError(
                f"batch_norm: got a {type(array).__name__} as {name}; expected a Tensor of shape {per_channel}"
            )
        if array is not None and array.dtype.kind != "f":
            raise TypeError(f"batch_norm: got {name} of dtype {array.dtype}, expected floating point; convert it first")
        if array is not None and array.shape != per_channel:
            raise ValueError(
                f"batch_norm: got {name} of shape {array.shape} for input {x.shape}; expected ({x.shape[1]},), one "
                "value per channel. num_features must equal the channels of the input"
            )
