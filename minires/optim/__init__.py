"""Optimisers and learning-rate schedules with PyTorch's names, defaults and update rules.

>>> import minires as mr
>>> from minires import optim
>>> w = mr.nn.Parameter([1.0, -2.0])
>>> optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
>>> (w * w).sum().backward()
>>> optimizer.step()
>>> w.data
array([ 0.8, -1.6], dtype=float32)
"""

from . import lr_scheduler
from .lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)
from .optimizers import SGD, Adam, AdamW, Optimizer

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "StepLR",
    "MultiStepLR",
    "CosineAnnealingLR",
    "OneCycleLR",
    "LinearLR",
    "SequentialLR",
    "LambdaLR",
    "LRScheduler",
    "lr_scheduler",
]
