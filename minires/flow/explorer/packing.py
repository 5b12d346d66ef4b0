"""The numbers of a run in few bytes: logarithms in 16 bits, differences from step to step, deflated, in base64.

unpack.js reads it back. Layout: the length of a JSON document (4 bytes, little-endian), the document, and the arrays it
refers to, each by {offset, rows, columns}; in an array, the low bytes of all numbers come before the high bytes.
"""

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...arguments import described
from ..node import WITHOUT_WEIGHT
from .structure import structure

FINEST = 1 / 2000  # of a decade: norms are shown to within 0.06 %
ZERO, INFINITE, MISSING = 0, 65534, 65535  # codes; the others count from 1
COSINE = 10_000  # cosines in steps of 1/10000, from −1


def pack(run: Any) -> str:
    """A `Run` as base64. Raises ValueError for one that cannot be shown."""
    for word, given in (("losses", run.losses), ("accuracies", run.accuracies), ("probes", run.probes)):
        unknown = [name for name in given if name not in run.networks]
        if unknown:
            raise ValueError(f"explore: got {word} of {unknown[0]!r}; the networks are {', '.join(run.networks)}")
    histories = {name: _edges_of(name, network) for name, network in run.networks.items()}
    if not histories:
        raise ValueError('explore: got no networks; expected a dict such as {"plain": history, "residual": history}')
    steps = list(dict.fromkeys(step for h in histories.values() for step in h.steps))
    steps = [step for step in steps if all(step in h.steps for h in histories.values())]
    if not steps:
        raise ValueError("explore: got networks without a common step; expected histories recorded at the same steps")
    arrays = Arrays()
    probes = [probe for probes in run.probes.values() for probe in probes.values()]
    probed = [array for probe in probes for array in (probe.edges.norms, probe.edges.totals)]
    turned = [array for network in run.networks.values() for array in _turned(network)]
    arrays.set_scale(
        [*(h.norms for h in histories.values()), *(h.totals for h in histories.values()), *probed, *turned]
    )
    networks = []
    for name, history in histories.items():
        for pass_ in sorted({n["pass"] for n in history.graph()["nodes"]}):
            label = name if pass_ == 1 else f"{name} (pass {pass_})"
            networks.append(_network(label, name, history, pass_, steps, run, arrays))
    return arrays.finish({"low": arrays.low, "step": arrays.step, "networks": networks})


def _edges_of(name: str, network: Any) -> Any:
    """The `EdgeHistory` of a history or a recording."""
    history: Any = getattr(network, "edge_history", None)
    if not hasattr(history, "norms"):
        raise ValueError(f"explore: got {described(network)} as {name!r}; expected a FlowHistory or a Recording")
    if not len(history.steps):
        raise ValueError(
            f"explore: got a history without edges as {name!r}; one saved by an older version has none: record it again"
        )
    return history


def _network(
    label: str, name: str, history: Any, pass_: int, steps: Sequence[int], run: Any, arrays: "Arrays"
) -> dict[str, Any]:
    """One network as the page takes it; places of tensors and edges are counted within the pass."""
    rows = [history.steps.index(step) for step in steps]
    graph = history.graph()
    place_of = {n["id"]: i for i, n in enumerate(graph["nodes"])}
    tensors = [i for i, n in enumerate(graph["nodes"]) if n["pass"] == pass_]
    inside = set(tensors)
    ends = [i for i, e in enumerate(graph["edges"]) if place_of[e["source"]] in inside]
    part = {"nodes": [graph["nodes"][i] for i in tensors], "edges": [graph["edges"][i] for i in ends]}
    here = {n["id"]: i for i, n in enumerate(part["nodes"])}
    uses = np.zeros(len(tensors), int)
    for e in part["edges"]:
        uses[here[e["source"]]] += 1
    several = [i for i in range(len(tensors)) if uses[i] > 1]  # for the others, the total is that of the only edge
    angled = [i for i, e in enumerate(part["edges"]) if uses[here[e["source"]]] > 1]
    shown = structure(part)
    weights = _weights(part, here)
    drawn = [i for i, e in enumerate(part["edges"]) if e["source"] >= 0 or here[e["source"]] in weights]
    losses = run.losses.get(name, ())
    accuracies = run.accuracies.get(name, {})
    return {
        "name": label,
        "steps": steps,
        "tensors": [[n["name"], n["shape"], int(n["parameter"]), n["scope"]] for n in part["nodes"]],
        "edges": [[here[e["source"]], here[e["consumer"]], e["slot"], _letter(e["role"])] for e in part["edges"]],
        "families": "".join(_letter(role) or "-" for role in shown["roles"]),
        "forks": [[here[fork["source"]], fork["name"]] for fork in graph["forks"] if fork["source"] in here],
        "slots": shown["slots"],
        "boxes": shown["boxes"],
        "weights": weights,
        **_of_weights(run.networks[name], [part["nodes"][i]["name"] for i in weights], steps, arrays),
        "drawn": drawn,
        "several": several,
        "angled": angled,
        "norms": arrays.norms(history.norms[rows][:, ends]),
        "totals": arrays.norms(history.totals[rows][:, tensors][:, several]),
        "cosines": arrays.cosines(history.cosines[rows][:, ends][:, angled]),
        "losses": _means(losses, steps),
        "accuracies": [[int(step), _digits(value)] for step, value in sorted(accuracies.items())],
        "probes": [
            _probe(step, p, (history, tensors, ends), (drawn, several, angled), arrays)
            for step, p in sorted(run.probes.get(name, {}).items())
        ],
    }


def _letter(role: str | None) -> str:
    return "" if role is None else role[0]


def _weights(graph: Mapping[str, Any], here: Mapping[int, int]) -> list[int]:
    """Places of the weights whose gradient is drawn: of convolutions, without projections, or else of all layers."""
    first = {e["source"]: e["consumer"] for e in reversed(graph["edges"])}
    used = {key: graph["nodes"][here[consumer]]["op"] for key, consumer in first.items()}
    weights = [n for n in graph["nodes"] if n["parameter"] and len(n["shape"]) > 1]
    weights = [n for n in weights if used.get(n["id"]) not in WITHOUT_WEIGHT]
    kernels = [n for n in weights if len(n["shape"]) == 4 and ".downsample" not in n["name"]]
    chosen = sorted(kernels or weights, key=lambda n: first.get(n["id"], 0))
    return [here[n["id"]] for n in chosen]


def _turned(network: Any) -> list[np.ndarray]:
    """How large the weights of a history were at every step, and how far it turned them; [] if nobody measured."""
    turns = getattr(network, "turns", None)
    return [] if turns is None or np.isnan(turns).all() else [network.weight_norms, turns]


def _of_weights(network: Any, names: Sequence[str], steps: Sequence[int], arrays: "Arrays") -> dict[str, list[int]]:
    """These, of the weights that are drawn, at the steps that are shown."""
    measured = _turned(network)
    if not measured:
        return {}
    rows = [network.steps.index(step) for step in steps]
    columns = _places(network.parameters, names)
    return {what: arrays.norms(_taken(array[rows], columns)) for what, array in zip(("sizes", "turns"), measured)}


def _means(losses: Sequence[float], steps: Sequence[int]) -> list[float | None]:
    """The mean loss of the training steps since the recorded step before, at each."""
    found: list[float | None] = []
    before = -1
    for step in steps if len(losses) else ():
        part = losses[before + 1 : step + 1]
        found.append(_digits(float(np.mean(part))) if len(part) else None)
        before = step
    return found


def _probe(step: int, probe: Any, network: tuple[Any, Any, Any], shown: tuple[Any, Any, Any], arrays: "Arrays") -> Any:
    """What `flow.probe` measured, of what is shown, in the order of the network's own edges and tensors.

    network: its history, and the places of the tensors and edges of this pass. shown: which of these, as in `_network`.
    """
    history, tensors, ends = network
    drawn, several, angled = shown
    edges = _places(probe.edges.names(), [history.names()[i] for i in ends])
    names = [[node["name"] for node in one.graph()["nodes"]] for one in (probe.edges, history)]
    found: dict[str, Any] = {
        "step": int(step),
        "cuts": probe.cuts,
        "norms": arrays.norms(_taken(probe.edges.norms, [edges[i] for i in drawn]), reference=True),
    }
    totals = _places(names[0], [names[1][tensors[i]] for i in several])
    found["totals"] = arrays.norms(_taken(probe.edges.totals, totals), reference=True)
    found["cosines"] = arrays.cosines(_taken(probe.edges.cosines, [edges[i] for i in angled]), reference=True)
    if probe.spectrum is not None:
        found["paths"] = [_digits(value) for value in probe.spectrum.norms]
        found["counts"] = [float(count) for count in probe.spectrum.counts]
    if probe.lesion is not None and not math.isnan(probe.lesion.intact_accuracy):
        accuracies = zip(probe.lesion.names, probe.lesion.accuracy)
        found["lesion"] = {name: _digits(accuracy) for name, accuracy in accuracies}
        found["intact"] = _digits(probe.lesion.intact_accuracy)
    return found


def _places(known: Sequence[Any], wanted: Sequence[Any]) -> list[int | None]:
    """Where each of the wanted stands among the known; None if it does not."""
    places = {one: i for i, one in enumerate(known)}
    return [places.get(one) for one in wanted]


def _taken(rows: np.ndarray, columns: Sequence[int | None]) -> np.ndarray:
    """These columns, NaN where there is none."""
    padded = np.hstack([rows, np.full((len(rows), 1), np.nan)])
    return padded[:, [-1 if column is None else column for column in columns]]


def _digits(value: float) -> float | None:
    """A number of five digits; None for one that JSON cannot hold."""
    return float(f"{float(value):.5g}") if math.isfinite(value) else None


class Arrays:
    """Collects arrays as codes of 16 bits; norms as logarithms on one scale."""

    def __init__(self) -> None:
        self.low, self.step = 0.0, FINEST
        self.bytes = bytearray()

    def set_scale(self, norms: Sequence[np.ndarray]) -> None:
        """The scale on which all these norms fit."""
        logs = np.concatenate([np.log10(a[np.isfinite(a) & (a > 0)]) for a in norms])
        if logs.size:
            self.low = math.floor(float(logs.min()))
            self.step = max(FINEST, (float(logs.max()) - self.low) / (INFINITE - 2))

    def norms(self, norms: np.ndarray, reference: bool = False) -> list[int]:
        """Add norms (rows, columns), zeros, infinities and NaN kept; returns [offset, rows, columns, reference]."""
        codes = np.full(norms.shape, MISSING, np.int64)
        codes[norms == 0] = ZERO
        codes[np.isposinf(norms)] = INFINITE
        usual = np.isfinite(norms) & (norms > 0)
        codes[usual] = 1 + np.rint((np.log10(norms[usual]) - self.low) / self.step)
        return self._add(codes, reference)

    def cosines(self, cosines: np.ndarray, reference: bool = False) -> list[int]:
        """Add cosines (rows, columns), NaN kept; returns the same."""
        codes = np.where(np.isnan(cosines), MISSING, np.rint((np.nan_to_num(cosines) + 1) * COSINE))
        return self._add(codes.astype(np.int64), reference)

    def _add(self, codes: np.ndarray, reference: bool) -> list[int]:
        """Differences of each row from the one before, or, with a reference, from the first."""
        differences = codes.copy()
        differences[1:] -= codes[:1] if reference else codes[:-1]
        data = differences.astype("<u2")  # modulo 2¹⁶, on purpose
        offset = len(self.bytes)
        self.bytes += (data & 255).astype(np.uint8).tobytes() + (data >> 8).astype(np.uint8).tobytes()
        return [offset, *codes.shape, int(reference)]

    def finish(self, document: Mapping[str, Any]) -> str:
        """Document and arrays as base64."""
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        data = len(text).to_bytes(4, "little") + text + bytes(self.bytes)
        return base64.b64encode(zlib.compress(data, 9)).decode()
