"""What a wrong gradient is made of: the wrong operand, the wrong derivative, or a sum that lacks its other terms."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .case import Case, Diagnosis
from .numeric import slope, unit_of
from .report import describe, describe_both

LOOSE = 1e-6  # of the largest entry: how far two analytic gradients may be apart


# ── another array in its place ──────────────────────────────────────────────────────────────────────────────────────


def swapped_operands(case: Case) -> Diagnosis | None:
    """G is the right gradient of another input, or the one with another array in an operand's place, or both."""
    floating, names = case.subject.floating, case.subject.names
    alike = [k for k in floating if case.arrays[k].shape == case.grad.shape]
    pairs: list[tuple[int, int] | None] = [None, *itertools.permutations(floating, 2)]
    for slot, pair in itertools.product([case.slot, *(k for k in alike if k != case.slot)], pairs):
        words = [f"the gradient of {names[slot]} is returned for that of {names[case.slot]}"] * (slot != case.slot)
        arrays = list(case.arrays)
        if pair is not None:
            i, j = pair
            arrays[i] = case.arrays[j]
            words.append(f"{names[j]} stands where {names[i]} should")
        at = case.arrays[slot].shape == arrays[slot].shape == case.grad.shape
        if words and at and is_gradient(case, arrays, case.cotangent, slot):
            return "swapped_operands", "; ".join(words)
    return None


def is_gradient(case: Case, arrays: list[Any], v: np.ndarray, slot: int) -> bool:
    """Whether G is the gradient for these arrays and this grad_output, along two directions."""
    at = arrays[slot]
    rng = np.random.default_rng(0)
    size = float(np.abs(v * case.output).sum()) if v.shape == case.output.shape else 0.0
    try:
        here = case.subject.value(arrays)
    except (ValueError, TypeError, IndexError):  # it does not fit there
        return False
    if np.shape(here) != v.shape or not np.isfinite(here).all():
        return False
    for _ in range(2):
        direction = np.asarray(rng.standard_normal(at.shape))

        def phi(t, direction=direction):
            moved = [np.asarray(at + t * direction) if k == slot else a for k, a in enumerate(arrays)]
            return float((v * (case.subject.value(moved) - here)).sum())

        found = slope(phi, size, float(np.linalg.norm(case.grad)), unit_of(at))
        tolerance = 1e-3 * float(np.linalg.norm(case.error)) + found.noise
        if not abs(float((case.grad * direction).sum()) - found.value) <= tolerance:
            return False
    return True


# ── grad_output times something ─────────────────────────────────────────────────────────────────────────────────────


def forgotten_operand(case: Case) -> Diagnosis | None:
    """G is the right gradient with an input's value left out (it is 1), or used once too often (it is squared)."""
    for i in case.subject.floating:
        name, array = case.subject.names[i], case.arrays[i]
        if i != case.slot and array.ndim:
            for other, words in ((np.ones_like(array), "1: forgotten?"), (array * array, "squared: once too often?")):
                arrays = [other if k == i else a for k, a in enumerate(case.arrays)]
                if is_gradient(case, arrays, case.cotangent, case.slot):
                    return "swapped_operands", f"as if {name} were {words}"
    return None


def missing_sum_term(case: Case) -> Diagnosis | None:
    """G lacks what reaches an input through other outputs, or has a wrong amount of it."""
    if case.grad.shape != case.output.shape or case.grad.size < 2:
        return None
    second = case.second()
    if _own(case, case.grad, second[0]) and not _own(case, case.numeric, second[1]):
        text = "each entry is made of its own grad_output alone, but every output depends on several inputs"
        return "missing_sum_term", f"{text}: a sum over the others is missing"
    for name, array in (("the output", case.output), ("exp(the output)", _finite(np.exp, case.output)), ("x", case.x)):
        for axis in range(case.grad.ndim):
            square = (array * array).sum(axis, keepdims=True)
            if case.grad.shape[axis] > 2 and (square > 0).all():
                factor = (case.error * array).sum(axis, keepdims=True) / square
                if case.explains(case.numeric + factor * array):
                    name = case.subject.names[case.slot] if name == "x" else name
                    text = f"the error is {name} times a number for each place along axis {axis}"
                    return "missing_sum_term", f"{text}: a sum over this axis is missing, wrong or of the wrong axis"
        if case.grad.ndim == 2 and min(case.grad.shape) > 2 and (array != 0).all():
            ratio = case.error / array
            parts = ratio.mean(0, keepdims=True) + ratio.mean(1, keepdims=True) - ratio.mean()
            if case.explains(case.numeric + parts * array):
                text = f"the error is {name} times a number for each row and one for each column"
                return "missing_sum_term", f"{text}: is a sum taken over the wrong axis?"
    return None


def wrong_derivative(case: Case) -> Diagnosis | None:
    """G is grad_output times something, summed to the input's shape, and it is not the derivative."""
    mine = _factor_of(case, case.grad)
    if mine is not None:
        right = _factor_of(case, case.numeric)
        told = "" if right is None else f", and should be {right}"
        if right is not None and mine.partition(", summed")[0] == right.partition(", summed")[0]:
            return "missing_broadcast_sum", f"it is {mine}{told}: the sum is over the wrong axes"
        return "wrong_derivative", f"it is {mine}{told}: grad_output is to be multiplied by the function's derivative"
    if case.grad.shape == case.output.shape and case.grad.size > 1 and _many_wrong(case):
        for words, term in _terms(case):
            hypothesis = np.broadcast_to(np.nan_to_num(case.numeric * term), case.grad.shape)
            square = float((hypothesis**2).sum())
            c = float((case.grad * hypothesis).sum()) / square if 0 < square < np.inf else 0.0
            if c and case.explains(c * hypothesis):
                times = words if abs(c - 1) < 1e-4 else f"{describe(c).lstrip('+')}·{words}"
                return "wrong_derivative", f"it is the right gradient times {times}: a factor is missing, or too much"
        second = case.second()
        if _own(case, case.grad, second[0]) and _own(case, case.numeric, second[1]):
            ratio = np.divide(case.grad, case.cotangent)
            right_ratio = np.divide(case.numeric, case.cotangent)
            worst = np.unravel_index(int(np.abs(case.error).argmax()), case.error.shape)
            number, derivative = describe_both(float(ratio[worst]), float(right_ratio[worst]))
            text = f"each entry of grad_output is multiplied by a number, {number} in the worst"
            return "wrong_derivative", f"{text}, where the derivative is {derivative}"
    return None


def _many_wrong(case: Case) -> bool:
    """Whether more than some entries are wrong: a place, such as the border, says more of a few."""
    wrong = np.abs(case.error) > 1e-5 * np.abs(case.numeric).max(initial=0) + case.noise
    return bool(wrong.mean() > 0.25)


def _own(case: Case, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether a gradient, given for both cotangents, is the cotangent times the same array for each."""
    w = case.other_cotangent
    if w is None:
        return False
    left, right = first * w, second * case.cotangent
    return bool(np.abs(left - right).max() <= LOOSE * np.abs(left).max() + case.noise * np.abs(w).max())


def _factor_of(case: Case, gradient: np.ndarray) -> str | None:
    """In words, the one of `_terms` that grad_output is multiplied by to give a gradient."""
    for words, term in _terms(case):
        for axes in _to(case, gradient.shape):
            found = (case.cotangent * term).sum(axes).reshape(gradient.shape)
            square = float((found * found).sum())
            if not np.isfinite(square) or square == 0:
                continue
            c = float((found * gradient).sum()) / square
            if np.abs(gradient - c * found).max() <= case.slack:
                factor = "" if abs(c - 1) < 1e-4 else "−" if abs(c + 1) < 1e-4 else f"{describe(c).lstrip('+')}·"
                summed = f", summed over axes {axes}" if axes else ""
                return f"{factor}grad_output{f'·{words}' if words else ' itself'}{summed}"
    return None


def _to(case: Case, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The axes over which an array like the output may be summed to give this shape, up to axes of length 1."""
    ndim = case.output.ndim
    wanted = [n for n in shape if n > 1]
    for count in range(ndim + 1):
        for axes in itertools.combinations(range(ndim), count):
            if [n for k, n in enumerate(case.output.shape) if k not in axes and n > 1] == wanted:
                yield axes


def _terms(case: Case) -> Iterator[tuple[str, Any]]:
    """(words, array) of what learners multiply grad_output by."""
    yield "", 1.0
    known = [(case.subject.names[i], case.arrays[i]) for i in case.subject.floating]
    known = [(name, a) for name, a in known if _fits(a, case.output)]
    several = [(name, a) for name, a in known if a.size > 1] + [("y", case.output)]
    with np.errstate(all="ignore"):
        for name, a in several:
            yield from (
                (name, a),
                (f"{name}²", a * a),
                (f"1/{name}", 1 / a),
                (f"1/{name}²", 1 / a**2),
                (f"(1 − {name})", 1 - a),
                (f"(1 − {name}²)", 1 - a * a),
                (f"{name}·(1 − {name})", a * (1 - a)),
                (f"({name} > 0)", a > 0),
                (f"({name} ≤ 0)", a <= 0),
                (f"sign({name})", np.sign(a)),
                (f"exp({name})", np.exp(a)),
                (f"log|{name}|", np.log(np.abs(a))),
                (f"√|{name}|", np.sqrt(np.abs(a))),
                (f"1/√|{name}|", 1 / np.sqrt(np.abs(a))),
            )
        for (name, a), (other, b) in itertools.permutations(several, 2):
            yield f"{name}/{other}", a / b
            yield f"{name}/{other}²", a / b**2
            if name < other:
                yield f"{name}·{other}", a * b


def _fits(a: np.ndarray, output: np.ndarray) -> bool:
    try:
        return np.broadcast_shapes(a.shape, output.shape) == output.shape
    except ValueError:
        return False


def _finite(function: Any, array: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.nan_to_num(function(array), posinf=0.0)


# ── a loss's target ─────────────────────────────────────────────────────────────────────────────────────────────────


def wrong_target(case: Case) -> Diagnosis | None:
    """In each row the entry that an array of whole numbers names is wrong, and at most one more; or it is alone."""
    for a in case.arrays:
        whole = isinstance(a, np.ndarray) and a.dtype.kind in "iu"
        if not (whole and case.grad.ndim == 2 and a.shape == case.grad.shape[:1]):
            continue
        rows = np.arange(len(a))
        if not ((a >= 0) & (a < case.grad.shape[1])).all() or case.grad.shape[1] < 3:
            continue
        wrong, here = np.abs(case.error) > case.slack, np.zeros(case.grad.shape, bool)
        here[rows, a] = True
        if not (case.grad[~here] != 0).any():
            return "wrong_target", "only the entries of the targets have a gradient: one-hot without the probabilities?"
        if wrong[here].all() and (wrong.sum(1) <= 2).all():
            more = " and one more in each row" if wrong[~here].any() else ""
            return "wrong_target", f"the entries of the targets{more} are wrong: is their one-hot subtracted, once?"
    return None
