"""Softmax cross-entropy, by its formula."""

import numpy as np


def count_labels(labels, classes, ignore_index=-100):
    """How many labels are not ignore_index, and how many of these are no class: labels (N, …), whole numbers -> (2)."""
    kept = [label for label in labels.ravel().tolist() if label != ignore_index]
    return np.array([len(kept), sum(not 0 <= label < classes for label in kept)], np.int64)


def one_hot(labels, classes, dtype, ignore_index=-100):
    """q[n, k, …] = 1 where k is the label, else 0; all 0 where the label is ignore_index.

    labels (N, …), whole numbers -> (N, classes, …).
    """
    q = np.zeros((len(labels), classes, *labels.shape[1:]), dtype)
    for n, *at in np.ndindex(labels.shape):
        if labels[(n, *at)] != ignore_index:
            q[(n, labels[(n, *at)], *at)] = 1
    return q


def cross_entropy(logits, q):
    """loss = −Σ_k q_k·log p_k with p = softmax(logits) over axis 1. logits, q (N, K, …) -> loss (N, …), p (N, K, …)."""
    shifted = logits - logits.max(1, keepdims=True)  # leaves p unchanged, and no exponential overflows
    e = np.exp(shifted)
    total = e.sum(1, keepdims=True)
    p, log_p = e / total, shifted - np.log(total)  # finite even where p is too small for a float
    loss = np.zeros((logits.shape[0], *logits.shape[2:]), logits.dtype)
    for n, k, *at in np.ndindex(q.shape):
        if q[(n, k, *at)] != 0:
            loss[(n, *at)] -= q[(n, k, *at)] * log_p[(n, k, *at)]
    return loss, p


def cross_entropy_backward(grad_loss, p, q):
    """dz = g·(p·Σ_k q_k − q). grad_loss (N, …), p, q (N, K, …) -> (N, K, …)."""
    return grad_loss[:, None] * (p * q.sum(1, keepdims=True) - q)
