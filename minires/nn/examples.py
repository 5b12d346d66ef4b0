"""Examples and a model: making values fit it, and the share of its answers that are right."""

import math
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .module import Module


def fit_to(model: Module, values: Any) -> Tensor:
    """The values as a tensor on the device of the model's first parameter and, if they are floating, in its dtype.

    A model without parameters takes them as they are.
    """
    tensor, weight = values if isinstance(values, Tensor) else Tensor(values), next(model.parameters(), None)
    if weight is None:
        return tensor
    return (tensor.to(weight.dtype) if tensor.dtype.kind == "f" else tensor).to(weight.device)


def are_classes(outputs: Any, targets: Any) -> bool:
    """Whether targets (N, …) are class indices for the outputs (N, classes, …); both arrays or both tensors."""
    with_classes = len(outputs.shape) > 1 and outputs.shape[:1] + outputs.shape[2:] == targets.shape
    return with_classes and targets.dtype.kind in "iu"


def share_right(outputs: Any, targets: Any) -> Any:
    """Share of the targets (N, …) at which the outputs (N, classes, …), both arrays, are largest.

    None if the targets are not class indices. The number stays on the arrays' device: nothing is read back from a GPU.
    """
    if not are_classes(outputs, targets):
        return None
    return (kernels.of(outputs).argmax(outputs, 1) == targets).mean()


def accuracy(outputs: Any, targets: Any) -> float:
    """`share_right` as a plain number; NaN if the targets are not class indices."""
    share = share_right(outputs, targets)
    return math.nan if share is None else float(share)


def read(loss: Any, share: Any) -> tuple[float, float]:
    """A loss and a `share_right` of one device as plain numbers, for which a GPU is waited once; NaN for None."""
    if share is None:
        return float(loss), math.nan
    if kernels.device_of(loss).is_cpu:
        return float(loss), float(share)
    both = np.stack([loss.astype(np.float64), share])
    loss, share = both.tolist()
    return loss, share
