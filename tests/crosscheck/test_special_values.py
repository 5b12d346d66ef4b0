"""Negative, infinite, NaN and large values in every dtype and pair of dtypes: results and gradients are PyTorch's."""

import itertools
import math
import operator

import numpy as np
import pytest
from crosscheck import known
from crosscheck.offered import where
from crosscheck.outcomes import FAULTS, report
from crosscheck.verdicts import judge, torch
from hypothesis import Phase, given, settings, strategies as st

import minires as mr

T = torch.nn.functional
DTYPES = "float32", "float64", "int64", "uint8", "bool"

UNARY = {
    "-x": (operator.neg, operator.neg),
    "abs": (torch.abs, mr.Tensor.abs),
    "exp": (torch.exp, mr.Tensor.exp),
    "log": (torch.log, mr.Tensor.log),
    "sqrt": (torch.sqrt, mr.Tensor.sqrt),
    "sigmoid": (torch.sigmoid, mr.Tensor.sigmoid),
    "tanh": (torch.tanh, mr.Tensor.tanh),
    "relu": (torch.relu, mr.Tensor.relu),
    "F.relu": (T.relu, mr.relu),
    "sum": (torch.sum, mr.Tensor.sum),
    "mean": (torch.mean, mr.Tensor.mean),
    "var": (torch.var, mr.Tensor.var),
    "max": (torch.max, mr.Tensor.max),
    "min": (torch.min, mr.Tensor.min),
    "amax": (torch.amax, mr.Tensor.amax),
    "amin": (torch.amin, mr.Tensor.amin),
    "max of an axis": (lambda x: x.max(-1), lambda x: x.max(-1)),
    "min of an axis": (lambda x: x.min(-1), lambda x: x.min(-1)),
    "argmax": (torch.argmax, mr.Tensor.argmax),
    "argmin": (torch.argmin, mr.Tensor.argmin),
    "float": (torch.Tensor.float, mr.Tensor.float),
    "double": (torch.Tensor.double, mr.Tensor.double),
    "long": (torch.Tensor.long, mr.Tensor.long),
}
BINARY = {
    "x + y": (operator.add, operator.add),
    "x - y": (operator.sub, operator.sub),
    "x * y": (operator.mul, operator.mul),
    "x / y": (operator.truediv, operator.truediv),
    "x ** y": (operator.pow, operator.pow),
    "x == y": (operator.eq, operator.eq),
    "x != y": (operator.ne, operator.ne),
    "x < y": (operator.lt, operator.lt),
    "x >= y": (operator.ge, operator.ge),
}
OF_TENSORS = {
    "maximum": (torch.maximum, mr.maximum),
    "minimum": (torch.minimum, mr.minimum),
    "where": (lambda x, y: torch.where(x > y, x, y), lambda x, y: where(x, x > y, y)),
    "cat": (lambda x, y: torch.cat([x.flatten(), y.flatten()]), lambda x, y: mr.cat([x.flatten(), y.flatten()])),
}
NUMBERS = True, 0, 2, -1, 300, 0.5, -2.0
SHAPES = (2, 3), (3,), (2, 1), ()  # of the second operand
COMPARISONS = "x == y", "x != y", "x < y", "x >= y"

eighths = st.integers(-64, 64).map(lambda n: n / 8)  # their sums are exact
floats = st.one_of(eighths, eighths, st.sampled_from([np.nan, np.inf, -np.inf, -0.0]))
of_dtype = {
    "float32": floats,
    "float64": floats,
    "int64": st.one_of(st.integers(-8, 8), st.integers(-(2**40), 2**40)),  # PyTorch's x ** y overflows in y − 1
    "uint8": st.one_of(st.integers(0, 8), st.integers(0, 255)),
    "bool": st.booleans(),
}
six = st.fixed_dictionaries({dtype: st.lists(value, min_size=6, max_size=6) for dtype, value in of_dtype.items()})
some = settings(max_examples=30, phases=[Phase.generate])  # to shrink what shows known faults would take minutes


def tensor(values: dict[str, list], dtype: str, shape: tuple = (2, 3)) -> torch.Tensor:
    """The first of six values in a shape; floating point requires a gradient."""
    array = np.array(values[dtype], dtype)[: math.prod(shape)].reshape(shape)
    return torch.tensor(array, requires_grad=dtype.startswith("float"))


def plain_bases(name: str, values: dict[str, list]) -> dict[str, list]:
    """For powers, without −0 and −∞, and without whole numbers of which float32 does not know whether they are odd.

    NumPy and PyTorch each have two answers to (−∞) ** 0.5 and (−0) ** −0.5: which one they give depends on whether the
    exponent is a number, of shape (), or of more entries.
    """

    def plain(v):
        return abs(v) if v in (0, -math.inf) else v % 97 if abs(v) >= 2**24 and math.isfinite(v) else v

    return {dtype: [*map(plain, entries)] for dtype, entries in values.items()} if "**" in name else values


def check(functions, *args) -> None:
    verdict = judge(*functions, args, {}, None)
    assert verdict is None or verdict.outcome not in FAULTS, report([verdict])


def fits(number, dtype: str) -> bool:
    """Whether a dtype has the number. PyTorch wraps one that uint8 has not (its issue 101653): 2 < −1."""
    return dtype != "uint8" or 0 <= number <= 255


@pytest.mark.parametrize("name", known.marked(UNARY, known.DTYPES))
@some
@given(six)
def test_of_one_tensor(name, values):
    for dtype in DTYPES:
        check(UNARY[name], tensor(values, dtype))


@pytest.mark.parametrize("name", known.marked(BINARY | OF_TENSORS, known.DTYPES))
@some
@given(six, six)
def test_of_two_tensors(name, values, others):
    values = plain_bases(name, values)
    for a, b, shape in itertools.product(DTYPES, DTYPES, SHAPES):
        x, y = tensor(values, a), tensor(others, b, shape)
        if name not in COMPARISONS or shape or fits(y.item(), a):
            check((BINARY | OF_TENSORS)[name], x, y)


@pytest.mark.parametrize("name", known.marked([f"{name}, a number" for name in BINARY], known.DTYPES))
@some
@given(six)
def test_of_a_tensor_and_a_number(name, values):
    name = name.removesuffix(", a number")
    values = plain_bases(name, values)
    for dtype, number in itertools.product(DTYPES, NUMBERS):
        if name not in COMPARISONS or fits(number, dtype):
            check(BINARY[name], tensor(values, dtype), number)
            check(BINARY[name], number, tensor(values, dtype))


def test_every_known_fault_names_a_function():
    names = [*UNARY, *BINARY, *OF_TENSORS, *(f"{name}, a number" for name in BINARY)]
    assert known.unused(names, known.DTYPES) == []
