"""What the engine calls while a recording is on: it keeps numbers of every op's output and of every edge's gradient.

For every tensor the engine hands over each consumer's share of its gradient (the edges) and the sum it passed on.
Norms and inner products are kept, the arrays themselves only on request, so that the recording of a deep network stays
small. What a reader can ask about these numbers is in `minires.flow.recording`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import kernels
from ..autograd import Edge, Recorder
from ..blas import one_blas_thread
from ..nn import Module, Parameter
from ..ops import Op


@dataclass(frozen=True)
class Node:
    """A tensor as backward saw it: what made it, what used it, and the gradient that each user sent back."""

    key: int  # position in forward order; leaf tensors count down from −1
    name: str  # of a parameter; for others the scope and the op, such as "layer1.0.relu: ReLU"
    op: str  # class name of the op that made it, "" for a leaf
    scope: str  # of the op that made it
    shape: tuple[int, ...]
    parameter: bool
    consumers: tuple[int, ...]  # keys of the ops that used it, one per edge
    slots: tuple[int, ...]  # and which of their inputs it was
    gram: np.ndarray  # inner products of the edges' gradients (edges, edges)
    norm: float  # of the gradient that was passed on
    sum_error: float  # ‖passed on − Σ edges‖ / ‖passed on‖, in float64
    grads: tuple[Any, ...] = field(default=(), repr=False)  # the edges' gradients, if arrays were requested

    @property
    def edge_norms(self) -> list[float]:
        """‖gradient‖ on each edge, in forward order of the consumers."""
        return [float(np.sqrt(g)) for g in np.diag(self.gram)]


class FlowRecorder(Recorder):
    """Collects a `Node` for every tensor that a gradient passed, and statistics of every op's output.

    model: gives parameters their names. arrays: whether to keep the gradient arrays of all edges.
    notes: what a reader of the numbers should know, such as a module that was called twice.
    """

    def __init__(self, model: Module | None = None, arrays: bool = False):
        self._names = {id(p): name for name, p in model.named_parameters()} if model is not None else {}
        self._arrays = arrays
        self._nodes: list[Node] = []
        self._leaves: dict[int, Any] = {}  # key -> leaf tensor
        self._statistics: dict[int, tuple[float, float, float]] = {}  # key -> (mean, std, fraction of zeros)
        self._labels: dict[int, str] = {}  # key -> scope and op, numbered where they repeat
        self._seen: Counter[str] = Counter()
        self._passed: set[int] = set()
        self.notes: list[str] = []

    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        """Keep mean, standard deviation and zeros of an op's output; note an addition at which no fork can end."""
        label = f"{op.scope}: {op.name}"
        self._seen[label] += 1
        self._labels[op.serial] = label + (f"#{self._seen[label]}" if self._seen[label] > 1 else "")
        values = kernels.to_device(output, "cpu").ravel("K")
        zeros = 1 - np.count_nonzero(values) / max(values.size, 1)
        self._statistics[op.serial] = float(values.mean()), float(values.std()), zeros
        if op.name == "Add":
            for array, need in zip(inputs, op.needs):
                if not need and getattr(array, "shape", None) == output.shape:
                    self.notes.append(
                        f"{self._labels[op.serial]}: one summand carries no gradient (was it detached, or made under "
                        "no_grad? Or is it an input without requires_grad?), so there is no fork before it"
                    )

    def backward(self, source: Any, edges: Sequence[Edge], total: Any) -> None:
        """Keep one tensor's gradient: norms and inner products of the edges it came along, and the norm of the sum."""
        is_op = isinstance(source, Op)
        key = source.serial if is_op else -1 - len(self._leaves)
        if is_op:
            name = self._labels.get(key, f"{source.scope}: {source.name}")
        else:
            self._leaves[key] = source
            name = self._names.get(id(source), "leaf")
        if is_op and key in self._passed:
            self.notes.append(f"{name}: passed by backward more than once; this recording mixes several passes")
        self._passed.add(key)
        used = sorted((edge for edge in edges if edge.consumer is not None), key=_position)
        grads = [edge.grad for edge in used] or [total]
        # BLAS's own threads would get in the way of the kernels'
        gram, norm, sum_error = one_blas_thread(_products, grads, total)
        self._nodes.append(
            Node(
                key=key,
                name=name,
                op=source.name if is_op else "",
                scope=source.scope if is_op else "",
                shape=tuple(source.shape),
                parameter=isinstance(source, Parameter),
                consumers=tuple(_position(edge)[0] for edge in used),
                slots=tuple(edge.slot for edge in used),
                gram=gram,
                norm=norm,
                sum_error=sum_error,
                grads=tuple(grads) if self._arrays else (),
            )
        )
        if isinstance(source, Parameter) and len(used) > 1:
            self.notes.append(
                f"{name}: used {len(used)} times (a module called again, or a shared weight); its gradient is the sum "
                "of all uses, and its norm stands with the first"
            )


def _position(edge: Edge) -> tuple[int, int]:
    """Where an edge stands in forward order: its consumer's key, and the slot."""
    return (edge.consumer.serial, edge.slot) if edge.consumer is not None else (-1, edge.slot)


def _products(grads: list[Any], total: Any) -> tuple[np.ndarray, float, float]:
    """(inner products of the edges, norm of the total, relative error of the sum)."""
    arrays = [kernels.to_device(a, "cpu") for a in (*grads, total)]
    order: Any = "K" if len({a.strides for a in arrays}) == 1 else "C"  # one order for all; "K" avoids copies
    flat = [a.ravel(order) for a in arrays]
    with np.errstate(over="ignore", invalid="ignore"):
        norm_squared = float(flat[-1] @ flat[-1])
    if not 1e-25 < norm_squared < 1e25:  # float32 may under- or overflow where it squares
        flat = [a.astype(np.float64) for a in flat]
        norm_squared = float(flat[-1] @ flat[-1])
    norm = math.sqrt(norm_squared) if norm_squared >= 0 else math.nan
    if len(grads) == 1:
        return np.array([[norm_squared]]), norm, 0.0 if math.isfinite(norm) else math.nan
    gram = np.array([[float(a @ b) for b in flat[:-1]] for a in flat[:-1]])
    if not math.isfinite(norm):
        return gram, norm, math.nan
    rest = flat[-1].astype(np.float64)
    for a in flat[:-1]:
        rest -= a
    return gram, norm, float(np.sqrt(rest @ rest)) / norm if norm else 0.0
