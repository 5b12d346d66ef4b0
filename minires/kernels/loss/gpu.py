"""Softmax cross-entropy: launches for loss.cu; the formulas are in `definition`."""

import math

import numpy as np

from ..launch import BLOCK, blocks, c_name, contiguous
from ..load import TYPES, Source

LABEL = "long long"
LOSS = Source(
    "loss/loss.cu",
    [
        *((kernel, t) for kernel in ("one_hot", "cross_entropy", "cross_entropy_backward") for t in TYPES),
        ("count_labels", LABEL),
    ],
)

WARP = 32


def count_labels(on, labels, classes, ignore_index=-100):
    """`definition.count_labels`. labels (N, …) -> (2), on the device."""
    labels, counts = contiguous(labels.astype(np.int64, copy=False)), on.empty(2, np.int64)
    numbers = labels.size, classes, 1, np.int64(ignore_index)
    on.launch(LOSS, "count_labels", (LABEL,), (1,), BLOCK, labels, counts, numbers=numbers)
    return counts


def one_hot(on, labels, classes, dtype, ignore_index=-100):
    """`definition.one_hot`. labels (N, …) -> (N, classes, …); a label out of range gives NaN."""
    labels = contiguous(labels.astype(np.int64, copy=False))
    q = on.empty((labels.shape[0], classes, *labels.shape[1:]), dtype)
    numbers = q.size, classes, math.prod(labels.shape[1:]), np.int64(ignore_index)
    on.launch(LOSS, "one_hot", (c_name(q.dtype),), blocks(q.size), BLOCK, labels, q, numbers=numbers)
    return q


def cross_entropy(on, logits, q):
    """`definition.cross_entropy`. logits, q (N, K, …) -> loss (N, …), probabilities (N, K, …)."""
    z, q = contiguous(logits), contiguous(q)
    loss, p = on.empty((z.shape[0], *z.shape[2:]), z.dtype), on.empty(z.shape, z.dtype)
    grid = blocks(loss.size, BLOCK // WARP)
    numbers = loss.size, z.shape[1], math.prod(z.shape[2:])
    on.launch(LOSS, "cross_entropy", (c_name(z.dtype),), grid, BLOCK, z, q, loss, p, numbers=numbers)
    return loss, p


def cross_entropy_backward(on, grad_loss, p, q):
    """`definition.cross_entropy_backward`. grad_loss (N, …), p, q (N, K, …) -> (N, K, …)."""
    g, p, q = contiguous(grad_loss), contiguous(p), contiguous(q)
    grad_logits = on.empty(p.shape, p.dtype)
    grid = blocks(g.size, BLOCK // WARP)
    arrays, numbers = (g, p, q, grad_logits), (g.size, p.shape[1], math.prod(p.shape[2:]))
    on.launch(LOSS, "cross_entropy_backward", (c_name(p.dtype),), grid, BLOCK, *arrays, numbers=numbers)
    return grad_logits
