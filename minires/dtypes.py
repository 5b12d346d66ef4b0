"""Which dtype a result has, in one place; the rules are PyTorch's.

- Floating-point numbers keep their type, whatever whole numbers or Python numbers they meet; two floating-point types
  do not mix.
- Whole numbers and bools keep their type too, in ops whose result is whole (sums are int64). In other ops, such as exp
  or division, and beside a Python float, they become float32. An op that has no meaning for them raises TypeError; its
  class says so in ``kinds``.
"""

import math
from typing import Any

import numpy as np

from .ops import Op
from .ops.shape import Cast

REAL = "biuf"  # the kinds of dtypes that tensors have
NUMPYS_INT = np.dtype(int)  # what it makes of a Python number: int64, as PyTorch does, but in a browser int32


def real_dtype(function: str, dtype: Any) -> np.dtype:
    """The NumPy dtype that is meant. Raises TypeError for anything that is none, or not of real numbers."""
    try:
        # NumPy would take None for float64, and, in a browser, int for int32.
        found = np.dtype("none" if dtype is None else np.int64 if dtype is int else dtype)
    except (TypeError, ValueError):  # the latter for what has a dtype that is not NumPy's
        found = None
    if found is None or found.kind not in REAL:
        raise TypeError(f"{function}: got dtype={dtype!r:.60}; expected a type of numbers, such as float32 or int64")
    return found


def check_real(function: str, data: Any, array: Any) -> None:
    """Raise TypeError for data that became an array of anything but real numbers."""
    if array.dtype.kind not in REAL:
        raise TypeError(f"{function}: got {type(data).__name__} data of dtype {array.dtype}; expected real numbers")


def check_holds(function: str, value: Any, dtype: np.dtype) -> None:
    """Raise OverflowError for a Python number beyond the dtype's range; whole types hold what is left of a fraction."""
    if dtype.kind == "f":
        holds = not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max)
    else:
        holds = dtype.kind == "b" or np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    if not holds:
        raise OverflowError(f"{function}: got {value}, which {dtype} cannot hold; choose a larger dtype")


RANK = {"b": 0, "u": 1, "i": 1, "f": 2}  # of a dtype's kind; a lower one gives way


def check_kinds(op: Op | type[Op], arrays: Any, name: str = "") -> None:
    """Raise TypeError, in the op's name if none is given, for an array of a kind that the op does not take."""
    for a in arrays:
        if hasattr(a, "dtype") and a.dtype.kind not in op.kinds:
            name = name or (op.name if isinstance(op, Op) else op.__name__).removesuffix("Tensor").lower()
            wanted = "floating point" if op.kinds == "f" else "numbers, not truth values"
            convert = "x.float()" if op.kinds == "f" else "x.float() or x.long()"
            raise TypeError(f"{name}: got an input of dtype {a.dtype}, expected {wanted}; convert it first: {convert}")


def of_whole_numbers(op: Op, arrays: list[Any]) -> list[Any]:
    """What an op works on if none of its arrays is floating-point."""
    check_kinds(op, arrays)
    if not op.fractional:
        return arrays
    return [a.astype(np.float32) if hasattr(a, "dtype") else a for a in arrays]


def common_whole(function: str, operands: list[tuple[np.dtype, int]]) -> np.dtype:
    """The common type of whole numbers, from the (dtype, ndim) of each operand. Raises TypeError if there is none.

    A tensor of shape () counts like a Python number: beside a tensor with axes, it matters only if its kind has a
    higher `RANK`.
    """
    rank = max((RANK[dtype.kind] for dtype, ndim in operands if ndim), default=-1)
    found = [dtype for dtype, ndim in operands if ndim or RANK[dtype.kind] > rank]
    common = np.result_type(*found)
    if common.kind == "f":
        raise TypeError(
            f"{function}: got {' and '.join(map(str, found))}, which no whole type holds; convert one first"
        )
    return common


def checked_dtype(op: Op, data: Any, dtype: Any, inputs: list[Any]) -> Any:
    """The output of an op, checked where its dtype is not ``dtype``, that of its floating-point inputs (None if none).

    Raises TypeError if the op changed the floating-point type, unless that is its purpose.
    """
    if dtype is None:
        if data.dtype.kind == "f":
            return data.astype(np.float32, copy=False)
        of_number = data.dtype == NUMPYS_INT and all(getattr(a, "dtype", None) != NUMPYS_INT for a in inputs)
        return data.astype(np.int64, copy=False) if of_number else data
    if isinstance(op, Cast) or (data.dtype.kind != "f" and not any(op.needs)):
        return data
    raise TypeError(
        f"{op.name}.forward: got {data.dtype} output from {dtype} input; an op must keep the floating-point type. "
        "A NumPy scalar such as np.sqrt(2) is float64 and widens: wrap it in float()"
    )
