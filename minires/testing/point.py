"""One point at which gradients are checked: the output there, what backward makes of several grad_outputs, slopes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .numeric import EPS, SAFETY, STEP, Slope, along_entry, full_gradient, reach, rounding, slope, unit_of
from .subject import Graph, Subject

STEEPEST = 1e3  # how steep a function is taken to be somewhere else, where it does not saturate
FULL_LIMIT = 4096  # entries up to which a wrong gradient is compared with a full numeric one


class BackwardError(Exception):
    """Backward raised ``cause``."""

    def __init__(self, cause: Exception):
        self.cause = cause


class Point:
    """The arrays, the output y there, two cotangents v and w, and backward's gradients for them: grads and other."""

    def __init__(self, subject: Subject, arrays: list[Any], seed: int, directions: int, rtol: float):
        self.subject, self.arrays, self.seed, self.directions, self.rtol = subject, arrays, seed, directions, rtol
        y, self.pull = subject.run(arrays)
        self.y = np.array(y)
        if self.y.dtype.kind != "f" or not np.isfinite(self.y).all():
            raise ValueError(
                f"gradcheck: {subject.name} returned {self.y.dtype} values"
                f"{', NaN or Inf among them' if self.y.dtype.kind == 'f' else ''}; expected finite floating point"
            )
        rng = generator(seed, 0)
        self.v, self.w = (np.asarray(rng.standard_normal(self.y.shape)) for _ in range(2))
        self.grads: list[Any] = []

    # ── backward ──
    def differentiate(self) -> None:
        """Run backward for v and w, before forward runs anywhere else: a learner's backward may rely on that."""
        self.grads, self.other = self.pulled(self.v.copy()), self.pulled(self.w.copy())

    def pulled(self, cotangent: np.ndarray) -> list[Any]:
        """Copies of the gradients for a cotangent, so that nothing written later can change them."""
        try:
            return [None if g is None else np.array(g) for g in self.pull(cotangent)]
        except Exception as error:
            raise BackwardError(error) from error

    # ── differences ──
    @property
    def magnitude(self) -> float:
        """The size of the summands of ⟨v, f⟩, Σ|v|·max|f|."""
        return float(np.abs(self.v).sum() * np.abs(self.y).max(initial=0))

    def size_of(self, i: int) -> float:
        """`magnitude`, or the larger one that f's rounding implies where larger numbers cancel."""
        unit = unit_of(self.arrays[i])
        return max(self.magnitude, rounding(self.along(i, self.directions_of(i)[0]), STEP * unit, unit) / EPS)

    def natural(self, i: int) -> float:
        """What a gradient of array i may be compared with: the size of f divided by the size of the input."""
        return self.magnitude / unit_of(self.arrays[i])

    def steepness(self, i: int) -> float:
        """How large array i's gradient may be inside backward: |v| times how far f goes within a unit, per unit.

        A saturated function goes farther some units away, and backward subtracts numbers of that size. An exponential
        goes much farther, but backward sees nothing of that here: hence `STEEPEST`.
        """
        unit, largest = unit_of(self.arrays[i]), float(np.abs(self.v).max(initial=0))
        far = min(reach(self.along(i, self.directions_of(i)[0]), unit) / unit, STEEPEST * largest)
        return max(largest * float(np.abs(self.y).max(initial=0)) / unit, far)

    def coarseness(self, i: int, direction: np.ndarray) -> float:
        """The rounding of ⟨v, f⟩ as a share of its size, here or within some units."""
        unit, phi = unit_of(self.arrays[i]), self.along(i, direction)
        size = max(self.magnitude, reach(phi, unit))
        return rounding(phi, STEP * unit, unit) / size if size else 0.0

    def floor(self, i: int) -> float:
        """How exactly one entry of a numeric gradient is known: the noise ε|f|/h."""
        return SAFETY * EPS * self.size_of(i) / (STEP * unit_of(self.arrays[i]))

    def directions_of(self, i: int) -> list[np.ndarray]:
        """Random directions for array i, drawn from a normal distribution; the same ones at every call."""
        rng = generator(self.seed, 1 + i)
        return [np.asarray(rng.standard_normal(self.arrays[i].shape)) for _ in range(self.directions)]

    def directions_across(self, i: int, grad: np.ndarray) -> list[np.ndarray]:
        """The same directions, none nearly perpendicular to the gradient, so that a wrong factor always shows."""
        length = float(np.linalg.norm(grad))
        if not 0 < length < math.inf:
            return self.directions_of(i)
        along = grad / length
        shares = [float((d * along).sum()) for d in self.directions_of(i)]
        return [
            d + (math.copysign(max(abs(share), 1.0), share) - share) * along
            for d, share in zip(self.directions_of(i), shares)
        ]

    def moved(self, i: int, array: np.ndarray) -> list[Any]:
        """The arrays, with another in place of array i."""
        return [array if k == i else a for k, a in enumerate(self.arrays)]

    def change(self, i: int, array: np.ndarray) -> np.ndarray:
        """f with another array in place of array i, minus f here."""
        with np.errstate(all="ignore"):  # a step may leave the domain of a logarithm; NaN is then no measurement
            return self.subject.value(self.moved(i, array)) - self.y

    def along(self, i: int, direction: np.ndarray) -> Callable[[float], float]:
        """t -> ⟨v, f(x + t·direction) − f(x)⟩."""
        return lambda t: float((self.v * self.change(i, np.asarray(self.arrays[i] + t * direction))).sum())

    def slope(self, i: int, direction: np.ndarray, scale: float = 0.0) -> Slope:
        """The derivative of ⟨v, f⟩ by differences along a direction of array i."""
        decisions = None
        if isinstance(self.subject, Graph):

            def decisions(t):
                return self.subject.decisions(self.moved(i, np.asarray(self.arrays[i] + t * direction)))

        scale = scale if math.isfinite(scale) else 0.0
        phi = self.along(i, direction)
        return slope(phi, self.magnitude, scale, unit_of(self.arrays[i]), decisions, self.rtol)

    def full(self, i: int, v: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The full numeric gradient of array i for a cotangent (v), and where it could be measured."""
        v = self.v if v is None else v
        scale = float(np.abs(v).sum()) / max(unit_of(self.arrays[i]), 1e-300)

        def value(array):
            return float((v * self.change(i, array)).sum())

        return full_gradient(value, self.arrays[i], self.magnitude, scale, self.rtol)

    def sides(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The slopes on the two sides of every entry of array i: all the smaller ones, and all the larger ones.

        Compared output by output and then summed: at a kink, each output has a derivative between its own two.
        """
        array = self.arrays[i]
        low, high = np.zeros(array.shape), np.zeros(array.shape)
        h = STEP * unit_of(array)
        for index in np.ndindex(array.shape):
            change = along_entry(lambda moved: self.change(i, moved), array, index)
            right, left = self.v * change(h) / h, self.v * change(-h) / -h
            low[index], high[index] = np.minimum(left, right).sum(), np.maximum(left, right).sum()
        return low, high


def generator(*seeds: int) -> np.random.Generator:
    """The checker's random numbers, which are not those of ``default_rng(seed)``: the inputs may come from there."""
    return np.random.default_rng([0x67726164, *seeds])


def strided(array: np.ndarray) -> np.ndarray:
    """The array as a view of every second entry of a larger one, along every axis; NaN lies between."""
    wide = np.full([2 * n + 1 for n in array.shape], np.nan)
    every_second: Any = slice(1, None, 2)
    view = wide[(..., *[every_second] * array.ndim)]
    view[...] = array
    return view


def fortran(array: np.ndarray) -> np.ndarray:
    """The array with its first axis contiguous in memory."""
    return np.array(array, order="F")
