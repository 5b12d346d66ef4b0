"""Coursework: exercises with holes, and grading that survives whatever is submitted.

``minires new conv2d`` writes an exercise file; ``minires grade conv2d.py`` reports what passed and failed, with hints.
The grader judges: it draws the inputs, sends them to a process that runs the submission, and compares what comes back
with its own answers (`judge`). Each test has a process to itself, with limits (`keeper`, `worker`). What a dishonest
submission can and cannot do is in lessons/exercises/honesty.md.
"""

from .assignment import Assignment, Test
from .assignments import ASSIGNMENTS
from .formats import FORMATS
from .grading import Result, TestResult, grade
from .handout import grade_to, new
from .tryout import try_out

__all__ = [
    "ASSIGNMENTS",
    "FORMATS",
    "Assignment",
    "Result",
    "Test",
    "TestResult",
    "grade",
    "grade_to",
    "new",
    "try_out",
]
