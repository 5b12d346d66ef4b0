"""Assignment gradcheck: the submission's checker, graded by mutation."""

import numpy as np

from ..assignment import Assignment, Check, Test
from ..learner import Learner, Wrong
from ..mutants import MUTANTS


def verdicts(learner: Learner, name: str, seeds: list[int]) -> list[list[int]]:
    """What the submission says on each seed, checked for its form."""
    found = learner.drive("check_mutant", name, seeds)
    if not isinstance(found, list) or len(found) != len(seeds):
        raise Wrong("gradcheck must return a list of indices", "wrong type")
    return found


def accepts(name: str, seeds: int) -> Check:
    """A right gradient is called right on every seed."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        drawn = [int(seed) for seed in rng.integers(0, 2**31, seeds)]
        alarms = sum(bool(found) for found in verdicts(learner, name, drawn))
        if alarms:
            raise Wrong(f"{name}: the right gradient is called wrong on {alarms} of {seeds} seeds", "a false alarm")

    return check


def rejects(name: str, seeds: int = 10) -> Check:
    """A wrong gradient is called wrong on every seed, and the right one it was made from is not."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        mutant = MUTANTS[name]
        drawn = [int(seed) for seed in rng.integers(0, 2**31, seeds)]
        accepts(mutant.right, seeds)(learner, rng)
        found = verdicts(learner, name, drawn)
        passed = sum(mutant.wrong[0] not in indices for indices in found)
        if passed:
            raise Wrong(f"{name}: the wrong gradient passes on {passed} of {seeds} seeds", "a wrong gradient passes")
        if any(tuple(indices) != mutant.wrong for indices in found):
            text = f"{name}: only array {mutant.wrong[0]} has a wrong gradient, but more are named"
            raise Wrong(text, "a false alarm")

    return check


NORMAL = "v = 1 everywhere hides what batch norm and softmax do: draw v and d from a normal distribution"
SMALL = "compare with a relative tolerance of about 10⁻⁵, and take h near 10⁻⁵ in a *centred* difference"
ALL = "one direction over all entries sees what one entry picked at random does not"
EACH = "check each array by itself, and name its index"

ASSIGNMENT = Assignment(
    "gradcheck",
    [
        Test("right gradients", "linear", 1, accepts("linear", 20), EACH),
        Test("right gradients", "conv2d", 1, accepts("conv2d", 10), "a centred difference: (φ(h) − φ(−h)) / 2h"),
        Test("right gradients", "batch norm", 1, accepts("batch norm", 20), SMALL),
        Test("right gradients", "relu", 1, accepts("relu", 20), "a step h of 0.1 crosses the kink: 10⁻⁵"),
        Test("right gradients", "softmax", 1, accepts("softmax", 20), SMALL, hidden=True),
        Test("right gradients", "product", 1, accepts("product", 20), SMALL, hidden=True),
        Test("wrong gradients", "linear, dx negative", 1, rejects("linear, dx negative"), EACH),
        Test("wrong gradients", "linear, dW transposed", 1, rejects("linear, dW transposed"), EACH),
        Test("wrong gradients", "linear, db ignores grad_output", 1, rejects("linear, db ignores grad_output"), NORMAL),
        Test("wrong gradients", "relu, mask inverted", 1, rejects("relu, mask inverted"), NORMAL),
        Test("wrong gradients", "conv2d, kernel not turned", 1, rejects("conv2d, kernel not turned"), ALL),
        Test("wrong gradients", "batch norm, dx times 7", 1, rejects("batch norm, dx times 7"), NORMAL),
        Test("wrong gradients", "batch norm, mean term missing", 1, rejects("batch norm, mean term missing"), NORMAL),
        Test("wrong gradients", "product mixed up", 1, rejects("product, both factors mixed up"), EACH, hidden=True),
        Test("wrong gradients", "relu, one entry", 1, rejects("relu, one entry wrong"), ALL, hidden=True),
        Test("wrong gradients", "conv2d, averaged", 1, rejects("conv2d, dw averaged"), ALL, hidden=True),
        Test("wrong gradients", "batch norm, variance", 1, rejects("batch norm, variance term missing"), NORMAL,
             hidden=True),
        Test("wrong gradients", "batch norm, n − 1", 1, rejects("batch norm, n − 1 for n"), SMALL, hidden=True),
        Test("wrong gradients", "softmax, zeros", 1, rejects("softmax, all zeros"), NORMAL, hidden=True),
        Test("wrong gradients", "softmax, sum", 1, rejects("softmax, sum not subtracted"), NORMAL, hidden=True),
    ],
)  # fmt: skip
