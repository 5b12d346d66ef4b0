"""Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167), as ops.

    x̂ = (x − μ) / √(σ² + ε),   y = γ·x̂ + β

Each channel has its μ and σ² (biased), over all other axes: the batch's own in training, fixed ones in evaluation.
"""

from .. import kernels
from .op import Op


class BatchNorm(Op):
    """Training: the batch's own statistics, through which gradients flow too (three terms, see the textbook kernel).

    x (N, C, …), γ (C), β (C) -> y (N, C, …). Puts ``mean`` and ``var`` (biased) into the dict ``statistics``, if given.
    """

    kinds = "f"

    def forward(self, x, weight=None, bias=None, eps=1e-5, statistics=None):
        check_batch_norm(x, weight, bias)
        if x.size == x.shape[1]:
            raise ValueError(
                f"batch_norm: got one value per channel in training, input shape {x.shape}; its variance is 0, so the "
                "output would not depend on the input. Use a larger batch, or eval() for single inputs"
            )
        y, self.mean, self.var = kernels.of(x).batch_norm(x, weight, bias, eps)
        self.x, self.weight, self.eps = x, weight, eps
        if statistics is not None:
            statistics.update(mean=self.mean, var=self.var)
        return y

    def backward(self, grad_output):
        return kernels.of(grad_output).batch_norm_backward(
            grad_output, self.x, self.weight, self.mean, self.var, self.eps, needs=tuple(self.needs[:3])
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
        return kernels.of(x).batch_norm_eval(x, weight, bias, mean, var, eps)

    def backward(self, grad_output):
        return kernels.of(grad_output).batch_norm_eval_backward(
            grad_output, self.x, self.weight, self.mean, self.var, self.eps, needs=tuple(self.needs[:3])
        )


def check_batch_norm(x, weight, bias, mean=None, var=None):
    """Raise ValueError or TypeError if the arguments do not fit together."""
    if x.dtype.kind != "f":
        raise TypeError(f"batch_norm: got an input of dtype {x.dtype}, expected floating point; convert it first")
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"batch_norm: got an input of shape {x.shape}, expected a non-empty (N, C, …)")
    per_channel = x.shape[1:2]
    for name, array in (("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", var)):
        if array is not None and array.dtype.kind != "f":
            raise TypeError(f"batch_norm: got {name} of dtype {array.dtype}, expected floating point; convert it first")
        if array is not None and array.shape != per_channel:
            raise ValueError(
                f"batch_norm: got {name} of shape {array.shape} for input {x.shape}; expected ({x.shape[1]},), one "
                "value per channel. num_features must equal the channels of the input"
            )
