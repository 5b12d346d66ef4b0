"""Look without touching: instruments run a model and leave it exactly as it was."""

import contextlib
from collections.abc import Iterator

from .. import random
from ..nn import Module


@contextlib.contextmanager
def keeping(model: Module) -> Iterator[None]:
    """Restore, when the block ends: weights, buffers (bit for bit), gradients, mode of every module, random state."""
    arrays = [p.data for p in model.parameters()] + [buffer for _, buffer in model.named_buffers()]
    before = [array.copy("K") for array in arrays]
    grads = [(p, p.grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    state = random.get_state()
    for p, _ in grads:
        p.grad = None
    try:
        yield
    finally:
        for array, values in zip(arrays, before):
            array[...] = values
        for p, grad in grads:
            p.grad = grad
        for module, training in modes:
            module.__dict__["training"] = training
        random.set_state(state)
