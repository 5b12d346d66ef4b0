"""Losses that are ops of their own: cross-entropy."""

from .. import kernels
from .op import Op


class CrossEntropy(Op):
    """−Σ_k q_k·log softmax(z)_k over the class axis 1, one loss per position.

    z (N, K, …) are logits and q (N, K, …) constant class weights (one-hot, smoothed, weighted, or all zero for an
    ignored position) -> loss (N, …). Backward is a difference: g·(softmax(z)·Σq − q).
    """

    kinds = "f"

    def forward(self, logits, q):
        loss, self.p = kernels.of(logits).cross_entropy(logits, q)
        self.q = q
        return loss

    def backward(self, grad_output):
        return kernels.of(grad_output).cross_entropy_backward(grad_output, self.p, self.q), None
