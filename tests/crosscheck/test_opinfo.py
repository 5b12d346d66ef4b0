"""PyTorch's OpInfo database: the calls that its own tests make of every op, made of ours.

Sample and reference inputs of every op in `OPS`, in five dtypes. Where ours raises a clear error, or lacks an argument,
that is no fault; `known` lists the faults there are. `python tests/crosscheck/count.py` counts.
"""

import functools
import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from crosscheck import known
from crosscheck.offered import OPS
from crosscheck.outcomes import FAULTS, Verdict, report
from crosscheck.verdicts import judge, torch

needs = "PyTorch's test databases need a package: python -m pip install expecttest"
methods = pytest.importorskip("torch.testing._internal.common_methods_invocations", reason=needs, exc_type=ImportError)

DTYPES = "float32", "float64", "int64", "uint8", "bool"
LARGE, MOST = 100_000, 200  # values in a sample, and samples of a cell; more are for the slow test
INFOS = {info.full_name: info for info in methods.op_db}


class Cell(NamedTuple):
    """One op in one dtype, by one of our ways to it."""

    op: str
    way: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.op}-{OPS[self.op][self.way].__qualname__}-{self.dtype}"


CELLS = [
    Cell(op, way, dtype)
    for op, ways in OPS.items()
    for dtype in DTYPES
    for way in range(len(ways))
    if getattr(torch, dtype) in INFOS[op].supported_dtypes("cpu")
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
    return [sample for sample in found if not is_random(op, sample)]


def is_random(op: str, sample) -> bool:
    return op == "nn.functional.dropout" and sample.kwargs.get("training", True) and sample.kwargs.get("p", 0.5) % 1 > 0


def verdicts(cell: Cell, thorough: bool = True) -> Iterator[Verdict]:
    """How the samples came out that PyTorch has an answer to: all of them, or at most MOST that are not LARGE."""
    info, ours = INFOS[cell.op], OPS[cell.op][cell.way]
    names = {name.strip("_") for name in (ours.__name__, *cell.op.split("."))}
    names |= {name.removeprefix("r") for name in names} | known.OTHER_NAMES.get(ours.__name__, set())
    chosen = samples(cell.op, cell.dtype)
    if not thorough:
        chosen = [sample for sample in chosen if getattr(sample.input, "numel", int)() <= LARGE]
        chosen = random.Random(0).sample(chosen, min(MOST, len(chosen)))
    for sample in chosen:
        args = (sample.input, *sample.args)
        if ours.__module__ == "_operator" and not any(isinstance(a, torch.Tensor) for a in args):
            continue  # Python adds its own numbers
        verdict = judge(info.op, ours, args, sample.kwargs, names)
        if verdict is not None:
            yield verdict


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["quick", "thorough"])
@pytest.mark.parametrize("cell", known.marked(CELLS, known.OPINFO))
def test_no_sample_gives_a_wrong_result_or_an_unclear_error(cell, thorough):
    found = list(verdicts(cell, thorough))
    assert not [v for v in found if v.outcome in FAULTS], report(found)


def test_every_known_fault_names_a_cell():
    assert known.unused(CELLS, known.OPINFO) == []
