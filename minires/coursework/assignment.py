"""What an assignment is: an exercise file with holes, and tests worth points."""

import ast
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .learner import Learner

Check = Callable[[Learner, np.random.Generator], None]
EXERCISES = Path(__file__).parent / "exercises"


def added(points: Iterable[float]) -> float:
    """A sum of points, 0.3 for 0.1 + 0.2."""
    return round(math.fsum(points), 9)


@dataclass(frozen=True)
class Test:
    """One test: ``check(learner, rng)`` asks the submission and raises `Wrong` if it does not pass.

    part, points, hint: as in the markers of `minires.testing.pytest_plugin`. hidden: run only with ``--hidden``; if it
    fails, only the hint and the kind of mistake are shown. patience: multiplies the time limit.
    """

    part: str
    name: str
    points: float
    check: Check
    hint: str
    hidden: bool = False
    patience: float = 1.0

    __test__ = False  # not one of pytest's

    def __post_init__(self) -> None:
        if not (math.isfinite(self.points) and self.points >= 0):
            raise ValueError(f"Test {self.name!r}: got points={self.points}; expected a finite number of at least 0")


@dataclass(frozen=True)
class Assignment:
    """An exercise file ``exercises/NAME.py`` and its tests; its parts are the parts of the tests, in order.

    off_limits: what of the library answers the exercise, so that a submission may not call it (`watch`).
    """

    name: str
    tests: Sequence[Test]
    off_limits: Sequence[str] = ()

    @property
    def exercise(self) -> str:
        """The file with holes, as text."""
        return (EXERCISES / f"{self.name}.py").read_text(encoding="utf-8")

    @property
    def title(self) -> str:
        """The first line of the exercise."""
        return (ast.get_docstring(ast.parse(self.exercise)) or "").partition("\n")[0]

    @property
    def asked(self) -> list[str]:
        """The functions, classes and constants that the exercise asks for."""
        body = ast.parse(self.exercise).body
        names = [n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        targets = [t for n in body if isinstance(n, ast.Assign) for t in n.targets]
        targets += [n.target for n in body if isinstance(n, ast.AnnAssign)]
        return names + [t.id for t in targets if isinstance(t, ast.Name)]

    @property
    def points(self) -> float:
        """What all tests are worth together, hidden ones included."""
        return added(test.points for test in self.tests)

    @property
    def parts(self) -> list[str]:
        """Names of the parts, in order."""
        return list(dict.fromkeys(test.part for test in self.tests))
