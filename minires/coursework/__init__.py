"""Coursework: exercises with holes, and grading that survives what is submitted.

``minires new conv2d`` writes an exercise file; ``minires grade conv2d.py`` reports what passed and failed, with hints.
The grader judges: it draws the inputs, asks a process that runs the submission, and compares what comes back with
answers of its own (`judge`). Each test has such a process for itself (`keeper`, `worker`), with limits.
"""

from .assignment import Assignment, Test
from .assignments import ASSIGNMENTS
from .formats import FORMATS
from .grading import Result, TestResult, grade
from .handout import grade_to, new

__all__ = ["ASSIGNMENTS", "FORMATS", "Assignment", "Result", "Test", "TestResult", "grade", "grade_to", "new"]
