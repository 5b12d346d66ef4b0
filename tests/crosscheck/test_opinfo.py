"""PyTorch's OpInfo database: the calls that its own tests make of every op, made of ours.

Sample and reference inputs of every op in `OPS`, in five dtypes. Where ours raises a clear error, or lacks an argument,
that is no fault; `known` lists the faults there are. `python tests/crosscheck/count.py` counts.
"""

import functools
import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from crosscheck import known
from crosscheck.offered import OPS, OTHER_NAMES, RANDOM
from crosscheck.outcomes import AGREES, FAULTS, Verdict, one_line, outcome_of, report
from crosscheck.verdicts import Copies, described, judge, torch

import minires as mr
from minires.nn import functional as F

needs = "PyTorch's test databases need a package: python -m pip install expecttest"
methods = pytest.importorskip("torch.testing._internal.common_methods_invocations", reason=needs, exc_type=ImportError)

DTYPES = "float32", "float64", "int64", "uint8", "bool"
QUICK = "float32", "int64", "bool"  # the others hardly ever differ from these, and are for the thorough test
LARGE, MOST = 100_000, 200  # values in a sample, and samples of a cell; more are for the thorough test
INFOS = {info.full_name: info for info in methods.op_db}


class Cell(NamedTuple):
    """One op in one dtype, by one of our ways to it."""

    op: str
    way: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.op}-{OPS[self.op][self.way].__qualname__}-{self.dtype}"

    @property
    def names(self) -> set[str]:
        """What an error of ours may call the function."""
        ours = OPS[self.op][self.way].__name__
        names = {name.strip("_") for name in (ours, *self.op.split("."))}
        return names | {name.removeprefix("r") for name in names} | OTHER_NAMES.get(ours, set())


CELLS = [
    Cell(op, way, dtype)
    for op, ways in OPS.items()
    for dtype in DTYPES
    for way in range(len(ways))
    if getattr(torch, dtype) in INFOS[op].supported_dtypes("cpu")
]


REFUSALS = [  # one for each way to an op whose errors PyTorch tests
    Cell(op, way, "errors") for op, ways in OPS.items() if INFOS[op].error_inputs_func for way in range(len(ways))
]


@functools.lru_cache(1)
def samples(op: str, dtype: str) -> list:
    """Every sample and reference input, the same in every run."""
    info, dtype = INFOS[op], getattr(torch, dtype)
    torch.manual_seed(0)
    try:
        found = list(info.reference_inputs("cpu", dtype, requires_grad=dtype.is_floating_point))
    except ValueError:  # those of clamp and where ask whole numbers to require a gradient, in PyTorch 2.13
        found = list(info.reference_inputs("cpu", dtype, requires_grad=False))
    return [sample for sample in found if not is_random(op, sample) and not is_ambiguous(op, sample)]


def is_method(ours) -> bool:
    return ours is getattr(mr.Tensor, ours.__name__, None)


def is_random(op: str, sample) -> bool:
    drops = op in ("nn.functional.dropout", "nn.functional.dropout2d")
    return drops and sample.kwargs.get("training", True) and sample.kwargs.get("p", 0.5) % 1 > 0


def is_ambiguous(op: str, sample) -> bool:
    """Whether the order of equal values is open, which ours never is: as with ``stable=True``."""
    ordered = op in ("sort", "argsort", "topk") and not sample.kwargs.get("stable")
    return ordered and sample.input.unique().numel() < sample.input.numel()


def verdicts(cell: Cell, thorough: bool = True) -> Iterator[Verdict]:
    """How the samples came out that PyTorch has an answer to: all of them, or at most MOST that are not LARGE."""
    info, ours = INFOS[cell.op], OPS[cell.op][cell.way]
    chosen = samples(cell.op, cell.dtype)
    if not thorough:
        chosen = [sample for sample in chosen if getattr(sample.input, "numel", int)() <= LARGE]
        chosen = random.Random(0).sample(chosen, min(MOST, len(chosen)))
    for sample in chosen:
        args = (sample.input, *sample.args)
        if ours.__module__ == "_operator" and (sample.kwargs or not any(isinstance(a, torch.Tensor) for a in args)):
            continue  # Python adds its own numbers, and an operator takes no keywords
        if is_method(ours) and not isinstance(sample.input, torch.Tensor):
            continue  # a number has no such method
        verdict = judge(info.op, ours, args, sample.kwargs, cell.names)
        if verdict is not None:
            yield verdict


@pytest.mark.parametrize("cell", known.marked([cell for cell in CELLS if cell.dtype in QUICK], known.OPINFO))
def test_no_sample_gives_a_wrong_result_or_an_unclear_error(cell):
    found = list(verdicts(cell, thorough=False))
    assert not [v for v in found if v.outcome in FAULTS], report(found)


@pytest.mark.thorough
@pytest.mark.parametrize("cell", known.marked(CELLS, known.OPINFO))
def test_no_sample_of_all_gives_a_wrong_result_or_an_unclear_error(cell):
    found = list(verdicts(cell))
    assert not [v for v in found if v.outcome in FAULTS], report(found)


@pytest.mark.parametrize("cell", known.marked(REFUSALS, known.REFUSALS))
def test_what_pytorch_refuses_gives_no_unclear_error(cell):
    found = list(refusals(cell))
    assert not [v for v in found if v.outcome in FAULTS], report(found)


def refusals(cell: Cell) -> Iterator[Verdict]:
    """How the calls came out that PyTorch's tests expect to fail; an answer counts as agreement: we may offer more."""
    ours = OPS[cell.op][cell.way]
    for error in INFOS[cell.op].error_inputs("cpu"):
        sample, copies = error.sample_input, Copies()
        args = (sample.input, *sample.args)
        if is_method(ours) and not isinstance(sample.input, torch.Tensor):
            continue  # a number has no such method
        try:
            args, kwargs = copies.of(args), copies.of(sample.kwargs)
        except ValueError:
            continue  # NumPy's arrays have 64 axes at most
        case = described((sample.input, *sample.args), sample.kwargs)
        try:
            with np.errstate(all="ignore"):
                ours(*args, **kwargs)
            yield Verdict(AGREES, "", case)
        except Exception as raised:
            yield Verdict(outcome_of(raised, cell.names), one_line(raised), case)


def test_every_known_fault_names_a_cell():
    assert known.unused(CELLS, known.OPINFO) == known.unused(REFUSALS, known.REFUSALS) == []


def test_every_function_that_has_samples_is_tried():
    """A new function or method joins `OPS`, under the name of PyTorch's op."""
    tried = {way.__name__ for ways in OPS.values() for way in ways} | {op.rpartition(".")[2] for op in OPS}
    databases = {op.name.rpartition(".")[2] for op in INFOS.values()}
    ours = {name for place in (mr, F, mr.Tensor) for name in vars(place) if not name.startswith("_")}
    assert (ours & databases) - tried - RANDOM == set()
