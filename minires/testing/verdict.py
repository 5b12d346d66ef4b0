"""What the report says of a wrong gradient: a diagnosis, made from the full numeric gradient, and a message."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .case import Case
from .diagnose import axes_summed, diagnose
from .numeric import bisect
from .point import FULL_LIMIT, Point, generator
from .report import Failure, Report, describe_both, describe_factor
from .subject import Subject


class Verdict:
    """Adds failures to a report. check_alone: the checker, for one op and its inputs."""

    def __init__(self, subject: Subject, report: Report, point: Point, check_alone: Callable):
        self.subject, self.report, self.point, self.check_alone = subject, report, point, check_alone

    def full(self, point: Point, i: int, v: Any = None, grad: Any = None) -> tuple[Any, Any]:
        """(grad, its numeric counterpart, or None if that is too large); at a kink, the numeric value is backward's."""
        grad = np.asarray(point.grads[i] if grad is None else grad)
        if grad.size > FULL_LIMIT:
            return grad, None
        numeric, smooth = point.full(i, v)
        if not smooth.all():
            note = f"{self.subject.names[i]}: {int((~smooth).sum())} entries at a kink were not compared"
            self.report.notes += [note] if note not in self.report.notes else []
        return grad, np.where(smooth, numeric, grad)

    def wrong_shape(self, i: int, grad: np.ndarray) -> None:
        """Report a gradient whose shape is not the input's, and whether a sum, a reshape or a transpose mends it."""
        shape = self.point.arrays[i].shape
        text = f"the gradient has shape {grad.shape}, the input {shape}"
        kind = "wrong_shape"
        if math.prod(shape) <= FULL_LIMIT:
            numeric, smooth = self.point.full(i)
            numeric = np.where(smooth, numeric, 0.0)
            axes, loose = axes_summed(grad, numeric), 1e-5 * float(np.abs(numeric).max(initial=0))
            if axes is not None:
                kind, text = "missing_broadcast_sum", f"{text}: sum over axes {axes}"
            elif grad.size == numeric.size and np.abs(grad.reshape(shape) - numeric).max(initial=0) <= loose:
                keep = "keep the axes of length 1 (keepdims=True, or reshape)"
                drop = "drop the axes of length 1 (no keepdims, or reshape)"
                advice = keep if grad.ndim < len(shape) else drop if grad.ndim > len(shape) else "reshape it"
                text += f"; the values are right: {advice}"
            elif grad.T.shape == shape and np.abs(grad.T - numeric).max(initial=0) <= loose:
                kind, text = "transposed", f"{text}: it is the transpose"
        others = [k for k in self.subject.floating if self.point.arrays[k].shape == grad.shape]
        if kind == "wrong_shape" and len(others) == 1 and "right" not in text:
            text += f"; {self.subject.names[others[0]]} has that shape: are the gradients returned in another order?"
        self.fail(i, kind, text)

    def wrong_value(self, point: Point, i: int) -> None:
        """Report that the gradient has wrong values at this point."""
        grad = np.asarray(point.grads[i])
        if grad.size > FULL_LIMIT:
            self._large(point, i, grad)
            return
        numeric = self.full(point, i)[1]

        def second():
            other = np.asarray(point.other[i])
            return other, self.full(point, i, point.w, other)[1]

        noise = point.floor(i)
        case = Case(
            self.subject, point.arrays, i, point.v, point.y, grad, numeric, noise, second, point.w, self.check_alone
        )  # fmt: skip
        kind, likely = diagnose(case)
        self.fail(i, kind, likely, grad, numeric)

    def _large(self, point: Point, i: int, grad: np.ndarray) -> None:
        """Too many entries for a full numeric gradient: find wrong ones by halving, and look for a global factor."""
        ratios = []
        for d in point.directions_across(i, grad):
            exact = float((grad * d).sum())
            ratios.append(exact / (point.slope(i, d, float(np.linalg.norm(grad))).value or math.nan))
        if np.ptp(ratios) <= 1e-4 * min(abs(ratios[0]), 100 * abs(ratios[0] - 1)):
            kind = "sign" if abs(ratios[0] + 1) < 1e-4 else "constant_factor"
            self.fail(
                i, kind, f"the gradient is {describe_factor(ratios[0])} times the right one along every direction"
            )
            return
        rng = generator(point.seed, 1 + i, 1)

        def wrong(positions):
            flat = np.zeros(grad.size)
            flat[positions] = rng.standard_normal(len(positions))
            d = flat.reshape(grad.shape)
            found = point.slope(i, d, float(np.linalg.norm(grad[d != 0])))
            tolerance = 1e-5 * max(abs(found.value), float(np.linalg.norm(grad[d != 0]))) + found.noise + found.error
            return found.smooth and not abs(float((grad * d).sum()) - found.value) <= tolerance

        positions, more = bisect(wrong, grad.size, rng)
        shown = ", ".join(str(tuple(int(k) for k in np.unravel_index(p, grad.shape))) for p in positions[:4])
        count = f"{'at least ' if more else ''}{len(positions)} of {grad.size}"
        found = f"{count} entries are wrong, found by halving: {shown}"
        hidden = f"some of {grad.size} entries are wrong, by too little to be found by halving; try fewer"
        self.fail(i, "partly_wrong", found if len(positions) else hidden)

    def fail(self, i: int | None, kind: str, likely: str, grad: Any = None, numeric: Any = None) -> None:
        """Add a failure and its message to the report."""
        names, keys, seed = self.subject.names, self.subject.keys, self.report.seed
        what = "" if i is None else f", dL/d{names[i]} of shape {self.point.arrays[i].shape}"
        lines = [f"{self.subject.name}{what}   seed {seed}"]
        worst: tuple[int, ...] | None = None
        values: tuple[Any, Any] = None, None
        if i is not None and grad is not None and numeric is not None and grad.size:
            error = np.nan_to_num(np.abs(grad - numeric), nan=np.inf)
            worst = tuple(int(k) for k in np.unravel_index(int(error.argmax()), error.shape))
            values = float(grad[worst]), float(numeric[worst])
            floor = self.point.floor(i)
            count = max(int((error > 1e-5 * np.abs(numeric).max() + floor).sum()), 1)
            where = f"{names[i]}[{', '.join(map(str, worst))}]" if worst else names[i]
            backward, right = describe_both(*values)
            lines.append(
                f"  worst {where}: backward {backward}, numeric {right} (±{floor:.0e}); {count} of {grad.size} wrong"
            )
        lines.append(f"  likely: {likely}")
        given = ", ".join(names[: len([k for k in keys if isinstance(k, int)])])
        selection = "" if i is None else f", only={names[i]!r}"
        f = self.subject.name if self.subject.name.isidentifier() else "f"
        lines.append(f"  repro: gradcheck({f}{', ' * bool(given)}{given}, seed={seed}{selection})")
        key = None if i is None else keys[i]
        self.report.failures.append(Failure(key, kind, likely, "\n".join(lines), worst, *values, grad, numeric))
