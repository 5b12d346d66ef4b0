"""A chain of blocks taken out of its model: what each gets as its input, and the function they form together."""

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .. import autograd
from ..nn import Module
from ..tensor import Tensor
from .inside import check_all_ran, find_blocks, passages

Function = Callable[[Tensor], Tensor]


class Chain:
    """The function that runs modules one after the other."""

    def __init__(self, modules: Sequence[Module]):
        self.modules = modules

    def __call__(self, x: Tensor) -> Tensor:
        for module in self.modules:
            x = module(x)
        return x


def chain_of(
    function: str, model: Module, x: np.ndarray, blocks: Iterable[Module | str] | None
) -> tuple[list[Module], list[np.ndarray]]:
    """The blocks in the order in which the model calls them on x, and what each gets as its input.

    Raises ValueError, in the name of ``function``, unless each is called once, with the output of the one before.
    """
    found = find_blocks(function, model, blocks)
    with passages(found) as seen, autograd.switch(grad_enabled=False, recorder=None):
        model(Tensor(x))
    check_all_ran(function, found, seen)
    for name, _, _ in seen:
        if name not in found:
            raise ValueError(f"{function}: block {name.split('#')[0]} is called more than once; leave it out: blocks=")
    for (name, _, y), (after, entered, _) in itertools.pairwise(seen):
        if y.array is not entered.array:
            raise ValueError(
                f"{function}: block {after} does not get the output of {name}; expected a chain. Put what stands "
                "between them into one module with a block"
            )
    return [found[name] for name, _, _ in seen], [entered.array for _, entered, _ in seen]
