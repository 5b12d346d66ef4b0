"""Recording: the gradient on every edge of the graph, and the forks at which a shortcut leaves its branch.

While a recording is on, the engine hands over, for every tensor, each consumer's contribution to its gradient (the
edges) and the sum it passed on. Norms and inner products are kept; the arrays themselves only on request, so that a deep
network's recording stays small.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import autograd
from ..autograd import Edge
from ..nn import Module, Parameter, functional as F
from ..ops import Op
from ..tensor import Tensor
from .forks import meeting_points, skip_edges
from .keeping import keeping


@dataclass(frozen=True)
class Node:
    """A tensor as backward saw it: who made it, who used it, and the gradient each user returned."""

    key: int  # position in forward order; leaf tensors count down from −1
    name: str  # of a parameter; for others the scope and the op, such as "layer1.0.relu: ReLU"
    op: str  # class name of the op that made it, "" for a leaf
    parameter: bool  # whether it is a parameter; one that is used twice is shared, not a fork
    scope: str
    shape: tuple[int, ...]
    consumers: tuple[int, ...]  # keys of the ops that used it, one per edge
    gram: np.ndarray  # inner products of the edges' gradients (edges, edges)
    norm: float  # of the gradient that was passed on
    sum_error: float  # ‖passed on − Σ edges‖ / ‖passed on‖, in float64
    grads: tuple[Any, ...] = field(default=(), repr=False)  # the edges' gradients, if arrays were asked for


@dataclass(frozen=True)
class Fork:
    """A tensor from which a shortcut and a branch start that meet again at an addition.

    skip, branch, total: Euclidean norms of the gradient that came back along each, and of their sum.
    ratio: branch / skip. cosine: between the two. sum_error: ‖total − (skip + branch)‖ / ‖total‖.
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
        return self.branch / self.skip if self.skip else float("inf")

    @property
    def share(self) -> float:
        """The branch's share of ‖skip‖² + ‖branch‖²."""
        both = self.skip**2 + self.branch**2
        return self.branch**2 / both if both else float("nan")


@dataclass(frozen=True)
class Layer:
    """A layer with a weight of two or more axes: the norms of the gradients of its weight and of its output."""

    name: str
    weight_gradient: float
    output_gradient: float
    shape: tuple[int, ...]


class Recording:
    """What one backward pass did to every edge of the graph. Made by `recording` or `record`."""

    def __init__(self, model: Module | None = None, arrays: bool = False):
        self._names = {id(p): name for name, p in model.named_parameters()} if model is not None else {}
        self._arrays = arrays
        self._nodes: list[Node] = []
        self.loss: float | None = None

    def __call__(self, source: Any, edges: Sequence[Edge], total: Any) -> None:
        """Take note of one tensor; called by the engine."""
        is_op = isinstance(source, Op)
        op, scope = (source.name, source.scope) if is_op else ("", "")
        name = f"{scope}: {op}" if is_op else self._names.get(id(source), "leaf")
        edges = sorted(edges, key=lambda edge: (edge.consumer.serial if edge.consumer else -1, edge.slot))  # forward order
        grads = [edge.grad for edge in edges]
        gram, norm, sum_error = _products(grads, total)
        self._nodes.append(
            Node(
                key=source.serial if is_op else -1 - len(self._nodes),
                name=name,
                op=op,
                parameter=isinstance(source, Parameter),
                scope=scope,
                shape=tuple(source.shape),
                consumers=tuple(edge.consumer.serial for edge in edges if edge.consumer is not None),
                gram=gram,
                norm=norm,
                sum_error=sum_error,
                grads=tuple(grads) if self._arrays else (),
            )
        )

    @property
    def nodes(self) -> list[Node]:
        """All tensors of the graph in forward order, leaf tensors where they are first used."""
        if not self._nodes:
            raise RuntimeError(
                "Recording: nothing was recorded yet; run forward and loss.backward() inside `with flow.recording()`, "
                "not under no_grad()"
            )
        return sorted(self._nodes, key=lambda node: min(node.consumers, default=node.key) - (node.key < 0) / 2)

    @cached_property
    def _by_key(self) -> dict[int, Node]:
        return {node.key: node for node in self.nodes}

    @cached_property
    def forks(self) -> list[Fork]:
        """The forks, in forward order, see `forks.skip_edges`; named by the scope of the addition."""
        meets = meeting_points({node.key: node.consumers for node in self.nodes})
        return [
            _fork(self._by_key[key], skip, self._by_key[meets[key]].scope)
            for key, skip in skip_edges(self._by_key).items()
        ]

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers with weights, in forward order."""
        found = []
        for node in self.nodes:
            if node.key < 0 and len(node.shape) > 1 and node.name.endswith("weight"):
                output = self._by_key[node.consumers[0]]
                found.append(Layer(node.name.removesuffix(".weight"), node.norm, output.norm, node.shape))
        return found

    @property
    def sum_error(self) -> float:
        """The largest relative error of skip + branch against the gradient passed on, over all forks (0 if none)."""
        return max((fork.sum_error for fork in self.forks), default=0.0)

    def edges(self, name: str) -> list[tuple[str, float]]:
        """(consumer, ‖gradient‖) for each consumer of the tensor of this name; names as in `nodes`."""
        for node in self.nodes:
            if node.name == name:
                return [(self._by_key[k].name, float(np.sqrt(node.gram[i, i]))) for i, k in enumerate(node.consumers)]
        raise KeyError(f"edges: got {name!r}, which is no tensor of this recording; names are in [n.name for n in rec.nodes]")

    def table(self) -> str:
        """Forks and layers as text."""
        rows = [f"{'fork':<24}{'skip':>11}{'branch':>11}{'total':>11}{'ratio':>9}{'cosine':>9}{'sum error':>11}"]
        rows += [
            f"{f.name:<24}{f.skip:>11.3e}{f.branch:>11.3e}{f.total:>11.3e}{f.ratio:>9.3f}{f.cosine:>9.3f}{f.sum_error:>11.0e}"
            for f in self.forks
        ]
        if not self.forks:
            rows.append("(no fork: no tensor's consumers meet again at an addition)")
        rows += ["", f"{'layer':<24}{'‖dL/dW‖':>11}{'‖dL/dy‖':>11}"]
        rows += [f"{r.name:<24}{r.weight_gradient:>11.3e}{r.output_gradient:>11.3e}" for r in self.layers]
        return "\n".join(rows)

    def plot(self) -> Any:
        """A matplotlib figure: the gradient's profile over the layers, and the fork strip if there are forks."""
        from . import plots  # needs matplotlib, which is slow to import

        return plots.recording(self)


@contextlib.contextmanager
def recording(model: Module | None = None, arrays: bool = False) -> Iterator[Recording]:
    """Record every backward pass inside the ``with`` block; give the model so that parameters have names.

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
    """
    x, target = (t if isinstance(t, Tensor) else Tensor(np.asarray(t)) for t in (x, target))
    with keeping(model), recording(model, arrays) as recorder:
        value = loss(model(x), target)
        value.backward()
    recorder.loss = value.item()
    return recorder


def _products(grads: list[Any], total: Any) -> tuple[np.ndarray, float, float]:
    """(inner products of the edges, norm of the total, relative error of the sum)."""
    arrays = [*grads, total]
    order = "K" if len({a.strides for a in arrays}) == 1 else "C"  # one order for all; "K" avoids copies
    flat = [np.asarray(a).ravel(order) for a in arrays]
    norm = float(np.sqrt(flat[-1] @ flat[-1]))
    if len(grads) == 1:
        return np.array([[norm**2]]), norm, 0.0
    gram = np.array([[float(a @ b) for b in flat[:-1]] for a in flat[:-1]])
    rest = flat[-1].astype(np.float64)
    for a in flat[:-1]:
        rest -= a
    return gram, norm, float(np.sqrt(rest @ rest)) / norm if norm else 0.0


def _fork(node: Node, skip: int, name: str) -> Fork:
    """The fork at a node, its edge number ``skip`` being the shortcut and the sum of the others the branch."""
    others = [i for i in range(len(node.consumers)) if i != skip]
    skip_norm = float(np.sqrt(node.gram[skip, skip]))
    branch_norm = float(np.sqrt(max(node.gram[np.ix_(others, others)].sum(), 0)))
    both = skip_norm * branch_norm
    return Fork(
        name=name,
        skip=skip_norm,
        branch=branch_norm,
        total=node.norm,
        cosine=float(node.gram[skip, others].sum()) / both if both else 0.0,
        sum_error=node.sum_error,
        shape=node.shape,
        skip_grad=node.grads[skip] if node.grads else None,
        branch_grad=sum(node.grads[i] for i in others) if node.grads else None,
    )
