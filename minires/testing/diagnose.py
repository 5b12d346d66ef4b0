"""What a wrong gradient looks like: hypotheses, tried in order; the first that explains the error is reported.

A hypothesis is a gradient H that a known mistake would give. It explains the wrong gradient G if G − H is at most a
thousandth of the error G − N, N being the numeric gradient.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .case import Case, Diagnosis
from .edges import explain_edges, find_silent_edge, ops_of
from .lstm import MISTAKES, recognise
from .normalisation import batch_norm_terms, other_statistics
from .operands import forgotten_operand, is_gradient, missing_sum_term, swapped_operands, wrong_derivative, wrong_target
from .report import describe_factor
from .subject import Graph


def diagnose(case: Case) -> Diagnosis:
    """(kind, words) of the first hypothesis that explains the error; if none does, where the error is."""
    if not np.isfinite(case.grad).all():
        return "partly_wrong", f"{int((~np.isfinite(case.grad)).sum())} of {case.grad.size} entries are NaN or Inf"
    for hypothesis in HYPOTHESES:
        found = hypothesis(case)
        if found is not None:
            return found
    return "partly_wrong", pattern(case)


# ── the hypotheses, in order ────────────────────────────────────────────────────────────────────────────────────────


def zeros(case: Case) -> Diagnosis | None:
    """No gradient at all."""
    if not case.grad.any():
        return "no_gradient", "the gradient is 0 everywhere: computed, but never added to the array that is returned?"
    return None


def factor(case: Case) -> Diagnosis | None:
    """G = c·N."""
    c = _ratio(case.grad, case.numeric)
    if c is None or not case.explains(c * case.numeric):
        return None
    if abs(c + 1) < 1e-4:
        return "sign", "the sign is wrong: −1 times the gradient"
    return "constant_factor", f"the gradient is {describe_factor(c)} times the right one{_name_factor(case, c)}"


def factor_per_channel(case: Case) -> Diagnosis | None:
    """G = c[k]·N along one axis; if every entry is a channel, the ratio must not depend on grad_output."""
    shape = case.grad.shape
    for axis in (1, 0, *range(2, len(shape))):
        if axis >= len(shape) or shape[axis] < 2 or case.grad.size // shape[axis] < 2:
            continue
        parts = zip(np.moveaxis(case.grad, axis, 0), np.moveaxis(case.numeric, axis, 0))
        ratios = [_ratio(g, n) for g, n in parts]
        c = np.array([1.0 if r is None else r for r in ratios])
        spread = c.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        if case.explains(spread * case.numeric) and not np.isclose(c, np.round(c), atol=1e-6).all():
            return "per_channel_factor", f"one factor for each index of axis {axis}{_name_channels(case, c)}"
    if case.grad.size > 1 and case.grad.size == max(shape) and case.cotangent.size > 1:
        (g, n), (g2, n2) = (case.grad.ravel(), case.numeric.ravel()), (a.ravel() for a in case.second())
        if np.abs(g * n2 - g2 * n).max() <= 1e-3 * np.abs(case.error).max() * np.abs(n2).max() and np.abs(n).min() > 0:
            return "per_channel_factor", f"each channel has a factor of its own{_name_channels(case, g / n)}"
    return None


def moved(case: Case) -> Diagnosis | None:
    """G is N with its axes permuted, or reversed."""
    ndim = case.grad.ndim
    for axes in itertools.permutations(range(ndim)) if ndim <= 5 else ():
        turned = case.numeric.transpose(axes)
        if turned.shape == case.grad.shape and list(axes) != sorted(axes) and case.explains(turned):
            return "transposed", f"it is the right gradient with its axes in the order {axes}"
    for axes in _subsets(range(ndim)):
        if all(case.grad.shape[a] > 1 for a in axes) and case.explains(np.flip(case.numeric, axes)):
            return "flipped", f"it is the right gradient reversed along axes {axes}"
    return None


def moved_inputs(case: Case) -> Diagnosis | None:
    """G is the right gradient for an input or a grad_output that has been transposed or flipped.

    Tested along two directions: no full numeric gradient is needed for each candidate.
    """
    candidates: list[tuple[int | None, np.ndarray, str]] = [(None, case.cotangent, "grad_output")]
    for i in case.subject.floating:
        candidates.append((i, case.arrays[i], case.subject.names[i]))
    for place, array, name in candidates:
        for kind, text, turned in _turns(array):
            if not np.array_equal(turned, array) and _same_as_with(case, place, turned):
                return kind, f"as if {name} were {text}"
    return None


def shifted(case: Case) -> Diagnosis | None:
    """G is N moved by up to two rows and columns, as far as the two overlap."""
    if case.grad.ndim < 2:
        return None
    height, width = case.grad.shape[-2:]
    span = range(-2, 3)
    for dy, dx in sorted(itertools.product(span, span), key=lambda s: abs(s[0]) + abs(s[1])):
        rows, columns = height - abs(dy), width - abs(dx)
        if (dy, dx) == (0, 0) or rows < 1 or columns < 1 or 3 * rows * columns < height * width:
            continue
        here = ..., slice(max(dy, 0), max(dy, 0) + rows), slice(max(dx, 0), max(dx, 0) + columns)
        there = ..., slice(max(-dy, 0), max(-dy, 0) + rows), slice(max(-dx, 0), max(-dx, 0) + columns)
        right = case.numeric[there]
        alike = np.abs(case.grad[here] - right).max(initial=0) <= case.slack
        if alike and np.count_nonzero(np.abs(right) > 10 * case.slack) >= 4:
            return (
                "shifted",
                f"it is the right gradient moved by {(dy, dx)}: is the padding cropped where it should be?",
            )
    return None


def fork(case: Case) -> Diagnosis | None:
    """The contributions of the consumers at a fork were not all added once."""
    return _in_graph(case, explain_edges)


def silent_edge(case: Case) -> Diagnosis | None:
    """An op sends back nothing, or nothing but zeros."""
    return _in_graph(case, find_silent_edge)


def _in_graph(case: Case, explain: Callable[..., Diagnosis | None]) -> Diagnosis | None:
    """What an explanation that needs the graph says."""
    if not isinstance(case.subject, Graph):
        return None
    chosen = case.subject.chosen
    for wanted in (case.subject.floating, chosen):  # the ledger sees most if all arrays require a gradient
        case.subject.chosen = wanted
        try:
            return explain(case.subject, case.arrays, case.slot, case.cotangent, case.grad, case.numeric, case.slack)
        except (ValueError, TypeError):  # but not every array may: the probabilities of a cross-entropy
            continue
        finally:
            case.subject.chosen = chosen
    return None


def wrong_op(case: Case) -> Diagnosis | None:
    """One of the graph's ops is wrong: each is checked by itself, the last one first, with the arrays that it met."""
    if not isinstance(case.subject, Graph) or case.subject.engine is not None:
        return None
    seen = set()
    for op, inputs, output in reversed(ops_of(case.subject, case.arrays)):
        key = type(op), tuple(np.shape(a) for a in inputs)
        if key in seen:
            continue
        seen.add(key)
        try:
            alone = np.array_equal(type(op)().forward(*inputs), output)
        except (TypeError, ValueError, IndexError):  # it has options, which are not known
            continue
        failure = case.check_alone(op, inputs) if alone else None
        if failure is not None:
            where = f" in {op.scope}" if op.scope else ""
            kind = "edge_missing" if failure.kind == "no_gradient" else "wrong_op"
            return kind, f"{op.name}.backward{where} is wrong by itself: {failure.likely}"
    return None


def lstm(case: Case) -> Diagnosis | None:
    """An LSTM's gate is wrong, or what goes back through time."""
    found = recognise(case.arrays, case.output)
    for mistake in MISTAKES:
        if found and case.explains(found.gradient(case.arrays, case.cotangent, case.slot, mistake)):
            return "lstm", f"as in an LSTM's backward in which {mistake.text}"
    return None


HYPOTHESES = (
    zeros, factor, factor_per_channel, moved, moved_inputs, shifted, batch_norm_terms, other_statistics, fork, wrong_op,
    lstm, silent_edge, wrong_target, swapped_operands, missing_sum_term, wrong_derivative,
    forgotten_operand,
)  # fmt: skip


# ── where, if nothing explains it ───────────────────────────────────────────────────────────────────────────────────


def pattern(case: Case, wrong: np.ndarray | None = None) -> str:
    """How many entries are wrong (those given, or those off by more than rounding), and what they have in common."""
    if wrong is None:
        wrong = np.abs(case.error) > max(1e-5 * np.abs(case.numeric).max(initial=0), case.noise)
        wrong = wrong if wrong.any() else np.abs(case.error) == np.abs(case.error).max()
    text = f"{int(wrong.sum())} of {wrong.size} entries are wrong"
    if wrong.all() or wrong.ndim == 0:
        return f"{text}; no known mistake explains it"
    places = np.argwhere(wrong)
    for axis, size in enumerate(wrong.shape):
        indices = sorted(set(places[:, axis].tolist()))
        if len(indices) <= size // 2 and len(indices) < size:
            steps = set(np.diff(indices).tolist())
            regular = len(indices) > 2 and len(steps) == 1 and steps != {1}
            which = f"every {steps.pop()}th index from {indices[0]}" if regular else f"indices {indices[:6]}"
            text += f", all at {which} of axis {axis}"
    if wrong.ndim >= 3 and min(wrong.shape[-2:]) >= 3:
        inside = wrong[..., 1:-1, 1:-1]
        if not inside.any():
            text += ", all at the border: is the padding handled?"
    if ((case.x < 0) == wrong).all():
        text += ", exactly those with a negative input"
    elif ((case.numeric == 0) == wrong).all():
        text += ", exactly those whose gradient is 0"
    elif not (wrong & (case.grad != 0)).any():
        text += ", all of them 0: never written?"
    return text


# ── helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def axes_summed(large: np.ndarray, small: np.ndarray) -> tuple[int, ...] | None:
    """The axes over which ``large`` must be summed to give ``small`` (up to axes of length 1), or None."""
    for axes in _subsets(range(large.ndim)):
        total = large.sum(axes)
        if total.size == small.size and large.size > small.size:
            error = np.abs(total.ravel() - small.ravel()).max(initial=0)
            if error <= 1e-5 * np.abs(small).max(initial=0):
                return axes
    return None


def _ratio(g: np.ndarray, n: np.ndarray) -> float | None:
    square = float((n * n).sum())
    return float((g * n).sum()) / square if square > 0 else None


def _subsets(axes: Any) -> Iterator[tuple[int, ...]]:
    axes = list(axes)[:6]
    return itertools.chain.from_iterable(itertools.combinations(axes, k) for k in range(1, len(axes) + 1))


def _turns(array: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """An array, transposed or flipped in each way that keeps its shape and occurs as a mistake."""
    ndim = array.ndim
    if ndim >= 2:
        swaps = [(a, b) for a, b in ((0, 1), (ndim - 2, ndim - 1)) if array.shape[a] == array.shape[b]]
        for a, b in dict.fromkeys(swaps):
            yield "transposed", f"transposed (axes {a} and {b} swapped)", array.swapaxes(a, b)
    if ndim >= 3:
        for axes in _subsets((ndim - 2, ndim - 1)):
            yield "flipped", f"reversed along axes {axes}", np.flip(array, axes)
        if array.shape[0] == array.shape[1]:
            both = np.flip(array.swapaxes(0, 1), (ndim - 2, ndim - 1))
            yield "flipped", f"reversed along axes {(ndim - 2, ndim - 1)}, and axes 0 and 1 swapped", both


def _same_as_with(case: Case, i: int | None, turned: np.ndarray) -> bool:
    """Whether G is the gradient when array i (None: grad_output) is replaced by ``turned``."""
    arrays = [turned if k == i else a for k, a in enumerate(case.arrays)]
    return is_gradient(case, arrays, turned if i is None else case.cotangent, case.slot)


def _name_factor(case: Case, c: float) -> str:
    """Where a factor may come from: a product of sizes of the arrays involved, or the inverse of one."""
    twice = {2.0: "counted twice?", 0.5: "halved?"}.get(round(abs(c), 4), "")
    for product, sizes, where in _products(case):
        under = f"1/({sizes})" if "·" in sizes else f"1/{sizes}"
        for value, shown in ((product, sizes), (1 / product, under)):
            if product > 1 and abs(abs(c) - value) < 1e-4 * value:
                return f" = {shown}{where}: a sum for a mean, or a mean for a sum?{f' Or {twice}' if twice else ''}"
    for shape in dict.fromkeys((case.x.shape, case.output.shape)):
        for wanted, used in itertools.permutations(shape, 2):
            if used and wanted != used and abs(abs(c) - wanted / used) < 1e-4:
                return f" = {wanted}/{used}, both from the shape {shape}: divided by the wrong one of them?"
    return f": {twice}" if twice else ""


def _products(case: Case) -> Iterator[tuple[int, str, str]]:
    """(product of sizes, the sizes, whose they are), in the order in which they are likely to be divided by."""
    arrays = [case.output, case.x, *(a for a in case.arrays if isinstance(a, np.ndarray))]
    shapes = list(dict.fromkeys(a.shape for a in arrays))
    images = [s for s in shapes if len(s) == 4 and s[0] == len(case.output)] if case.output.ndim == 4 else []
    if len(images) == 2 and len(shapes) == 2 and images[0][:2] == images[1][:2]:  # a pool
        (h, w), (rows, columns) = images[1][2:], images[0][2:]
        if rows and columns and h % rows == w % columns == 0:
            yield h // rows * (w // columns), f"{h // rows}·{w // columns}", ", the size of a window"
            yield from ((side, str(side), ", a side of a window") for side in (h // rows, w // columns))
    groups: dict[tuple[int, ...], None] = {}
    for ndim in sorted({len(s) for s in shapes}, reverse=True):
        every = tuple(range(ndim))
        usual = [every[:1], every[:1] + every[2:], every[2:], every[:-1], every, every[1:], every[-1:]]
        groups |= dict.fromkeys([*usual, *_subsets(every)])
    for axes in groups:
        for shape in shapes:
            if axes and axes[-1] < len(shape):
                sizes = "·".join("NCHW"[a] if shape in images else str(shape[a]) for a in axes)
                which = "" if shape in images else f", axis {axes[0]}" if len(axes) == 1 else f", axes {axes}"
                yield math.prod(shape[a] for a in axes), sizes, f"{which} of an array of shape {shape}"


def _name_channels(case: Case, c: np.ndarray) -> str:
    """Which of the inputs equals the factors per channel."""
    for i in case.subject.floating:
        a = case.arrays[i].ravel()
        if i != case.slot and a.size == c.size and (a != 0).all():
            name = case.subject.names[i]
            for value, text in ((a, f"{name}, once too often"), (1 / a, f"1/{name}: forgotten")):
                if np.allclose(c, value, rtol=1e-4):
                    return f": {text}"
    return f": {', '.join(describe_factor(k) for k in c[:4])}{', …' if c.size > 4 else ''}"
