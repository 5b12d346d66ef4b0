"""PyTorch's module_db: its modules built and called as its own tests do, beside ours with the same weights.

Values, buffers, and the gradients of inputs and parameters, in training and in evaluation.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from crosscheck import known
from crosscheck.offered import FUNCTIONS
from crosscheck.outcomes import FAULTS, Verdict, one_line, outcome_of, report
from crosscheck.verdicts import Copies, array, described, judge, spelt_out, torch

import minires as mr
from minires import nn

needs = "PyTorch's test databases need a package: python -m pip install expecttest"
modules = pytest.importorskip("torch.testing._internal.common_modules", reason=needs, exc_type=ImportError)

INFOS = {info.module_cls.__name__: info for info in modules.module_db}


class Cell(NamedTuple):
    """One module in one dtype, in training or in evaluation."""

    module: str
    dtype: str
    training: bool

    def __str__(self) -> str:
        return f"{self.module}-{self.dtype}-{'training' if self.training else 'evaluation'}"


CELLS = [
    Cell(name, dtype, training)
    for name in INFOS
    if hasattr(nn, name)
    for dtype in ("float32", "float64")
    for training in (True, False)
]


def verdicts(cell: Cell) -> Iterator[Verdict]:
    """How every sample came out that PyTorch has an answer to."""
    info, dtype = INFOS[cell.module], getattr(torch, cell.dtype)
    torch.manual_seed(0)
    samples = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=cell.training)
    for sample in samples:
        made = sample.constructor_input
        verdict = spelt_out(lambda kwargs, sample=sample: judged(cell, sample, kwargs), made.kwargs)
        if verdict is not None:
            yield verdict._replace(case=f"{cell.module}({described(made.args, made.kwargs)}): {verdict.case}")


def judged(cell: Cell, sample, our_kwargs: dict) -> Verdict | None:
    """Build both modules, give ours the weights of PyTorch's, and call them; our_kwargs are the ones to build ours."""
    made, called = sample.constructor_input, sample.forward_input
    theirs = INFOS[cell.module].module_cls(*made.args, **made.kwargs)
    theirs.to(getattr(torch, cell.dtype)).train(cell.training)
    copies, names = Copies(), {cell.module.lower(), *FUNCTIONS.get(cell.module, ())}
    try:
        ours = getattr(nn, cell.module)(*copies.of(made.args), **copies.of(our_kwargs))
        ours.to(np.dtype(cell.dtype)).train(cell.training)
        ours.load_state_dict({name: array(value) for name, value in theirs.state_dict().items()})
    except Exception as error:
        return Verdict(outcome_of(error, names), one_line(error), "")
    parameters, buffers = dict(ours.named_parameters()), dict(ours.named_buffers())
    pairs = [(p, parameters[name]) for name, p in theirs.named_parameters()]
    pairs += [(b, mr.Tensor(buffers[name])) for name, b in theirs.named_buffers()]
    return judge(theirs, ours, called.args, called.kwargs, names, pairs)


@pytest.mark.parametrize("cell", known.marked(CELLS, known.MODULES))
def test_no_sample_gives_a_wrong_result_or_an_unclear_error(cell):
    found = list(verdicts(cell))
    assert found and not [v for v in found if v.outcome in FAULTS], report(found)


def test_every_known_fault_names_a_cell():
    assert known.unused(CELLS, known.MODULES) == []
