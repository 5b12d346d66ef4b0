"""Losses that are ops of their own: cross-entropy."""

import numpy as np

from .. import kernels
from .op import Op, wide


class CrossEntropy(Op):
    """−Σ_k q_k·log softmax(z)_k over the class axis 1, one loss per position.

    z (N, K, …) are logits and q (N, K, …) constant class weights (one-hot, smoothed, weighted, or all zero for an
    ignored position) -> loss (N, …). Backward is a difference: g·(softmax(z)·Σq − q).
    """

    kinds = "f"

    def forward(self, logits, q):
        self.q, classless = q, logits.shape[:1] + logits.shape[2:]
        if not logits.size:
            self.p = logits
            return np.zeros_like(logits, shape=classless)
        loss, self.p = kernels.of(logits).cross_entropy(wide(logits), wide(q))
        return loss.astype(logits.dtype, copy=False)

    def backward(self, grad_output):
        if not self.p.size:
            return self.p.copy(), None
        wide_arrays = wide(grad_output), self.p, wide(self.q)
        grad = kernels.of(grad_output).cross_entropy_backward(*wide_arrays)
        return grad.astype(grad_output.dtype, copy=False), None
