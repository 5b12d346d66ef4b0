"""Assignment broadcasting: gradients of arrays that were stretched."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels import textbook
from ..assignment import Assignment, Check, Test
from ..judge import draw_shapes, judge, judge_gradient
from ..learner import Learner
from ..watch import KERNELS

Shape = tuple[int, ...] | str  # letters: sizes that are drawn


def summed_to(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The textbook's sum over the axes that were put in front, and over those that were stretched."""
    front = grad.ndim - len(shape)
    axes = [*range(front), *(front + k for k, n in enumerate(shape) if n == 1)]
    return textbook.reduce_sum(grad, tuple(axes)).reshape(shape)


def random_shapes(rng: np.random.Generator) -> tuple[Shape, Shape]:
    """Two shapes that broadcast together, of different length, axes of 1 in both."""
    large = tuple(int(n) for n in rng.permutation(np.arange(2, 6)))  # no two alike
    stretched = int(rng.choice([1, 3]))  # where b is not: it has no axis 0, and its own is axis 2
    a = tuple(1 if k == stretched else n for k, n in enumerate(large))
    b = tuple(1 if k == 1 else n for k, n in enumerate(large[1:]))
    return a, b


def summed(*pairs: tuple[Shape, Shape]) -> Check:
    """sum_to from one shape to another is the textbook's sum, for each pair of shapes."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for pair in pairs:
            whole, to = draw_shapes(rng, *pair)
            grad = rng.standard_normal(whole)
            got = learner.call("sum_to", grad, to)
            judge(f"sum_to from {whole} to {to}", got, summed_to(grad, to))

    return check


def gradient(function: str, forward: Callable, slot: int, *pairs: tuple[Shape, Shape]) -> Check:
    """One gradient of a binary operation is the textbook's sum of what reaches each place. No shapes: drawn."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for pair in pairs or [random_shapes(rng)]:
            a, b = (rng.standard_normal(shape) for shape in draw_shapes(rng, *pair))

            def right(g: np.ndarray, a: np.ndarray = a, b: np.ndarray = b) -> tuple[np.ndarray, np.ndarray]:
                to_a, to_b = (g, g) if forward is np.add else (g * b, g * a)
                return summed_to(to_a, a.shape), summed_to(to_b, b.shape)

            def call(g: np.ndarray, a: np.ndarray = a, b: np.ndarray = b) -> Any:
                return learner.call(function, g, a, b)

            what = f"{function}, the gradient of {'ab'[slot]}, shapes {a.shape} and {b.shape}"
            judge_gradient(learner, what, call, forward, right, [a, b], slot, rng)

    return check


def tests_of(part: str, function: str, forward: Callable) -> list[Test]:
    """The tests of add_backward and multiply_backward."""
    hint = "sum_to the shape of each input" if forward is np.add else "multiply first, then sum_to"
    return [
        Test(
            part,
            "equal shapes, and a stretched",
            1.5,
            gradient(function, forward, 0, ((3, 4), (3, 4)), ((3, 1), (1, 4))),
            hint,
        ),
        Test(
            part,
            "equal shapes, and b stretched",
            1.5,
            gradient(function, forward, 1, ((4, 3), (4, 3)), ((2, 3, 4), (3, 1))),
            hint,
        ),
        Test(part, "b a single number", 1, gradient(function, forward, 1, ("nm", "")), hint, hidden=True),
        Test(part, "both stretched: a", 1, gradient(function, forward, 0), hint, hidden=True),
        Test(part, "both stretched: b", 1, gradient(function, forward, 1), hint, hidden=True),
    ]


ASSIGNMENT = Assignment(
    "broadcasting",
    [
        Test("sum to shape", "a missing axis, and nothing to sum", 2, summed(((2, 3), (3,)), ((2, 3), (2, 3))),
             "missing axes stand in front: sum them; from equal shapes comes the array itself"),
        Test("sum to shape", "an axis of 1", 2, summed(((2, 3, 4), (2, 1, 4))), "keep axes of length 1: keepdims=True"),
        Test("sum to shape", "both", 2, summed(((2, 3, 4), (3, 1))), "first the missing axes, then those of length 1"),
        Test("sum to shape", "other shapes", 1, summed(("bnmk", "n1k")), "look at (2, 3, 4) -> (1, 4) by hand",
             hidden=True),
        Test("sum to shape", "a single number", 1, summed(("nm", "")), "the shape () has no axes: sum all",
             hidden=True),
        *tests_of("add", "add_backward", np.add),
        *tests_of("multiply", "multiply_backward", np.multiply),
    ],
    off_limits=KERNELS,
)  # fmt: skip
