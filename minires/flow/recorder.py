"""FlowRecorder: what the engine calls while a recording is on; it keeps numbers and, on request, the arrays."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Edge, Recorder
from ..blas import one_blas_thread
from ..nn import Module, Parameter
from ..norms import mean_and_std
from ..ops import Op
from . import naming
from .node import Node, Scaling
from .summands import measure_summands, on_cpu


class FlowRecorder(Recorder):
    """Collects a `Node` for every tensor that a gradient reached, and statistics of every op's output.

    model: gives parameters their names. arrays: whether to keep the gradient arrays of all edges.
    passes: "backward" or "grad" for every recorded walk back, in order.
    """

    def __init__(self, model: Module | None = None, arrays: bool = False):
        self.passes: list[str] = []
        self._known = {id(p): name for name, p in model.named_parameters()} if model is not None else {}
        self._arrays = arrays
        self._nodes: list[Node] = []  # in the order they came, and not yet numbered
        self._identity: dict[int, int] = {}  # key -> the same number in every pass: an op's serial, or `leaf_identity`
        self._roles: dict[int, str] = {}  # key of a leaf tensor without a name -> what it was used for
        self._statistics: dict[int, tuple[float, float, float]] = {}  # serial -> (mean, std, fraction of zeros)
        self._without_gradient: list[tuple[int, str]] = []  # (serial, label) of additions with a constant summand
        self._call: str | None = None  # the walk that has begun, until its first gradient arrives
        self._offset = self._next = 0  # an op's key in this pass less its serial; one more than the largest key so far
        self._leaves: list[Any] = []  # kept alive, so that no later tensor gets the id of one

    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        """Keep mean, standard deviation and zeros of an op's output; note an addition at which no fork can end."""
        values = on_cpu(output).ravel("K")
        zeros = 1 - int(np.count_nonzero(values)) / max(values.size, 1)
        self._statistics[op.serial] = *mean_and_std(values), zeros
        if op.name == "Add":
            for array, need in zip(inputs, op.needs):
                if not need and getattr(array, "shape", None) == output.shape:
                    self._without_gradient.append((op.serial, naming.label(op.scope, op.name)))

    def begin(self, call: str) -> None:
        """Start another pass: the gradients that follow belong to it, and its keys come after those of earlier ones."""
        self._call = call

    def backward(self, source: Any, edges: Sequence[Edge], total: Any) -> None:
        """Keep one tensor's gradient: the edges it came along, with their norms and angles, and their sum."""
        if self._call is not None or not self.passes:
            self.passes.append(self._call or "backward")
            self._call, self._offset = None, self._next
        used = edges if len(edges) == 1 else sorted(edges, key=_position)
        if isinstance(source, Op):
            key, identity, name = source.serial + self._offset, source.serial, naming.label(source.scope, source.name)
            self._next = max(self._next, key + 1)
        else:
            self._leaves.append(source)
            key, identity, name = -len(self._leaves), leaf_identity(source), self._known.get(id(source), "")
            if not name:
                self._roles[key] = naming.role(used[0], isinstance(source, Parameter))
        self._identity[key] = identity
        grads = [edge.grad for edge in used]
        measured = one_blas_thread(measure_summands, grads, total)  # BLAS's threads would get in the kernels' way
        by_ops = [(edge.consumer.serial, edge.slot) for edge in used if edge.consumer is not None]
        self._nodes.append(
            Node(
                key=key,
                name=name,
                op=source.name if isinstance(source, Op) else "",
                scope=source.scope if isinstance(source, Op) else "",
                shape=tuple(source.shape),
                parameter=isinstance(source, Parameter),
                consumers=tuple(serial + self._offset for serial, _ in by_ops),
                slots=tuple(slot for _, slot in by_ops),
                edge_norms=measured.norms,
                cosines=measured.cosines,
                others=measured.others,
                norm=measured.norm,
                sum_error=measured.error,
                grads=tuple(grads) if self._arrays else (),
                pass_=len(self.passes),
                scaling=None if all(edge.came is None for edge in used) else self._scaling(used),
            )
        )

    def _scaling(self, edges: Sequence[Edge]) -> Scaling:
        """What the edges were multiplied by, and the size of what had come back along them."""
        came = [edge.grad if edge.came is None else edge.came for edge in edges]
        measured = one_blas_thread(measure_summands, came, functools.reduce(operator.add, came))
        others = tuple(norm for norm, _ in measured.others)
        grads = tuple(came) if self._arrays else ()
        return Scaling(tuple(edge.factor for edge in edges), measured.norms, others, grads)


def leaf_identity(tensor: Any) -> int:
    """A number for a leaf tensor, less than any op's serial."""
    return ~id(tensor)


def _position(edge: Edge) -> tuple[float, int]:
    """Where an edge stands in forward order: by consumer, then by slot; the gradient backward started with is last."""
    return (edge.consumer.serial if edge.consumer is not None else np.inf, edge.slot)
