"""``minires new``: write an exercise file, or list the exercises."""

import argparse
from pathlib import Path
from typing import Any

from ..folders import writable_folder
from ..terminal import fitted


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    parser = commands.add_parser(
        "new",
        help="write an exercise file",
        description="Write an exercise file with holes to fill.",
        epilog="examples:\n  minires new list\n  minires new conv2d\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("name", metavar="NAME", help="an exercise, or list to see them all")
    parser.add_argument("--out", metavar="FILE", help="file to write (default NAME.py); one that exists is kept")


def run(name: str, out: str | None) -> int:
    """Write an exercise file, or list the exercises; returns the exit code."""
    from .. import coursework  # only when needed

    if name == "list":
        if out is not None:
            raise ValueError(
                f"new: got list with --out {out}, but a list is printed; name an exercise, or leave out --out"
            )
        for assignment in coursework.ASSIGNMENTS.values():
            print(fitted(f"{assignment.name:<16}{assignment.points:g} points  {assignment.title}"))
        return 0
    if out is not None:
        writable_folder(Path(out).parent, "new")
    print(coursework.new(name, out))
    return 0
