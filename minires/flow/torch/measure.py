"""Numbers of PyTorch's tensors: those in the computer's memory are measured as minires's are, those on a GPU there.

A number that is read off a GPU makes the program wait for it. So what is measured there stays there, as a small tensor,
until the walk back has ended.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...norms import moments
from ..summands import Measured, from_products, measure_summands


class Later(NamedTuple):
    """Numbers that are still on the device, and what is to be made of them there."""

    numbers: torch.Tensor
    finish: Callable[[list[float]], Any]

    def get(self) -> Any:
        return self.finish(self.numbers.tolist())


def in_memory(tensor: torch.Tensor) -> bool:
    """Whether NumPy can read it."""
    return tensor.is_cpu


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor in the computer's memory as an array over the same numbers; bfloat16, which NumPy lacks, as float32."""
    tensor = real(tensor)
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def real(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without its graph; sparse ones as dense, complex numbers as pairs."""
    tensor = tensor.detach()
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def kept(tensor: torch.Tensor) -> Any:
    """A copy that no later step changes: an array, or a tensor if it is on a GPU."""
    return as_array(tensor).copy() if in_memory(tensor) else real(tensor).clone()


def measure(grads: Sequence[torch.Tensor], total: torch.Tensor) -> Callable[[], Measured]:
    """What `measure_summands` says of the gradients and the total that they were added up to, to be had later."""
    if in_memory(total):
        measured = measure_summands([as_array(g) for g in grads], as_array(total))
        return lambda: measured
    return on_device(grads, total).get


def statistics(values: torch.Tensor) -> Callable[[], tuple[float, float, float]]:
    """Mean, standard deviation and fraction of zeros, to be had later."""
    if in_memory(values):
        found = moments(as_array(values))
        return lambda: found
    values = real(values).double()
    count = max(values.numel(), 1)
    numbers = torch.stack([values.mean(), values.std(correction=0), torch.count_nonzero(values).double()])
    return Later(numbers, lambda found: (found[0], found[1], 1 - found[2] / count)).get


def on_device(grads: Sequence[torch.Tensor], total: torch.Tensor) -> Later:
    """Measure in float64, in units of the largest entry, so that no square over- or underflows; nothing is read."""
    with torch.no_grad():
        parts = [real(a).double().reshape(-1) for a in grads]
        whole = real(total).double().reshape(-1)
        largest = torch.stack([a.abs().amax() if a.numel() else a.new_zeros(()) for a in (*parts, whole)]).amax()
        scale = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
        parts, whole = [a / scale for a in parts], whole / scale
        rests: list[Any] = [sum(b for j, b in enumerate(parts) if j != i) for i in range(len(parts))]
        products = [scale, whole @ whole]
        products += [a @ b for a in parts for b in parts]
        for part, rest in zip(parts, rests if len(parts) > 1 else ()):
            products += [rest @ rest, part @ rest]
        error = whole
        for part in parts:
            error = error - part
        products.append(error @ error)
        count = len(parts)
        return Later(
            torch.stack(products),
            lambda numbers: from_products(numbers[0], numbers[1], numbers[2:-1], numbers[-1], count),
        )
