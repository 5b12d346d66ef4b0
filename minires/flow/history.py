"""FlowHistory: how the gradient's flow changes while a network learns."""

import contextlib
import copy
import dataclasses
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import html
from ..arguments import described, whole
from ..files import replacing
from ..nn import Module
from . import explorer, on_device
from .edge_history import EdgeHistory
from .forks import Fork
from .recording import Recording


def is_due(step: int, last: int | None = None, dense: int = 10, per_decade: int = 10) -> bool:
    """Whether a log schedule records this step: the first ``dense``, then ``per_decade`` a decade, and the last."""
    if step < dense or step == last:
        return True
    nearest = round(math.log10(step) * per_decade)
    return step == round(10 ** (nearest / per_decade))


VERSION = 3  # of the saved form; 1 had no edges, 2 no norms of weights and no turns


class FlowHistory:
    """Gradient norms of all weight layers, the forks, and all edges, at some steps of a training run.

    layers, parameters: the names of the layers, and of their weights. edge_history: the norm on every edge at every
    step, an `EdgeHistory`. In histories that an older version saved it is empty; steps added later are in it.

    Behind batch norm the size of a weight means nothing, L(cW) = L(W), and its gradient is as much smaller as the
    weight is larger (Arora et al. 2019, arXiv 1812.03981, lemma 2.4). What remains are ‖∂L/∂W‖·‖W‖, which is free of
    scale, and by how many degrees a step turns the weight; `turning` measures both.

    >>> import minires as mr
    >>> from minires import flow, optim
    >>> model, history = mr.models.resnet_cifar(8, 4, in_channels=1), flow.FlowHistory()
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> with flow.recording(model) as recorded:
    ...     (model(mr.randn(8, 1, 8, 8)) ** 2).sum().backward()
    >>> history.add(0, recorded)
    >>> with history.turning(model):
    ...     optimizer.step()
    >>> history.turns.shape == history.norms.shape == (1, len(history.layers))
    True
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.layers: list[str] = []
        self._norms: list[list[float]] = []
        self._weights: list[list[float]] = []
        self._turns: list[list[float]] = []
        self._kernels: list[bool] = []
        self.parameters: list[str] = []
        self.forks: list[list[Fork]] = []
        self.edge_history = EdgeHistory()

    def add(self, step: int, recording: Recording, layers: Mapping[str, Sequence[int]] | None = None) -> None:
        """Keep the norms of one recording. Raises ValueError if it is of another network.

        layers: {name: shape of the weight} of all weight layers, for a network that leaves some of them out now and
        then, as stochastic depth does: their norm is 0 then.
        """
        step = whole("FlowHistory.add", step)
        norms = {layer.name: layer.weight_gradient or 0.0 for layer in recording.weight_layers}
        shapes: Mapping[str, Sequence[int]] = {layer.name: layer.weight_shape for layer in recording.weight_layers}
        if layers is not None and norms.keys() <= layers.keys():
            shapes = layers
        names = list(shapes)
        if self.layers and names != self.layers:
            raise ValueError(
                f"FlowHistory.add: got layers {names[:3]}…, expected {self.layers[:3]}…; one history holds one network"
            )
        self.edge_history.add(step, recording.nodes)
        self.layers = names
        weights = {layer.name: layer.weight for layer in recording.weight_layers}
        self.parameters = [weights.get(name, f"{name}.weight") for name in names]
        beside = ".downsample", ".gate"  # convolutions beside the layers: projections and gates
        self._kernels = [len(shape) == 4 and not any(part in name for part in beside) for name, shape in shapes.items()]
        self.steps.append(step)
        self._norms.append([norms.get(name, 0.0) for name in names])
        self._weights.append([math.nan] * len(names))
        self._turns.append([math.nan] * len(names))
        self.forks.append(recording.forks)

    @contextlib.contextmanager
    def turning(self, model: Module) -> Iterator[None]:
        """Around ``optimizer.step()``: measure how large the weights are, and by how much the step turns each of them.

        It belongs to the step that was added last. Raises ValueError if there is none.
        """
        if not self.steps:
            raise ValueError("FlowHistory.turning: got no recorded step; call add(step, recording) before it")
        if not isinstance(model, Module):
            raise TypeError(f"FlowHistory.turning: got {described(model)}; expected a model of minires")
        before = self._weights_of(model)
        yield
        after, unread = self._weights_of(model), on_device.Unread()
        turned = [_turned(unread, before.get(name), after.get(name)) for name in self.layers]
        sizes = [later() for later in turned]  # one download, if the weights are on a device
        self._weights[-1], self._turns[-1] = [size for size, _ in sizes], [turn for _, turn in sizes]

    def _weights_of(self, model: Module) -> dict[str, Any]:
        """The weights in float64, copied where they are."""
        found = dict(model.named_parameters())
        weights = {layer: found.get(name) for layer, name in zip(self.layers, self.parameters)}
        return {layer: weight.array.astype(np.float64) for layer, weight in weights.items() if weight is not None}

    @property
    def norms(self) -> np.ndarray:
        """‖∂L/∂W‖, (steps, layers)."""
        return np.array(self._norms)

    @property
    def sum_error(self) -> float:
        """The largest of any fork."""
        errors = [fork.sum_error for forks in self.forks for fork in forks]
        return float(np.max([0.0, *errors]))  # a NaN, if there is one, is not hidden

    @property
    def convolutions(self) -> list[str]:
        """Names of the convolutions among the layers, without those in shortcuts and gates: twins share these."""
        return [name for name, kernel in zip(self.layers, self._kernels) if kernel]

    @property
    def convolution_norms(self) -> np.ndarray:
        """‖∂L/∂W‖ of these convolutions, (steps, convolutions)."""
        return self.norms[:, self._kernels]

    @property
    def weight_norms(self) -> np.ndarray:
        """‖W‖ before each step, (steps, layers); NaN where `turning` did not measure it."""
        return np.array(self._weights)

    @property
    def turns(self) -> np.ndarray:
        """By how many degrees each step turned W, (steps, layers); NaN where `turning` did not measure it."""
        return np.array(self._turns)

    @property
    def convolution_turns(self) -> np.ndarray:
        """`turns` of the convolutions, (steps, convolutions)."""
        return self.turns[:, self._kernels]

    def __repr__(self) -> str:
        if not self.steps:
            return "FlowHistory(nothing yet)"
        when = f"{len(self.steps)} steps, {self.steps[0]} to {self.steps[-1]}"
        return f"FlowHistory({when}: {len(self.layers)} weight layers, {len(self.forks[-1])} forks)"

    def _repr_html_(self) -> str | None:
        if not self.steps:
            return None
        ends = {self.steps[0]: self._norms[0], self.steps[-1]: self._norms[-1]}
        lines = {f"‖dL/dW‖ at step {step}": norms for step, norms in ends.items()}
        return html.block(html.line(repr(self)), html.profile(lines, "weight layer, from input to output", log=True))

    def first_over_last(self, free_of_scale: bool = False) -> np.ndarray:
        """‖∂L/∂W‖ of the first convolution over that of the last, at each recorded step.

        free_of_scale: compare ‖∂L/∂W‖·‖W‖ instead.
        """
        if not self.convolutions:
            raise ValueError(
                "FlowHistory.first_over_last: got no convolutions; add a recording of a network that has some"
            )
        norms = self.norms * self.weight_norms if free_of_scale else self.norms
        ends = norms[:, self._kernels][:, [0, -1]]
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            return ends[:, 0] / ends[:, 1]

    def until(self, step: int) -> "FlowHistory":
        """What was recorded up to this step, as a history of its own."""
        history, kept = copy.copy(self), [recorded <= step for recorded in self.steps]
        for name in ("steps", "_norms", "_weights", "_turns", "forks"):
            setattr(history, name, list(itertools.compress(getattr(self, name), kept)))
        history.edge_history = self.edge_history.until(step)
        return history

    def to_html(self, path: str | os.PathLike) -> None:
        """Write the explorer: one HTML page that shows the gradient on every edge over the recorded steps."""
        explorer.explore({"network": self}, path)

    def explore(self) -> Any:
        """The explorer as a widget for notebooks. Raises ImportError if anywidget is not installed."""
        return explorer.widget({"network": self})

    def save(self, path: str | os.PathLike) -> None:
        """Write the history as JSON, whole or not at all (fork arrays, if any were recorded, are left out)."""
        scalars = [f.name for f in dataclasses.fields(Fork) if not f.name.endswith("_grad")]
        document = {
            "version": VERSION,
            "steps": self.steps,
            "layers": self.layers,
            "parameters": self.parameters,
            "kernels": self._kernels,
            "norms": self._norms,
            "weights": self._weights,
            "turns": self._turns,
            "forks": [[{name: getattr(fork, name) for name in scalars} for fork in forks] for forks in self.forks],
            "sum_error": self.sum_error,
            "edges": self.edge_history.to_document(),
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "FlowHistory":
        """Read what `save` wrote. Raises ValueError, naming the file, if the file is something else."""
        try:
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
            if document["version"] not in range(1, VERSION + 1):
                raise ValueError(f"version {document['version']}, expected 1 to {VERSION}")
            history = cls()
            history.steps, history.layers = list(document["steps"]), list(document["layers"])
            history.parameters = list(document.get("parameters", [f"{name}.weight" for name in history.layers]))
            history._kernels, history._norms = list(document["kernels"]), [list(row) for row in document["norms"]]
            unknown = [[math.nan] * len(history.layers) for _ in history.steps]
            history._weights, history._turns = (
                [list(row) for row in document.get(what, unknown)] for what in ("weights", "turns")
            )
            history.forks = [
                [Fork(**{**fork, "shape": tuple(fork["shape"])}) for fork in forks] for forks in document["forks"]
            ]
            if document["version"] > 1:
                history.edge_history = EdgeHistory.from_document(document["edges"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"FlowHistory.load: {path} is not a history written by FlowHistory.save ({error})"
            ) from error
        return history


def _turned(unread: on_device.Unread, before: Any, after: Any) -> Callable[[], tuple[float, float]]:
    """‖W‖ before a step, and by how many degrees the step turned W; NaN for a weight that is not there."""
    if before is None or after is None:
        return lambda: (math.nan, math.nan)
    if type(before) is not np.ndarray:
        return on_device.turned(unread, before, after)
    sizes = float(np.linalg.norm(before)), _angle(before, after)
    return lambda: sizes


def _angle(before: np.ndarray, after: np.ndarray) -> float:
    """In degrees, and exact for small angles too (Kahan); NaN if a weight is 0 or not finite."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        one, two = (weight / np.linalg.norm(weight) for weight in (before, after))
        return math.degrees(2 * math.atan2(np.linalg.norm(one - two), np.linalg.norm(one + two)))
