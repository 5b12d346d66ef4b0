"""Hand out and take back: write an exercise file, and grade one into a file of results."""

import os
from pathlib import Path
from typing import Any

from ..files import replacing
from ..terminal import fitted
from . import formats
from .grading import Result, TestResult, find_assignment, grade
from .learner import CannotGrade


def new(name: str, out: str | os.PathLike | None = None) -> Path:
    """Write an exercise file, NAME.py unless ``out`` names another, and return where it is.

    Raises ValueError for an unknown exercise, FileExistsError instead of overwriting a file.
    """
    assignment = find_assignment(name, name)
    path = Path(out if out is not None else f"{name}.py")
    if os.path.lexists(path):
        raise FileExistsError(f"new: {path} is there already, and is kept; name another file with --out")
    with replacing(path) as temporary:
        temporary.write_text(assignment.exercise, encoding="utf-8")
    return path


def grade_to(path: str | os.PathLike, format: str, out: str | os.PathLike | None = None, **options: Any) -> Result:
    """`grade`, with the result written to a file in one of `FORMATS`, anew after each test; without ``out``, printed.

    The file is whole and valid at every moment: a test that has not run yet is listed as not passed. If the machine
    turns out unable to grade (CannotGrade), the file is removed: no score is better than a wrong one.
    """

    def write(result: Result, test: TestResult | None) -> None:
        if out is not None:
            with replacing(out) as temporary:
                temporary.write_text(formats.FORMATS[format](result), encoding="utf-8")
        elif format == "text" and test is not None and not formats.told_once(result, test):
            print(fitted(formats.text_of(test)), flush=True)

    try:
        result = grade(path, on_test=write, **options)
    except CannotGrade:
        if out is not None:
            Path(out).unlink(missing_ok=True)
        raise
    if out is not None:
        print(f"{result.assignment.name}: {formats.clean(result.summary)} Written to {out}")
    else:
        print(fitted(f"\n{formats.text_end(result)}") if format == "text" else formats.FORMATS[format](result))
    return result
