"""What the tensors of a recording are called.

- The output of an op: the module it ran in and the op, as in "layer1.0.relu: ReLU"; outside of all modules, the op
  alone. If the same name occurs again in a pass, "#2", "#3" … is appended.
- A parameter of a network that ran, or of the model that the recording was given: its name there.
- Any other leaf tensor: its role in the op that used it first, as in "weight of Conv2d#2" or "input of Linear".
- In the second walk back of a recording, and in later ones, " (backward 2)" or " (grad 2)" is appended to every name.
"""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..autograd import Edge
from .node import Node


class Name(NamedTuple):
    """What a tensor is called in every pass (base), and what tells the passes apart (suffix)."""

    base: str
    suffix: str

    def __str__(self) -> str:
        return self.base + self.suffix


def label(scope: str, op: str) -> str:
    """The name of an op's output, before it is numbered."""
    return f"{scope}: {op}" if scope else op


def numbered(name: str, number: int) -> str:
    """The name where it occurs for the first time, and with "#2", "#3" … where it occurs again."""
    return name if number == 1 else f"{name}#{number}"


def pass_suffix(passes: Sequence[str], number: int) -> str:
    """What tells a pass apart, such as " (backward 2)"; nothing for a single pass, or a first call of backward."""
    call = passes[number - 1] if number <= len(passes) else "backward"
    return "" if len(passes) < 2 or (number == 1 and call == "backward") else f" ({call} {number})"


def role(edge: Edge, parameter: bool) -> str:
    """A leaf tensor's role in an op: the name of forward's argument, such as "weight", or else "input 2"."""
    kind = "parameter" if parameter else "input"
    if edge.consumer is None:
        return kind
    arguments = _arguments(type(edge.consumer).forward)
    word = arguments[edge.slot] if edge.slot < len(arguments) else ""
    if len(word) > 1:
        return word
    alone = word and sum(len(other) == 1 for other in arguments) == 1  # x, but not a and b
    return kind if alone else f"{kind} {edge.slot + 1}"


@functools.cache
def _arguments(forward: Callable[..., Any]) -> list[str]:
    """The names of an op's inputs, as far as forward lists them one by one."""
    parameters = inspect.signature(forward).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD][1:]  # without self


def find_names(
    nodes: Sequence[Node], passes: Sequence[str], identity: Mapping[int, int], roles: Mapping[int, str]
) -> dict[int, Name]:
    """{key: name} of the nodes of all passes, in forward order.

    identity: for each key, what stays the same from pass to pass. roles: for each leaf tensor without a name (all but
    the model's parameters), what it was used for.
    """
    names: dict[int, Name] = {}
    used: Counter[tuple[int, str]] = Counter()
    for node in nodes:
        if node.key >= 0:
            used[node.pass_, node.name] += 1
            base = numbered(node.name, used[node.pass_, node.name])
            names[node.key] = Name(base, pass_suffix(passes, node.pass_))
    bases: dict[int, str] = {}  # of the leaf tensors, by identity
    taken: set[tuple[int, str]] = set()
    leaves = [node for node in nodes if node.key < 0]
    first: dict[int, int] = {}  # identity -> the pass that saw it first
    for node in leaves:
        first.setdefault(identity[node.key], node.pass_)
    leaves.sort(key=lambda node: (node.pass_, first[identity[node.key]] == node.pass_))  # named ones first
    for node in leaves:
        base = bases.get(identity[node.key], node.name)
        if not base:
            base = roles[node.key] + (f" of {names[node.consumers[0]].base}" if node.consumers else "")
        number = 1
        while (node.pass_, numbered(base, number)) in taken:  # another tensor has had it since an earlier pass
            number += 1
        base = numbered(base, number)
        taken.add((node.pass_, base))
        bases.setdefault(identity[node.key], base)
        names[node.key] = Name(base, pass_suffix(passes, node.pass_))
    return names
