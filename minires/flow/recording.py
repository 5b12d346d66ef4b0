"""Recording: the gradient on every edge of the graph, and the forks at which a shortcut and its branch part.

`record` runs a model once and returns the recording; `recording` records whatever runs inside a ``with`` block.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .. import autograd
from ..autograd import Edge
from ..nn import Module, functional as F
from ..state import state
from ..tensor import Tensor
from . import export, naming
from .forks import Fork, find_forks
from .inside import as_input
from .keeping import keeping
from .node import Node, edge_scaling
from .recorder import FlowRecorder, leaf_identity


class Summand(NamedTuple):
    """One consumer's share of a tensor's gradient: its norm, and the array itself if the recording keeps arrays.

    factor: what `scaled` multiplied it by; came: the norm of what had come back before that, None if nothing was
    multiplied.
    """

    consumer: str
    norm: float
    grad: Any = None
    factor: float = 1.0
    came: float | None = None


@dataclass(frozen=True)
class Layer:
    """One op of the network: its output's statistics, and the gradients of its output and of its weight.

    mean, std, zeros: of the output's values, zeros being the fraction that is exactly 0 (NaN if forward ran outside the
    recording). output_gradient, weight_gradient: Euclidean norms; weight_gradient is None where there is no weight.
    pass_: which walk back of the recording it belongs to, from 1.
    """

    name: str  # of the module, or of the op outside of modules; with #2, #3 … where it was called again
    op: str
    shape: tuple[int, ...]
    mean: float
    std: float
    zeros: float
    output_gradient: float
    weight_gradient: float | None
    weight_shape: tuple[int, ...] = ()
    pass_: int = 1


class Recording(FlowRecorder):
    """What backward did to every edge of the graph. Made by `recording` or `record`.

    A recording may hold several passes: calls of backward, which add up in ``.grad``, and of `grad`, which do not.
    They are kept apart, in order, and all but the first are named: "conv1: Conv2d (backward 2)".
    passes: "backward" or "grad" for each. loss: its value, if `record` made the recording.
    """

    loss: float | None = None

    def backward(self, source: Any, edges: Sequence[Edge], total: Any) -> None:
        """Keep one tensor's gradient; discard what was derived without it."""
        super().backward(source, edges, total)
        if {"_names", "forks"} & vars(self).keys():  # every derived value needs one of these two
            for derived in ("nodes", "by_key", "forks", "layers", "_names"):
                vars(self).pop(derived, None)

    # ── what was recorded ──
    @cached_property
    def nodes(self) -> list[Node]:
        """All tensors of the graph, pass by pass in forward order, leaf tensors just before they are first used.

        Raises RuntimeError if nothing was recorded.
        """
        return [node._replace(name=str(self._names[node.key])) for node in sorted(self._recorded(), key=_position)]

    def _recorded(self) -> list[Node]:
        """The nodes in the order they came, not yet numbered. Raises RuntimeError if there are none."""
        if not self._nodes:
            raise RuntimeError(
                "Recording: nothing was recorded yet; run forward and loss.backward() inside `with flow.recording()`, "
                "not under no_grad()"
            )
        return self._nodes

    @cached_property
    def _names(self) -> dict[int, naming.Name]:
        return naming.find_names(sorted(self._nodes, key=_position), self.passes, self._identity, self._roles)

    @cached_property
    def by_key(self) -> dict[int, Node]:
        """The nodes by their key."""
        return {node.key: node for node in self.nodes}

    @cached_property
    def forks(self) -> list[Fork]:
        """The forks, pass by pass in forward order, named by the scope of their addition; see `forks.skip_edges`."""
        return find_forks({node.key: node for node in self._recorded()}, self.passes)

    @cached_property
    def layers(self) -> list[Layer]:
        """One row for every op's output, pass by pass in forward order."""
        weights = {
            node.consumers[0]: node
            for node in reversed(self.nodes)
            if node.parameter and node.slots[:1] == (1,)  # input 0 is the data, 1 the weight, 2 the bias
        }
        unknown = float("nan"), float("nan"), float("nan")
        found = []
        for node in self.nodes:
            if node.key < 0:
                continue
            weight, name = weights.get(node.key), self._names[node.key]
            again = "".join(name.base.partition("#")[1:])
            found.append(
                Layer(
                    (node.scope or node.op) + again + name.suffix,
                    node.op,
                    node.shape,
                    *self._statistics.get(self._identity[node.key], unknown),
                    output_gradient=node.norm,
                    weight_gradient=weight.norm if weight else None,
                    weight_shape=weight.shape if weight else (),
                    pass_=node.pass_,
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
        return float(np.max([0.0, *(fork.sum_error for fork in self.forks)]))  # a NaN, if there is one, is not hidden

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers should know, such as a module that was called twice."""
        found = []
        names = {self._identity[key]: name.base for key, name in self._names.items() if key >= 0}
        for serial, label in self._without_gradient:
            found.append(
                f"{names.get(serial, label)}: one summand carries no gradient (was it detached, or made under no_grad? "
                "Or is it an input without requires_grad?), so there is no fork before it"
            )
        for node in self.nodes if self._nodes else ():
            if node.parameter and len(node.consumers) > 1:
                found.append(
                    f"{node.name}: used {len(node.consumers)} times (a module called again, or a shared weight); its "
                    "gradient is the sum of all uses, and its norm stands with the first"
                )
        forks = self.forks if self._nodes else []
        multiplied = Counter(f"{way} × {factor:g}" for fork in forks for way, factor in fork.scaled_ways())
        for what, count in multiplied.items():
            found.append(
                f"{what} at {count} of {len(forks)} forks (flow.scaled); norms, cosines and shares are of the product, "
                "which was passed on"
            )
        if len(self.passes) > 1:
            calls = ", ".join(f"{count} of {call}" for call, count in Counter(self.passes).items())
            rest = "; what grad returned does not" if "grad" in self.passes else ""
            found.append(
                f"{len(self.passes)} passes, kept apart ({calls}): what backward sent to a leaf tensor adds up in its "
                f".grad{rest}"
            )
        return found

    def edges(self, tensor: Tensor | str) -> list[Summand]:
        """What each consumer sent back to a tensor, in forward order.

        tensor: a Tensor, or a name in `nodes`. All passes that reached it are listed; a name that ends in a pass, such
        as " (backward 2)", selects that pass. Over all calls of backward, the summands of a leaf tensor add up to what
        was added to its ``.grad``. The gradient that a call started with is listed as "the start of backward".
        Raises KeyError if the tensor is not part of the recording.
        """
        found = []
        for node in self._find(tensor):
            suffix = self._names[node.key].suffix
            consumers = [self.by_key[key].name for key in node.consumers]
            consumers += [f"the start of {self.passes[node.pass_ - 1]}{suffix}"] * (
                len(node.edge_norms) - len(consumers)
            )
            grads = node.grads or (None,) * len(consumers)
            factors, came = edge_scaling(node)
            found += [Summand(*summand) for summand in zip(consumers, node.edge_norms, grads, factors, came)]
        return found

    def _find(self, tensor: Tensor | str) -> list[Node]:
        """The nodes of a tensor, one for each pass that reached it."""
        if isinstance(tensor, str):
            exact = [node for node in self.nodes if node.name == tensor and self._names[node.key].suffix]
            if exact:
                return exact
            named = (self._identity[node.key] for node in self.nodes if self._names[node.key].base == tensor)
            wanted = next(named, None)
        else:
            wanted = tensor.op.serial if tensor.op else leaf_identity(tensor)
        found = [node for node in self.nodes if self._identity[node.key] == wanted]
        if found:
            return found
        what = repr(tensor) if isinstance(tensor, str) else f"a tensor of shape {tensor.shape}"
        known = ", ".join(repr(node.name) for node in self.nodes[:4])
        raise KeyError(f"edges: got {what}, which no gradient reached in this recording; there are {known}, …")

    # ── ways to look at it ──
    def graph(self) -> dict[str, Any]:
        """The graph as plain lists, numbers and strings; see `export.graph` for the schema."""
        return export.graph(self.nodes)

    def to_json(self, path: Any) -> None:
        """Write loss, graph, forks and layers as JSON; see `export`."""
        export.to_json(path, self.loss, self.notes, self.forks, self.layers, self.nodes)

    def to_csv(self, path: Any) -> None:
        """Write one row for every edge: source, consumer, slot, role, gradient norm."""
        export.to_csv(path, self.nodes)

    def table(self) -> str:
        """Forks, weight layers and notes as text."""
        return export.table(self.forks, self.weight_layers, self.notes)

    def plot(self) -> Any:
        """A matplotlib figure: the gradient's profile over the weight layers, and the fork strip if there are forks."""
        from . import plots  # needs matplotlib, which is slow to import

        return plots.recording(self)


def _position(node: Node) -> tuple[int, float]:
    """Where a node stands within its pass: an op's output by its key, a leaf tensor just before its first use."""
    return node.pass_, node.key if node.key >= 0 else min(node.consumers, default=math.inf) - 0.5


@contextlib.contextmanager
def recording(model: Module | None = None, arrays: bool = False) -> Iterator[Recording]:
    """Record forward and backward inside the ``with`` block; give the model so that parameters have names.

    ``arrays=True`` keeps the gradient arrays of all edges, which takes at least as much memory as the activations.
    """
    recorder = Recording(model, arrays)
    before = state.get()
    try:
        autograd.switch(recorder=recorder).__enter__()
        yield recorder
    finally:
        state.set(before)  # one C call: no interrupt comes in the middle of it (see `minires.threads`)


def record(
    model: Module, x: Any, target: Any, loss: Callable[..., Tensor] = F.cross_entropy, arrays: bool = False
) -> Recording:
    """Run the model forward and backward once, and return the recording; the model is left exactly as it was.

    x (N, …) and target are what ``loss(model(x), target)`` takes, tensors or arrays. The model's mode is used as it is.
    A block fed by x itself is a fork only if x is a tensor that requires grad.

    >>> import minires as mr
    >>> model = mr.models.resnet_cifar(8, in_channels=1)
    >>> recording = mr.flow.record(model, mr.ones(2, 1, 8, 8), mr.tensor([3, 7]))
    >>> [fork.name for fork in recording.forks]
    ['layer1.0', 'layer2.0', 'layer3.0']
    >>> bool(recording.sum_error < 1e-5)  # at each, skip + branch is the gradient that was passed on
    True
    """
    x = as_input("record", model, x, requires_grad=getattr(x, "requires_grad", False))
    target = as_input("record", model, target)
    with keeping(model), recording(model, arrays) as recorder:
        value = loss(model(x), target)
        value.backward()
    recorder.loss = value.item()
    return recorder
