"""ONNX's node tests: the inputs and outputs that ONNX ships for its operators, given to ours."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from crosscheck import known, onnx_ops
from crosscheck.offered import FUNCTIONS
from crosscheck.outcomes import AGREES, FAULTS, NOT_TAKEN, WRONG, Verdict, one_line, outcome_of, report, unequal

import minires as mr

onnx = pytest.importorskip("onnx", reason="onnx is not installed; it is needed only for its tests")
loader = pytest.importorskip("onnx.backend.test.loader")

DTYPES = {np.dtype(name) for name in ("float32", "float64", "int64", "int32", "uint8", "bool")}  # what we have


class Cell(NamedTuple):
    """All node tests of one operator."""

    operator: str

    def __str__(self) -> str:
        return self.operator


def cases_by_operator() -> dict[str, list]:
    """The tests of a single node whose operator and dtypes we have, by operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, where ONNX computes infinities
        cases = loader.load_model_tests(kind="node")
    found: dict[str, list] = {}
    for case in cases:
        nodes = case.model.graph.node
        arrays = [a for inputs, outputs in case.data_sets for a in (*inputs, *outputs)]
        ours = len(nodes) == 1 and not nodes[0].domain and hasattr(onnx_ops, nodes[0].op_type)
        if ours and all(getattr(a, "dtype", None) in DTYPES for a in arrays):
            found.setdefault(nodes[0].op_type, []).append(case)
    return found


CASES = cases_by_operator()
CELLS = [Cell(operator) for operator in sorted(CASES)]


def verdicts(cell: Cell) -> Iterator[Verdict]:
    """How every test of an operator came out."""
    for case in CASES[cell.operator]:
        for inputs, outputs in case.data_sets:
            yield judged(case, inputs, outputs)


def judged(case, inputs: list, outputs: list) -> Verdict:
    """Give the inputs to our function of the operator's name, and compare what it returns."""
    (node,) = case.model.graph.node
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    described = f"{case.name}: {', '.join(f'{a.dtype} {a.shape}' for a in inputs)}, {attributes}"
    given = dict(zip((i.name for i in case.model.graph.input), inputs))
    names = {node.op_type.lower(), *FUNCTIONS.get(node.op_type, ())}
    try:
        with np.errstate(all="ignore"):
            tensors = [mr.tensor(given[name]) if name else None for name in node.input]
            got = getattr(onnx_ops, node.op_type)(*tensors, **attributes)
    except onnx_ops.Unsayable as error:
        return Verdict(NOT_TAKEN, str(error), described)
    except Exception as error:
        return Verdict(outcome_of(error, names), one_line(error), described)
    got = dict(zip(node.output, got if isinstance(got, tuple) else (got,)))
    tolerances = {dtype: dict(rtol=case.rtol, atol=case.atol) for dtype in ("float32", "float64")}
    for name, expected in zip(filter(None, node.output), outputs):
        if got.get(name) is None:
            return Verdict(NOT_TAKEN, f"the result {name}", described)
        if why := unequal(got[name].numpy(), expected, tolerances):
            return Verdict(WRONG, f"{name}: {why}", described)
    return Verdict(AGREES, "", described)


@pytest.mark.parametrize("cell", known.marked(CELLS, known.ONNX))
def test_no_node_test_gives_a_wrong_result_or_an_unclear_error(cell):
    found = list(verdicts(cell))
    assert found and not [v for v in found if v.outcome in FAULTS], report(found)


def test_every_known_fault_names_a_cell():
    assert known.unused(CELLS, known.ONNX) == []


def test_every_operator_that_is_said_has_a_test():
    operators = {name for name in vars(onnx_ops) if name[0].isupper()}
    helpers = {"Tensor", "Unsayable", "F"}
    assert operators - helpers == CASES.keys()
