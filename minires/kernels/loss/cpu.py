"""Softmax cross-entropy in NumPy; the formulas are in `definition`."""

import numpy as np

from ..reduce.cpu import reduce_sum


def count_labels(labels, classes, ignore_index=-100):
    """`definition.count_labels`. labels (N, …) -> (2)."""
    kept = labels != ignore_index
    wrong = kept & ((labels < 0) | (labels >= classes))
    return np.array([np.count_nonzero(kept), np.count_nonzero(wrong)], np.int64)


def one_hot(labels, classes, dtype, ignore_index=-100):
    """`definition.one_hot`. labels (N, …) -> (N, classes, …)."""
    numbers = np.arange(classes).reshape(1, -1, *(1,) * (labels.ndim - 1))
    q = np.expand_dims(labels, 1) == numbers
    if 0 <= ignore_index < classes:
        q &= np.expand_dims(labels != ignore_index, 1)
    return q.astype(dtype)


def cross_entropy(logits, q):
    """`definition.cross_entropy`. logits, q (N, K, …) -> loss (N, …), probabilities (N, K, …)."""
    # max and sums over the classes: (N, K, …) -> (N, 1, …), or (N, …) for the loss
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(reduce_sum(np.exp(shifted), (1,), keepdims=True))
    weighted = np.multiply(q, log_p, out=np.zeros_like(log_p), where=q != 0)  # 0·log 0 = 0
    return -reduce_sum(weighted, (1,)), np.exp(log_p)


def cross_entropy_backward(grad_loss, p, q):
    """`definition.cross_entropy_backward`. grad_loss (N, …), p, q (N, K, …) -> (N, K, …)."""
    return np.expand_dims(grad_loss, 1) * (p * reduce_sum(q, (1,), keepdims=True) - q)
