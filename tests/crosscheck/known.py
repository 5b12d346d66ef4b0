"""The faults that the databases have found and that are still there: patterns of cells -> what is wrong.

Each is a strict xfail: the test fails as soon as the fault is gone, and its line here goes, too.
"""

import fnmatch
from collections.abc import Iterable

import pytest

_NAN_BY_SIZE = "where the input is NaN, PyTorch's gradient depends on how many values there are"

OPINFO = {
    "nn.functional.relu6-*-float*": _NAN_BY_SIZE,
    "nn.functional.elu-*-float*": _NAN_BY_SIZE,
}

REFUSALS: dict[str, str] = {}

MODULES: dict[str, str] = {}

OPTIMISERS: dict[str, str] = {}

DTYPES: dict[str, str] = {}

ONNX: dict[str, str] = {}


def marked(cells: Iterable, faults: dict[str, str]) -> list:
    """The cells as parameters of a test, with the known faults marked."""
    parameters = []
    for cell in cells:
        reasons = [reason for pattern, reason in faults.items() if fnmatch.fnmatchcase(str(cell), pattern)]
        marks = [pytest.mark.xfail(strict=True, raises=AssertionError, reason="; ".join(reasons))] if reasons else []
        parameters.append(pytest.param(cell, id=str(cell), marks=marks))
    return parameters


def unused(cells: Iterable, faults: dict[str, str]) -> list[str]:
    """The patterns that match no cell."""
    return [pattern for pattern in faults if not fnmatch.filter([str(cell) for cell in cells], pattern)]
