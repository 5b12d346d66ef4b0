"""The procedure of a gradient check, in order: what costs no differences, differences along directions, a diagnosis."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .diagnose import Case, axes_summed, diagnose
from .errors import kind_of_error
from .numeric import EPS, bisect, full_gradient, roundoff, same, slope, unit_of
from .report import Failure, Measurement, Report, VacuousCheckWarning, describe
from .subject import Graph, Subject

FLOAT32_BOUND = 1e-4  # of the largest entry: how far a float32 gradient may lie from the float64 one
FULL_LIMIT = 4096  # entries up to which a wrong gradient is compared with a full numeric one
MOST_SKIPPED = 0.5  # the check fails if a larger share of the entries is at a kink


class _BackwardError(Exception):
    """Backward raised ``cause``."""

    def __init__(self, cause: Exception):
        self.cause = cause


class Check:
    """One run of the checker."""

    def __init__(self, subject: Subject, seed: int, directions: int, rtol: float):
        if directions < 1:
            raise ValueError(f"gradcheck: got directions={directions}; expected at least 1")
        self.subject, self.seed, self.directions, self.rtol = subject, seed, directions, rtol
        self.report = Report(subject.name, seed)
        self.arrays = [
            np.array(a, dtype=np.float64) if i in subject.floating else np.array(a) if isinstance(a, np.ndarray) else a
            for i, a in enumerate(subject.inputs)
        ]
        for i in subject.floating:
            if not np.isfinite(self.arrays[i]).all():
                raise ValueError(f"gradcheck: got NaN or Inf in {subject.names[i]}; no difference can be taken there")

    # ── the procedure ──
    def run(self) -> Report:
        """All checks, in order."""
        before = [np.array(a) if isinstance(a, np.ndarray) else a for a in self.arrays]
        try:
            pull = self.start()
            self._detect_changes(before)
            if self.report:
                self.again, self.other = self._pulled(pull, self.v), self._pulled(pull, self.w)
                self.both, self.zero = self._pulled(pull, self.v + self.w), self._pulled(pull, 0 * self.v)
        except _BackwardError as error:
            self._explain_error(error.cause)
        if self.report:
            self.sizes = {i: self.size_of(i) for i in self.subject.chosen}
            for i in self.subject.chosen:
                self._check(i)
        if self.report:
            self._float32()
        return self.report

    def start(self) -> Callable:
        """Compute the output, cotangents v and w, and the gradients for v; return what pulls others back."""
        self.y, pull = self.subject.run(self.arrays)
        self.y = np.array(self.y)
        if self.y.dtype.kind != "f" or not np.isfinite(self.y).all():
            raise ValueError(
                f"gradcheck: {self.subject.name} returned {self.y.dtype} values"
                f"{', NaN or Inf among them' if self.y.dtype.kind == 'f' else ''}; expected finite floating point"
            )
        rng = _generator(self.seed, 0)
        self.v, self.w = (np.asarray(rng.standard_normal(self.y.shape)) for _ in range(2))
        self.first = self._pulled(pull, self.v)
        return pull

    def _pulled(self, pull: Callable, cotangent: np.ndarray) -> list[Any]:
        """Copies of the gradients for a cotangent, so that nothing written later can change them."""
        given = np.array(cotangent)
        try:
            grads = [None if g is None else np.array(g) for g in pull(given)]
        except Exception as error:
            raise _BackwardError(error) from error
        if not np.array_equal(given, cotangent) and self.report:
            self._fail(None, "input_changed", "backward wrote into grad_output; work on a copy")
        return grads

    def size_of(self, i: int) -> float:
        """The size of the summands of ⟨v, f⟩: Σ|v·f|, or what its jitter implies where larger numbers cancel."""
        phi, _ = self.along(i, self.directions_of(i)[0])
        magnitude = float(np.abs(self.v).sum() * np.abs(self.y).max(initial=0))
        return max(magnitude, roundoff(phi, unit_of(self.arrays[i])) / EPS)

    def _natural(self, i: int) -> float:
        """What a gradient of array i may be compared with: the size of f divided by the size of the input."""
        return self.sizes[i] / unit_of(self.arrays[i])

    def _detect_changes(self, before: list[Any]) -> None:
        """Look for what forward and backward must not do."""
        for i, (array, copy) in enumerate(zip(self.arrays, before)):
            if isinstance(array, np.ndarray) and not np.array_equal(array, copy):
                self._fail(i, "input_changed", "forward or backward wrote into this array; work on a copy")
                array[...] = copy
        if self.report and not np.array_equal(self.subject.value(self.arrays), self.y):
            self._fail(None, "not_deterministic", "forward gives another result the second time; is something random?")

    def _explain_error(self, error: Exception) -> None:
        """Backward raised: find the inputs whose gradients make it raise, and report those."""
        chosen = self.subject.chosen
        blamed: list[tuple[int | None, Exception]] = []
        if isinstance(self.subject, Graph) and self.subject.engine is None:
            for i in chosen:
                self.subject.chosen = [i]
                try:
                    self.subject.run(self.arrays)[1](self.v)
                except Exception as own:
                    blamed.append((i, own))
            self.subject.chosen = chosen
        for slot, cause in blamed or [(None, error)]:
            kind, text = kind_of_error(cause)
            self._fail(slot, kind, f"{text}; backward raised {type(cause).__name__}: {cause}")

    def _check(self, i: int) -> None:
        """Everything about the gradient of array i."""
        grad, shape = self.first[i], self.arrays[i].shape
        if grad is None:
            if max(abs(self._slope(i, d).value) for d in self.directions_of(i)) > 1e-9 * self._natural(i):
                self._fail(i, "no_gradient", "no gradient came back (None), but the output depends on this input")
            return
        grads = [np.asarray(g) for g in (grad, self.again[i], self.other[i], self.both[i], self.zero[i])]
        if grads[0].shape != shape:
            self._wrong_shape(i, grads[0])
            return
        if grads[0].dtype != np.float64:
            text = f"the gradient of a float64 input is {grads[0].dtype}; a float32 array or an integer crept in"
            self._fail(i, "wrong_dtype", text)
            return
        if any(g.shape != shape for g in grads):
            self._fail(i, "not_linear", "the gradient's shape depends on grad_output")
            return
        first, again, other, both, zero = grads
        if not np.isfinite(first).all():
            self._wrong_value(i, first)
            return
        largest = float(max(np.abs(first).max(initial=0), np.abs(other).max(initial=0)))
        if largest <= 1e-13 * self._natural(i):  # 0 but for rounding
            self._measure(i, first)
        elif not _near(first, again, largest):
            text = "the same backward a second time gives another gradient; is something added to a kept array?"
            self._fail(i, "accumulates", text, *self._full(i, first))
        elif largest > 0 and _near(first, other, largest) and self.v.size:
            text = "the gradient is the same for every grad_output; multiply by grad_output"
            self._fail(i, "ignores_grad_output", text, *self._full(i, first))
        elif not (_near(zero, 0 * first, largest) and _near(both, first + other, largest)):
            text = "backward is not linear in grad_output; it must only be multiplied and summed"
            self._fail(i, "not_linear", text, *self._full(i, first))
        else:
            self._measure(i, first)

    # ── differences ──
    def _measure(self, i: int, grad: np.ndarray) -> None:
        """The directional check."""
        measured = []
        for d in self.directions_of(i):
            found = self._slope(i, d, float(np.linalg.norm(grad)))
            if not found.smooth:
                self.report.skipped += 1
                continue
            exact = float((grad * d).sum())
            scale = max(float(np.linalg.norm(grad)), abs(found.value))
            bound = self.rtol * (scale if math.isfinite(scale) else 0.0) + found.noise + found.error
            measured.append(
                Measurement(self.subject.keys[i], exact, found.value, bound, found.order, found.step, found.noise)
            )
        self.report.measurements += measured
        if any(not abs(m.backward - m.numeric) <= m.bound for m in measured):
            self._wrong_value(i, grad)
        elif not measured:
            self._by_entry(i, grad)
        elif grad.size and all(
            abs(m.numeric) <= 10 * m.bound and abs(m.numeric) <= 1e-9 * self._natural(i) for m in measured
        ):
            text = (
                f"{self.subject.names[i]}: the expected gradient is 0 everywhere, so this check proves little; choose "
                "an f whose output depends on it"
            )
            self.report.notes.append(text)
            warnings.warn(f"gradcheck: {text}", VacuousCheckWarning, stacklevel=5)  # points at gradcheck's caller

    def _by_entry(self, i: int, grad: np.ndarray) -> None:
        """Every direction met a kink, so compare the entries that meet none."""
        name = self.subject.names[i]
        numeric, smooth = self._full(i, grad, mend=False)[1:] if grad.size <= FULL_LIMIT else (grad, np.array(False))
        if smooth.mean() < 1 - MOST_SKIPPED:
            text = f"{int((~smooth).sum())} of {grad.size} entries sit at a kink"
            self._fail(i, "too_many_kinks", f"{text}; choose inputs away from zeros and ties")
            return
        self.report.skipped += int((~smooth).sum())
        self.report.notes.append(f"{name}: {int((~smooth).sum())} of {grad.size} entries skipped, which sit at a kink")
        if not np.abs(grad - numeric)[smooth].max(initial=0) <= 1e-5 * np.abs(numeric).max(initial=0) + self._floor(i):
            self._wrong_value(i, grad)

    def directions_of(self, i: int) -> list[np.ndarray]:
        rng = _generator(self.seed, 1 + i)
        return [np.asarray(rng.standard_normal(self.arrays[i].shape)) for _ in range(self.directions)]

    def _slope(self, i: int, direction: np.ndarray, scale: float = 0.0):
        """The derivative of ⟨v, f⟩ by differences along a direction of array i."""

        phi, decisions = self.along(i, direction)
        scale = scale if math.isfinite(scale) else 0.0
        return slope(phi, self.sizes[i], scale, unit_of(self.arrays[i]), decisions, self.rtol)

    def along(self, i: int, direction: np.ndarray) -> tuple[Callable[[float], float], Any]:
        """t -> ⟨v, f(x + t·direction) − f(x)⟩, and t -> what the kinks decide there (None where it cannot be seen)."""

        def moved(t):
            return [np.asarray(a + t * direction) if k == i else a for k, a in enumerate(self.arrays)]

        def phi(t):
            return float((self.v * (self.subject.value(moved(t)) - self.y)).sum())

        return phi, (lambda t: self.subject.decisions(moved(t))) if isinstance(self.subject, Graph) else None

    def _floor(self, i: int) -> float:
        return 40 * EPS * self.sizes[i] / (1e-4 * unit_of(self.arrays[i]))

    def _full(self, i: int, grad: np.ndarray, mend: bool = True, v: Any = None) -> tuple[Any, Any, Any]:
        """(grad, its full numeric counterpart, where it is smooth); at a kink the numeric value is backward's."""
        if grad.size > FULL_LIMIT:
            return grad, None, None
        v = self.v if v is None else v

        def value(array):
            moved = [array if k == i else a for k, a in enumerate(self.arrays)]
            return float((v * (self.subject.value(moved) - self.y)).sum())

        scale = float(np.abs(v).sum()) / max(unit_of(self.arrays[i]), 1e-300)
        numeric, smooth = full_gradient(value, self.arrays[i], self.sizes[i], scale, self.rtol)
        if mend:
            numeric = np.where(smooth, numeric, grad)
            if not smooth.all():
                kinks = int((~smooth).sum())
                self.report.notes.append(f"{self.subject.names[i]}: {kinks} entries at a kink were not compared")
        return grad, numeric, smooth

    # ── what is wrong ──
    def _wrong_shape(self, i: int, grad: np.ndarray) -> None:
        shape = self.arrays[i].shape
        text = f"the gradient has shape {grad.shape}, the input {shape}"
        kind = "wrong_shape"
        if self.arrays[i].size <= FULL_LIMIT:
            numeric = self._full(i, np.zeros(shape))[1]
            axes, loose = axes_summed(grad, numeric), 1e4 * float(np.abs(numeric).max(initial=0))
            if axes is not None:
                kind, text = "missing_broadcast_sum", f"{text}: sum over axes {axes}"
            elif grad.size == numeric.size and _near(grad.reshape(shape), numeric, loose):
                text += "; the values are right: keep the axes of length 1 (keepdims=True, or reshape)"
            elif grad.T.shape == shape and _near(grad.T, numeric, loose):
                kind, text = "transposed", f"{text}: it is the transpose"
        self._fail(i, kind, text)

    def _wrong_value(self, i: int, grad: np.ndarray) -> None:
        if grad.size > FULL_LIMIT:
            self._large(i, grad)
            return
        numeric = self._full(i, grad)[1]

        def second():
            return np.asarray(self.other[i]), self._full(i, np.asarray(self.other[i]), v=self.w)[1]

        case = Case(self.subject, self.arrays, i, self.v, self.y, grad, numeric, self._floor(i), second)
        kind, likely = diagnose(case)
        self._fail(i, kind, likely, grad, numeric)

    def _large(self, i: int, grad: np.ndarray) -> None:
        """Too many entries for a full numeric gradient: find wrong ones by halving, and look for a global factor."""
        ratios = []
        for d in self.directions_of(i):
            exact = float((grad * d).sum())
            ratios.append(exact / (self._slope(i, d, float(np.linalg.norm(grad))).value or math.nan))
        if np.ptp(ratios) <= 1e-4 * abs(ratios[0]):
            kind = "sign" if abs(ratios[0] + 1) < 1e-4 else "constant_factor"
            self._fail(i, kind, f"the gradient is {describe(ratios[0])} times the right one along every direction")
            return
        rng = _generator(self.seed, 1 + i, 1)

        def wrong(positions):
            flat = np.zeros(grad.size)
            flat[positions] = rng.standard_normal(len(positions))
            d = flat.reshape(grad.shape)
            found = self._slope(i, d, float(np.linalg.norm(grad[d != 0])))
            tolerance = 1e-5 * max(abs(found.value), float(np.linalg.norm(grad[d != 0]))) + found.noise + found.error
            return found.smooth and not abs(float((grad * d).sum()) - found.value) <= tolerance

        positions, more = bisect(wrong, grad.size, rng)
        shown = ", ".join(str(tuple(int(k) for k in np.unravel_index(p, grad.shape))) for p in positions[:4])
        count = f"{'at least ' if more else ''}{len(positions)} of {grad.size}"
        text = f"{count} entries are wrong, found by halving: {shown}"
        self._fail(i, "partly_wrong", text)

    def _float32(self) -> None:
        """Judge float32 gradients, of float32 inputs, against the float64 ones."""
        floats = [self.subject.inputs[i] for i in self.subject.floating]
        if not floats or any(a.dtype != np.float32 for a in floats):
            return
        single = [a.astype(np.float32) if i in self.subject.floating else a for i, a in enumerate(self.arrays)]
        if not same(self.subject.decisions(single), self.subject.decisions(self.arrays)):
            self.report.notes.append("float32 was not judged: a ReLU or a pool decides otherwise in float32")
            return
        y, pull = self.subject.run(single)
        grads = pull(self.v.astype(y.dtype))
        for i in self.subject.chosen:
            exact = self.first[i]
            if exact is None:
                continue
            found, exact = np.asarray(grads[i]), np.asarray(exact)
            bound = FLOAT32_BOUND * float(np.abs(exact).max(initial=0)) + 1e-6 * float(np.abs(self.v).max(initial=0))
            if found.shape != exact.shape or not np.abs(found - exact).max(initial=0) <= bound:
                text = f"right in float64, but in float32 an entry is further than {bound:.1e} from it"
                self._fail(i, "float32", text, found, exact)

    def _fail(self, i: int | None, kind: str, likely: str, grad: Any = None, numeric: Any = None, smooth: Any = None):
        """Add a failure and its message to the report."""
        names, keys = self.subject.names, self.subject.keys
        what = "" if i is None else f", dL/d{names[i]} of shape {self.arrays[i].shape}"
        lines = [f"{self.subject.name}{what}   seed {self.seed}"]
        worst: tuple[int, ...] | None = None
        values: tuple[Any, Any] = None, None
        if i is not None and grad is not None and numeric is not None and grad.size:
            error = np.nan_to_num(np.abs(grad - numeric), nan=np.inf)
            worst = tuple(int(k) for k in np.unravel_index(int(error.argmax()), error.shape))
            values = float(grad[worst]), float(numeric[worst])
            bound = 1e-5 * np.abs(numeric).max() + self._floor(i)
            count = max(int((error > bound).sum()), 1)
            where = f"{names[i]}[{', '.join(map(str, worst))}]" if worst else names[i]
            lines.append(
                f"  worst {where}: backward {describe(values[0])}, numeric {describe(values[1])} "
                f"(±{self._floor(i):.0e}); {count} of {grad.size} wrong"
            )
        lines.append(f"  likely: {likely}")
        given = ", ".join(names[: len([k for k in keys if isinstance(k, int)])])
        selection = "" if i is None else f", only={names[i]!r}"
        lines.append(f"  repro: gradcheck(f{', ' * bool(given)}{given}, seed={self.seed}{selection})")
        key = None if i is None else keys[i]
        found = Failure(key, kind, likely, "\n".join(lines), worst, *values, grad, numeric)
        self.report.failures.append(found)


def _generator(*seeds: int) -> np.random.Generator:
    """The checker's random numbers, which are not those of ``default_rng(seed)``: the inputs may come from there."""
    return np.random.default_rng([0x67726164, *seeds])


def _near(a: np.ndarray, b: np.ndarray, largest: float) -> bool:
    """Whether two gradients agree to 1e-9 of the largest entry. NaN agrees with nothing."""
    return bool(np.abs(a - b).max(initial=0) <= 1e-9 * largest)
