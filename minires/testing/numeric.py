"""Derivatives by differences: centred, at h, h/2 and h/4 in float64, with Richardson's value and the observed order.

A kink spoils a difference: a ReLU or a max-pool that decides differently at x + h than at x. If it lies beside x, a
smaller h gets away from it. If it lies at x itself, none does: the slopes on the two sides then differ by the same
*bend* for every h, and no centred difference is the derivative. To tell rounding from kinks, it is measured where no
kink matters (see `rounding`); a bend is never mistaken for it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

STEP, SHRINK, ATTEMPTS = 1e-4, 8.0, 11
EPS = float(np.finfo(np.float64).eps)
NOISIEST = 1e-3  # of the derivative: once the step has been made smaller, a slope noisier than this decides nothing
SAFETY = 40  # differences of rounded numbers may be off by this many times the rounding, divided by h


@dataclass(frozen=True)
class Slope:
    """A derivative by differences. error: how far apart the last two were; smooth: whether they had settled.

    kink: whether the two sides have different slopes, however near; ``value`` is then their mean.
    """

    value: float
    error: float
    order: float | None
    step: float
    noise: float
    smooth: bool
    kink: bool = False


def slope(
    phi: Callable[[float], float],
    size: float,
    scale: float,
    unit: float = 1.0,
    decisions: Callable[[float], Any] | None = None,
    rtol: float = 1e-6,
) -> Slope:
    """φ′(0), where φ(0) = 0.

    size: of φ's summands, which sets the noise. scale: how large a derivative must be to matter. unit: what counts as
    one step in the argument. decisions(t): what the kinks decide at t, compared with what they decide at 0.
    Richardson: (4·D(h/4) − D(h/2))/3 removes the h² error of D(h) = (φ(h) − φ(−h))/2h.
    """
    here = decisions(0.0) if decisions is not None else None
    best: Slope | None = None
    rough = math.inf  # φ's rounding, once it is measured: when the differences do not settle at once
    seen = 0.0  # the bend at the last step
    h = STEP * unit
    for _ in range(ATTEMPTS):
        sides = [(phi(k), phi(-k), k) for k in (h, h / 2, h / 4)]
        coarse, middle, fine = ((up - down) / (2 * k) for up, down, k in sides)
        error, before = abs(middle - fine), abs(coarse - middle)
        _, near, nearest = ((up + down) / k for up, down, k in sides)
        bend = abs(2 * nearest - near)  # the difference of the one-sided slopes; extrapolated, so without curvature
        matters = rtol * max(scale, abs(fine))
        for measured in (False, True):
            noise = SAFETY * max(EPS * size, rough if math.isfinite(rough) else 0.0) / h
            settled, straight = max(error, before) <= 10 * matters + noise, bend <= matters + noise
            if (settled and straight) or measured:
                break
            rough = min(rough, rounding(phi, h, unit))
        value, order = (4 * fine - middle) / 3, math.log2(before / error) if min(error, before) > noise else None
        kink = settled and not straight and 0.5 * seen <= bend <= 2 * seen
        hidden = settled and straight and 0 < seen < 10 * noise and here is None  # is the kink gone, or only unseen?
        usable = best is None or noise <= NOISIEST * max(scale, abs(fine))
        smooth = settled and straight and usable and not hidden
        if smooth and decisions is not None:
            smooth = same(here, decisions(h)) and same(here, decisions(-h))
        found = Slope(value, error, order, h, noise, smooth, kink or hidden)
        if smooth or found.kink:
            return found
        if best is None or error < best.error:
            best = found
        seen = bend if settled else 0.0
        h /= SHRINK
    assert best is not None
    return best


def rounding(phi: Callable[[float], float], h: float, unit: float) -> float:
    """The standard deviation of φ's rounding near 0, from the median of its fifth differences.

    They do not see curvature, and a single kink moves less than half of them. If φ hardly changes from one point to the
    next, it is a staircase: its steps are roundings of numbers that are not seen here, which may be as large as φ
    becomes within a few units.
    """
    values = np.array([phi(h / 8 * (1 + k / 64)) for k in range(17)])
    jitter = float(np.median(np.abs(np.diff(values, 5)))) / math.sqrt(252) / 0.67  # of a normal distribution
    if not math.isfinite(jitter):
        return math.inf
    if len(set(values.tolist())) > 11:
        return jitter
    return max(jitter, EPS * float(np.abs(values).max()), EPS * reach(phi, unit))


def reach(phi: Callable[[float], float], unit: float) -> float:
    """How far φ goes from 0 within a few units, where it is defined."""
    found = [0.0]
    for t in (1, -1, 4, -4, 16, -16):
        try:
            found.append(abs(phi(t * unit)))
        except (ValueError, ArithmeticError):
            continue
    return max(filter(math.isfinite, found))


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
    h, share = STEP * unit, scale / math.sqrt(max(at.size, 1))
    enough = 10 * rtol * share + SAFETY * EPS * size / h
    for index in np.ndindex(at.shape):
        phi = along_entry(value, at, index)
        sides = [(phi(k), phi(-k), k) for k in (h, h / 2)]
        coarse, fine = ((up - down) / (2 * k) for up, down, k in sides)
        bends = [(up + down) / k for up, down, k in sides]
        numeric[index] = (4 * fine - coarse) / 3
        if not (abs(coarse - fine) <= enough and abs(2 * bends[1] - bends[0]) <= enough):  # a kink, strong curvature
            found = slope(phi, size, share, unit, rtol=rtol)
            numeric[index], smooth[index] = found.value, found.smooth
    return numeric, smooth


def along_entry(value: Callable[[np.ndarray], Any], at: np.ndarray, index: tuple[int, ...]) -> Callable[[float], Any]:
    """t -> value of the array with t added to one entry."""

    def phi(t: float) -> Any:
        moved = at.copy()
        moved[index] += t
        return value(moved)

    return phi


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
