"""Look without touching: a PyTorch model is run and left exactly as it was."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ...blocks import contextmanager
from ..keeping import Kept, keep_contents, restoring


@contextmanager
def keeping(model: torch.nn.Module) -> Iterator[None]:
    """When the block ends, restore all that the model holds, and the random states. Inside, gradients start as None.

    Parameters and buffers are restored bit for bit, with their gradients and ``requires_grad``, and so are the other
    attributes of every module, such as its mode and its hooks. The random states are those of PyTorch, on the CPU and
    on the model's GPUs, of NumPy and of Python.
    """
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002 (the one that modules draw from)
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
    with restoring(model, _pytorchs) as kept, torch.random.fork_rng(devices):
        try:
            for thing in kept:
                if isinstance(thing, torch.Tensor) and thing.is_leaf:
                    thing.grad = None
            yield
        finally:
            np.random.set_state(numpys)  # noqa: NPY002
            random.setstate(pythons)


def _pytorchs(thing: Any) -> Kept | None:
    """PyTorch's modules, tensors and random generators."""
    if isinstance(thing, torch.nn.Module):
        return keep_contents(vars(thing))
    if isinstance(thing, torch.Generator):
        return (), [(thing.set_state, thing.get_state())]
    return ((), [(_tensor_restorer(thing),)]) if isinstance(thing, torch.Tensor) else None


def _tensor_restorer(tensor: torch.Tensor) -> Callable[[], None]:
    """How to restore a tensor, by ``data``: an earlier graph that has saved it stays valid, as it is what it was."""
    memory, values = tensor.data, tensor.data.clone()
    grad, requires_grad = (tensor.grad, tensor.requires_grad) if tensor.is_leaf else (None, None)

    def restore() -> None:
        if memory.layout == torch.sparse_coo:  # its in-place ops make new entries, which ``memory`` does not get
            tensor.data = values
        elif memory.layout != torch.strided:  # sparse in other ways, and like that one not to be compared
            memory.copy_(values)
        else:
            if not torch.equal(memory, values):
                memory.copy_(values)
            if tensor.data_ptr() != memory.data_ptr() or tensor.shape != memory.shape:
                tensor.data = memory
        if requires_grad is not None:
            tensor.grad = grad
            tensor.requires_grad_(requires_grad)

    return restore
