"""Reference solution."""

import numpy as np


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def softmax(logits):
    return np.exp(log_softmax(logits))


def cross_entropy(logits, target):
    return -log_softmax(logits)[np.arange(len(target)), target].mean()


def cross_entropy_backward(grad_output, logits, target):
    grad = softmax(logits)
    grad[np.arange(len(target)), target] -= 1
    return grad_output * grad / len(target)
