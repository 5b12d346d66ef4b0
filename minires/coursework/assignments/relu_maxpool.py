"""Assignment relu_maxpool: two operations that choose."""

from collections.abc import Iterator

import numpy as np

from ...kernels import cpu, textbook
from ..assignment import Assignment, Check, Test
from ..judge import draw_shape, judge, judge_gradient, parts
from ..learner import Learner, Wrong
from ..watch import KERNELS
from .training import trains

Pair = tuple[int, int]
Geometry = tuple[Pair, Pair, Pair]
APART: Geometry = ((2, 3), (2, 3), (0, 0))
OVERLAPPING: Geometry = ((3, 2), (2, 1), (1, 0))
ONE_BY_ONE: Geometry = ((3, 2), (1, 1), (0, 0))


def draws(rng: np.random.Generator, geometry: Geometry | None) -> Iterator[tuple[np.ndarray, Geometry]]:
    """An image and its windows; without geometry, twice with sizes that are drawn.

    The window, its stride and the padding are larger in one direction, then in the other: no axis can stand in for the
    other. The first is one square image, the second two or three that are square with their padding.
    """
    if geometry is not None:
        yield rng.standard_normal((2, 3, 7, 6)), geometry
        return
    for way in (1, -1):
        stride = tuple(int(s) for s in np.sort(rng.choice(3, 2, False) + 1)[::way])
        side, other = int(rng.integers(5, 9)), int(rng.integers(1, 4))
        size = (1, other, side, side) if way == 1 else (other + 1, 1, side, side + 2)
        yield (
            rng.standard_normal(size),
            ((2, 3), (stride[0], stride[1]), (0, 1)) if way == 1 else ((3, 2), (stride[0], stride[1]), (1, 0)),
        )


def rectified(values: np.ndarray | None, dtype: type = np.float64, nan: bool = False) -> Check:
    """relu is max(x, 0). nan: of an array that is drawn, with NaN in some places."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        x: np.ndarray = (rng.standard_normal((3, 4, 5)) if values is None else values).astype(dtype)
        if nan:
            x = rng.standard_normal(draw_shape(rng, "nchw"))
            x[rng.random(x.shape) < 0.2] = np.nan
        right = textbook.relu(x)
        known = [("|x| for max(x, 0)", np.abs(x)), ("min for max", np.minimum(x, 0))]
        judge("relu", learner.call("relu", x), right, known)

    return check


def relu_gradient(at_zero: bool) -> Check:
    """relu_backward passes the gradient where the output is positive; at 0 it is 0."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        x = rng.standard_normal((3, 4, 5))
        if at_zero:
            x = np.round(rng.standard_normal(draw_shape(rng, "nchw")))
            y, g = textbook.relu(x), rng.standard_normal(x.shape)
            got = learner.call("relu_backward", g, y)
            known = [
                ("grad_y comes back as it is; where y is 0, so is the gradient: multiply by (y > 0)", g),
                ("grad_y is not used", (y > 0) * 1.0),
            ]
            judge("relu_backward, zeros among the inputs", got, textbook.relu_backward(g, y), known)
            return
        y = textbook.relu(x)
        judge_gradient(
            learner,
            "relu_backward",
            lambda g: (learner.call("relu_backward", g, y),),
            textbook.relu,
            lambda g: (textbook.relu_backward(g, y),),
            [x],
            0,
            rng,
        )

    return check


def pooled(geometry: Geometry | None, change: str = "") -> Check:
    """max_pool2d gives the textbook's y and tap. change: "negative" inputs, or "ties"."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for x, windows in draws(rng, geometry):
            x = {"negative": -1 - np.abs(x), "ties": np.round(x)}.get(change, x)
            y, tap = textbook.max_pool2d(x, *windows)
            got = parts("max_pool2d", learner.call("max_pool2d", x, *windows), 2, "y and tap")
            what = f"max_pool2d with kernel {windows[0]}, stride {windows[1]}, padding {windows[2]}"
            zeros = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in windows[2]]])
            known = [("the padding is 0, and wins where all is negative; it is −∞",
                      textbook.max_pool2d(zeros, *windows[:2])[0]),
                     ("the mean for the maximum", textbook.avg_pool2d(x, *windows))]  # fmt: skip
            judge(f"{what}, y", got[0], y, known)
            if not isinstance(got[1], np.ndarray) or got[1].dtype.kind not in "iu":
                raise Wrong(f"{what}: tap is not an array of whole numbers", "wrong type")
            last = [("of several maxima, the last is taken; the first counts", _last(x, windows))]
            judge(f"{what}, tap", got[1].astype(np.int64), tap, last)

    return check


def _last(x, windows):
    """The taps of the last maximum of each window."""
    (kh, kw), stride, padding = windows
    tap = textbook.max_pool2d(x, *windows)[1]
    wide = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]], constant_values=-np.inf)
    for n, c, h, w in np.ndindex(tap.shape):
        window = wide[n, c, h * stride[0] : h * stride[0] + kh, w * stride[1] : w * stride[1] + kw]
        tap[n, c, h, w] = kh * kw - 1 - window.ravel()[::-1].argmax()
    return tap


def pool_gradient(geometry: Geometry | None) -> Check:
    """max_pool2d_backward gives what the textbook's loops give."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for x, windows in draws(rng, geometry):
            judge_one(learner, rng, x, windows)

    return check


def judge_one(learner: Learner, rng: np.random.Generator, x: np.ndarray, windows: Geometry) -> None:
    """Judge the gradient for this image and these windows."""
    tap = textbook.max_pool2d(x, *windows)[1]
    judge_gradient(
        learner,
        f"max_pool2d_backward with kernel {windows[0]}, stride {windows[1]}, padding {windows[2]}",
        lambda g: (learner.call("max_pool2d_backward", g, tap, x.shape, *windows),),
        lambda x: cpu.max_pool2d(x, *windows)[0],
        lambda g: (textbook.max_pool2d_backward(g, tap, x.shape, *windows),),
        [x],
        0,
        rng,
    )


EDGES = np.array([[0.0, -0.0, 1e-300], [-1e-300, np.inf, -np.inf]])
ADD = "an entry that wins in two windows gets two gradients: add, do not assign (and x[index] += g adds only once)"
ASSIGNMENT = Assignment(
    "relu_maxpool",
    [
        Test("relu", "forward", 1, rectified(None), "np.maximum"),
        Test("relu", "backward", 1, relu_gradient(False), "grad_y where y > 0, else 0"),
        Test("relu", "float32, zeros and infinities", 0.5, rectified(EDGES, np.float32), "np.maximum does all of it"),
        Test("relu", "NaN stays NaN", 0.5, rectified(None, nan=True),
             "x·(x > 0) and np.where(x > 0, x, 0) treat NaN each in their way", hidden=True),
        Test("relu", "backward at 0", 1, relu_gradient(True), "y > 0, not y >= 0", hidden=True),
        Test("max pool", "windows side by side", 1, pooled(APART), "x[:, :, i::s, j::s] for each (i, j) of the window"),
        Test("max pool", "overlapping, padded", 1, pooled(OVERLAPPING), "np.pad with constant_values=-np.inf"),
        Test("max pool", "negative inputs, padded", 1, pooled(OVERLAPPING, "negative"),
             "padding with 0 wins over negative numbers: pad with −∞"),
        Test("max pool", "ties", 1, pooled(None, "ties"), "argmax takes the first; > keeps it, >= does not",
             hidden=True),
        Test("max pool", "other sizes", 1, pooled(None), "rows and columns have each their own stride", hidden=True),
        Test("max pool's gradient", "windows side by side", 1, pool_gradient(APART), "i, j = divmod(tap, kw)"),
        Test("max pool's gradient", "overlapping, padded", 2, pool_gradient(OVERLAPPING), ADD),
        Test("max pool's gradient", "stride 1", 1, pool_gradient(ONE_BY_ONE), ADD),
        Test("max pool's gradient", "other sizes", 1, pool_gradient(None), ADD, hidden=True),
        Test("max pool's gradient", "other sizes, again", 1, pool_gradient(None), ADD, hidden=True),
        *trains(
            [("relu", 0, rectified(EDGES)), ("relu", 0, rectified(None, nan=True)), ("max_pool2d", 0, pooled(None)),
             ("max_pool2d", 0, pooled(None, "ties"))],
            [("relu_backward", 0, relu_gradient(True)), ("max_pool2d_backward", 0, pool_gradient(None))],
            pool=True,
        ),
    ],
    off_limits=KERNELS,
)  # fmt: skip
