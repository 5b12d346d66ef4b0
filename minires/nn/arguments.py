"""What functions and layers check about their arguments."""

from typing import Any

import numpy as np

from ..arguments import check_tensor

Size = int | tuple[int, int]


def pair(value: Any, name: str, function: str) -> tuple[int, int]:
    """3 and (3,) -> (3, 3); (3, 1) stays. Raises ValueError for anything that is not one or two whole numbers."""
    if type(value) is int:
        return value, value
    if type(value) is tuple and [type(v) for v in value] == [int, int]:  # as layers pass it on
        return value
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    values = values * 2 if len(values) == 1 else values
    if len(values) != 2 or not all(isinstance(v, int | np.integer) for v in values):
        raise ValueError(f"{function}: got {name}={value!r}; expected a whole number or a pair of them")
    return int(values[0]), int(values[1])


def single(value: Any, name: str, function: str) -> int:
    """3 and (3,) -> 3. Raises ValueError for anything but one whole number."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(values) != 1 or not isinstance(values[0], int | np.integer):
        raise ValueError(f"{function}: got {name}={value!r}; expected a whole number")
    return int(values[0])


def check_input(function: str, x: Any, whole: bool = False) -> None:
    """Raise TypeError unless x is a Tensor of floating-point numbers, or, if ``whole``, of any numbers."""
    check_tensor(function, x)
    if x.dtype.kind != "f" and not whole:
        raise TypeError(
            f"{function}: got an input of dtype {x.dtype}, expected floating point; convert it first, for example "
            "x = images.float() / 255"
        )


def check_counts(layer: str, **counts: int) -> None:
    """Raise ValueError for a count that is not a whole number of at least 1."""
    for name, n in counts.items():
        if not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"{layer}: got {name}={n!r}; expected a whole number of at least 1")
