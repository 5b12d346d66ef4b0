"""The graph behind a tensor before it is walked, in the form that `forks` takes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..nn import Parameter
from ..ops import Op


class BareNode(NamedTuple):
    """A tensor of the graph, without a gradient."""

    op: str  # class name of the op that made it, "" for a leaf
    scope: str
    parameter: bool
    consumers: list[int]  # keys of the ops that used it, one per edge
    pass_: int = 1


class Behind:
    """The ops given and the leaf tensors that they used.

    edges: {source: its (consumer, slot)s in forward order}, the source being an op or a leaf tensor.
    sources: {key: source}; a key is an op's serial, and leaf tensors count down from −1. nodes: {key: `BareNode`}.
    """

    def __init__(self, ops: Sequence[Op]):
        """``ops`` are in forward order."""
        self.edges: dict[Any, list[tuple[Op, int]]] = {op: [] for op in ops}
        for op in ops:
            for slot, source in enumerate(op.inputs):
                if source is not None:
                    self.edges.setdefault(source, []).append((op, slot))
        self.sources = {s.serial if isinstance(s, Op) else -1 - i: s for i, s in enumerate(self.edges)}
        self.nodes = {key: self._node(source) for key, source in self.sources.items()}

    def _node(self, source: Any) -> BareNode:
        name, scope = (source.name, source.scope) if isinstance(source, Op) else ("", "")
        return BareNode(
            name, scope, isinstance(source, Parameter), [consumer.serial for consumer, _ in self.edges[source]]
        )


def all_ops(outputs: Sequence[Any]) -> list[Op]:
    """The ops behind tensors, in forward order, as far as the graph has not been freed."""
    seen = {t.op for t in outputs if t.op is not None}
    stack = list(seen)
    while stack:
        new = {source for source in stack.pop().inputs if isinstance(source, Op)} - seen
        seen |= new
        stack += new
    return sorted(seen, key=lambda op: op.serial)
