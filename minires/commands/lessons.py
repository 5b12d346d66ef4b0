"""``minires lessons``: list the lessons, run one, or turn them into notebooks."""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import replacing, writable_folder

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "lessons"
TITLE = re.compile(r"# # (\d+)\. (.+)")
QUESTION = re.compile(r"# \*(.+\?)\*")
TIMES = re.compile(r"# Takes (\d+) s \(quick: (\d+) s\)\.(?: A long one: .+)?")


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    parser = commands.add_parser(
        "lessons",
        help="list the lessons, run one, or write them as notebooks",
        description="The lessons: scripts that lead from a number's gradient to why residual networks work. Without "
        "arguments they are listed, with the seconds each takes.",
        epilog="examples:\n"
        "  minires lessons                      the list\n"
        "  minires lessons 9 --quick            run the quick version of lesson 9\n"
        "  minires lessons --notebook DIR       write them all as notebooks (needs jupytext)\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("number", type=int, nargs="?", help="the lesson to run")
    parser.add_argument("--quick", action="store_true", help="a shorter version, a few seconds")
    parser.add_argument("--notebook", metavar="DIR", help="write notebooks into this folder instead")


@dataclass(frozen=True)
class Lesson:
    """What a lesson's first cell says about it. seconds, quick: the time it takes, and its quick version takes."""

    number: int
    title: str
    question: str
    seconds: int
    quick: int
    path: Path


def read_lesson(path: Path) -> Lesson:
    """Read the first cell of a lesson. Raises ValueError, saying which line is missing."""
    head = path.read_text(encoding="utf-8").split("\n# %%", 1)[0].splitlines()
    found: dict[str, re.Match[str]] = {}
    for name, pattern, example in (
        ("title", TITLE, "# # 5. Batch norm: …"),
        ("question", QUESTION, "# *Why does … ?*"),
        ("times", TIMES, "# Takes 20 s (quick: 3 s)."),
    ):
        match = next((match for match in map(pattern.fullmatch, head) if match), None)
        if match is None:
            raise ValueError(f"lessons: the first cell of {path} has no {name}; expected a line such as {example!r}")
        found[name] = match
    number, title = found["title"].groups()
    seconds, quick = map(int, found["times"].groups())
    return Lesson(int(number), title, found["question"][1], seconds, quick, path)


def read_lessons() -> list[Lesson]:
    """All lessons, in order. Raises OSError if there are none, as in an installed package."""
    paths = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    if not paths:
        raise OSError(
            f"lessons: there are none in {FOLDER}. They are scripts of the repository, not part of the installed "
            "package: clone it, and install it with `python -m pip install -e .`"
        )
    return [read_lesson(path) for path in paths]


def table(lessons: list[Lesson]) -> str:
    """One line per lesson: number, title, and the seconds it takes in full and quick; long ones are marked."""
    width = max(len(lesson.title) for lesson in lessons)
    lines = [f"{'':>2}  {'':<{width}}  seconds  quick"]
    for x in lessons:
        mark = "  long" if x.seconds > 60 else ""
        lines.append(f"{x.number:>2}  {x.title:<{width}}  {x.seconds:>7}  {x.quick:>5}{mark}")
    return "\n".join(lines)


def index(lessons: list[Lesson]) -> str:
    """The list in ``lessons/README.md``: one Markdown line per lesson, with the question it answers."""
    return "\n".join(f"- [{x.number}. {x.title}]({x.path.name}): *{x.question}*" for x in lessons)


def run_lesson(lesson: Lesson, quick: bool) -> int:
    """Run a lesson in a separate process, and return its exit code: 1 if a claim failed."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), environment.get("PYTHONPATH")]))
    encoding = environment.get("PYTHONIOENCODING", "").partition(":")[0]
    environment["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"  # as `cli.main` does for this process
    command = [sys.executable, str(lesson.path), *(["--quick"] if quick else [])]
    return subprocess.run(command, env=environment, check=False).returncode


def write_notebooks(lessons: list[Lesson], folder: str | Path) -> list[Path]:
    """Write every lesson as a notebook, without outputs. Raises OSError if jupytext is not installed."""
    try:
        import jupytext  # an optional dependency
    except ImportError:
        raise OSError(
            "lessons: notebooks are written with jupytext, which is not installed; "
            "`python -m pip install -e '.[lessons]'`, or open the scripts themselves in VS Code"
        ) from None
    target = writable_folder(folder, "lessons")
    written = []
    for lesson in lessons:
        notebook = jupytext.read(lesson.path, fmt="py:percent")
        notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        path = target / lesson.path.with_suffix(".ipynb").name
        with replacing(path) as temporary:
            jupytext.write(notebook, temporary, fmt="ipynb")
        written.append(path)
    return written


def run(number: int | None = None, quick: bool = False, notebook: str | None = None) -> int:
    """``minires lessons``: returns the exit code. Raises ValueError for a lesson that is not there."""
    lessons = read_lessons()
    if number is not None:
        lessons = [lesson for lesson in lessons if lesson.number == number]
        if not lessons:
            known = ", ".join(str(lesson.number) for lesson in read_lessons())
            raise ValueError(f"lessons: got lesson {number}; there are {known}")
    if notebook is not None:
        for path in write_notebooks(lessons, notebook):
            print(path)
        return 0
    if number is None:
        print(table(lessons))
        print("\nRun one with `minires lessons 9`, or `minires lessons 9 --quick`.")
        return 0
    return run_lesson(lessons[0], quick)
