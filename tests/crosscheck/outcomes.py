"""How a call of minires came out, beside the same call of another library.

agrees      the same result: shape, dtype, values, what was changed in place, and the gradient of every input
refused     an error of ours, which begins with the name of the function, as in ``conv2d: got …``
not taken   an argument that our function does not have; without it, if the other's default was meant, no fault
unclear     any other error: Python's or NumPy's own words, or the name of a function that was not called
wrong       another result
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

AGREES, REFUSED, NOT_TAKEN, UNCLEAR, WRONG = OUTCOMES = "agrees", "refused", "not taken", "unclear", "wrong"
FAULTS = UNCLEAR, WRONG
TOLERANCES = {  # torch.testing's
    "float16": dict(rtol=1e-3, atol=1e-5),
    "float32": dict(rtol=1.3e-6, atol=1e-5),
    "float64": dict(rtol=1e-7, atol=1e-7),
}

_NAMED = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*): ")
_NOT_TAKEN = re.compile(
    "unexpected keyword argument|positional arguments? but|takes no keyword arguments|multiple values for argument|"
    r"required (positional|keyword-only) argument|expected \d arguments?, got"
)


class Verdict(NamedTuple):
    """outcome: how the call came out. why: the error, or the first difference. case: the call."""

    outcome: str
    why: str
    case: str


def report(verdicts: Iterable[Verdict], most: int = 5) -> str:
    """How many calls came out how, and the faults."""
    verdicts = list(verdicts)
    counts = Counter(v.outcome for v in verdicts)
    faults = [v for v in verdicts if v.outcome in FAULTS]
    lines = [", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])]
    lines += [f"{v.outcome}: ({v.case}): {v.why}" for v in faults[:most]]
    return "\n".join(lines + ["…"] * (len(faults) > most))


def outcome_of(error: Exception, names: set[str] | None = None) -> str:
    """What an error counts as. names: what it may call the function; None for anything."""
    if isinstance(error, TypeError) and _NOT_TAKEN.search(str(error)):
        return NOT_TAKEN
    named = _NAMED.match(str(error))
    told = isinstance(error, TypeError | ValueError | IndexError | RuntimeError | OverflowError) and named
    return REFUSED if told and (names is None or named[1].rpartition(".")[2].lower() in names) else UNCLEAR


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def unequal(a: np.ndarray, b: np.ndarray, tolerances: dict = TOLERANCES) -> str | None:
    """How the array a differs from b, the expected one."""
    if a.shape != b.shape:
        return f"shape {a.shape}, expected {b.shape}"
    if a.dtype != b.dtype:
        return f"dtype {a.dtype}, expected {b.dtype}"
    close = np.isclose(a, b, **tolerances[b.dtype.name], equal_nan=True) if b.dtype.name in tolerances else a == b
    if close.all():
        return None
    first = tuple(int(i[0]) for i in np.nonzero(~close)) if a.ndim else ()
    return f"{a[first]!s}, expected {b[first]!s} at {first} ({np.count_nonzero(~close)} of {a.size} differ)"
