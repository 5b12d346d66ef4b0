"""The forward pass as a list of nodes, twice: what two runs have in common holds for every batch.

A recorder sees arrays, so every size is a number to it. Two runs, of one sample and of two, with other values, tell
what a number is. A size that is the same both times is fixed, and one that doubles is a multiple of the batch. A
constant that differs was computed from the input where no graph was built, and then there is no graph to write.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..autograd import Recorder
from ..nn import Module
from ..ops import Op
from ..tensor import Tensor

RUNS = 1, 2  # the two batch sizes


class Named(NamedTuple):
    """A value that has a name before the graph begins: an input of the graph, a parameter or a buffer."""

    name: str


class Made(NamedTuple):
    """The value that the node at this place makes."""

    place: int


class Shape(tuple):
    """A constant of sizes, of which some may depend on the batch."""


class Batch(NamedTuple):
    """A size that is this many times the batch size."""

    times: int


class Stretched(NamedTuple):
    """A constant that is repeated along the batch, such as a start state: its values, and the shape at run time."""

    array: np.ndarray
    sizes: tuple[Any, ...]


class NoForm(Exception):
    """Raised by a form: what of its op cannot be said in ONNX, or what to do instead."""


@dataclass
class Node:
    """One node of ONNX's graph; ``op`` is ours, which it stands for, and which ran in the module ``scope``."""

    type: str
    inputs: list[Any]
    attributes: dict[str, Any]
    op: str
    scope: str
    shape: Any = None  # of the output; None for a node on the way to it
    dtype: Any = None
    refused: str = ""  # why there is no such node

    @property
    def where(self) -> str:
        """Our op, and the module it ran in."""
        return f"{self.op} in {self.scope}" if self.scope else self.op


class Trace(Recorder):
    """Writes down every op of a forward pass as nodes, with the forms of a table.

    forms: see `forms.FORMS`. inputs: the tensors the model is called with, by name.
    """

    def __init__(self, forms: Mapping[type[Op], Callable[..., Any]], model: Module, inputs: Mapping[str, Tensor]):
        self.forms = forms
        self.nodes: list[Node] = []
        self.names = {id(t): Named(name) for name, t in [*model.named_parameters(), *inputs.items()]}
        self.arrays = {id(t.array): Named(name) for name, t in model.named_parameters()}
        self.buffers = {name: b.array if isinstance(b, Tensor) else b for name, b in model.named_buffers()}
        self.arrays |= {id(array): Named(name) for name, array in self.buffers.items()}
        self.values: dict[int, Any] = {}  # serial of an op -> the value that stands for its output
        self.op = Op()  # the op that is being written down
        self.output: Any = None  # the array that it returned
        self.kept: list[Any] = []  # leaves that the forward pass made: no other may get the id of one

    def forward(self, op: Op, inputs: Sequence[Any], output: Any) -> None:
        """Write an op down; what it saved for backward is dropped."""
        self.op, self.output = op, output
        given = [
            self.value(source) if need else self.constant(a, op) for a, source, need in zip(inputs, op.inputs, op.needs)
        ]
        try:
            if type(op) not in self.forms:
                raise NoForm("")
            value = self.forms[type(op)](self, op, *given)
        except NoForm as error:
            value = self.node("", *given)
            self.nodes[-1].refused = str(error) or "it has no form in minires.export.FORMS"
        if isinstance(value, Made) and self.nodes[value.place].shape is None:
            self.nodes[value.place].shape, self.nodes[value.place].dtype = output.shape, output.dtype
        self.values[op.serial] = value
        op.forget()

    # ── for forms ──
    def node(self, type: str, *inputs: Any, **attributes: Any) -> Made:
        """Add a node, and return the value that it makes."""
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        self.nodes.append(Node(type, list(inputs), attributes, self.op.name, self.op.scope))
        return Made(len(self.nodes) - 1)

    def number(self, x: float) -> np.ndarray:
        """A constant of shape (), of the dtype of the op."""
        return np.array(x, self.op.dtype)

    def whole(self, x: Any) -> np.ndarray:
        """A constant of whole numbers, such as axes."""
        return np.array(x, np.int64)

    def constant(self, x: Any, op: Op) -> Any:
        """An input without a gradient: a parameter or buffer by its name, else a copy in the op's dtype; or None."""
        if x is None:
            return None
        if getattr(x, "dtype", None) == op.dtype and np.ndim(x):
            if id(x) in self.arrays:
                return self.arrays[id(x)]
            for name, array in self.buffers.items():  # batch norm's statistics come as copies
                if name.rpartition(".")[0] == op.scope and equal(self.host(array), self.host(x)):
                    return Named(name)
        return np.array(self.host(x), op.dtype)

    @staticmethod
    def host(x: Any) -> Any:
        """An array on the CPU; a number as it is."""
        return kernels.to_device(x, "cpu") if hasattr(x, "shape") else x

    # ── details ──
    def value(self, source: Any) -> Any:
        """The value that stands for an op's output, or for a leaf tensor."""
        if isinstance(source, Op):
            return self.values[source.serial]
        if id(source) in self.names:
            return self.names[id(source)]
        self.kept.append(source)
        return np.array(self.host(source.array))


def common(first: Trace, second: Trace, results: Sequence[Any], others: Sequence[Any]) -> list[Node | None]:
    """The nodes that lead to the results, with what both runs have in common; None in place of all others.

    results, others: the values that stand for the outputs of the two runs. Raises ValueError for ops that have no form,
    and where the two runs differ by more than the batch.
    """
    if [node_kind(n) for n in first.nodes] != [node_kind(n) for n in second.nodes]:
        raise ValueError(
            f"export_onnx: the model runs other ops for {RUNS[1]} samples, or other values, than for {RUNS[0]}: "
            f"{parting(first.nodes, second.nodes)}; an ONNX graph is the same for all. Is there an if in forward?"
        )
    if not all(isinstance(x, Named | Made) for x in (*results, *others)) or list(results) != list(others):
        raise ValueError("export_onnx: the model's outputs are others for another batch; an ONNX graph's are the same")
    used = leading_to(results, first.nodes)
    refused: dict[str, str] = {}
    for node in used:
        if node is not None and node.refused:
            refused.setdefault(node.op, f"{node.where} ({node.refused})")
    if refused:
        raise ValueError(f"export_onnx: what ONNX cannot say here: {'; '.join(refused.values())}")
    return [None if a is None else in_common(a, b) for a, b in zip(used, second.nodes)]


def node_kind(node: Node) -> tuple[str, str, str, str]:
    """What must be the same in both runs, whatever the sizes are."""
    return node.op, node.scope, node.type, repr([x if isinstance(x, Named | Made | None) else ... for x in node.inputs])


def parting(first: Sequence[Node], second: Sequence[Node]) -> str:
    """Where two runs part."""
    for a, b in zip(first, second):
        if node_kind(a) != node_kind(b):
            return f"one runs {b.where}, the other {a.where}" if a.where != b.where else f"{a.where} has other inputs"
    return f"one has {len(second)} nodes, the other {len(first)}"


def leading_to(results: Sequence[Any], nodes: Sequence[Node]) -> list[Node | None]:
    """The nodes without those that lead to no result."""
    wanted = {x.place for x in results if isinstance(x, Made)}
    for place in reversed(range(len(nodes))):
        if place in wanted:
            wanted |= {x.place for x in nodes[place].inputs if isinstance(x, Made)}
    return [node if place in wanted else None for place, node in enumerate(nodes)]


def in_common(a: Node, b: Node) -> Node:
    """One node for two runs."""
    if a.attributes != b.attributes or len(a.inputs) != len(b.inputs):
        raise ValueError(
            f"export_onnx: {a.where}: its options depend on the batch or on the values of the input: "
            f"{a.attributes} and {b.attributes}"
        )
    inputs = [x if isinstance(x, Named | Made | None) else common_constant(a, x, y) for x, y in zip(a.inputs, b.inputs)]
    return Node(a.type, inputs, a.attributes, a.op, a.scope, a.shape and sizes_of(a.shape, b.shape), a.dtype)


def sizes_of(a: Sequence[int], b: Sequence[int]) -> tuple[Any, ...]:
    """Sizes at run time, from those of both runs: a number, a `Batch`, or None if it is neither."""
    n, m = RUNS
    return tuple(x if x == y else Batch(x // n) if x * m == y * n else None for x, y in zip(a, b))


def common_constant(node: Node, a: Any, b: Any) -> Any:
    """One constant for two runs: an array, or, where it depends on the batch, `Stretched` or a tuple of sizes."""
    if isinstance(a, Shape):
        sizes = sizes_of(a, b)
        varying = [i for i, n in enumerate(sizes) if not isinstance(n, int)]
        if node.type == "Reshape" and len(varying) == 1 and 0 not in a:
            return np.array([-1 if i in varying else n for i, n in enumerate(a)], np.int64)
        if None not in sizes:
            return sizes if varying else np.array(a, np.int64)
        raise ValueError(
            f"export_onnx: {node.where}: got shape {tuple(a)} for {RUNS[0]} sample and {tuple(b)} for "
            f"{RUNS[1]}; a size may be fixed or a multiple of the batch"
        )
    if equal(a, b):
        return a
    sizes = sizes_of(a.shape, b.shape) if a.ndim == b.ndim else (None,)
    mask = a.dtype == bool  # as large as the batch: from a comparison, even if it is the same everywhere
    if a.shape != b.shape and None not in sizes and not mask:
        one = a[tuple([slice(None) if isinstance(n, int) else slice(1) for n in sizes])]
        if all(equal(np.broadcast_to(one, x.shape), x) for x in (a, b)):
            return Stretched(one, sizes)
    raise ValueError(
        f"export_onnx: {node.where}: a constant of shape {np.shape(a)} is another one for {RUNS[1]} samples of other "
        "values; it was computed from the input, or from the size of the batch, where no graph was built: under "
        "no_grad(), by detach(), by a comparison (as in relu6 and prelu), or at random"
    )


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal in shape and values, NaN being equal to NaN."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.all((a == b) | ((a != a) & (b != b))))
