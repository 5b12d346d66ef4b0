"""What the probes share: a network's blocks, what passes through them, and input of the network's own type."""

import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..arguments import described
from ..blocks import contextmanager
from ..dtypes import check_real
from ..nn import Module
from ..nn.examples import fit_to
from ..tensor import Tensor


def find_blocks(function: str, model: Module, blocks: Iterable[Module | str] | None = None) -> dict[str, Module]:
    """{dotted name: block} of the given blocks (modules or names), or of what ``model.blocks()`` lists.

    Raises ValueError, in the name of ``function``, if there is none, or one is not part of the model.
    """
    modules = dict(model.named_modules())
    names = {module: name for name, module in modules.items()}
    if blocks is None:
        if not hasattr(model, "blocks"):
            raise ValueError(
                f"{function}: {type(model).__name__} has no method blocks() that would list its blocks; "
                "name them: blocks=[model.layer1, model.layer2], or blocks=['layer1', 'layer2']"
            )
        blocks = model.blocks()
    found = {}
    for block in blocks:
        name = block if isinstance(block, str) else names.get(block)
        if name not in modules:
            given = repr(block) if isinstance(block, str) else described(block)
            raise ValueError(
                f"{function}: got {given} as a block, which is no part of this {type(model).__name__}; "
                "names are those of model.named_modules()"
            )
        found[name] = modules[name]
    if not found:
        raise ValueError(
            f"{function}: got no blocks; a network without any has nothing to look at. Take a deeper one, or name "
            "other modules: blocks=[…]"
        )
    return found


@contextmanager
def passages(blocks: dict[str, Module]) -> Iterator[list[tuple[str, Tensor, Tensor]]]:
    """Collect (name, input, output) of every call of a block, in the order of the calls; the second is ``name#2``."""
    seen: list[tuple[str, Tensor, Tensor]] = []
    calls = dict.fromkeys(blocks, 0)

    def note(name: str, inputs: tuple, options: dict[str, Any], y: Tensor) -> None:
        calls[name] += 1
        seen.append((name if calls[name] == 1 else f"{name}#{calls[name]}", first_of(inputs, options), y))

    restore = itertools.starmap(operator.setitem, [(vars(block), "_hooks", block._hooks) for block in blocks.values()])
    try:
        for name, block in blocks.items():
            block.register_forward_hook(lambda block, *call, name=name: note(name, *call), with_kwargs=True)
        yield seen
    finally:
        list(restore)  # in one C call, so that no interrupt comes between


def first_of(inputs: tuple, options: dict[str, Any]) -> Any:
    """The first input of a call, whether given by position or by name."""
    return (*inputs, *options.values(), None)[0]


def check_all_ran(function: str, blocks: dict[str, Module], seen: list[tuple[str, Tensor, Tensor]]) -> None:
    """Raise ValueError if a block was not called, TypeError if it takes or returns anything but a tensor."""
    silent = set(blocks) - {name for name, _, _ in seen}
    if silent:
        raise ValueError(
            f"{function}: block {min(silent)} was not called in the forward pass, so nothing can be said of it; "
            "name only blocks that the model runs"
        )
    for name, x, y in seen:
        for value, does in ((x, "takes"), (y, "returns")):
            if not isinstance(value, Tensor):
                what = "nothing" if value is None else described(value)
                raise TypeError(
                    f"{function}: block {name.partition('#')[0]} {does} {what}; expected a tensor. Name other modules, "
                    "or put the block into one that takes a tensor and returns one"
                )


def as_input(function: str, model: Module, x: Any, requires_grad: bool = False) -> Tensor:
    """A leaf tensor with the values of x (N, …), on the device of the model's first parameter, floats in its dtype.

    Raises ValueError, in the name of ``function``, if x holds no example, TypeError if it is several tensors.
    """
    check_single(function, x)
    tensor = Tensor(x if hasattr(x, "dtype") else np.asarray(x))
    check_real(function, x, tensor.array)
    if tensor.ndim == 0 or 0 in tensor.shape:
        raise ValueError(f"{function}: got an input of shape {tensor.shape}; expected (N, …) with at least one example")
    tensor = fit_to(model, tensor)
    return Tensor(tensor.array, requires_grad=requires_grad and tensor.dtype.kind == "f")


def check_single(function: str, x: Any) -> None:
    """Raise TypeError if x is several tensors, which NumPy would stack into one."""
    if isinstance(x, tuple | list) and any(isinstance(part, Tensor) for part in x):
        raise TypeError(
            f"{function}: got {described(x)} of tensors; expected one tensor or array (N, …). For a network with "
            "several inputs write a module whose forward(x) adds the others, for several targets a loss that knows "
            "them; or record a call of your own: `with flow.recording(model) as recorded:`"
        )
