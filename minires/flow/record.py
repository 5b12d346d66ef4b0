"""Recording: the gradient on every edge of the graph, and the forks at which a shortcut leaves its branch.

While a recording is on, the engine hands over, for every tensor, each consumer's contribution to its gradient (the
edges) and the sum it passed on. Norms and inner products are kept; the arrays themselves only on request, so that the
recording of a deep network stays small.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .. import autograd, kernels
from ..autograd import Edge
from ..nn import Module, Parameter, functional as F
from ..ops import Op
from ..tensor import Tensor
from ..threads import one_blas_thread
from . import export
from .forks import meeting_points, skip_edges
from .inside import as_input
from .keeping import keeping


@dataclass(frozen=True)
class Node:
    """A tensor as backward saw it: who made it, who used it, and the gradient each user returned."""

    key: int  # position in forward order; leaf tensors count down from −1
    name: str  # of a parameter; for others the scope and the op, such as "layer1.0.relu: ReLU"
    op: str  # class name of the op that made it, "" for a leaf
    scope: str  # of the op that made it
    shape: tuple[int, ...]
    parameter: bool
    consumers: tuple[int, ...]  # keys of the ops that used it, one per edge
    slots: tuple[int, ...]  # as which of their inputs
    gram: np.ndarray  # inner products of the edges' gradients (edges, edges)
    norm: float  # of the gradient that was passed on
    sum_error: float  # ‖passed on − Σ edges‖ / ‖passed on‖, in float64
    grads: tuple[Any, ...] = field(default=(), repr=False)  # the edges' gradients, if arrays were asked for

    @property
    def edge_norms(self) -> list[float]:
        """‖gradient‖ on each edge, in forward order of the consumers."""
        return [float(np.sqrt(g)) for g in np.diag(self.gram)]


class Summand(NamedTuple):
    """One consumer's share of a tensor's gradient: its norm, and the array itself if the recording keeps arrays."""

    consumer: str
    norm: float
    grad: Any = None


@dataclass(frozen=True)
class Fork:
    """A tensor from which a shortcut and a branch start that meet again at an addition.

    skip, branch, total: Euclidean norms of the gradient that came back along each, and of what was passed on.
    cosine: between skip and branch. sum_error: ‖total − (skip + branch)‖ / ‖total‖, in float64.
    skip_grad, branch_grad: the arrays themselves, if the recording keeps arrays, else None.
    """

    name: str
    skip: float
    branch: float
    total: float
    cosine: float
    sum_error: float
    shape: tuple[int, ...]
    skip_grad: Any = field(default=None, repr=False)
    branch_grad: Any = field(default=None, repr=False)

    @property
    def ratio(self) -> float:
        """‖branch‖ / ‖skip‖."""
        if self.skip == self.branch == 0:
            return float("nan")
        return self.branch / self.skip if self.skip else float("inf")

    @property
    def share(self) -> float:
        """The branch's share of ‖skip‖² + ‖branch‖²."""
        both = self.skip**2 + self.branch**2
        return self.branch**2 / both if both else float("nan")


@dataclass(frozen=True)
class Layer:
    """One op of the network: its output's statistics, and the gradients of its output and of its weight.

    mean, std, zeros: of the output's values, zeros being the fraction that is exactly 0 (NaN if forward ran outside the
    recording). output_gradient, weight_gradient: Euclidean norms; weight_gradient is None where there is no weight.
    """

    name: str  # of the module, with #2, #3 … where it was called again
    op: str
    shape: tuple[int, ...]
    mean: float
    std: float
    zeros: float
    output_gradient: float
    weight_gradient: float | None
    weight_shape: tuple[int, ...] = ()


class Recording:
    """What a backward pass did to every edge of the graph. Made by `recording` or `record`.

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
        self.loss: float | None = None

    # ── called by the engine ──
    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        """Take note of an op that joined the graph."""
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
        """Take note of one tensor's gradient: the edges it came along, and the sum."""
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
        gram, norm, sum_error = _products(grads, total)
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
        for cached in ("nodes", "by_key", "forks", "layers"):
            self.__dict__.pop(cached, None)

    # ── what was recorded ──
    @cached_property
    def nodes(self) -> list[Node]:
        """All tensors of the graph in forward order, leaf tensors just before they are first used.

        Raises RuntimeError if nothing was recorded.
        """
        if not self._nodes:
            raise RuntimeError(
                "Recording: nothing was recorded yet; run forward and loss.backward() inside `with flow.recording()`, "
                "not under no_grad()"
            )
        return sorted(self._nodes, key=lambda node: node.key if node.key >= 0 else min(node.consumers) - 0.5)

    @cached_property
    def by_key(self) -> dict[int, Node]:
        """The nodes by their key."""
        return {node.key: node for node in self.nodes}

    @cached_property
    def forks(self) -> list[Fork]:
        """The forks, in forward order, see `forks.skip_edges`; named by the scope of the addition."""
        meets = meeting_points({node.key: node.consumers for node in self.nodes})
        found = []
        for key, skip in skip_edges(self.by_key).items():
            meeting = meets[key]
            assert meeting is not None  # every fork has one
            found.append(_fork(self.by_key[key], skip, self.by_key[meeting].scope))
        return found

    @cached_property
    def layers(self) -> list[Layer]:
        """One row for every op's output, in forward order."""
        weights = {
            node.consumers[0]: node
            for node in reversed(self.nodes)
            if node.parameter and node.slots[0] == 1  # input 0 is the data, 1 the weight, 2 the bias
        }
        unknown = float("nan"), float("nan"), float("nan")
        found = []
        for node in self.nodes:
            if node.key < 0:
                continue
            weight = weights.get(node.key)
            label = self._labels.get(node.key, node.name)
            again = label.partition("#")[1:]
            found.append(
                Layer(
                    (node.scope or node.op) + "".join(again),
                    node.op,
                    node.shape,
                    *self._statistics.get(node.key, unknown),
                    output_gradient=node.norm,
                    weight_gradient=weight.norm if weight else None,
                    weight_shape=weight.shape if weight else (),
                )
            )
        return found

    @property
    def weight_layers(self) -> list[Layer]:
        """The layers that have a weight of two or more axes: convolutions and linear layers."""
        return [layer for layer in self.layers if len(layer.weight_shape) > 1]

    @property
    def sum_error(self) -> float:
        """The largest relative error of skip + branch against the gradient passed on, over all forks (0 if none)."""
        return float(np.max([0.0, *(fork.sum_error for fork in self.forks)]))  # NaN, if there is one, not hidden

    def edges(self, tensor: Tensor | str) -> list[Summand]:
        """What each consumer of a tensor, given itself or by its name in `nodes`, gave back to it, in forward order.

        Raises KeyError if it is not part of the recording.
        """
        node = self._find(tensor)
        grads = node.grads or (None,) * len(node.consumers)
        names = [self.by_key[k].name for k in node.consumers]
        return [Summand(*summand) for summand in zip(names, node.edge_norms, grads)]

    def _find(self, tensor: Tensor | str) -> Node:
        for node in self.nodes:
            if isinstance(tensor, str):
                if node.name == tensor:
                    return node
            elif (tensor.op.serial == node.key) if tensor.op else (self._leaves.get(node.key) is tensor):
                return node
        what = repr(tensor) if isinstance(tensor, str) else f"a tensor of shape {tensor.shape}"
        known = ", ".join(repr(node.name) for node in self.nodes[:4])
        raise KeyError(f"edges: got {what}, which no gradient reached in this recording; there are {known}, …")

    # ── ways to look at it ──
    def graph(self) -> dict[str, Any]:
        """The graph as plain lists, numbers and strings, see `export.graph` for the schema."""
        return export.graph(self)

    def to_json(self, path: Any) -> None:
        """Write loss, graph, forks and layers as JSON, see `export`."""
        export.to_json(self, path)

    def to_csv(self, path: Any) -> None:
        """Write one row for every edge: source, consumer, slot, role, gradient norm."""
        export.to_csv(self, path)

    def table(self) -> str:
        """Forks, weight layers and notes as text."""
        return export.table(self)

    def plot(self) -> Any:
        """A matplotlib figure: the gradient's profile over the weight layers, and the fork strip if there are forks."""
        from . import plots  # needs matplotlib, which is slow to import

        return plots.recording(self)


@contextlib.contextmanager
def recording(model: Module | None = None, arrays: bool = False) -> Iterator[Recording]:
    """Record forward and backward inside the ``with`` block; give the model so that parameters have names.

    ``arrays=True`` keeps the gradient arrays of all edges, as much memory as the activations and more.
    """
    recorder = Recording(model, arrays)
    with autograd.switch(recorder=recorder):
        yield recorder


def record(
    model: Module, x: Any, target: Any, loss: Callable[..., Tensor] = F.cross_entropy, arrays: bool = False
) -> Recording:
    """Run the model forward and backward once, and return the recording; the model is left exactly as it was.

    x (N, …) and target are what ``loss(model(x), target)`` takes, tensors or arrays. The model's mode is used as it is.
    A block fed by x itself is a fork only if x is a tensor that requires grad.
    """
    x = as_input("record", model, x, requires_grad=getattr(x, "requires_grad", False))
    target = as_input("record", model, target)
    with keeping(model), recording(model, arrays) as recorder:
        value = loss(model(x), target)
        value.backward()
    recorder.loss = value.item()
    return recorder


def _position(edge: Edge) -> tuple[int, int]:
    """Where an edge stands in forward order: its consumer's key, and the slot."""
    return (edge.consumer.serial, edge.slot) if edge.consumer is not None else (-1, edge.slot)


@one_blas_thread()  # BLAS's own threads would be in the way of the kernels'
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


def _fork(node: Node, skip: int, name: str) -> Fork:
    """The fork at a node, its edge number ``skip`` being the shortcut and the sum of the others the branch."""
    others = [i for i in range(len(node.consumers)) if i != skip]
    branch_norm = float(np.sqrt(max(node.gram[np.ix_(others, others)].sum(), 0)))
    both = node.edge_norms[skip] * branch_norm
    return Fork(
        name=name,
        skip=node.edge_norms[skip],
        branch=branch_norm,
        total=node.norm,
        cosine=float(node.gram[skip, others].sum()) / both if both else 0.0,
        sum_error=node.sum_error,
        shape=node.shape,
        skip_grad=node.grads[skip] if node.grads else None,
        branch_grad=sum(node.grads[i] for i in others) if node.grads else None,
    )
