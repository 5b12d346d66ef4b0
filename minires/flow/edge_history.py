"""EdgeHistory: the norm on every edge of the graph, at several moments; the graph itself is kept once."""

import base64
import heapq
import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arguments import whole
from .forks import meeting_points, name_forks, skip_edges
from .node import Node

ARRAYS = "norms", "cosines", "totals"


class Tensor(NamedTuple):
    """A tensor of the graph, without what differs from moment to moment; ``key`` counts from 0, leaves from −1 down."""

    key: int
    name: str
    op: str
    scope: str
    shape: tuple[int, ...]
    parameter: bool
    consumers: tuple[int, ...]
    slots: tuple[int, ...]
    pass_: int = 1


class EdgeHistory:
    """Gradients on all edges at some steps of a training run, or in other recordings of one network.

    steps: one number for each recording. norms (steps, edges): ‖gradient‖ that came along each edge. cosines (steps,
    edges): between it and the sum of all others at the same tensor, 1 where there are none. totals (steps, tensors):
    the norm of what each tensor passed on. All are float64, and NaN where a recording had no such edge: a network may
    leave out branches now and then. Edges and tensors are those of `graph`, in the same order.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self._tensors: list[tuple] = []  # (name, op, scope, shape, parameter, pass)
        self._edges: list[tuple[int, int, int]] = []  # (tensor, consumer, slot), both by their place among the tensors
        self._rows: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
        self._last: tuple[list, list, list] = [], [], []  # the tensors and edges that came last, and their places

    def add(self, step: int, nodes: Sequence[Node]) -> None:
        """Keep the norms of one recording's nodes.

        Raises ValueError, and keeps nothing, if some of its tensors depend on each other the other way round than in an
        earlier recording.
        """
        step = whole("EdgeHistory.add", step)
        names = {node.key: node.name for node in nodes}
        tensors = [(n.name, n.op, n.scope, tuple(n.shape), n.parameter, n.pass_) for n in nodes]
        edges = [(n.name, names[key], slot) for n in nodes for key, slot in zip(n.consumers, n.slots)]
        if (tensors, edges) != self._last[:2]:
            self._last = tensors, edges, self._merge(tensors, edges)
        places, ends = self._last[2]
        self.steps.append(step)
        norms = [norm for n in nodes for norm in n.edge_norms[: len(n.consumers)]]
        cosines = [
            float(other[1]) if len(n.edge_norms) > 1 else 1.0 for n in nodes for other in n.others[: len(n.consumers)]
        ]
        for name, at, values, size in (
            ("norms", ends, norms, len(self._edges)),
            ("cosines", ends, cosines, len(self._edges)),
            ("totals", places, [n.norm for n in nodes], len(self._tensors)),
        ):
            row = np.full(size, np.nan)
            row[at] = values
            self._rows[name].append(row)

    def _merge(self, tensors: Sequence[tuple], edges: Sequence[tuple[str, str, int]]) -> list[list[int]]:
        """Where these tensors and edges stand among those known; new ones are added."""
        by_name = {tensor[0]: tensor for tensor in self._tensors}
        for tensor in tensors:
            by_name.setdefault(tensor[0], tensor)
        known = {name: place for place, name in enumerate(by_name)}
        found = [(known[source], known[consumer], slot) for source, consumer, slot in edges]
        ends = {edge: place for place, edge in enumerate(dict.fromkeys((*self._edges, *found)))}
        _ids(list(by_name.values()), ends)  # raises if there is no order
        self._tensors, self._edges = list(by_name.values()), list(ends)
        return [[known[tensor[0]] for tensor in tensors], [ends[edge] for edge in found]]

    @property
    def norms(self) -> np.ndarray:
        """‖gradient‖ that came along each edge, (steps, edges)."""
        return self._array("norms")

    @property
    def cosines(self) -> np.ndarray:
        """Between each edge's gradient and the sum of the others of its tensor, (steps, edges)."""
        return self._array("cosines")

    @property
    def totals(self) -> np.ndarray:
        """‖gradient‖ that each tensor passed on, (steps, tensors)."""
        return self._array("totals")

    def _array(self, name: str) -> np.ndarray:
        width = len(self._tensors if name == "totals" else self._edges)
        found = np.full((len(self.steps), width), np.nan)
        for row, values in zip(found, self._rows[name]):
            row[: len(values)] = values
        return found

    def names(self) -> list[tuple[str, str, int]]:
        """(tensor, consumer, slot) of every edge, by name."""
        return [(self._tensors[a][0], self._tensors[b][0], slot) for a, b, slot in self._edges]

    def graph(self) -> dict[str, Any]:
        """The graph: what `Recording.graph` returns, without norms.

        nodes: {id, name, op, scope, shape, parameter, pass}, in the order of `totals`. edges: {source, consumer, slot,
        role}, in the order of `norms`. forks: {source, name}, in forward order. An op's id is larger than those of its
        inputs, a leaf tensor's is negative.
        """
        ids = _ids(self._tensors, self._edges)
        tensors = {}
        for place, (name, op, scope, shape, parameter, pass_) in enumerate(self._tensors):
            tensors[ids[place]] = Tensor(ids[place], name, op, scope, shape, parameter, (), (), pass_)
        ends: dict[int, list[tuple[int, int]]] = {key: [] for key in tensors}
        for source, consumer, slot in self._edges:
            ends[ids[source]].append((ids[consumer], slot))
        for key, used in ends.items():
            used.sort()
            consumers, slots = tuple(consumer for consumer, _ in used), tuple(slot for _, slot in used)
            tensors[key] = tensors[key]._replace(consumers=consumers, slots=slots)
        forks = skip_edges(tensors)
        names = name_forks(tensors, forks, meeting_points({key: tensor.consumers for key, tensor in tensors.items()}))
        skips = {(key, *ends[key][i]) for key, i in forks.items()}
        nodes = [
            {"id": t.key, "name": t.name, "op": t.op, "scope": t.scope, "shape": list(t.shape)}
            | {"parameter": t.parameter, "pass": t.pass_}
            for t in tensors.values()
        ]
        edges = []
        for source, consumer, slot in self._edges:
            edge = ids[source], ids[consumer], slot
            role = None if edge[0] not in forks else "skip" if edge in skips else "branch"
            edges.append({"source": edge[0], "consumer": edge[1], "slot": slot, "role": role})
        return {"nodes": nodes, "edges": edges, "forks": [{"source": key, "name": name} for key, name in names.items()]}

    def until(self, step: int) -> "EdgeHistory":
        """What was kept up to this step, as a history of its own."""
        history, kept = EdgeHistory(), [known <= step for known in self.steps]
        history.steps = list(itertools.compress(self.steps, kept))
        history._tensors, history._edges = list(self._tensors), list(self._edges)
        history._rows = {name: list(itertools.compress(rows, kept)) for name, rows in self._rows.items()}
        return history

    def to_document(self) -> dict[str, Any]:
        """All of it as what JSON holds; the arrays are exact, deflated, in base64."""
        arrays = {name: self._array(name).astype("<f8").tobytes() for name in ARRAYS}
        return {
            "steps": self.steps,
            "tensors": self._tensors,
            "edges": self._edges,
            **{name: base64.b64encode(zlib.compress(data, 9)).decode() for name, data in arrays.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "EdgeHistory":
        """Read what `to_document` returned. Raises ValueError, KeyError or TypeError for something else."""
        history = cls()
        history.steps = list(document["steps"])
        history._tensors = [
            (name, op, scope, tuple(shape), parameter, pass_)
            for name, op, scope, shape, parameter, pass_ in document["tensors"]
        ]
        history._edges = [(source, consumer, slot) for source, consumer, slot in document["edges"]]
        for name in ARRAYS:
            width = len(history._tensors if name == "totals" else history._edges)
            try:
                data = zlib.decompress(base64.b64decode(document[name]))
            except zlib.error as error:
                raise ValueError(f"its {name} are damaged: {error}") from error
            history._rows[name] = list(np.frombuffer(data, "<f8").reshape(len(history.steps), width))
        return history


def _ids(tensors: Sequence[tuple], edges: Iterable[tuple[int, int, int]]) -> list[int]:
    """An id for every tensor: ops in an order in which each follows its inputs, leaves counting down from −1.

    Raises ValueError if there is no such order.
    """
    waiting = [0] * len(tensors)
    uses: list[list[int]] = [[] for _ in tensors]
    for source, consumer, _ in edges:
        waiting[consumer] += 1
        uses[source].append(consumer)
    ready = [place for place, count in enumerate(waiting) if not count]
    ids: dict[int, int] = {}
    ops = leaves = 0
    while ready:
        place = heapq.heappop(ready)
        if tensors[place][1]:
            ids[place], ops = ops, ops + 1
        else:
            leaves += 1
            ids[place] = -leaves
        for consumer in uses[place]:
            waiting[consumer] -= 1
            if not waiting[consumer]:
                heapq.heappush(ready, consumer)
    if len(ids) < len(tensors):
        names = ", ".join(tensor[0] for place, tensor in enumerate(tensors) if place not in ids)
        raise ValueError(
            f"EdgeHistory: got recordings that compute {names:.200} in orders that contradict each other; one history "
            "holds one network"
        )
    return [ids[place] for place in range(len(tensors))]
