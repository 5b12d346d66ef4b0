"""Checks of a schedule's settings; every error names the schedule and the setting."""

import math
import operator
from collections.abc import Callable
from typing import Any

from ...arguments import described
from ..optimizers import Optimizer


def an_optimizer(function: str, optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{function}: got {described(optimizer)}; the first argument is the optimiser")
    return optimizer


def whole(function: str, name: str, value: Any, least: int = 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{function}: got {name}={value!r}; expected a whole number, use int(…)") from None
    if number < least:
        raise ValueError(f"{function}: got {name}={number}; expected a whole number of at least {least}")
    return number


def number(function: str, name: str, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{function}: got {name}={value!r}; expected a number") from None
    if not math.isfinite(found):
        raise ValueError(f"{function}: got {name}={value!r}; expected a finite number")
    return found


def each(function: str, name: str, optimizer: Optimizer, value: Any) -> list[float]:
    """One number for each parameter group: ``value``, or its items if it is a list."""
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise ValueError(f"{function}: got {len(values)} values of {name} for {groups} parameter groups")
    return [number(function, name, v) for v in values]


def functions(function: str, optimizer: Any, lr_lambda: Any) -> list[Callable[[int], float]]:
    """One function of t for each parameter group."""
    groups = len(an_optimizer(function, optimizer).param_groups)
    found = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * groups
    if len(found) != groups:
        raise ValueError(f"{function}: got {len(found)} functions for {groups} parameter groups")
    for f in found:
        if not callable(f):
            raise TypeError(f"{function}: got lr_lambda={f!r}; expected a function of t, such as lambda t: 0.95**t")
    return found


def name_of(function: Callable[[int], float]) -> str:
    """What tells one function from another in a saved state."""
    return getattr(function, "__qualname__", type(function).__name__)


def alike(here: Any, saved: Any) -> bool:
    """Whether a saved value has the form of the one here: lists of one length, the same keys, numbers for numbers."""
    if isinstance(here, list | tuple):
        return isinstance(saved, list | tuple) and len(here) == len(saved) and all(map(alike, here, saved))
    if isinstance(here, dict):
        return isinstance(saved, dict) and here.keys() == saved.keys() and all(alike(here[k], saved[k]) for k in here)
    if isinstance(here, int | float) and not isinstance(here, bool):
        return isinstance(saved, int | float) and not isinstance(saved, bool)
    return type(here) is type(saved)
