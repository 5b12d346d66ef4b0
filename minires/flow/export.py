"""A recording as text, JSON and CSV."""

import csv
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..files import replacing
from .forks import skip_edges

if TYPE_CHECKING:
    from .record import Recording

VERSION = 1  # of the schema; it changes when a field changes its meaning or goes


def graph(recording: "Recording") -> dict[str, Any]:
    """The computation graph of a recording.

    version: 1. nodes: tensors in forward order, each {id, name, op, scope, shape, parameter, norm}; op is "" for a leaf
    tensor, norm that of its gradient. edges: in forward direction, each {source, consumer, slot, norm, role}: tensor
    ``source`` was input number ``slot`` of the op that made tensor ``consumer``, and norm is that of the gradient that
    came back along this edge; role is "skip" or "branch" at a fork, else null.
    """
    nodes = [
        {
            "id": node.key,
            "name": node.name,
            "op": node.op,
            "scope": node.scope,
            "shape": list(node.shape),
            "parameter": node.parameter,
            "norm": node.norm,
        }
        for node in recording.nodes
    ]
    return {"version": VERSION, "nodes": nodes, "edges": list(_edges(recording))}


def _edges(recording: "Recording") -> Iterator[dict[str, Any]]:
    skips = skip_edges(recording.by_key)
    for node in recording.nodes:
        for i, (consumer, slot, norm) in enumerate(zip(node.consumers, node.slots, node.edge_norms)):
            role = None if node.key not in skips else "skip" if i == skips[node.key] else "branch"
            yield {"source": node.key, "consumer": consumer, "slot": slot, "norm": norm, "role": role}


def to_json(recording: "Recording", path: str | os.PathLike) -> None:
    """Write {version, loss, notes, forks, layers, graph}, whole or not at all; forks and layers without arrays."""
    forks = [
        {k: v for k, v in dataclasses.asdict(fork).items() if not k.endswith("_grad")}
        | {"ratio": fork.ratio, "share": fork.share}
        for fork in recording.forks
    ]
    document = {
        "version": VERSION,
        "loss": recording.loss,
        "notes": recording.notes,
        "forks": forks,
        "layers": [dataclasses.asdict(layer) for layer in recording.layers],
        "graph": graph(recording),
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_finite(document), indent=1) + "\n")


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON does not know."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))) else value


def to_csv(recording: "Recording", path: str | os.PathLike) -> None:
    """Write a row for every edge, whole or not at all: source, consumer, slot, role, gradient_norm."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["source", "consumer", "slot", "role", "gradient_norm"])
        for edge in _edges(recording):
            names = [recording.by_key[edge[end]].name for end in ("source", "consumer")]
            rows.writerow([*names, edge["slot"], edge["role"] or "", f"{edge['norm']:.8g}"])


def table(recording: "Recording") -> str:
    """Forks, weight layers and notes as text."""
    lines = [f"{'fork':<24}{'skip':>11}{'branch':>11}{'total':>11}{'ratio':>9}{'cosine':>9}{'sum error':>11}"]
    for f in recording.forks:
        norms = f"{f.skip:>11.3e}{f.branch:>11.3e}{f.total:>11.3e}"
        lines.append(f"{f.name:<24}{norms}{f.ratio:>9.3f}{f.cosine:>9.3f}{f.sum_error:>11.0e}")
    if not recording.forks:
        lines.append("(no fork: no tensor's consumers meet again at an addition)")
    lines += ["", f"{'layer':<24}{'‖dL/dW‖':>11}{'‖dL/dy‖':>11}{'mean of y':>11}{'std of y':>11}"]
    for r in recording.weight_layers:
        statistics = f"{r.mean:>11.3e}{r.std:>11.3e}"
        lines.append(f"{r.name:<24}{r.weight_gradient:>11.3e}{r.output_gradient:>11.3e}{statistics}")
    return "\n".join([*lines, *(f"note: {note}" for note in recording.notes)])
