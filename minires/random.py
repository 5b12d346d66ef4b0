"""The library's random numbers: one generator, seeded by `manual_seed`, whose state can be saved and restored."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

_generator = np.random.default_rng(0)


def generator() -> np.random.Generator:
    """The generator from which weights, dropout masks and `randn` are drawn."""
    return _generator


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the generator from ``seed``; the same seed gives the same numbers on every machine."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"manual_seed: got {seed!r}; expected a whole number of at least 0")
    _generator.bit_generator.state = np.random.default_rng(int(seed)).bit_generator.state
    return _generator


def get_state() -> dict[str, Any]:
    """The generator's state, as plain numbers and strings that JSON can hold."""
    return dict(_generator.bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Continue exactly where `get_state` was taken. Raises ValueError, and changes nothing, for anything else."""
    check_state(state)
    _generator.bit_generator.state = state


def restorer() -> Callable[[], None]:
    """A C function that goes back to where the generator now is: an interrupt comes before it or after."""
    return functools.partial(setattr, _generator.bit_generator, "state", get_state())


def check_state(state: dict[str, Any]) -> None:
    """Raise ValueError unless this is a state that `get_state` could have returned."""
    trial = type(_generator.bit_generator)()
    try:
        trial.state = state
        same = trial.state == state
    except (TypeError, ValueError, KeyError, OverflowError):
        same = False
    if not same:
        raise ValueError(f"random.set_state: got {state!r:.60}…; expected a state that random.get_state returned")
