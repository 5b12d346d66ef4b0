"""Derivatives by differences: centred, at h, h/2 and h/4 in float64, with Richardson's value and the observed order.

A kink (a ReLU or a max-pool that decides differently at x + h than at x) spoils a difference. Where a changed decision,
or differences that do not settle, reveal one, h is made smaller.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STEP, SHRINK, ATTEMPTS = 1e-4, 8.0, 6
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Slope:
    """A derivative by differences. error: how far apart the last two were; smooth: whether they had settled."""

    value: float
    error: float
    order: float | None
    step: float
    noise: float
    smooth: bool


def slope(
    phi: Callable[[float], float],
    size: float,
    scale: float,
    unit: float = 1.0,
    decisions: Callable[[float], Any] | None = None,
    rtol: float = 1e-6,
) -> Slope:
    """φ′(0). size: of φ's summands, which sets the noise; scale: how large a derivative must be to matter.

    unit: what counts as one step in the argument. decisions(t): what the kinks decide at t, compared with what they
    decide at 0. Richardson: (4·D(h/4) − D(h/2))/3 removes the h² error of D(h) = (φ(h) − φ(−h))/2h.
    """
    here = decisions(0.0) if decisions is not None else None
    centre = phi(0.0)
    best: Slope | None = None
    h = STEP * unit
    for _ in range(ATTEMPTS):
        sides = [(phi(k) - centre, phi(-k) - centre, k) for k in (h, h / 2, h / 4)]
        coarse, middle, fine = ((up - down) / (2 * k) for up, down, k in sides)
        noise = 40 * EPS * size / h
        error, before = abs(middle - fine), abs(coarse - middle)
        enough = 10 * rtol * max(scale, abs(fine)) + noise
        settled = max(error, before) <= enough and not _bent(sides, enough)
        if settled and decisions is not None:
            settled = same(here, decisions(h)) and same(here, decisions(-h))
        order = math.log2(before / error) if min(error, before) > noise else None
        found = Slope((4 * fine - middle) / 3, error, order, h, noise, settled)
        if settled:
            return found
        if best is None or error < best.error:
            best = found
        h /= SHRINK
    assert best is not None
    return best


def _bent(sides: Sequence[tuple[float, float, float]], enough: float) -> bool:
    """Whether the slopes on the two sides differ, and just as much for a smaller step: the kink is then right here."""
    bends = [abs(up + down) / k for up, down, k in sides]
    return bends[-1] > enough and bends[-1] > 0.6 * bends[0]


def roundoff(phi: Callable[[float], float], unit: float) -> float:
    """How much φ jitters from rounding: its second differences over steps far too small for curvature to show."""
    values = [phi(k * 1e-12 * unit) for k in range(-2, 3)]
    return max(abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:])) / 2


def same(a: Any, b: Any) -> bool:
    """Whether two lists of decisions are equal."""
    return len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b))


def unit_of(array: np.ndarray) -> float:
    """The root mean square of an array, as the unit of its steps (1 for zeros)."""
    rms = float(np.sqrt(np.mean(np.square(array)))) if array.size else 0.0
    return rms if rms > 0 and math.isfinite(rms) else 1.0


def full_gradient(
    value: Callable[[np.ndarray], float], at: np.ndarray, size: float, scale: float, rtol: float
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of ``value`` (which is 0 at ``at``), entry by entry, and where it could be measured (booleans)."""
    numeric, smooth = np.zeros(at.shape), np.ones(at.shape, bool)
    unit = unit_of(at)
    h = STEP * unit
    enough = 10 * rtol * scale / math.sqrt(max(at.size, 1)) + 40 * EPS * size / h
    moved = at.copy()
    for index in np.ndindex(at.shape):

        def phi(t, index=index):
            moved[index] = at[index] + t
            return value(moved)

        sides = [(phi(k), phi(-k), k) for k in (h, h / 2)]
        coarse, fine = ((up - down) / (2 * k) for up, down, k in sides)
        numeric[index] = (4 * fine - coarse) / 3
        if not abs(coarse - fine) <= enough or _bent(sides, enough):  # a kink, or strong curvature
            found = slope(phi, size, scale / math.sqrt(at.size), unit, rtol=rtol)
            numeric[index], smooth[index] = found.value, found.smooth
        moved[index] = at[index]
    return numeric, smooth


def bisect(
    wrong: Callable[[np.ndarray], bool], count: int, rng: np.random.Generator, most: int = 8
) -> tuple[list[int], bool]:
    """Flat positions of up to ``most`` wrong entries, found by halving: wrong(positions) tests a subset at once.

    The second result says whether there may be more.
    """
    found: list[int] = []
    stack = [rng.permutation(count)]
    while stack and len(found) < most:
        part = stack.pop()
        if not wrong(part):
            continue
        if len(part) == 1:
            found.append(int(part[0]))
        else:
            stack += [part[len(part) // 2 :], part[: len(part) // 2]]
    return found, bool(stack)
