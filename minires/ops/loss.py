"""Losses that deserve an op of their own."""

import numpy as np

from .op import Op


class CrossEntropy(Op):
    """−Σ_k q_k·log softmax(z)_k over the class axis 1, one loss per position.

    z (N, K, …) are logits and q (N, K, …) constant class weights (one-hot, smoothed, weighted, or all zero for an
    ignored position) -> loss (N, …). Backward is the famous difference: g·(softmax(z)·Σq − q).
    """

    def forward(self, logits, q):
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        self.p, self.q = np.exp(log_p), q
        return -np.multiply(q, log_p, out=np.zeros_like(log_p), where=q != 0).sum(axis=1)  # 0·log 0 = 0

    def backward(self, grad_output):
        total = self.q.sum(axis=1, keepdims=True)
        return np.expand_dims(grad_output, 1) * (self.p * total - self.q), None
