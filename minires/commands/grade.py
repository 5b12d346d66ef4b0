"""``minires grade``: run an exercise's tests on a file, and print or write what came of them."""

import argparse
from typing import Any

FORMATS = "text", "markdown", "junit", "gradescope"  # the coursework's own; it is imported only when needed
VISIBILITIES = "visible", "after_due_date", "after_published", "hidden"


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    parser = commands.add_parser(
        "grade",
        help="grade an exercise file",
        description="Run the tests of an exercise on your file, each in a separate process, and report what "
        "passed, what failed, and a hint.",
        epilog="The exit code is 0 for full marks in all tests that ran, 3 if points are missing.\n\n"
        "examples:\n"
        "  minires grade conv2d.py\n"
        "  minires grade mine.py --assignment conv2d --format junit --out conv2d.xml\n"
        "  minires grade submission/ --assignment conv2d --hidden --seed 7 --format gradescope --out results.json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("file", metavar="FILE", help="the file, or a folder that holds it under the exercise's name")
    parser.add_argument("--assignment", metavar="NAME", help="the exercise (default: the name of the file)")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument("--out", metavar="FILE", help="write here, again after each test (default: print)")
    parser.add_argument("--hidden", action="store_true", help="run the hidden tests too")
    parser.add_argument("--seed", type=int, default=0, help="of the hidden tests' shapes and numbers (default 0)")
    parser.add_argument(
        "--visibility",
        choices=VISIBILITIES,
        default="visible",
        help="when Gradescope shows a hidden test's score and hint (default: visible)",
    )
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds a test may take (default 30)")
    parser.add_argument("--memory", type=int, default=512, help="MB a test may take (default 512)")
    parser.add_argument("--user", metavar="NAME", help="run the submission as this user (needs root)")


def run(file: str, format: str, out: str | None, **options: Any) -> int:
    """Grade; returns the exit code, 3 if points are missing."""
    from .. import coursework  # only when needed

    result = coursework.grade_to(file, format, out, **options)
    return 0 if result.score == result.points else 3
