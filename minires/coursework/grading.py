"""Grading: each test runs in its own process, one after the other, and the result is complete whatever happens."""

import contextlib
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import nearest, one_of
from . import runners
from .assignment import Assignment, Test, added
from .assignments import ASSIGNMENTS
from .learner import CannotGrade, Learner, Limits, Wrong
from .submission import Submission, check_there, read_submission

TIMEOUTS, LEAST_MEMORY = (0.5, 3600.0), 64  # seconds and MB of one test that make sense
SLOW_IMPORTS = ("matplotlib.pyplot",)  # which students leave in; each test would look for the fonts anew
UNWRITTEN = "not written yet"
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
    def unwritten(self) -> bool:
        """Whether the test failed because nothing was written yet."""
        return self.brief == UNWRITTEN

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
            return self.message or "This test did not run to its end."
        if self.unwritten:
            return self.brief if self.test.hidden else self.message.partition("\n")[0]
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
    note: str = ""  # which file was graded, where that is not plain
    trouble: str = ""  # what keeps the whole file from being graded, which every test says

    @property
    def score(self) -> float:
        """Points earned."""
        return added(test.score for test in self.tests)

    @property
    def points(self) -> float:
        """What the requested tests are worth."""
        return added(test.test.points for test in self.tests)

    @property
    def summary(self) -> str:
        """What was earned, which never says more than was tested."""
        text = f"{self.score:g} of {self.points:g} points"
        if unreached := sum(test.status == "not run" for test in self.tests):
            text += f"; {unreached} tests were not run"
        if self.note:
            text += f" ({self.note})"
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
    total: float = 540.0,
    memory: int = 512,
    user: str | int | None = None,
    visibility: str = "visible",
    beside: bool = True,
    on_test: Callable[[Result, TestResult | None], object] | None = None,
    keeper: Any = None,
    runner: str | None = None,
) -> Result:
    """Run an assignment's tests on a submission: a file, a folder, a zip archive or a notebook (`read_submission`).

    assignment: a name from `ASSIGNMENTS` (default: that of the file). hidden: run the hidden tests too, whose shapes
    and numbers are drawn from ``seed``. timeout, memory: the limits of one test, in seconds and MB. total: seconds for
    all tests together; those that are not reached say so. user: run the submission as this user (needs root).
    visibility: when Gradescope shows a hidden test's score and hint, one of `VISIBILITIES`. beside: a file may import
    modules that lie beside it. on_test: called as ``on_test(result so far, test)`` after each test, and before the
    first one with None for the test. keeper: a runner to use again, as for a class. runner: where tests run, one of
    `RUNNERS` (default: the best that this system has): "hardened" protects everything from a submission, "portable"
    only ends it in time, and "here" runs it in this process.

    The submission is never imported here. Whatever it does ends up in the result. Raises ValueError or OSError for
    arguments that do not fit, and CannotGrade if the machine cannot run the tests: then there is no score.
    """
    chosen = find_assignment(path, assignment)
    runner = runners.check(runner) if keeper is None else None
    limits = replace(check_options(timeout, total, memory, seed, user, visibility), off_limits=tuple(chosen.off_limits))
    if user is not None and runner not in (None, "hardened"):
        raise ValueError(f"grade: got user={user!r} with the runner {runner}; only the hardened one changes the user")
    started = time.perf_counter()
    submission = read_submission(path, chosen.name, chosen.asked, beside)
    tests = number_tests(chosen, hidden)
    result = Result(
        chosen, submission.file, hidden, tests, visibility, note=submission.note, trouble=submission.trouble
    )
    if on_test is not None:
        on_test(result, None)
    with contextlib.nullcontext(keeper) if runner is None else runners.start(runner) as kept:
        check_machine(kept, chosen, limits)
        texts = [submission.source, *submission.helpers.values()]
        slow = tuple(name for name in SLOW_IMPORTS if any(name.partition(".")[0] in text for text in texts))
        limits = replace(limits, imported=slow)
        brief = "a file that cannot be graded"
        for test in tests:
            left = total - (time.perf_counter() - started)
            if result.trouble:
                test.status, test.message, test.brief = "failed", result.trouble, brief
            elif left <= 0.01:
                test.message = f"This test was not reached: the {total:g} s for the whole grading were used up before."
            elif run_test(test, kept, submission, limits, seed, left) and test.status == "failed":
                result.trouble, brief = test.message, test.brief  # it would fail to load in every test
            result.seconds = time.perf_counter() - started
            if on_test is not None:
                on_test(result, test)
    return result


def check_options(
    timeout: float, total: float, memory: int, seed: int, user: str | int | None, visibility: str
) -> Limits:
    """The limits of a test. Raises ValueError for options under which nothing could be graded."""
    low, high = TIMEOUTS
    if not low <= timeout <= high or not total >= low or not LEAST_MEMORY <= memory <= 2**20 or seed < 0:
        raise ValueError(
            f"grade: got timeout={timeout}, total={total}, memory={memory}, seed={seed}; expected a timeout of {low:g} "
            f"to {high:g} s, a total of at least {low:g} s, at least {LEAST_MEMORY} MB, and a seed of at least 0"
        )
    if visibility not in VISIBILITIES:
        raise ValueError(f"grade: got visibility={visibility!r}; {one_of(visibility, VISIBILITIES)}")
    return Limits(timeout, memory, None if user is None else find_user(user))


def check_machine(keeper: Any, assignment: Assignment, limits: Limits) -> None:
    """Load the exercise as it is handed out. Raises CannotGrade if even that fails: then no submission is at fault."""
    if keeper.checked == (assignment.name, limits):
        return
    try:
        with Learner(keeper, Submission(f"{assignment.name}.py", assignment.exercise), limits):
            pass
    except Wrong as wrong:
        raise CannotGrade(f"grade: this machine cannot run the exercise itself, within these limits: {wrong}") from None
    keeper.checked = assignment.name, limits


def run_test(result: TestResult, keeper: Any, submission: Submission, limits: Limits, seed: int, left: float) -> bool:
    """Run one test, in the ``left`` seconds at most, and record what came of it; whether the file failed to load.

    A process that is gone without a word is tried once more: what ended it may have been the machine.
    """
    test = result.test
    seconds = limits.seconds * test.patience
    rng_seed = [zlib.crc32(f"{test.part}/{test.name}".encode()), seed if test.hidden else 0]
    started = time.perf_counter()
    for _attempt in (1, 2):
        limits = replace(limits, seconds=min(seconds, max(left - (time.perf_counter() - started), 0.01)))
        learner = Learner(keeper, submission, limits)
        judge_test(result, learner, np.random.default_rng(rng_seed))
        if result.status == "passed" or not (keeper.lost or result.brief == "process ended"):
            break
    result.seconds, result.peak, result.output = time.perf_counter() - started, learner.peak, learner.output
    if result.brief == "time limit" and limits.seconds < seconds:
        result.message += "\nThe time for the whole grading was used up; the tests before took most of it."
        return False
    return not learner.loaded


def judge_test(result: TestResult, learner: Learner, rng: np.random.Generator) -> None:
    """Let the test judge the submission. Raises CannotGrade for trouble that is not the submission's."""
    try:
        with learner, np.errstate(all="ignore"):
            result.test.check(learner, rng)
        result.status, result.message, result.brief = "passed", "", ""
    except Wrong as wrong:
        result.status, result.message, result.brief = "failed", str(wrong), wrong.brief
    except CannotGrade:
        raise
    except (OSError, MemoryError) as error:
        raise CannotGrade(f"the grader itself had trouble ({type(error).__name__}: {error})") from error
    except Exception as error:  # what came back is stranger than the test expects
        result.status, result.brief = "failed", "a result that cannot be judged"
        text = str(error)[:500]
        result.message = f"what came back cannot be judged ({type(error).__name__}: {text}): is it what was asked for?"


def number_tests(assignment: Assignment, hidden: bool) -> list[TestResult]:
    """A result "not run" for each test, numbered 1.1, 1.2, 2.1 … by part; hidden ones keep their numbers."""
    results, counts = [], dict.fromkeys(assignment.parts, 0)
    for test in assignment.tests:
        counts[test.part] += 1
        number = f"{assignment.parts.index(test.part) + 1}.{counts[test.part]}"
        if hidden or not test.hidden:
            results.append(TestResult(number, test))
    return results


def find_assignment(path: str | os.PathLike, name: str | None) -> Assignment:
    """The assignment with this name, or the one that the file is named after. Raises ValueError if there is none."""
    wanted = name if name is not None else Path(path).stem
    if wanted not in ASSIGNMENTS:
        if name is None:
            check_there(path)
        ask = "" if name is not None else ", from the file's name; say --assignment NAME"
        near = nearest(wanted, ASSIGNMENTS)
        raise ValueError(f"assignment: got {wanted!r}{near}{ask}; there are {', '.join(ASSIGNMENTS)}")
    return ASSIGNMENTS[wanted]


def find_user(user: str | int) -> tuple[int, int]:
    """(uid, gid) of a user, by name or number. Raises ValueError if there is none, or if we may not become one."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise ValueError("grade: only root may run a submission as another user; leave out --user")
    if isinstance(user, int):
        return user, user
    import pwd  # not there on Windows

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ValueError(f"grade: got user={user!r}; there is no such user on this machine") from None
    return entry.pw_uid, entry.pw_gid
