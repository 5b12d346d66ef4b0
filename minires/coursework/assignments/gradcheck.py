"""Assignment gradcheck: the submission's checker, graded by mutation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..assignment import Assignment, Check, Test
from ..learner import Learner, Wrong
from ..mutants import MUTANTS, Mutant


def verdicts(learner: Learner, rng: np.random.Generator, names: list[str], seeds: int) -> dict[str, list[list[int]]]:
    """What the submission says of each pair, on so many seeds each, in an order that is drawn."""
    said: dict[str, list[list[int]]] = {name: [] for name in names}
    for name in rng.permutation([name for name in names for _ in range(seeds)]).tolist():
        pair, seed = MUTANTS[name], int(rng.integers(2**31))
        arrays = pair.arrays(np.random.default_rng([seed, 1]))  # not the numbers the checker will draw
        shapes = [a.shape for a in arrays]
        y_shape = pair.forward(*arrays).shape

        def forward(*given: np.ndarray, pair: Mutant = pair, shapes: Any = shapes) -> np.ndarray:
            return pair.forward(*as_expected(given, shapes))

        def backward(*given: np.ndarray, pair: Mutant = pair, shapes: Any = (y_shape, *shapes)) -> Any:
            return pair.backward(*as_expected(given, shapes))

        found = learner.drive("check_pair", arrays, seed, answers={"forward": forward, "backward": backward})
        if not isinstance(found, list):
            raise Wrong("gradcheck must return a list of indices", "wrong type")
        said[name].append(found)
    return said


def as_expected(given: tuple[Any, ...], shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The arrays that the submission sent, as float64. Raises ValueError unless their shapes are these."""
    arrays = [np.asarray(a, np.float64) for a in given]
    if [a.shape for a in arrays] != list(shapes):
        raise ValueError(f"got arrays of shapes {[a.shape for a in arrays]}; expected {list(shapes)}")
    return arrays


def accepts(name: str, seeds: int) -> Check:
    """A right gradient is called right on every seed, and one that is not even nearly right is not."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        said = verdicts(learner, rng, [name, f"{name}, all wrong"], seeds)
        alarms = sum(bool(found) for found in said[name])
        if alarms:
            raise Wrong(f"{name}: the right gradient is called wrong on {alarms} of {seeds} seeds", "a false alarm")
        if not all(said[f"{name}, all wrong"]):
            raise Wrong(f"{name}: normal random numbers pass for the gradients", "a wrong gradient passes")

    return check


def rejects(name: str, seeds: int = 10) -> Check:
    """A wrong gradient is called wrong on every seed, and the right one it was made from is not."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        mutant = MUTANTS[name]
        said = verdicts(learner, rng, [mutant.right, name], seeds)
        alarms = sum(bool(found) for found in said[mutant.right])
        passed = sum(mutant.wrong[0] not in found for found in said[name])
        if alarms:
            text = f"{mutant.right}: the right gradient is called wrong on {alarms} of {seeds} seeds"
            raise Wrong(text, "a false alarm")
        if passed:
            raise Wrong(f"{name}: the wrong gradient passes on {passed} of {seeds} seeds", "a wrong gradient passes")
        if any(tuple(found) != mutant.wrong for found in said[name]):
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
    off_limits=["minires.testing"],
)  # fmt: skip
