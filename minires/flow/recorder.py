"""FlowRecorder: what the engine calls while a recording is on; it measures what comes, and fills a `Recording`.

`record` runs a model once and returns the recording; `recording` records whatever runs inside a ``with`` block.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import autograd
from ..arguments import described
from ..autograd import Edge, Recorder
from ..nn import Module, Parameter, functional as F
from ..norms import moments
from ..ops import Op
from ..state import current
from ..tensor import Tensor
from . import naming, on_device
from .inside import as_input
from .keeping import keeping
from .node import Scaling, Source
from .over_ranks import OverRanks
from .recording import Recording
from .summands import Measured, measure_summands

WITHOUT_GRADIENT = (
    "one summand carries no gradient (was it detached, or made under no_grad? Or is it an input without "
    "requires_grad?), so there is no fork before it"
)


class FlowRecorder(Recorder):
    """Fills ``recording`` with every tensor that a gradient reached, and with statistics of every op's output.

    model: gives parameters their names, and so do networks that run. arrays: whether to keep all edges' gradients.
    """

    def __init__(self, model: Module | None = None, arrays: bool = False):
        self.recording = Recording(number_of)
        self._arrays = arrays
        self._over: OverRanks | None = None
        self._unread = on_device.Unread()
        self._leaves: list[Any] = []  # kept alive, so that no later tensor gets the id of one
        self._networks: dict[Module, None] = {}  # kept alive, for the ids of their parameters
        self._known: dict[int, str] = {}  # the names of parameters, by id
        if model is not None:
            self._learn_names(model)

    def network(self, module: Module) -> None:
        """Learn a network's names for its parameters; those of a layer that runs alone say less than their roles."""
        if any(module.children()):
            self._learn_names(module)

    def _learn_names(self, module: Module) -> None:
        if module not in self._networks:
            self._networks[module] = None
            self._known = {id(p): name for name, p in module.named_parameters()} | self._known

    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        """Keep mean, standard deviation and zeros of an op's output; note an addition at which no fork can end."""
        known = moments(output) if type(output) is np.ndarray else on_device.moments(self._unread, output)
        self._follow_ranks()
        if self._over is not None:
            self._over.forward(op, inputs)
            known = self._over.moments(op, known)
        self.recording.add_statistics(op.serial, known)
        if op.name == "Add":
            for array, need in zip(inputs, op.needs):
                if not need and getattr(array, "shape", None) == output.shape:
                    self.recording.add_note(WITHOUT_GRADIENT, op.serial, naming.label(op.scope, op.name))

    def begin(self, call: str) -> None:
        """Start another pass."""
        self._follow_ranks()
        self.recording.begin(call)

    def _follow_ranks(self) -> None:
        """Measure over the ranks of the `parallel` block around the code now running, if it is in one."""
        ranks = current().ranks
        if ranks is not (None if self._over is None else self._over.ranks):
            self._over = None if ranks is None else OverRanks(ranks)

    def end(self) -> None:
        """Exchange numbers with the other ranks, if there are any."""
        if self._over is not None:
            self._over.meet()

    def backward(self, source: Any, edges: Sequence[Edge], total: Any) -> None:
        """Keep one tensor's gradient: the edges it came along, with their norms and angles, and their sum."""
        used = edges if len(edges) == 1 else sorted(edges, key=_position)
        shape = tuple(source.shape)
        same = source if self._over is not None and self._over.is_same(source) else None
        if self._over is not None and same is None:
            shape = self._over.shape(shape)
        if isinstance(source, Op):
            what = Source(source.serial, source.name, shape, source.scope)
        else:
            self._leaves.append(source)
            parameter, name = isinstance(source, Parameter), self._known.get(id(source), "")
            role = "" if name else naming.role(used[0], parameter)
            what = Source(number_of(source), "", shape, "", name, role, parameter)
        grads = [edge.grad for edge in used]
        measured, grads = self._measure(grads, total, same)
        ends = [(edge.consumer.serial if edge.consumer is not None else None, edge.slot) for edge in used]
        self.recording.add_gradient(what, ends, measured, grads if self._arrays else (), self._scaling(used, same))

    def _scaling(self, edges: Sequence[Edge], same: Any) -> Callable[[], Scaling] | None:
        """What `flow.scaled` multiplied the edges by, and the size of what had come back along them."""
        if all(edge.came is None for edge in edges):
            return None
        came = [edge.grad if edge.came is None else edge.came for edge in edges]
        measured, came = self._measure(came, functools.reduce(operator.add, came), same)
        factors, kept = tuple(edge.factor for edge in edges), tuple(came) if self._arrays else ()

        def scaling() -> Scaling:
            known = measured() if callable(measured) else measured
            return Scaling(factors, known.norms, tuple(norm for norm, _ in known.others), kept)

        return scaling

    def _measure(
        self, summands: list[Any], total: Any, same: Any
    ) -> tuple[Measured | Callable[[], Measured], list[Any]]:
        """What `measure_summands` says, on a device to be read later; and the summands.

        Over ranks, of the whole batch: from averaged arrays for a tensor that is the ``same`` on all ranks.
        """
        if self._over is not None and same is not None:
            count = len(summands)
            averaged = self._over.averaged(same, [*summands, total] if count > 1 else summands)
            summands, total = averaged[:count], averaged[-1]
        found: Measured | Callable[[], Measured] = (
            measure_summands(summands, total)
            if type(total) is np.ndarray
            else on_device.measure_summands(self._unread, summands, total)
        )
        return found if self._over is None or same is not None else self._over.measured(found), summands


def number_of(tensor: Tensor) -> int:
    """A tensor's number: its op's serial, or, for a leaf tensor, a negative one that no other has while it lives."""
    return tensor.op.serial if tensor.op else ~id(tensor)


def _position(edge: Edge) -> tuple[float, int]:
    """Where an edge stands in forward order: by consumer, then by slot; the gradient backward started with is last."""
    return (edge.consumer.serial if edge.consumer is not None else np.inf, edge.slot)


class recording(autograd.switch):
    """Record forward and backward inside the ``with`` block.

    Inside `minires.parallel`, all ranks must record; the numbers are those of the whole batch (see `over_ranks`).
    Parameters have the names that the networks which run there give them. Give the model if only pieces of it run.

    ``arrays=True`` keeps the gradient arrays of all edges, which takes at least as much memory as the activations.
    """

    def __init__(self, model: Module | None = None, arrays: bool = False):
        super().__init__(recorder=FlowRecorder(model, arrays))

    def __enter__(self) -> Recording:
        super().__enter__()
        return self.settings["recorder"].recording


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
    if any(kind.__module__.startswith("torch.nn") for kind in type(model).__mro__):
        raise TypeError(
            f"record: got a {type(model).__name__} of PyTorch's; for these there is another: "
            "from minires.flow import torch as flow_torch; flow_torch.record(model, x, y)"
        )
    if not isinstance(model, Module):
        raise TypeError(
            f"record: got {described(model)}; expected an nn.Module. Around any code of your own it is "
            "`with flow.recording() as recorded:`"
        )
    x = as_input("record", model, x, requires_grad=getattr(x, "requires_grad", False))
    target = as_input("record", model, target)
    if not callable(loss):
        raise TypeError(f"record: got loss={loss!r}; expected a function of output and target, such as F.cross_entropy")
    with keeping(model), recording(model, arrays) as recorder:
        value = loss(model(x), target)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"record: the loss returned {described(value)}; expected a Tensor, computed from the output"
            )
        value.backward()
    ranks = current().ranks
    recorder.loss = value.item() if ranks is None else ranks.mean(value.item())[0]
    return recorder
