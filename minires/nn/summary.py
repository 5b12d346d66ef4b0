"""Summary: what a network consists of, layer by layer, with parameters and multiply-adds."""

import itertools
import operator
from typing import Any, NamedTuple

import numpy as np

from .. import html
from ..autograd import switch
from ..tensor import Tensor
from .convolution import Conv1d, Conv2d, ConvTranspose2d
from .examples import fit_to
from .layers import Linear
from .module import Module


class Row(NamedTuple):
    """One layer: its dotted name, kind, output shape, own parameters and multiply-adds (MACs)."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int


class Summary(NamedTuple):
    """The layers of a network in the order they ran, and their totals. Prints as a table."""

    rows: list[Row]
    parameters: int
    macs: int

    def __repr__(self) -> str:
        return f"Summary({len(self.rows)} layers, {self.parameters:,} parameters, {self.macs:,} MACs)"

    def _repr_html_(self) -> str:
        headings, *rows = self._cells()
        return html.block(html.line(repr(self)), html.table(headings, rows, "print shows all", words=3))

    def _cells(self) -> list[tuple[str, ...]]:
        cells = [("layer", "kind", "output", "parameters", "MACs")]
        cells += [(r.name, r.kind, str(r.output_shape), f"{r.parameters:,}", f"{r.macs:,}") for r in self.rows]
        return [*cells, ("total", "", "", f"{self.parameters:,}", f"{self.macs:,}")]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        lines = [
            "  ".join([c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]).rstrip()
            for row in cells
        ]
        rule = "─" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summary(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """Run one input through the network and list its layers (and whatever else holds parameters).

    ``input_shape`` has no batch axis, such as (3, 32, 32). Multiply-adds are those of convolutions and linear layers
    for one input, as papers count them. A layer that runs twice has two rows, and its parameters in the first.
    The model is left as it was.
    """
    rows: list[Row] = []
    counted: set[Module] = set()
    before = [(vars(m), name, getattr(m, name)) for m in model.modules() for name in ("training", "_hooks")]
    restore = itertools.starmap(operator.setitem, before)

    def add_row(name: str, module: Module, args: tuple, y: Any) -> None:
        own = 0 if module in counted else sum(p.numel() for p in module.parameters(recurse=False))
        counted.add(module)
        shape = y.shape if isinstance(y, Tensor) else ()
        rows.append(Row(name, type(module).__name__, shape[1:], own, _macs(module, args, shape)))

    try:
        for name, module in model.named_modules():
            if [*module.parameters(recurse=False)] or not [*module.children()]:
                module.register_forward_hook(lambda module, args, y, name=name: add_row(name, module, args, y))
        with switch(grad_enabled=False):
            model.eval()(fit_to(model, np.zeros((1, *input_shape), np.float32)))
    finally:
        list(restore)  # in one C call, so that no interrupt comes between
    return Summary(rows, sum(p.numel() for p in model.parameters()), sum(row.macs for row in rows))


def _macs(module: Module, args: tuple, output_shape: tuple[int, ...]) -> int:
    """Multiply-adds of a layer for one input: every value of the output (if transposed, the input) costs one row."""
    if isinstance(module, ConvTranspose2d):
        return int(np.prod(args[0].shape[1:])) * int(np.prod(module.weight.shape[1:]))
    if isinstance(module, Conv1d | Conv2d | Linear):
        return int(np.prod(output_shape[1:])) * int(np.prod(module.weight.shape[1:]))
    return 0
