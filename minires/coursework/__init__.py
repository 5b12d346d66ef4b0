"""Coursework: exercises with holes, and grading that survives whatever is submitted.

``minires new conv2d`` writes an exercise file; ``minires grade conv2d.py`` reports what passed and failed, with hints.
The grader judges: it draws the inputs, sends them to a process that runs the submission, and compares what comes back
with its own answers (`judge`). Each test has a process to itself, with limits (`launcher`, `keeper`, `worker`); where a
system cannot do that, other `runners` do less (`portable`, `unprotected`). What was handed in is found in
files, folders, archives and notebooks (`submission`, `texts`); a class is graded by several processes (`batch`,
`jobs`). What a dishonest submission can and cannot do is in lessons/exercises/honesty.md.
"""

from .assignment import Assignment, Test
from .assignments import ASSIGNMENTS
from .batch import grade_class, is_class
from .formats import FORMATS
from .grading import Result, TestResult, grade
from .handout import grade_to, new
from .learner import CannotGrade
from .runners import RUNNERS
from .submission import read_submission
from .tryout import try_out

__all__ = [
    "ASSIGNMENTS",
    "FORMATS",
    "RUNNERS",
    "Assignment",
    "CannotGrade",
    "Result",
    "Test",
    "TestResult",
    "grade",
    "grade_class",
    "grade_to",
    "is_class",
    "new",
    "read_submission",
    "try_out",
]
