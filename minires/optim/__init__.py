"""Optimisers and learning-rate schedules with PyTorch's names, defaults and update rules.

>>> import minires as mr
>>> from minires import optim
>>> w = mr.nn.Parameter([1.0, -2.0])
>>> optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
>>> (w * w).sum().backward()
>>> optimizer.step()
>>> w.array
array([ 0.8, -1.6], dtype=float32)
"""

from typing import Any

from ..missing import NotOfferedError
from . import lr_scheduler
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from .optimizers import Optimizer
from .scaled import Adadelta, Adagrad, RMSprop
from .sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "Optimizer",
    "StepLR",
    "MultiStepLR",
    "ConstantLR",
    "LinearLR",
    "ExponentialLR",
    "PolynomialLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "OneCycleLR",
    "CyclicLR",
    "LambdaLR",
    "MultiplicativeLR",
    "SequentialLR",
    "ChainedScheduler",
    "ReduceLROnPlateau",
    "LRScheduler",
    "lr_scheduler",
]

NOT_OFFERED = {
    "ASGD": "use SGD, and average the weights yourself",
    "Adafactor": "it saves the memory of large matrices; use Adam",
    "LBFGS": "it is made for the gradient of all the data; use SGD with momentum, or Adam",
    "Muon": "it makes the step of a matrix orthogonal; use SGD with Nesterov's momentum, or AdamW",
    "Rprop": "it is made for the gradient of all the data; use RMSprop, which takes its idea to batches",
    "SparseAdam": "gradients are never sparse here; use Adam",
}


def __getattr__(name: str) -> Any:
    if name in NOT_OFFERED:
        raise NotOfferedError(f"optim.{name}: PyTorch's {name} is not offered: {NOT_OFFERED[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
