"""Loss and accuracy over a few batches, for probes that measure a model again and again."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from .. import data
from ..nn import Module
from ..nn.examples import accuracy
from ..tensor import Tensor
from .inside import as_input


def pairs_of(function: str, batches: Any, model: Module, size: int = 256) -> list[tuple[Tensor, Tensor]]:
    """The batches as pairs (x, y) of tensors that fit the model: of a `data.Dataset`, or of pairs of arrays or tensors.

    Raises TypeError, in the name of ``function``, for items that are not pairs, ValueError if there are none.
    """
    if isinstance(batches, data.Dataset):
        batches = data.batches(batches, size, shuffle=False)
    found = []
    for pair in batches:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"{function}: got an item of type {type(pair).__name__} among the batches; expected pairs (x, y). "
                "A single batch is a list of one pair: [(x, y)]"
            )
        found.append((as_input(function, model, pair[0]), as_input(function, model, pair[1])))
    if not any(len(x.array) for x, _ in found):
        raise ValueError(f"{function}: got no examples; pass a Dataset or a list of pairs (x, y), such as [(x, y)]")
    return found


def measure(model: Module, pairs: Iterable[tuple[Tensor, Tensor]], loss: Callable[..., Tensor]) -> tuple[float, float]:
    """(loss, accuracy), means over all examples.

    Accuracy is NaN if the targets are not class indices, or the model returns several tensors.
    """
    count, right, total = 0, 0.0, 0.0
    for x, y in pairs:
        output, n = model(x), len(y.array)
        right += n * (accuracy(output.array, y.array) if isinstance(output, Tensor) else math.nan)
        total += n * loss(output, y).item()
        count += n
    return total / count, right / count
