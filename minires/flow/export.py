"""A recording as text, HTML, JSON and CSV."""

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from .. import html
from ..csv_files import write_csv
from ..files import replacing
from .forks import Fork, as_html, skip_edges
from .node import Node, edge_scaling

VERSION = 1  # of the schema; it changes when a field changes its meaning or is removed


def graph(nodes: Sequence[Node]) -> dict[str, Any]:
    """The computation graph of a recording's nodes.

    version: 1. nodes: tensors in forward order, each {id, name, op, scope, shape, parameter, norm, pass}; op is "" for
    a leaf tensor, norm that of its gradient, pass the number of the walk back. edges: in forward direction, each
    {source, consumer, slot, norm, role, factor, came}: tensor ``source`` was input number ``slot`` of the op that made
    tensor ``consumer``; came is the norm of the gradient that came back along this edge, factor what `scaled`
    multiplied it by, else 1, and norm that of the product; role is "skip" or "branch" at a fork, else null. Passes
    share no nodes and have no edges between them.
    """
    described = [
        {
            "id": node.key,
            "name": node.name,
            "op": node.op,
            "scope": node.scope,
            "shape": list(node.shape),
            "parameter": node.parameter,
            "norm": node.norm,
            "pass": node.pass_,
        }
        for node in nodes
    ]
    return {"version": VERSION, "nodes": described, "edges": list(_edges(nodes))}


def _edges(nodes: Sequence[Node]) -> Iterator[dict[str, Any]]:
    skips = skip_edges({node.key: node for node in nodes})
    for node in nodes:
        edges = zip(node.consumers, node.slots, node.edge_norms, *edge_scaling(node))
        for i, (consumer, slot, norm, factor, came) in enumerate(edges):
            role = None if node.key not in skips else "skip" if i == skips[node.key] else "branch"
            edge = {"source": node.key, "consumer": consumer, "slot": slot, "norm": norm, "role": role}
            yield {**edge, "factor": factor, "came": norm if came is None else came}


def to_json(
    path: str | os.PathLike,
    loss: float | None,
    notes: Sequence[str],
    forks: Sequence[Fork],
    layers: Sequence[Any],
    nodes: Sequence[Node],
) -> None:
    """Write {version, loss, notes, forks, layers, graph}, whole or not at all; forks and layers come without arrays."""
    without_arrays = [
        {k: v for k, v in _fields(fork).items() if not k.endswith("_grad")} | {"ratio": fork.ratio, "share": fork.share}
        for fork in forks
    ]
    document = {
        "version": VERSION,
        "loss": loss,
        "notes": notes,
        "forks": without_arrays,
        "layers": [_fields(layer) for layer in layers],
        "graph": graph(nodes),
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_finite(document), indent=1) + "\n", encoding="utf-8")


def _fields(result: Any) -> dict[str, Any]:
    """The fields of a dataclass; ``pass_`` becomes "pass", which only Python reserves."""
    return {field.name.rstrip("_"): getattr(result, field.name) for field in dataclasses.fields(result)}


def _finite(value: Any) -> Any:
    """The same value with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_csv(path: str | os.PathLike, nodes: Sequence[Node]) -> None:
    """Write a row for every edge with `write_csv`: source, consumer, slot, role, gradient_norm, pass, factor, came.

    They are those of `graph`, gradient_norm being its norm.
    """
    names = {node.key: node.name for node in nodes}
    passes = {node.key: node.pass_ for node in nodes}
    rows = (
        [
            *(names[e["source"]], names[e["consumer"]], e["slot"], e["role"] or "none", e["norm"]),
            *(passes[e["source"]], e["factor"], e["came"]),
        ]
        for e in _edges(nodes)
    )
    write_csv(path, ["source", "consumer", "slot", "role", "gradient_norm", "pass", "factor", "came"], rows)


def table(forks: Sequence[Fork], weight_layers: Sequence[Any], notes: Sequence[str]) -> html.Text:
    """Forks, weight layers and notes as text."""
    width = max(24, *(len(row.name) + 1 for row in (*forks, *weight_layers)), 0)
    lines = [f"{'fork':<{width}}{'skip':>11}{'branch':>11}{'total':>11}{'ratio':>10}{'cosine':>10}{'sum error':>11}"]
    for f in forks:
        norms = f"{f.skip:>11.3e}{f.branch:>11.3e}{f.total:>11.3e}"
        lines.append(f"{f.name:<{width}}{norms}{short(f.ratio):>10}{short(f.cosine):>10}{f.sum_error:>11.0e}")
        came = {"skip": f.skip_came, "branch": f.branch_came}
        parts = [f"{way} {came[way]:.3e} × {factor:g}" for way, factor in f.scaled_ways()]
        if parts:
            lines.append(f"{'':<{width}}  came back: {', '.join(parts)}")
    if not forks:
        lines.append("(no fork: no tensor's consumers meet again at an addition)")
    if weight_layers:
        lines += ["", f"{'layer':<{width}}{'|dL/dW|':>11}{'|dL/dy|':>11}{'mean of y':>11}{'std of y':>11}"]
    for r in weight_layers:
        statistics = f"{r.mean:>11.3e}{r.std:>11.3e}"
        lines.append(f"{r.name:<{width}}{r.weight_gradient:>11.3e}{r.output_gradient:>11.3e}{statistics}")
    return html.Text("\n".join([*lines, *(f"note: {note}" for note in notes)]))


def notebook(heading: str, forks: Sequence[Fork], weight_layers: Sequence[Any], notes: Sequence[str]) -> str:
    """What a notebook shows: the table of the forks, and the gradient's profile, a line for each pass."""
    lines: dict[str, list[float]] = {}
    for layer in weight_layers:
        lines.setdefault(f"‖dL/dW‖, pass {layer.pass_}", []).append(layer.weight_gradient)
    if len(lines) == 1:
        lines = {"‖dL/dW‖": next(iter(lines.values()))}
    parts = [html.line(heading)]
    parts += [html.profile(lines, "weight layer, from input to output", log=True)] if lines else []
    parts += [as_html(forks)] if forks else []
    parts += [html.line(f"note: {note}", pale=True) for note in notes[:3]]
    parts += [html.line(f"… {len(notes) - 3} more notes", pale=True)] if len(notes) > 3 else []
    return html.block(*parts)


def short(value: float) -> str:
    """Three decimals where they say something, else two digits and the power of ten: 0.250, but 1.1e-20 and 3.0e+04."""
    if value == 0:
        return "0"
    return f"{value:.1e}" if abs(value) < 0.01 or 1e4 <= abs(value) < math.inf else f"{value:.3f}"
