"""The procedure of a gradient check: first what needs no differences, then differences along directions, then kinks."""

import math
import warnings
from typing import Any

import numpy as np

from ..ops import Op
from .errors import kind_of_error
from .numeric import EPS, SAFETY, rounding, same, unit_of
from .point import FULL_LIMIT, BackwardError, Point, fortran, generator, strided
from .report import Failure, Measurement, Report, VacuousCheckWarning
from .subject import Graph, OpClass, Subject
from .verdict import Verdict

FLOAT32_BOUND = 1e-4  # of the largest entry: how far a float32 gradient may lie from the float64 one
LARGE, SMALL = 2.0**10, 2.0**-20  # of grad_output: powers of two, which change no rounding
SMALLEST = 1e-290  # a gradient below is 0 for the checker: float64 loses digits there when it is made smaller still
FACTORS = 0.7, 1.3, 1.9  # of grad_output: a linear backward gives as many times the gradient, but for rounding
COARSE = 1e-11  # the rounding of f, as a share of its size, that float64 never reaches and float32 exceeds
ASIDE = 1e-1, 1e-2, 1e-3  # how far to step aside from a kink, in units of the input


class Check:
    """One run of the checker."""

    def __init__(self, subject: Subject, seed: int, directions: int, rtol: float):
        if directions < 1:
            raise ValueError(f"gradcheck: got directions={directions}; expected at least 1")
        self.subject, self.seed, self.directions, self.rtol = subject, seed, directions, rtol
        self.report = Report(subject.name, seed)
        self.vacuous: list[str] = []
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
        self.point = self.at(self.arrays)
        self.verdict = Verdict(self.subject, self.report, self.point, self.check_alone)
        try:
            self.point.differentiate()
            self._detect_changes(before)
            if self.report:
                self._pull_again()
        except BackwardError as error:
            self._explain_error(error.cause)
        if self.report:
            for i in self.subject.chosen:
                self._check(i)
        if self.report:
            self._float32()
        for text in self.vacuous:
            warnings.warn(f"gradcheck: {text}", VacuousCheckWarning, stacklevel=3)  # points at gradcheck's caller
        return self.report

    def check_alone(self, op: Op, inputs: list[Any]) -> Failure | None:
        """What is wrong with one op of a graph."""
        alone = OpClass(type(op), inputs, {})
        alone.chosen = [i for i in alone.floating if op.needs[i]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VacuousCheckWarning)
            failures = Check(alone, self.seed, self.directions, self.rtol).run().failures if alone.chosen else []
        return failures[0] if failures else None

    def at(self, arrays: list[Any]) -> Point:
        """The output at a point; its gradients wait for ``differentiate``."""
        return Point(self.subject, arrays, self.seed, self.directions, self.rtol)

    def _detect_changes(self, before: list[Any]) -> None:
        """Look for what forward and backward must not do: write into the inputs, or give other results next time."""
        for i, (array, copy) in enumerate(zip(self.arrays, before)):
            if isinstance(array, np.ndarray) and not np.array_equal(array, copy):
                self.verdict.fail(i, "input_changed", "forward or backward wrote into this array; work on a copy")
                array[...] = copy
        if self.report and not np.array_equal(self.subject.value(self.arrays), self.point.y):
            text = "forward gives a different result the second time; is something random?"
            self.verdict.fail(None, "not_deterministic", text)

    def _pull_again(self) -> None:
        """Backward a second time, for another grad_output, and for sums, multiples and other layouts of the first."""
        v, w = self.point.v, self.point.w
        self.other = self.point.other

        def pulled(cotangent):
            before = cotangent.copy()
            grads = self.point.pulled(cotangent)
            if not np.array_equal(before, cotangent) and self.report:
                self.verdict.fail(None, "input_changed", "backward wrote into grad_output; work on a copy")
            return grads

        self.again = pulled(v.copy())
        sums = v + w, 0 * v, LARGE * v, SMALL * v
        self.both, self.zero, self.large, self.small = (pulled(np.asarray(a)) for a in sums)
        self.scaled = [(k, pulled(np.asarray(k * v))) for k in FACTORS]
        self.layouts: dict[str, Any] = {}
        for name, layout in (("a view with strides", strided), ("Fortran order", fortran)):
            try:
                self.layouts[name] = pulled(layout(v))
            except BackwardError as error:
                self.layouts[name] = error.cause

    def _explain_error(self, error: Exception) -> None:
        """Backward raised: find the inputs whose gradients make it raise, and report those."""
        chosen = self.subject.chosen
        blamed: list[tuple[int | None, Exception]] = []
        if isinstance(self.subject, Graph) and self.subject.engine is None:
            for i in chosen:
                self.subject.chosen = [i]
                try:
                    self.subject.run(self.arrays)[1](self.point.v)
                except Exception as own:
                    blamed.append((i, own))
            self.subject.chosen = chosen
        for slot, cause in blamed or [(None, error)]:
            kind, text = kind_of_error(cause)
            self.verdict.fail(slot, kind, text)

    def _check(self, i: int) -> None:
        """Everything about the gradient of array i."""
        grad, shape, fail = self.point.grads[i], self.arrays[i].shape, self.verdict.fail
        if grad is None:
            slopes = [self.point.slope(i, d) for d in self.point.directions_of(i)]
            if any(abs(s.value) > 1e-9 * self.point.natural(i) + s.noise for s in slopes):
                fail(i, "no_gradient", "no gradient came back (None), but the output depends on this input")
            return
        pulled = (grad, self.again[i], self.other[i], self.both[i], self.zero[i], self.large[i], self.small[i])
        grads = [np.asarray(g) for g in pulled]
        if grads[0].shape != shape:
            self.verdict.wrong_shape(i, grads[0])
        elif grads[0].dtype != np.float64:
            cause = "is it a mask alone?" if grads[0].dtype == bool else "a float32 array or an integer crept in"
            text = f"the gradient of a float64 input is {grads[0].dtype}; {cause}"
            fail(i, "wrong_dtype", text)
        elif any(g.shape != shape for g in grads):
            fail(i, "not_linear", "the gradient's shape depends on grad_output")
        elif not np.isfinite(grads[0]).all():
            self.verdict.wrong_value(self.point, i)
        elif (found := self._linear(i, *grads)) is not None:
            fail(i, *found, *self.verdict.full(self.point, i))
        elif not self._measure(self.point, i):
            self._beside(i)

    def _linear(self, i, first, again, other, both, zero, large, small) -> tuple[str, str] | None:
        """What is wrong with backward as a function of grad_output, if anything is: (kind, words).

        Multiples by powers of two must be exact. For other multiples, and for sums, gradients that should be equal may
        differ by 1e-9 of the largest entry plus backward's own rounding, measured on multiples; or by ε times the size
        that the gradient may have inside. (A saturated softmax loses most digits: its gradient is a tiny difference.)
        """
        largest = float(max(np.abs(first).max(initial=0), np.abs(other).max(initial=0)))
        if not _apart(again, first) <= 1e-9 * largest:
            text = (
                "the same backward a second time gives another gradient; does it change a kept array, or is it random?"
            )
            return "accumulates", text
        if largest < SMALLEST or not self.point.v.size:
            return None
        if _apart(first, other) <= 1e-9 * largest:
            return "ignores_grad_output", "the gradient is the same for every grad_output; multiply by grad_output"
        if zero.any():
            text = "for a grad_output of zeros the gradient is not zero; it must only be multiplied and summed"
            return "not_linear", f"backward is not linear in grad_output: {text}"
        rounding = self._rounding(i)
        for grad, factor, what in ((large, LARGE, "1,024 times as large"), (small, SMALL, "a millionth as large")):
            if not _apart(grad / factor, first) <= 1e-12 * largest:
                if 1e-4 * largest < rounding < 1e-2 * largest:
                    break  # float16 has no small numbers
                text = f"for one {what} the gradient is not: is it clipped, or cut off?"
                return "not_linear", f"backward is not linear in grad_output: {text}"
        if largest <= 64 * rounding:
            return None  # 0 but for rounding
        if rounding > 1e-10 * largest and rounding > 1e4 * EPS * self.point.steepness(i):
            name = "float32" if rounding < 1e-5 * largest else "float16"
            text = f"backward rounds to {rounding / largest:.0e} of the largest entry: is something in it {name}?"
            return "wrong_dtype", text

        def near(a: np.ndarray, b: np.ndarray) -> bool:  # NaN is near nothing
            apart = _apart(a, b)
            return apart <= 1e-9 * largest + 64 * rounding or apart <= 64 * EPS * self.point.steepness(i)

        if not near(both, first + other):
            return "not_linear", "backward is not linear in grad_output; it must only be multiplied and summed"
        for name, grads in self.layouts.items():
            if isinstance(grads, Exception):
                text = f"{type(grads).__name__}: {grads}"
                return "memory_layout", f"for a grad_output in {name}, backward raised {text}"
            if np.shape(grads[i]) != first.shape or not near(np.asarray(grads[i]), first):
                text = f"for the same grad_output in {name} the gradient is another one"
                return "memory_layout", f"{text}: does backward read it as if it were contiguous?"
        return None

    def _rounding(self, i: int) -> float:
        """Backward's rounding, as multiples of grad_output show it."""
        first = np.asarray(self.point.grads[i])
        return max(_apart(np.asarray(grads[i]) / k, first) for k, grads in self.scaled)

    # ── differences ──
    def _measure(self, point: Point, i: int) -> bool:
        """Compare a gradient with differences along directions; False if a kink is in the way of all of them."""
        grad = np.asarray(point.grads[i])
        length = float(np.linalg.norm(grad))
        measured = []
        for d in point.directions_across(i, grad):
            found = point.slope(i, d, length)
            if not found.smooth:
                self.report.skipped += 1
                continue
            exact, noise, scale = float((grad * d).sum()), found.noise, max(length, abs(found.value))
            if 1e-3 * scale < noise < scale and (coarse := point.coarseness(i, d)) > COARSE:
                text = f"forward rounds to {coarse:.0e} of its values: is something in it float32?"
                self.verdict.fail(i, "wrong_dtype", f"{text} Differences need float64")
                return True
            bound = self.rtol * (scale if math.isfinite(scale) else 0.0) + noise + found.error
            if not abs(exact - found.value) <= bound:  # wrong, unless φ is rougher than it seemed
                unit = unit_of(point.arrays[i])
                more = SAFETY * rounding(point.along(i, d), found.step, unit) / found.step
                noise, bound = max(noise, more), bound + more
            measured.append(
                Measurement(self.subject.keys[i], exact, found.value, bound, found.order, found.step, noise)
            )
        self.report.measurements += measured
        if any(not abs(m.backward - m.numeric) <= m.bound for m in measured):
            self.verdict.wrong_value(point, i)
        elif (
            measured
            and grad.size
            and all(abs(m.numeric) <= min(10 * m.bound, max(1e-9 * point.natural(i), 10 * m.noise)) for m in measured)
        ):
            hidden = any(abs(m.backward) > m.noise for m in measured)
            text = (
                "f's rounding hides the gradient, so this check proves little; take smaller numbers"
                if hidden
                else "the expected gradient is 0 everywhere, so this check proves little; choose an f whose output "
                "depends on it"
            )
            text = f"{self.subject.names[i]}: {text}"
            self.report.notes.append(text)
            self.vacuous.append(text)
        return bool(measured)

    def _beside(self, i: int) -> None:
        """At a kink, differences cannot judge: check a little way off, with every entry moved by a random amount."""
        array = self.arrays[i]
        for attempt, aside in enumerate(ASIDE):
            rng = generator(self.seed, 1 + i, 2 + attempt)
            off = aside * unit_of(array) * rng.uniform(0.5, 1, array.shape) * rng.choice([-1.0, 1.0], array.shape)
            try:
                with np.errstate(all="ignore"):
                    point = self.at(self.point.moved(i, np.asarray(array + off)))
                point.differentiate()
            except ValueError:  # f is not defined there
                continue
            except BackwardError as error:
                self.verdict.fail(i, *kind_of_error(error.cause))
                return
            if self._measure(point, i):
                if self.report:
                    self._at_kink(i)
                return
        text = "the slopes on the two sides differ here and nearby; choose inputs away from zeros and ties"
        self.verdict.fail(i, "too_many_kinks", text)

    def _at_kink(self, i: int) -> None:
        """Check the gradient at the kink itself: entries beside the kink as everywhere, those on it by a weaker rule.

        They must lie between the slopes on the two sides. This holds for one op; a function of several need not obey:
        relu(x) − relu(−x), which is x, has the gradient 0 at 0, though each ReLU is right.
        """
        point, name = self.point, self.subject.names[i]
        grad = np.asarray(point.grads[i])
        if grad.size > FULL_LIMIT:
            self.report.notes.append(f"{name}: its entries sit at kinks; the gradient was compared a little way off")
            return
        low, high = point.sides(i)
        known = np.isfinite(low) & np.isfinite(high)  # a step to one side may lead out of f's domain
        low, high = np.where(known, low, 0), np.where(known, high, 0)
        steep = max(np.abs(low).max(), np.abs(high).max())
        kinks = high - low > 1e-3 * steep
        self.report.skipped += int(kinks.sum())
        text = f"{name}: {int(kinks.sum())} of {grad.size} entries skipped, which sit at a kink"
        self.report.notes.append(f"{text}; the gradient was compared a little way off")
        slack = 10 * self.rtol * max(steep, float(np.abs(grad).max())) + point.floor(i)
        single = self.subject.is_one_op(self.arrays)
        for index in map(tuple, np.argwhere(known & ~((low - slack <= grad) & (grad <= high + slack)))):
            found = point.slope(i, _only(index, grad.shape), steep)
            if found.smooth and not kinks[index]:
                if not abs(grad[index] - found.value) <= slack + found.error + found.noise:
                    self.verdict.wrong_value(point, i)
                    return
            elif single and found.kink:
                where = f"{name}[{', '.join(map(str, index))}]"
                text = f"{where} sits at a kink with slopes {low[index]:+.4g} and {high[index]:+.4g}"
                self.verdict.fail(i, "wrong_at_kink", f"{text}; the gradient, {grad[index]:+.4g}, is not between them")
                return
        if not known.all():
            return
        together = np.ones(grad.shape)
        found = point.slope(i, together, float(np.linalg.norm(grad)))
        if single and found.smooth and not abs(float(grad.sum()) - found.value) <= grad.size * slack + found.noise:
            text = f"with all entries moved alike the slope is {found.value:+.4g}, the gradient's sum {grad.sum():+.4g}"
            self.verdict.fail(i, "wrong_at_kink", f"{text}: is a tie's gradient given to each of the tied?")

    # ── precision ──
    def _float32(self) -> None:
        """Judge float32 gradients, of float32 inputs, against the float64 ones.

        They may be off by `FLOAT32_BOUND`, plus ten times what float32's rounding does to the inputs and in backward.
        """
        floats = [self.subject.inputs[i] for i in self.subject.floating]
        if not floats or any(a.dtype != np.float32 for a in floats):
            return
        single = [a.astype(np.float32) if i in self.subject.floating else a for i, a in enumerate(self.arrays)]
        if not same(self.subject.decisions(single), self.subject.decisions(self.arrays)):
            self.report.notes.append("float32 was not judged: a ReLU or a pool decides otherwise in float32")
            return
        rng, v = generator(self.seed, 0, 1), self.point.v
        rounded = [
            a * (1 + rng.choice([-1, 1], a.shape) * 2.0**-24) if i in self.subject.floating else a
            for i, a in enumerate(self.arrays)
        ]
        elsewhere = self.subject.run(rounded)[1](v)
        y, pull = self.subject.run(single)
        grads = pull(v.astype(y.dtype))
        for i in self.subject.chosen:
            exact = self.point.grads[i]
            if exact is None:
                continue
            found, exact = np.asarray(grads[i]), np.asarray(exact)
            bound = FLOAT32_BOUND * float(np.abs(exact).max(initial=0)) + 1e-6 * float(np.abs(v).max(initial=0))
            bound += 10 * (_apart(np.asarray(elsewhere[i]), exact) + 2**29 * self._rounding(i))
            if found.shape != exact.shape or not _apart(found, exact) <= bound:
                text = f"right in float64, but in float32 an entry is off by more than {bound:.1e}"
                self.verdict.fail(i, "float32", text, found, exact)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of two gradients (NaN if there is a NaN)."""
    return float(np.abs(a - b).max(initial=0))


def _only(index: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """The direction along one entry."""
    direction = np.zeros(shape)
    direction[index] = 1
    return direction
