"""Recording: the gradient on every edge of the graph, and the forks at which a shortcut and its branch part.

minires's own engine fills one through `recorder.FlowRecorder`, PyTorch's through `flow.torch`. An engine of your own
can fill one too: all it has to call are the four methods of `Recording` under "to fill one".
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from ..arguments import described
from ..html import Text
from . import explorer, export, naming
from .edge_history import EdgeHistory
from .forks import Fork, find_forks
from .node import WITHOUT_WEIGHT, Node, Scaling, Source
from .summands import Measured

T = TypeVar("T")
WEIGHTED = "Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d", "Linear"  # input 1 is the weight, whatever it came from
Later: TypeAlias = T | Callable[[], T]  # a value, or a function that returns it


class Summand(NamedTuple):
    """One consumer's share of a tensor's gradient: its norm, and the array itself if the recording keeps arrays.

    Where `scaled` multiplied it, both are of the product; ``scaling`` of the node says what had come back.
    """

    consumer: str
    norm: float
    grad: Any = None


@dataclass(frozen=True)
class Layer:
    """One op of the network: its output's statistics, and the gradients of its output and of its weight.

    If a module has weight layers of several kinds, their names are those of the nodes: "attention: MatMul".
    mean, std, zeros: of the output's values, zeros being the fraction that is exactly 0 (NaN if forward ran outside the
    recording, or inside a function of PyTorch's that calls others, such as multi_head_attention_forward).
    output_gradient, weight_gradient: Euclidean norms; weight_gradient is None where there is no weight. If the weight
    of a convolution or linear layer is computed (standardised, masked), both it and its shape are those of what was
    computed, which the op was given.
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
    weight: str = ""  # the weight's name; "" where there is none


class Recording:
    """What backward did to every edge of the graph. Made by `recording` or `record`.

    A recording may hold several passes: calls of backward, which add up in ``.grad``, and of `grad`, which do not.
    They are kept apart, in order, and all but the first are named: "conv1: Conv2d (backward 2)".
    passes: "backward" or "grad" for each. loss: its value, if `record` made the recording.

    To fill one by hand, for (eˣ + x).sum(): the walk back, latest op first, tells of every tensor what came back to it.

    >>> from minires.flow import Source, measure_summands
    >>> x, one = np.array([0.0, 1.0]), np.ones(2)
    >>> recording = Recording()
    >>> recording.begin("backward")
    >>> for source, ends, grads in [
    ...     (Source(3, "Sum", ()), [(None, 0)], [np.ones(())]),  # what backward started with: no consumer
    ...     (Source(2, "Add", (2,)), [(3, 0)], [one]),
    ...     (Source(1, "Exp", (2,)), [(2, 0)], [one]),
    ...     (Source(-1, "", (2,), name="x"), [(1, 0), (2, 1)], [np.exp(x), one]),
    ... ]:
    ...     recording.add_gradient(source, ends, measure_summands(grads, sum(grads)))
    >>> [(fork.name, fork.skip, fork.branch) for fork in recording.forks] == [("Add", 2**0.5, (1 + np.e**2) ** 0.5)]
    True
    """

    loss: float | None = None

    def __init__(self, identify: Callable[[Any], int | None] = lambda tensor: None):
        """identify: for a tensor of the engine's, the number that its `Source` has; for `edges`."""
        self.passes: list[str] = []
        self._identify = identify
        self._told: list[_Told] = []  # in the order they came
        self._statistics: dict[int, Later[tuple[float, float, float]]] = {}  # number -> (mean, std, fraction of zeros)
        self._notes: list[tuple[str, int | None, str]] = []  # (text, number of the op it is about, label of that op)
        self._call: str | None = None  # the walk that has begun, until its first gradient arrives

    def __getstate__(self) -> dict[str, Any]:
        """What `pickle` and `copy` keep: all that was told, no longer on its way."""
        told = [t._replace(measured=_now(t.measured), scaling=_now(t.scaling)) for t in self._told]
        statistics = {number: _now(moments) for number, moments in self._statistics.items()}
        return {**vars(self), "_told": told, "_statistics": statistics}

    # ── to fill one ──
    def begin(self, call: str) -> None:
        """Start a walk back, by a call of "backward" or "grad": the gradients that follow belong to it."""
        self._call = call

    def add_gradient(
        self,
        source: Source,
        ends: Sequence[tuple[int | None, int]],
        measured: Later[Measured],
        grads: Sequence[Any] = (),
        scaling: Later[Scaling | None] = None,
    ) -> None:
        """Add one tensor's gradient, which is complete. Tensors may come in any order.

        ends: for each summand, the number of the op that sent it and which of its inputs the tensor was, in forward
        order; last, None and 0 for a gradient that the walk started with. An op's number is larger than those of its
        inputs. measured: norms and angles of the summands, in the same order; see `measure_summands`. grads: the
        arrays, if they are to be kept. scaling: if summands have been multiplied on their way, by what, and what they
        were before; measured and grads are of the products. What is still on its way from a device may be given as a
        function that returns it, here and in `add_statistics`: it is called when somebody asks.
        Raises ValueError if the ends are not in forward order.
        """
        if not _are_in_forward_order(source, ends):
            raise ValueError(
                f"add_gradient: got ends {list(ends)} for {source}; expected (number, slot) in forward order, all "
                "numbers larger than the source's: give later ops larger numbers, and sort what came back"
            )
        if self._call is not None or not self.passes:
            self.passes.append(self._call or "backward")
            self._call = None
        self._told.append(_Told(len(self.passes), source, ends, measured, grads, scaling))
        if "_known" in vars(self):  # every derived value needs it
            for derived in ("_known", "nodes", "by_key", "forks", "layers", "_names"):
                vars(self).pop(derived, None)

    def add_statistics(self, number: int, moments: Later[tuple[float, float, float]]) -> None:
        """Add what is known of an op's output: mean and standard deviation, and the fraction that is exactly 0."""
        self._statistics[number] = moments

    def add_note(self, text: str, number: int | None = None, label: str = "") -> None:
        """Add a note; on request, about the op of that number: its name comes first, or the label if it has none."""
        self._notes.append((text, number, label))

    # ── what was recorded ──
    @cached_property
    def nodes(self) -> list[Node]:
        """All tensors of the graph, pass by pass in forward order, leaf tensors just before they are first used.

        Raises RuntimeError if nothing was recorded.
        """
        return [node._replace(name=str(self._names[node.key])) for node in sorted(self._known.nodes, key=_position)]

    @cached_property
    def _known(self) -> "_Known":
        """What was told so far, numbered. Raises RuntimeError if that is nothing."""
        if not self._told:
            raise RuntimeError(
                "Recording: nothing was recorded yet; run forward and loss.backward() inside `with flow.recording()`, "
                "not under no_grad()"
            )
        return _number(self._told)

    @cached_property
    def _names(self) -> dict[int, naming.Name]:
        known = self._known
        return naming.find_names(sorted(known.nodes, key=_position), self.passes, known.numbers, known.roles)

    @cached_property
    def by_key(self) -> dict[int, Node]:
        """The nodes by their key."""
        return {node.key: node for node in self.nodes}

    @cached_property
    def forks(self) -> list[Fork]:
        """The forks, pass by pass in forward order, named by the scope of their addition; see `forks.skip_edges`."""
        return find_forks({node.key: node for node in self._known.nodes}, self.passes)

    @cached_property
    def layers(self) -> list[Layer]:
        """One row for every op's output, pass by pass in forward order."""
        weights = {
            node.consumers[0]: node
            for node in reversed(self.nodes)
            if node.slots[:1] == (1,)  # input 0 is the data, 1 the weight, 2 the bias
            and (node.parameter or self.by_key[node.consumers[0]].op in WEIGHTED)
        }
        kinds: dict[str, set[str]] = {}  # of the weight layers in each module
        for key, weight in weights.items():
            if _is_weight_layer(self.by_key[key].op, weight.shape):
                kinds.setdefault(self.by_key[key].scope, set()).add(self.by_key[key].op)
        unknown = float("nan"), float("nan"), float("nan")
        found = []
        for node in self.nodes:
            if node.key < 0:
                continue
            weight, name = weights.get(node.key), self._names[node.key]
            again = "".join(name.base.partition("#")[1:])
            several = len(kinds.get(node.scope, ())) > 1 and node.op in kinds[node.scope]
            mean, std, zeros = _now(self._statistics.get(self._known.numbers[node.key], unknown))
            found.append(
                Layer(
                    str(name) if several else (node.scope or node.op) + again + name.suffix,
                    node.op,
                    node.shape,
                    mean,
                    std,
                    zeros,
                    output_gradient=node.norm,
                    weight_gradient=weight.norm if weight else None,
                    weight_shape=weight.shape if weight else (),
                    pass_=node.pass_,
                    weight=self._names[weight.key].base if weight else "",
                )
            )
        return found

    @property
    def weight_layers(self) -> list[Layer]:
        """The layers that have a weight of two or more axes: convolutions and linear layers.

        What is added or multiplied entry by entry, such as a position embedding or a scale per channel, is none.
        """
        return [layer for layer in self.layers if _is_weight_layer(layer.op, layer.weight_shape)]

    @property
    def sum_error(self) -> float:
        """The largest relative error of skip + branch against the gradient passed on, over all forks (0 if none)."""
        return float(np.max([0.0, *(fork.sum_error for fork in self.forks)]))  # a NaN, if there is one, is not hidden

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers should know, such as a module that was called twice."""
        found = []
        names = (
            {self._known.numbers[key]: name.base for key, name in self._names.items() if key >= 0} if self._told else {}
        )
        for text, number, label in self._notes:
            found.append(text if number is None else f"{names.get(number, label)}: {text}")
        for node in self.nodes if self._told else ():
            if node.parameter and len(node.consumers) > 1:
                listed = node.slots[0] == 1 and _is_weight_layer(self.by_key[node.consumers[0]].op, node.shape)
                found.append(
                    f"{node.name}: used {len(node.consumers)} times (a module called again, or a shared weight); its "
                    f"gradient is the sum of all uses{', and its norm stands with the first' if listed else ''}"
                )
        forks = self.forks if self._told else []
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

    def edges(self, tensor: Any) -> list[Summand]:
        """What each consumer sent back to a tensor, in forward order.

        tensor: a tensor of the engine's, or a name in `nodes`. All passes that reached it are listed; a name that ends
        in a pass, such as " (backward 2)", selects that pass. Over all calls of backward, the summands of a leaf tensor
        add up to what was added to its ``.grad``. The gradient that a call started with is listed as "the start of
        backward".
        Raises KeyError if the tensor is not part of the recording, TypeError for anything but a tensor or a name.
        """
        found = []
        for node in self._find(tensor):
            suffix = self._names[node.key].suffix
            consumers = [self.by_key[key].name for key in node.consumers]
            consumers += [f"the start of {self.passes[node.pass_ - 1]}{suffix}"] * (
                len(node.edge_norms) - len(consumers)
            )
            grads = node.grads or (None,) * len(consumers)
            found += [Summand(*summand) for summand in zip(consumers, node.edge_norms, grads)]
        return found

    def _find(self, tensor: Any) -> list[Node]:
        """The nodes of a tensor, one for each pass that reached it."""
        if isinstance(tensor, str):
            exact = [node for node in self.nodes if node.name == tensor and self._names[node.key].suffix]
            if exact:
                return exact
            named = (self._known.numbers[node.key] for node in self.nodes if self._names[node.key].base == tensor)
            wanted = next(named, None)
        else:
            if not hasattr(tensor, "requires_grad"):
                raise TypeError(f"edges: got {described(tensor)}; expected a tensor, or the name of one in `nodes`")
            wanted = self._identify(tensor)
        found = [node for node in self.nodes if self._known.numbers[node.key] == wanted]
        if found:
            return found
        what = repr(tensor) if isinstance(tensor, str) else f"a tensor of shape {tuple(tensor.shape)}"
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

    def __repr__(self) -> str:
        if not self._told:
            return "Recording(nothing yet)"
        parts = [f"{len(self.forks)} forks, {len(self.weight_layers)} weight layers"]
        parts += [f"{len(self.passes)} passes"] if len(self.passes) > 1 else []
        parts += [] if self.loss is None else [f"loss {self.loss:.4g}"]
        return f"Recording({', '.join(parts)})"

    def _repr_html_(self) -> str | None:
        return export.notebook(repr(self), self.forks, self.weight_layers, self.notes) if self._told else None

    @property
    def edge_history(self) -> EdgeHistory:
        """All edges, as a history of one step."""
        history = EdgeHistory()
        history.add(0, self.nodes)
        return history

    def to_html(self, path: Any) -> None:
        """Write the explorer: one HTML page that shows the gradient on every edge."""
        explorer.explore({"network": self}, path)

    def explore(self) -> Any:
        """The explorer as a widget for notebooks. Raises ImportError if anywidget is not installed."""
        return explorer.widget({"network": self})

    def table(self) -> Text:
        """Forks, weight layers and notes as text."""
        return export.table(self.forks, self.weight_layers, self.notes)

    def plot(self) -> Any:
        """A matplotlib figure: the gradient's profile over the weight layers, and the fork strip if there are forks."""
        from . import plots  # needs matplotlib, which is slow to import

        return plots.recording(self)


class _Told(NamedTuple):
    """One call of `Recording.add_gradient`, in the walk back of that number, from 1."""

    pass_: int
    source: Source
    ends: Sequence[tuple[int | None, int]]
    measured: Later[Measured]
    grads: Sequence[Any]
    scaling: Later[Scaling | None]


class _Known(NamedTuple):
    """What was told, as nodes, in the order it came, and not yet named.

    numbers: for each key, the number of the source, the same in every pass. roles: for the key of each leaf tensor
    without a name, what it was used for.
    """

    nodes: list[Node]
    numbers: dict[int, int]
    roles: dict[int, str]


def _number(told: Sequence[_Told]) -> _Known:
    """Give every tensor its key: an op's number, moved behind the keys of the pass before; −1, −2 … for leaves."""
    nodes: list[Node] = []
    numbers: dict[int, int] = {}
    roles: dict[int, str] = {}
    offset = following = leaves = 0
    for before, (pass_, source, ends, measured, grads, scaling) in zip((None, *told), told):
        if before is None or before.pass_ != pass_:
            offset = following
        if source.op:
            key = source.number + offset
            following = max(following, key + 1)
        else:
            leaves += 1
            key = -leaves
            if not source.name:
                roles[key] = source.role
        numbers[key] = source.number
        by_ops, measured = [(number, slot) for number, slot in ends if number is not None], _now(measured)
        nodes.append(
            Node(
                key=key,
                name=naming.label(source.scope, source.op) if source.op else source.name,
                op=source.op,
                scope=source.scope,
                shape=source.shape,
                parameter=source.parameter,
                consumers=tuple(number + offset for number, _ in by_ops),
                slots=tuple(slot for _, slot in by_ops),
                edge_norms=measured.norms,
                cosines=measured.cosines,
                others=measured.others,
                norm=measured.norm,
                sum_error=measured.error,
                grads=tuple(grads),
                pass_=pass_,
                scaling=_now(scaling),
            )
        )
    return _Known(nodes, numbers, roles)


def _is_weight_layer(op: str, weight: tuple[int, ...]) -> bool:
    """Whether an op with a weight of this shape is a convolution or a linear layer."""
    return len(weight) > 1 and op not in WITHOUT_WEIGHT


def _now(value: Any) -> Any:
    """A value that may still be on its way."""
    return value() if callable(value) else value


def _are_in_forward_order(source: Source, ends: Sequence[tuple[int | None, int]]) -> bool:
    """Whether the ends come in forward order, all behind the source; the gradient a walk started with is last."""
    before: tuple[float, int] = (source.number if source.op else -1, sys.maxsize)
    for number, slot in ends:
        end = math.inf if number is None else number, slot
        if end < before:
            return False
        before = end
    return True


def _position(node: Node) -> tuple[int, float]:
    """Where a node stands within its pass: an op's output by its key, a leaf tensor just before its first use."""
    return node.pass_, node.key if node.key >= 0 else min(node.consumers, default=math.inf) - 0.5
