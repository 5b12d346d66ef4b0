"""Assignment break_it: wrong backwards, which the checker must reject and name as asked."""

import warnings
from typing import Any

import numpy as np

from ...testing import KINDS, gradcheck
from ...testing.report import VacuousCheckWarning
from ..assignment import Assignment, Check, Test
from ..judge import called, cleaned, draw_shapes
from ..learner import Learner, Wrong
from ..mutants import RIGHT, Mutant

SHAPES: dict[str, tuple[Any, ...]] = {  # as the exercise file has them, and drawn
    "linear": (((5, 4), (4, 4), (4,)), ("nk", "kk", "k")),
    "batch norm": (((4, 3, 5, 2), (3,), (3,)), ("nchw", "c", "c")),
}


def broken(function: str, pair: str, slot: int, kind: str, other_sizes: bool = False) -> Check:
    """The checker finds one wrong gradient each time, the one it should, and once says the kind; "": any kind.

    Once, because a gradient of few entries may happen to look like another mistake.
    """

    def check(learner: Learner, rng: np.random.Generator) -> None:
        right, names = RIGHT[pair], []
        for _ in range(3):
            arrays = [rng.standard_normal(shape) for shape in draw_shapes(rng, *SHAPES[pair][other_sizes])]
            found = failures(learner, function, right, arrays, int(rng.integers(2**31)))
            what = f"{function}: gradcheck"
            if not found:
                raise Wrong(f"{what} finds no mistake in it", "no mistake is found")
            others = [failure for failure in found if failure.input != slot]
            if others or len(found) > 1:
                told = ", ".join(f"input {failure.input}: {failure.kind}" for failure in found)
                text = f"{what} finds {told}; only input {slot} is to be wrong"
                raise Wrong(text, "another gradient is wrong, too" if len(found) > 1 else "another gradient is wrong")
            names.append(found[0].kind if found[0].kind in KINDS else "")
        if kind and kind not in names:
            text = f"{what} says {names[-1]}, and should say {kind}\n    its words: {found[0].likely}"
            raise Wrong(text, f"it is called {names[-1]}")

    return check


def failures(learner: Learner, function: str, right: Mutant, arrays: list[np.ndarray], seed: int) -> list[Any]:
    """What the checker says of the submission's backward."""

    def backward(grad_output: np.ndarray, *given: np.ndarray) -> tuple[Any, ...]:
        found = learner.call(function, grad_output, *given)
        if not isinstance(found, tuple | list) or len(found) != len(arrays):
            learner.trouble = Wrong(f"{function}: expected {len(arrays)} gradients", "wrong number of results")
            raise learner.trouble
        for grad in found:
            if grad is not None and cleaned(grad) is None:
                text = f"{function}: {called(grad)} came back for a gradient; expected an array"
                learner.trouble = Wrong(text, "wrong type")
                raise learner.trouble
        return tuple(found)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VacuousCheckWarning)
        report = gradcheck((right.forward, backward), *arrays, seed=seed, raise_on_failure=False)
    if learner.trouble is not None:
        raise learner.trouble
    return report.failures


def passes_careless(other_sizes: bool) -> Check:
    """A check with a grad_output of ones sees nothing wrong, and the checker does."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        right = RIGHT["batch norm"]
        broken("unseen", "batch norm", 0, "", other_sizes)(learner, rng)
        x, gamma, beta = (rng.standard_normal(s) for s in draw_shapes(rng, *SHAPES["batch norm"][other_sizes]))
        ones = np.ones_like(x)
        found = learner.call("unseen", ones, x, gamma, beta)[0]
        for _ in range(3):
            direction = rng.standard_normal(x.shape)
            exact = float((right.backward(ones, x, gamma, beta)[0] * direction).sum())
            if not abs(float((found * direction).sum()) - exact) < 1e-4:
                raise Wrong("unseen: careless does not say True", "a careless check sees it")

    return check


def both(function: str, pair: str, slot: int, hint: str) -> list[Test]:
    """A test with the sizes of the exercise file, and a hidden one with others."""
    return [
        Test(pair, f"{function}{', other sizes' * hidden}", 1, broken(function, pair, slot, function, hidden), hint,
             hidden=hidden)
        for hidden in (False, True)
    ]  # fmt: skip


ASSIGNMENT = Assignment(
    "break_it",
    [
        *both("sign", "linear", 0, "−1 times the right gradient"),
        *both("transposed", "linear", 1, "the right gradient's .T, which has the same shape here"),
        *both("missing_broadcast_sum", "linear", 2, "leave the sum out: the shape is then grad_output's"),
        *both("ignores_grad_output", "linear", 1, "put ones where grad_output should be"),
        *both("not_linear", "linear", 0, "clip it, square it, or mask it by its own sign"),
        *both("missing_mean_term", "batch norm", 0, "leave out one of the three terms: − mean(g)"),
        *both("missing_variance_term", "batch norm", 0, "leave out one of the three terms: − x̂·mean(g·x̂)"),
        *both("per_channel_factor", "batch norm", 0, "γ, or 1/√(σ² + ε)"),
        Test("careless", "unseen", 2, passes_careless(False),
             "for a grad_output of ones the right gradient of x is 0: what else is 0 then?"),
        Test("careless", "unseen, other sizes", 2, passes_careless(True),
             "for a grad_output of ones the right gradient of x is 0: what else is 0 then?", hidden=True),
    ],
)  # fmt: skip
