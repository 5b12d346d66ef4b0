"""The faults that the databases have found and that are still there: patterns of cells -> what is wrong.

Each is a strict xfail: the test fails as soon as the fault is gone, and its line here goes, too.
"""

import fnmatch
from collections.abc import Iterable

import pytest

_NAN_GRADIENT = "where the input is NaN, the gradient is not PyTorch's"
_HALF = "uint8 and bool give float16, PyTorch float32"
_AXIS_ERROR = "of a tensor of shape () along dim 0: NumPy's AxisError"
_ZERO_BASE = "0 to a negative power: the gradient with respect to the exponent is NaN, PyTorch's is ∓inf"
_NEGATIVE_POWER = "whole numbers to negative powers: NumPy's error; PyTorch gives 0, or ±1 for a base of ±1"

OPINFO = {
    "pow-*-float*": _ZERO_BASE,
    "pow-*-int64": _NEGATIVE_POWER,
    "abs-*-float*": _NAN_GRADIENT,
    "nn.functional.relu-*-float*": _NAN_GRADIENT,
    "maximum-*-float*": _NAN_GRADIENT,
    "minimum-*-float*": _NAN_GRADIENT,
    "exp-*-uint8": _HALF,
    "exp-*-bool": _HALF,
    "log-*-uint8": _HALF,
    "log-*-bool": _HALF,
    "sqrt-*-uint8": _HALF,
    "sqrt-*-bool": _HALF,
    "tanh-*-uint8": _HALF,
    "tanh-*-bool": _HALF,
    "sigmoid-*-uint8": _HALF,
    "sigmoid-*-bool": "NumPy's error about the minus of a bool",
    "sum-*-uint8": "the sum of uint8 is uint64, PyTorch's int64",
    "var.unbiased-*": "x.var(True) and x.var(False) take the flag for a dim",
    "max.binary-*-float*": _NAN_GRADIENT,
    "min.binary-*-float*": _NAN_GRADIENT,
    "max.reduction_with_dim-*": _AXIS_ERROR,
    "min.reduction_with_dim-*-float*": _AXIS_ERROR,
    "min.reduction_with_dim-*-int64": _AXIS_ERROR,
    "min.reduction_with_dim-*-uint8": "−x wraps around: the minimum of [0, 1] is 1",
    "min.reduction_with_dim-*-bool": "NumPy's error about the minus of a bool",
    "softmax-*": "empty: NumPy's error",
    "log_softmax-*": "empty: NumPy's error",
}

REFUSALS = {
    "neg-*": "NumPy's error about the minus of a bool",
    "cat-*": "None among the tensors: AttributeError",
}

MODULES: dict[str, str] = {}

OPTIMISERS: dict[str, str] = {}

_NUMBER_IN_A_TENSOR = "uint8 with an int64 tensor of shape () is int64, PyTorch's uint8"
_OUT_OF_RANGE = "uint8 and a number that it cannot hold: NumPy's OverflowError"

DTYPES = {
    "abs": _NAN_GRADIENT,
    "relu": _NAN_GRADIENT,
    "F.relu": _NAN_GRADIENT,
    "max": "the largest of values with a NaN is NaN, and the gradient should be the NaN's",
    "min": "the smallest of values with a NaN is NaN, and the gradient should be the NaN's",
    "exp": _HALF,
    "log": _HALF,
    "sqrt": _HALF,
    "sigmoid": _HALF,
    "tanh": _HALF,
    "sum": "the sum of uint8 is uint64, PyTorch's int64",
    "min of an axis": "uint8 wraps around in −x; bool has no −x",
    "x [+*-] y": _NUMBER_IN_A_TENSOR,
    "x [*][*] y": f"{_ZERO_BASE}; {_NEGATIVE_POWER}; {_NUMBER_IN_A_TENSOR}; of shape (), (−inf) ** 0.5 is NaN",
    "maximum": f"{_NAN_GRADIENT}; {_NUMBER_IN_A_TENSOR}",
    "minimum": f"{_NAN_GRADIENT}; {_NUMBER_IN_A_TENSOR}",
    "where": _NUMBER_IN_A_TENSOR,
    "x [+*-] y, a number": _OUT_OF_RANGE,
    "x [*][*] y, a number": f"{_OUT_OF_RANGE}; bool ** 2 is int8",
}

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
