"""Assignment batch_norm: forward, the three terms of the gradient, evaluation, running statistics, training."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np

from ...kernels import cpu, textbook
from ..assignment import Assignment, Check, Test
from ..judge import draw_shape, judge, judge_gradient, parts
from ..learner import Learner
from ..watch import KERNELS
from .training import trains

Shape = tuple[int, ...] | str  # letters: sizes that are drawn
Shapes = Shape | tuple[str, ...]  # or several such shapes, tested one after the other
IMAGES, ROWS, EPS = (4, 3, 5, 2), (8, 3), 1e-5
ANY = "1chw", "nchw"  # one image, and several; no two sizes are equal


def draw(rng: np.random.Generator, shape: Shape, dtype: type = np.float64) -> list[np.ndarray]:
    """x with another mean and spread in each channel, γ and β."""
    shape = draw_shape(rng, shape)
    c = (-1, *(1,) * (len(shape) - 2))
    spread, mean = rng.uniform(0.5, 3, shape[1]).reshape(c), rng.standard_normal(shape[1]).reshape(c)
    arrays = [rng.standard_normal(shape) * spread + mean, *(rng.standard_normal(shape[1]) + 1 for _ in range(2))]
    return [a.astype(dtype) for a in arrays]


def each(shapes: Shapes, check: Callable[[Learner, np.random.Generator, Shape], None]) -> Check:
    """The check for each of the shapes."""
    several = isinstance(shapes, tuple) and isinstance(shapes[0], str)

    def check_all(learner: Learner, rng: np.random.Generator) -> None:
        for shape in cast(Iterable[Shape], shapes if several else [shapes]):
            check(learner, rng, shape)

    return check_all


def forward(shapes: Shapes, affine: bool = True, dtype: type = np.float64) -> Check:
    """batch_norm gives the textbook's y, mean and var."""

    def check(learner: Learner, rng: np.random.Generator, shape: Shape) -> None:
        x, gamma, beta = draw(rng, shape, dtype)
        arguments = (x, gamma, beta) if affine else (x,)
        right = textbook.batch_norm(*arguments)
        axes = textbook.all_but_channels(x)
        unbiased = x.var(axes, ddof=1)
        scale: Any = arguments[1:] or (None, None)
        mistakes: Any = (
            [
                ("the variance divides by n − 1; here it divides by n",
                 textbook.batch_norm_eval(x, scale[0], scale[1], right[1], unbiased, EPS)),
                ("γ and β are not applied", textbook.batch_norm(x)[0]),
                ("ε is missing: √(σ² + ε)", _with_std(x, x.std(axes), *scale)),
                ("ε belongs under the root: √(σ² + ε)", _with_std(x, x.std(axes) + EPS, *scale)),
                ("the statistics are taken over the batch alone, not over height and width too",
                 _over_batch(x, *scale)),
            ],
            [],
            [("the variance divides by n − 1; here it divides by n", unbiased),
             ("the standard deviation is returned for the variance", np.sqrt(right[2]))],
        )  # fmt: skip
        got = parts("batch_norm", learner.call("batch_norm", *arguments), 3, "y, mean, var")
        tolerance = 1e-4 if dtype == np.float32 else 1e-8
        for name, mine, theirs, known in zip(("y", "mean", "var"), got, right, mistakes):
            judge(f"batch_norm of x {x.shape}, {name}", mine, theirs, known, tolerance)

    return each(shapes, check)


def _over_batch(x, gamma, beta):
    x_hat = (x - x.mean(0)) / np.sqrt(x.var(0) + EPS)
    shift = 0 if beta is None else textbook.per_channel(beta, x.ndim)
    return textbook.per_channel(gamma, x.ndim) * x_hat + shift


def _with_std(x, std, gamma, beta):
    return textbook.batch_norm_eval(x, gamma, beta, x.mean(textbook.all_but_channels(x)), std**2, 0.0)


def gradient(slot: int, shapes: Shapes) -> Check:
    """One of the three gradients is the textbook's."""

    def check(learner: Learner, rng: np.random.Generator, shape: Shape) -> None:
        x, gamma, beta = draw(rng, shape)
        _, mean, var = textbook.batch_norm(x, gamma, beta)
        judge_gradient(
            learner,
            f"batch_norm_backward, the gradient of {('x', 'γ', 'β')[slot]}, x {x.shape}",
            lambda g: learner.call("batch_norm_backward", g, x, gamma, mean, var, EPS),
            lambda x, gamma, beta: cpu.batch_norm(x, gamma, beta, EPS)[0],
            lambda g: textbook.batch_norm_backward(g, x, gamma, mean, var, EPS),
            [x, gamma, beta],
            slot,
            rng,
        )

    return each(shapes, check)


def evaluation(shapes: Shapes) -> Check:
    """batch_norm_eval uses the statistics it is given."""

    def check(learner: Learner, rng: np.random.Generator, shape: Shape) -> None:
        x, gamma, beta = draw(rng, shape)
        mean, var = rng.standard_normal(x.shape[1]), rng.uniform(0.5, 2, x.shape[1])
        right = textbook.batch_norm_eval(x, gamma, beta, mean, var, EPS)
        mistakes = [("the batch's own statistics are used", textbook.batch_norm(x, gamma, beta)[0])]
        got = learner.call("batch_norm_eval", x, gamma, beta, mean, var, EPS)
        judge(f"batch_norm_eval of x {x.shape}", got, right, mistakes)

    return each(shapes, check)


def running(momentum: float | None, count: int | None) -> Check:
    """update_running moves the mean and the unbiased variance; what is None is drawn."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        n, weight = count or int(rng.integers(3, 20)), momentum or float(rng.uniform(0.2, 0.4))
        channels = 3 if count else int(rng.integers(2, 7))
        old, new = ((rng.standard_normal(channels), rng.uniform(0.5, 2, channels)) for _ in range(2))
        unbiased = new[1] * n / (n - 1)

        def mixed(old, new, share):
            return (1 - share) * old + share * new

        got = parts("update_running", learner.call("update_running", *old, *new, n, weight), 2, "mean and variance")
        backwards = "momentum weighs the new value, 1 − momentum the old one"
        judge("update_running, mean", got[0], mixed(old[0], new[0], weight),
              [(backwards, mixed(old[0], new[0], 1 - weight))])  # fmt: skip
        judge("update_running, variance", got[1], mixed(old[1], unbiased, weight), [
            ("the biased variance is used: multiply by count / (count − 1)", mixed(old[1], new[1], weight)),
            (backwards, mixed(old[1], unbiased, 1 - weight)),
        ])  # fmt: skip

    return check


THREE_TERMS = "three terms: γ/√(σ² + ε) · (g − mean(g) − x̂·mean(g·x̂)), the means per channel"
ASSIGNMENT = Assignment(
    "batch_norm",
    [
        Test("forward", "images", 1, forward(IMAGES), "mean and variance over axes (0, 2, 3), one for each channel"),
        Test("forward", "rows, without γ and β", 1, forward(ROWS, affine=False), "over all axes but axis 1"),
        Test("forward", "float32 stays float32", 1, forward(IMAGES, dtype=np.float32), "NumPy scalars are float64"),
        Test("forward", "other sizes", 1, forward(ANY), "γ has shape (C,): reshape it to (1, C, 1, 1)", hidden=True),
        Test("gradient of x", "images", 2, gradient(0, IMAGES), THREE_TERMS),
        Test("gradient of x", "rows", 1, gradient(0, ROWS), THREE_TERMS),
        Test("gradient of x", "other sizes", 1, gradient(0, ANY), THREE_TERMS, hidden=True),
        Test("gradient of x", "a batch of two, and of one", 1, gradient(0, ("2chw", "1chw")), THREE_TERMS, hidden=True),
        Test("gradients of γ and β", "γ", 0.5, gradient(1, IMAGES), "γ multiplies x̂: sum g·x̂ over all but axis 1"),
        Test("gradients of γ and β", "β", 0.5, gradient(2, IMAGES), "β is added: sum g over all but axis 1"),
        Test("gradients of γ and β", "γ, other sizes", 0.5, gradient(1, ANY), "sum over all but axis 1", hidden=True),
        Test("gradients of γ and β", "β, rows", 0.5, gradient(2, ("nc", "1cl")), "sum over all but axis 1",
             hidden=True),
        Test("evaluation", "images", 1, evaluation(IMAGES), "the given mean and var, nothing of the batch"),
        Test("evaluation", "other sizes", 1, evaluation(ANY), "the given mean and var, nothing of the batch",
             hidden=True),
        Test("running statistics", "one step", 1, running(0.1, 36), "count/(count − 1) times var enters"),
        Test("running statistics", "another momentum", 1, running(None, None),
             "var·count/(count − 1) enters the running variance", hidden=True),
        *trains(
            [("batch_norm", 0, forward(ANY))],
            [("batch_norm_backward", slot, gradient(slot, ANY)) for slot in range(3)],
            enough=[("batch_norm_backward", 0)],
        ),
    ],
    off_limits=KERNELS,
)  # fmt: skip
