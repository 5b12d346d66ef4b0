"""The instrument on a PyTorch network: the same `Recording`, with the same forks, edges, layers, figures and files.

    from minires.flow import torch as flow_torch
    recording = flow_torch.record(model, x, y)
    print(recording.table())

Only this package of minires imports PyTorch, and only if it is used. Made for PyTorch 2.13.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from ...blocks import contextmanager
from ..recording import Recording
from . import notes
from .keeping import keeping
from .ledger import Ledger

__all__ = ["keeping", "record", "recording"]


@contextmanager
def recording(model: torch.nn.Module | None = None, arrays: bool = False) -> Iterator[Recording]:
    """Record forward and backward inside the ``with`` block; give the model so that scopes and parameters have names.

    All calls of ``backward`` and ``torch.autograd.grad`` are recorded, and no gradient changes by a bit. What runs
    forward alone, with gradients enabled, keeps its memory until the block ends.
    ``arrays=True`` keeps the gradients of all edges: as arrays, or as tensors if they are on a GPU.
    Functions that torch.compile has made run as they were before.
    Raises TypeError for a compiled model, RuntimeError for a graph that was compiled earlier.
    """
    if model is not None:
        notes.refuse_fused("recording", model)
    with notes.uncompiled(), Ledger(model, arrays) as ledger:
        yield ledger.recording


def record(
    model: torch.nn.Module,
    x: Any,
    target: Any,
    loss: Callable[..., torch.Tensor] = F.cross_entropy,
    arrays: bool = False,
) -> Recording:
    """Run the model forward and backward once, and return the recording; the model is left exactly as it was.

    x and target are what ``loss(model(x), target)`` takes. Tensors and arrays go to the model's device, and floats take
    its dtype; anything else is passed on as it is. The model's mode is used as it is. A block fed by x itself is a fork
    only if x is a tensor that requires grad.
    Raises TypeError for a compiled model, RuntimeError if the loss does not depend on anything that requires grad.
    """
    notes.refuse_fused("record", model)
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    with keeping(model), torch.enable_grad(), recording(model, arrays) as found:
        value = loss(model(_input(x, like)), _input(target, like))
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            what = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"type {type(value).__name__}"
            raise ValueError(f"record: got a loss of {what}; expected a tensor with one number, such as its mean")
        if not value.requires_grad:
            raise RuntimeError(
                "record: the loss does not require grad: every parameter is frozen, or something on the way was "
                "detached or computed under no_grad() or inference_mode()"
            )
        value.backward()
    found.loss = value.item()
    return found


def _input(x: Any, like: torch.Tensor | None) -> Any:
    """A tensor or array as a leaf tensor of the model's device, floats in its dtype; other things as they are."""
    if not isinstance(x, torch.Tensor):
        if not hasattr(x, "__array__"):
            return x
        x = torch.as_tensor(x.numpy() if hasattr(x, "numpy") else x)
    tensor = x.detach()
    if like is not None:
        tensor = tensor.to(like.device, like.dtype if tensor.is_floating_point() else tensor.dtype)
    return tensor.requires_grad_(x.requires_grad)
