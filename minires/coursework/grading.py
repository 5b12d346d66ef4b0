"""Grading: each test runs in its own process, one after the other, and the result is complete whatever happens."""

import importlib.util
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .assignment import Assignment, Test
from .assignments import ASSIGNMENTS
from .learner import Keeper, Learner, Limits, Wrong

LARGEST_FILE = 2**20  # bytes of a submission
VISIBILITIES = "visible", "after_due_date", "after_published", "hidden"  # Gradescope's words


@dataclass
class TestResult:
    """One test's outcome. status: "not run", "passed" or "failed"; message, output: for the learner; peak: MB."""

    number: str
    test: Test
    status: str = "not run"
    message: str = ""
    brief: str = ""
    output: str = ""
    seconds: float = 0.0
    peak: float = 0.0

    __test__ = False  # not one of pytest's

    @property
    def score(self) -> float:
        """The test's points if it passed."""
        return self.test.points if self.status == "passed" else 0.0

    @property
    def title(self) -> str:
        """The test's name, unless it is hidden."""
        return "a hidden test" if self.test.hidden else self.test.name

    @property
    def told(self) -> str:
        """What the learner is shown; of a hidden test only the kind of mistake and the hint, no values, no output."""
        if self.status == "passed":
            return ""
        if self.status == "not run":
            return "This test did not run to its end."
        hint = f"hint: {self.test.hint}"
        if self.test.hidden:
            return "\n".join(filter(None, [self.brief, hint]))
        printed = f"your code printed:\n{self.output.strip()}" if self.output.strip() else ""
        return "\n".join(filter(None, [self.message, hint, printed]))


@dataclass
class Result:
    """The outcome of all tests that were requested."""

    assignment: Assignment
    file: str
    hidden: bool
    tests: list[TestResult]
    visibility: str = "visible"
    seconds: float = 0.0

    @property
    def score(self) -> float:
        """Points earned."""
        return sum(test.score for test in self.tests)

    @property
    def points(self) -> float:
        """What the requested tests are worth."""
        return sum(test.test.points for test in self.tests)

    @property
    def summary(self) -> str:
        """One sentence that never says more than was tested."""
        text = f"{self.score:g} of {self.points:g} points"
        if self.hidden:
            return f"{text}."
        left = self.assignment.points - self.points
        count = len(self.assignment.tests) - len(self.tests)
        return f"{text}; {left:g} more are in {count} hidden tests, which were not run."


def grade(
    path: str | os.PathLike,
    assignment: str | None = None,
    *,
    hidden: bool = False,
    seed: int = 0,
    timeout: float = 30.0,
    memory: int = 512,
    user: str | None = None,
    visibility: str = "visible",
    on_test: Callable[[Result, TestResult | None], object] | None = None,
) -> Result:
    """Run an assignment's tests on a submission: a file, or a folder that holds it under the exercise's name.

    assignment: a name from `ASSIGNMENTS` (default: that of the file). hidden: run the hidden tests too, whose shapes
    and numbers are drawn from ``seed``. timeout, memory: the limits of one test, in seconds and MB. user: run the
    submission as this user (needs root). visibility: when Gradescope shows a hidden test's score and hint, one of
    `VISIBILITIES`. on_test: called as ``on_test(result so far, test)`` after each test, and before the first one with
    None for the test.

    The submission is never imported here. Raises ValueError or OSError for arguments that do not fit; whatever the
    submission does ends up in the result.
    """
    chosen = find_assignment(path, assignment)
    if not timeout > 0 or memory < 1 or seed < 0:
        raise ValueError(
            f"grade: got timeout={timeout}, memory={memory}, seed={seed}; expected seconds and MB above 0, and a seed "
            "of at least 0"
        )
    if visibility not in VISIBILITIES:
        raise ValueError(f"grade: got visibility={visibility!r}; expected one of {', '.join(VISIBILITIES)}")
    if not hasattr(os, "fork"):
        raise OSError("grade: needs fork to give each test a process; use Linux, macOS, or WSL on Windows")
    limits = Limits(timeout, memory, None if user is None else find_user(user), tuple(chosen.off_limits))
    started = time.perf_counter()
    file, source, trouble = read_submission(Path(path), chosen.name)
    result = Result(chosen, file, hidden, number_tests(chosen, hidden), visibility)
    if on_test is not None:
        on_test(result, None)
    with Keeper() as keeper:
        for test in result.tests:
            if trouble:
                test.status, test.message, test.brief = "failed", trouble, trouble
            else:
                run_test(test, keeper, source, file, limits, seed)
            result.seconds = time.perf_counter() - started
            if on_test is not None:
                on_test(result, test)
    return result


def run_test(result: TestResult, keeper: Keeper, source: str, name: str, limits: Limits, seed: int) -> None:
    """Run one test and record what came of it."""
    test = result.test
    limits = replace(limits, seconds=limits.seconds * test.patience)
    rng = np.random.default_rng([zlib.crc32(f"{test.part}/{test.name}".encode()), seed if test.hidden else 0])
    started = time.perf_counter()
    learner = Learner(keeper, source, name, limits)
    try:
        with learner, np.errstate(all="ignore"):
            test.check(learner, rng)
        result.status = "passed"
    except Wrong as wrong:
        result.status, result.message, result.brief = "failed", str(wrong), wrong.brief
    except Exception as error:  # what came back is stranger than the test expects
        result.status, result.brief = "failed", "a result that cannot be judged"
        result.message = f"what came back cannot be judged ({type(error).__name__}: {error}): is it what was asked for?"
    result.seconds, result.peak, result.output = time.perf_counter() - started, learner.peak, learner.output


def number_tests(assignment: Assignment, hidden: bool) -> list[TestResult]:
    """A result "not run" for each test, numbered 1.1, 1.2, 2.1 … by part; hidden ones keep their numbers."""
    results, counts = [], dict.fromkeys(assignment.parts, 0)
    for test in assignment.tests:
        counts[test.part] += 1
        number = f"{assignment.parts.index(test.part) + 1}.{counts[test.part]}"
        if hidden or not test.hidden:
            results.append(TestResult(number, test))
    return results


def read_submission(path: Path, name: str) -> tuple[str, str, str]:
    """(file name, its text, trouble): trouble says what is wrong with it, in words for the learner, or is "".

    Raises OSError if there is nothing at this path.
    """
    if not path.exists():
        raise OSError(f"grade: there is no {path}")
    wanted = f"{name}.py"
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix == ".py" and p.is_file())
        named = [p for p in found if p.name == wanted]
        if not named and len(found) != 1:
            names = ", ".join(sorted(p.name for p in path.iterdir())[:10]) or "nothing"
            return wanted, "", f"there is no {wanted} among the submitted files ({names}); submit it under that name"
        path = (named or found)[0]
    try:
        data = path.read_bytes()
        if len(data) > LARGEST_FILE:
            return path.name, "", f"{path.name} has {len(data) / 2**20:.0f} MB; is it the file you meant to submit?"
        return path.name, importlib.util.decode_source(data), ""
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        return path.name, "", f"{path.name} cannot be read as a Python file: {error}"


def find_assignment(path: str | os.PathLike, name: str | None) -> Assignment:
    """The assignment with this name, or the one that the file is named after. Raises ValueError if there is none."""
    wanted = name if name is not None else Path(path).stem
    if wanted not in ASSIGNMENTS:
        ask = "" if name is not None else ", from the file's name; say --assignment NAME"
        raise ValueError(f"assignment: got {wanted!r}{ask}; there are {', '.join(ASSIGNMENTS)}")
    return ASSIGNMENTS[wanted]


def find_user(name: str) -> tuple[int, int]:
    """(uid, gid) of a user. Raises ValueError if there is none, or if this process may not become one."""
    import pwd  # not there on Windows, where `grade` has reported that by now

    if os.geteuid() != 0:
        raise ValueError("grade: only root may run a submission as another user; leave out --user")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"grade: got user={name!r}; there is no such user on this machine") from None
    return entry.pw_uid, entry.pw_gid
