"""``minires grade``: run an exercise's tests on a file or on a class, and print or write what came of them."""

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from ..folders import writable_file
from ..terminal import wrapped
from . import diary

# The coursework's own; it is imported only when needed.
FORMATS = "text", "markdown", "junit", "gradescope", "classroom50", "prairielearn", "otter"
VISIBILITIES = "visible", "after_due_date", "after_published", "hidden"
RUNNERS = "hardened", "portable", "here"
SEED = "MINIRES_SEED"


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    parser = commands.add_parser(
        "grade",
        help="grade an exercise file, or a class",
        description="Run the tests of an exercise on your file, each in a separate process, and report what "
        "passed, what failed, and a hint. A file, a folder, a zip archive or a notebook is graded; a folder of "
        "several such folders is a class, of which all are graded, into a folder of reports with an overview.",
        epilog="The exit code is 0 for full marks in all tests that ran (and for a class), 3 if points are missing (0 "
        "with --format classroom50), 1 if the machine could not grade: then there is no score.\n\n"
        "examples:\n"
        "  minires grade conv2d.py\n"
        "  minires grade mine.py --assignment conv2d --format junit --out conv2d.xml\n"
        "  minires grade submission/ --one --assignment conv2d --hidden --format gradescope --out results.json\n"
        "  minires grade class/ --assignment conv2d --hidden --seed 7 --jobs 2 --out grades\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("file", metavar="FILE", help="what was handed in: a file, a folder, an archive; or a class")
    parser.add_argument("--assignment", metavar="NAME", help="the exercise (default: the name of the file)")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument("--out", metavar="PATH", help="file to write, again after each test (default: print); of a "
                        "class, the folder to write (default: the folder's name with -grades)")  # fmt: skip
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--class", dest="several", action="store_true", default=None,
                      help="the folder is a class, whatever is in it")  # fmt: skip
    kind.add_argument("--one", dest="several", action="store_false", help="the folder is one submission")
    parser.add_argument("--jobs", type=int, metavar="N",
                        help="of a class, how many to grade at once (default: one per processor)")  # fmt: skip
    parser.add_argument("--executor", metavar="WHERE",
                        help="of a class, where to grade: mpi, dask://HOST:PORT or slurm, on machines that reach "
                        "the folder by the same path (default: this machine)")  # fmt: skip
    parser.add_argument("--again", action="store_true", help="of a class, grade anew what is graded already")
    parser.add_argument("--hidden", action="store_true", help="run the hidden tests too")
    parser.add_argument("--seed", type=int, help="of the hidden tests' shapes and numbers (default: the variable "
                        f"{SEED}, which other users cannot see as they can a command line; else 0)")  # fmt: skip
    parser.add_argument(
        "--visibility",
        choices=VISIBILITIES,
        default="visible",
        help="when Gradescope shows a hidden test's score and hint (default: visible)",
    )
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds a test may take (default 30)")
    parser.add_argument("--total", type=float, default=540.0,
                        help="seconds for all tests (default 540, within platforms' ten minutes)")  # fmt: skip
    parser.add_argument("--memory", type=int, default=512, help="MB a test may take (default 512)")
    parser.add_argument("--runner", choices=RUNNERS, help="where tests run: hardened (default where there is fork: a "
                        "process, user and limits for each), portable (a process and a time limit), or here (this "
                        "process, unprotected; the default in a browser)")  # fmt: skip
    parser.add_argument("--user", metavar="NAME", help="run the submission as this user (needs root)")


def run(
    file: str,
    format: str,
    out: str | None,
    several: bool | None,
    jobs: int | None,
    executor: str | None,
    again: bool,
    **options: Any,
) -> int:
    """Grade; returns the exit code, 3 if points are missing."""
    from .. import coursework, executors  # only when needed
    from ..coursework import runners

    if options["seed"] is None:
        options["seed"] = seed_from(os.environ.get(SEED))
    assignment = options.pop("assignment")
    runner = runners.check(options["runner"])
    if runner != "hardened":
        print(wrapped(f"The runner is {runner}. {runners.SAYS[runner]}"), file=sys.stderr)
    guessed = several is None
    if guessed:
        name = assignment if assignment is not None else Path(os.path.abspath(file)).stem
        several = out is None or not Path(out).suffix
        several = several and coursework.is_class(file, name)
    if executor and not several:
        raise ValueError(f"grade: got --executor {executor} for a single submission; it is for a class")
    if several:
        with contextlib.ExitStack() as stack:
            where = executor and stack.enter_context(executors.opened(executor, jobs, out or f"{file}-grades"))
            records = coursework.grade_class(
                file, assignment, out, at_once=jobs, executor=where or None, format=format, again=again, **options
            )
        return 1 if any("cannot" in record for record in records) else 0
    if out is not None:
        writable_file(out, "grade")  # before minutes are spent on it
    result = coursework.grade_to(file, format, out, assignment=assignment, **options)
    if guessed and os.path.isdir(file) and result.trouble.startswith("several files could be meant"):
        print(wrapped(f"If each of these is a submission, {file} is a class: say --class."), file=sys.stderr)
    if (
        format == "text" and out is None and options["user"] is None and not options["hidden"]
    ):  # a learner, not a platform
        diary.note_grade(result.assignment.name, result.score, result.points)
    return 0 if result.score == result.points or format == "classroom50" else 3  # which takes others for a breakdown


def seed_from(text: str | None) -> int:
    """The seed that a variable holds. Raises ValueError if that is no number."""
    if not text:
        return 0
    if not text.strip().isdecimal():
        raise ValueError(f"grade: got {SEED}={text!r}; expected a whole number of at least 0")
    return int(text)
