"""Judging what a submission returned: right, or wrong in words. The right answers are computed here, in the grader.

A wrong gradient goes to the checker: the reference runs forward, the submission backward, and `minires.testing` names
the kind of mistake.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..arguments import described
from ..testing import gradcheck
from ..testing.case import Case
from ..testing.diagnose import factor, moved, pattern, shifted
from ..testing.report import VacuousCheckWarning, describe_both
from ..testing.subject import PlainPair
from .learner import Learner, Other, Wrong

TOLERANCE = 1e-8  # of the largest entry, in float64
Mistakes = Iterable[tuple[str, Any]]


def judge(what: str, got: Any, right: Any, mistakes: Mistakes = (), tolerance: float = TOLERANCE) -> None:
    """Raise Wrong unless ``got`` equals ``right`` in shape, type and values.

    mistakes: known ones as (words, the value it would give); the first that fits is reported.
    """
    right = np.asarray(right)
    got = as_array(what, got, right)
    if agree(got, right, tolerance):
        return
    lost = ~np.isfinite(got) & np.isfinite(right)
    if lost.any():
        count = int(lost.sum())
        text = f"{what}: {count} of {got.size} entries are NaN or Inf (a division by 0, a logarithm of 0, an overflow?)"
        raise Wrong(text, "NaN or Inf")
    likely = next((words for words, value in mistakes if agree(got, np.asarray(value), min(tolerance, 1e-6))), "")
    brief = likely
    wrong = ~_near(got, right, tolerance)
    if not likely:
        brief, likely = _looks_like(got, right, wrong)
    raise Wrong(f"{what}: {_worst(got, right, wrong)}\n    likely: {likely}", brief)


def draw_shape(rng: np.random.Generator, shape: Sequence[int] | str) -> tuple[int, ...]:
    """A shape as it is, or from one character per axis: digits are sizes, and letters get sizes from 2 to 6.

    Equal letters get equal sizes, different letters different ones: "n3mm" may become (4, 3, 2, 2).
    """
    return draw_shapes(rng, shape)[0]


def draw_shapes(rng: np.random.Generator, *shapes: Sequence[int] | str) -> list[tuple[int, ...]]:
    """Several shapes as `draw_shape` draws them; a letter has the same size in all of them."""
    letters = dict.fromkeys(c for shape in shapes if isinstance(shape, str) for c in shape if not c.isdigit())
    sizes: dict[Any, int] = dict(zip(letters, rng.permutation(np.arange(2, 7)).tolist()))
    return [tuple(int(sizes.get(c, c)) for c in shape) for shape in shapes]


def as_array(what: str, got: Any, right: np.ndarray) -> np.ndarray:
    """What came back, if it is an array (or a number) of the right shape and type; else Wrong."""
    if got is None:
        raise Wrong(f"{what}: None came back; is there a return?", "nothing returned")
    if isinstance(got, int | float) and right.ndim == 0:
        return np.asarray(got, right.dtype)
    if not isinstance(got, np.ndarray):
        raise Wrong(f"{what}: {called(got)} came back; expected an array of shape {right.shape}", "wrong type")
    if got.shape != right.shape:
        raise Wrong(f"{what}: an array of shape {got.shape} came back; expected {right.shape}", "wrong shape")
    if right.dtype.kind == "f" and got.dtype != right.dtype:
        raise Wrong(f"{what}: {got.dtype} came back for {right.dtype} inputs; keep the type", "wrong dtype")
    return got


def agree(got: np.ndarray, right: np.ndarray, tolerance: float) -> bool:
    """Whether all entries differ by no more than this share of the largest one."""
    return got.shape == right.shape and bool(_near(got, right, tolerance).all())


def _near(got: np.ndarray, right: np.ndarray, tolerance: float) -> np.ndarray:
    """Which entries agree."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got.astype(np.float64) - right.astype(np.float64))
        largest = float(np.abs(right[np.isfinite(right)]).max(initial=0)) if right.size else 0.0
        return (error <= tolerance * largest + 1e-300) | (got == right) | (np.isnan(got) & np.isnan(right))


def parts(what: str, got: Any, count: int, names: str) -> tuple[Any, ...]:
    """A tuple of this many results; else Wrong."""
    if got is None:
        raise Wrong(
            f"{what}: None came back; expected {count} results: {names}; is there a return?", "nothing returned"
        )
    if not isinstance(got, tuple | list) or len(got) != count:
        several = isinstance(got, tuple | list)
        came = f"{len(got)} value{'s' * (len(got) != 1)}" if several else called(got)
        raise Wrong(f"{what}: {came} came back; expected {count}: {names}", "wrong number of results")
    return tuple(got)


def called(got: Any) -> str:
    """What came back, for a message."""
    return repr(got) if isinstance(got, Other) else described(got)


def judge_gradient(
    learner: Learner,
    what: str,
    call: Callable[[np.ndarray], Any],
    forward: Callable,
    right: Callable[[np.ndarray], Any],
    arrays: Sequence[Any],
    slot: int,
    rng: np.random.Generator,
) -> None:
    """Judge one gradient for two random grad_outputs; if it is wrong, let the checker say how.

    call(grad_output) -> the submission's gradients, one for each array; right(grad_output) -> the right ones.
    """

    def gradients(g: np.ndarray) -> tuple[Any, ...]:
        found = call(g)
        if len(arrays) == 1 and not isinstance(found, tuple | list):
            return (found,)
        return parts(what, found, len(arrays), "a gradient for each input")

    y = np.asarray(forward(*arrays))
    for _ in range(2):
        g = rng.standard_normal(y.shape)
        got, expected = gradients(g)[slot], np.asarray(right(g)[slot])
        if isinstance(got, int | float):
            got = np.asarray(got, dtype=np.float64)
        if got is not None and not isinstance(got, np.ndarray):
            as_array(what, got, expected)
        if not (isinstance(got, np.ndarray) and got.dtype == expected.dtype and agree(got, expected, TOLERANCE)):
            _explain(learner, what, gradients, forward, arrays, slot)
            judge(what, got, expected)  # the checker found nothing, so the values decide


def _explain(learner: Learner, what: str, gradients: Callable, forward: Callable, arrays: Any, slot: int) -> None:
    """Raise Wrong with the checker's diagnosis."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VacuousCheckWarning)
        pair = (forward, lambda g, *_: tuple(cleaned(grad) for grad in gradients(g)))
        report = gradcheck(pair, *arrays, only=slot, raise_on_failure=False)
    if learner.trouble is not None:
        raise learner.trouble
    if report.failures:
        raise_failure(what, report.failures[0])


def raise_failure(what: str, failure: Any) -> None:
    """Raise Wrong with a failure of the checker in a learner's words."""
    worst = ""
    if failure.worst_index is not None:
        entry = f"[{', '.join(map(str, failure.worst_index))}]" if failure.worst_index else ""
        mine, numeric = describe_both(failure.backward, failure.numeric)
        worst = f" worst entry {entry}: yours {mine}, differences say {numeric}"
    raise Wrong(f"{what}:{worst}\n    likely: {failure.likely}", failure.kind.replace("_", " "))


def cleaned(grad: Any) -> Any:
    """What came back for a gradient, or None if it is nothing that the checker could compare."""
    return None if isinstance(grad, Other | str | dict | tuple | list) else grad


def _worst(got: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> str:
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.nan_to_num(np.abs(got.astype(float) - right.astype(float)), nan=math.inf)
    at = tuple(int(i) for i in np.unravel_index(int(np.where(wrong, error, -1).argmax()), error.shape))
    mine, other = describe_both(float(got[at]), float(right[at]))
    values = f"yours {mine}, right {other}"
    if right.ndim == 0:
        return values
    return f"{int(wrong.sum())} of {right.size} entries are wrong; the worst, [{', '.join(map(str, at))}]: {values}"


def _looks_like(got: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> tuple[str, str]:
    """(kind, words) for a wrong result: the checker's hypotheses that need nothing but the two arrays."""
    if got.ndim == 0:
        return "wrong value", "no known mistake explains it"
    if not got.any():
        return "all zeros", "the result is 0 everywhere"
    got, right = (np.where(wrong | np.isfinite(right), a, 0) for a in (got, right))  # where both are NaN, or Inf
    subject = PlainPair(np.positive, np.positive, [right], {})
    got, right = got.astype(np.float64), right.astype(np.float64)
    case = Case(subject, [0 * right], 0, right, right, got, right, 0.0, lambda: (got, right))
    for hypothesis in (factor, moved, shifted):
        found = hypothesis(case)
        if found is not None:
            return found[0].replace("_", " "), found[1].replace("gradient", "result")
    common = pattern(case, wrong).partition(" entries are wrong")[2]  # how many there are has been said
    return "partly wrong", common.lstrip(",; ").replace("gradient", "result") or "no known mistake explains it"
