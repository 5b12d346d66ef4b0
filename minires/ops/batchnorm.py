"""Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167), as ops.

    x̂ = (x − μ) / √(σ² + ε),   y = γ·x̂ + β

Each channel has its μ and σ² (biased), over all other axes: the batch's own in training, fixed ones in evaluation.
"""

import numpy as np

from .. import kernels
from ..arguments import described
from .op import Op, wide


class BatchNorm(Op):
    """Training: the batch's own statistics, through which gradients flow too (three terms, see the textbook kernel).

    x (N, C, …), γ (C), β (C) -> y (N, C, …). Moves ``running``, if given, a `Running`.
    """

    kinds = "f"

    def forward(self, x, weight=None, bias=None, eps=1e-5, running=None):
        check_batch_norm(x, weight, bias)
        if x.size and x.size == x.shape[1]:
            raise ValueError(
                f"batch_norm: got one value per channel in training, input shape {x.shape}; its variance is 0, so the "
                "output would not depend on the input. Use a larger batch (drop_last=True if it is the rest of an "
                "epoch), or eval() for single inputs"
            )
        self.x, self.weight, self.eps = x, weight, eps
        if not x.size:  # there are no statistics
            if running is not None and running.batches is not None:
                running.batches[...] += 1
            return x.copy()
        arguments = wide(x), wide(weight), wide(bias), eps
        if running is None or kernels.replaced("batch_norm", "running_update") or type(running.mean) is not type(x):
            y, self.mean, self.var = kernels.of(x).batch_norm(*arguments)
            move(running, self.mean, self.var, x.size // x.shape[1])
        else:
            y, self.mean, self.var = kernels.of(x).batch_norm(*arguments, running)
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


class SyncBatchNorm(Op):
    """Training over several ranks: μ and σ² are those of all ranks' shares together, and gradients flow through them.

        M = Σ m_r,   μ = Σ m_r·μ_r / M,   σ² = Σ m_r·(σ_r² + (μ_r − μ)²) / M

    x (N, C, …), this rank's share; γ (C), β (C) -> y (N, C, …). ``ranks`` is a `minires.ranks.Ranks`. Moves
    ``running``, if given, a `Running`. The gradients of γ and β are this rank's part of theirs.
    Source: Chan, Golub & LeVeque 1983, for the sums of squares.
    """

    kinds = "f"
    name = "BatchNorm"  # in recordings, whose numbers are those of a single process

    def forward(self, x, weight=None, bias=None, eps=1e-5, running=None, *, ranks):
        check_batch_norm(x, weight, bias)
        self.x, self.weight, self.eps, self.ranks = x, weight, eps, ranks
        own, channels, values = kernels.of(x), x.shape[1], wide(x)
        mean, var = own.batch_norm_statistics(values)
        counts, (means, variances) = ranks.gather("batch norm, forward", x.size // channels, mean, var)
        self.count = int(counts.sum())
        if self.count == 1:
            raise ValueError(f"batch_norm: got one value per channel on all ranks together, input shape {x.shape}")
        part = kernels.to_device((counts / self.count)[:, None], kernels.device_of(x).name)  # (R, 1)
        mean = (part * means).sum(0)
        var = (part * (variances + (means - mean) ** 2)).sum(0)
        self.mean, self.var = mean.astype(values.dtype), var.astype(values.dtype)
        move(running, self.mean, self.var, self.count)
        y = own.batch_norm_eval(values, wide(weight), wide(bias), self.mean, self.var, eps)
        return y.astype(x.dtype, copy=False)

    def backward(self, grad_output):
        own, g, x, weight = kernels.of(grad_output), *map(wide, (grad_output, self.x, self.weight))
        sums = own.batch_norm_eval_backward(g, x, weight, self.mean, self.var, self.eps, (False, True, True))[1:]
        totals = self.ranks.sums("batch norm, backward", *sums)
        grad_x = None
        if self.needs[0]:
            grad_x = own.batch_norm_input_gradient(g, x, weight, self.mean, self.var, *totals, self.count, self.eps)
        grads = [grad if need else None for grad, need in zip((grad_x, *sums), self.needs)]
        return narrow(grad_output.dtype, grads)


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


def move(running, mean, var, count):
    """The running statistics, if there are any, after a batch with this mean and variance of ``count`` values."""
    if running is not None:
        kernels.of(running.mean).running_update(running.mean, running.var, mean, var, running.momentum, count)
        if running.batches is not None:
            running.batches[...] += 1


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
        if array is not None and not isinstance(getattr(array, "dtype", None), np.dtype):
            raise TypeError(f"batch_norm: got {described(array)} as {name}; expected a Tensor of shape {per_channel}")
        if array is not None and array.dtype.kind != "f":
            raise TypeError(f"batch_norm: got {name} of dtype {array.dtype}, expected floating point; convert it first")
        if array is not None and array.shape != per_channel:
            raise ValueError(
                f"batch_norm: got {name} of shape {array.shape} for input {x.shape}; expected ({x.shape[1]},), one "
                "value per channel. num_features must equal the channels of the input"
            )
