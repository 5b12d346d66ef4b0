"""``minires lessons``: list the lessons, run one, copy them, or turn them into notebooks."""

import argparse
import re
import runpy
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import lesson as running
from ..files import replacing
from ..folders import from_here, writable_folder
from ..terminal import wrapped
from . import diary
from .opening import open_lesson

FOLDER = running.FOLDER
TITLE = re.compile(r"# # (\d+)\. (.+)")
QUESTION = re.compile(r"# \*(.+\?)\*")
TIMES = re.compile(r"# Takes (\d+) s \(quick: (\d+) s\)\.(?: A long one: .+)?")


INSTALLED = """\
try:
    import minires
except ImportError:
    import sys
    raise ImportError(
        f"minires is not installed for {sys.executable}: run %pip install -e FOLDER in a cell, where FOLDER is that of "
        "its source, or %pip install FILE with its wheel, minires_lab-….whl; then run this cell again"
    ) from None"""


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    parser = commands.add_parser(
        "lessons",
        help="list the lessons, run one, or write them as scripts or notebooks",
        description="The lessons: scripts that lead from a number's gradient to why residual networks work. Without "
        "arguments they are listed, with the seconds each takes.",
        epilog="examples:\n"
        "  minires lessons                      the list\n"
        "  minires lessons 9                    ask for your guess, and run lesson 9\n"
        "  minires lessons 9 --quick            its quick version\n"
        "  minires lessons 9 --copy DIR         write its script into DIR, to change a line and run it again\n"
        "  minires lessons --notebook DIR       write them all as notebooks (needs jupytext)\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("number", type=int, nargs="?", help="the lesson to run")
    parser.add_argument("--quick", action="store_true", help="a shorter version, a few seconds")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--copy", metavar="DIR", help="write the scripts into this folder instead")
    instead.add_argument("--notebook", metavar="DIR", help="write notebooks into this folder instead")


@dataclass(frozen=True)
class Lesson:
    """What a lesson's first cell says about it. seconds, quick: the time it takes, and its quick version takes."""

    number: int
    title: str
    question: str
    seconds: int
    quick: int
    path: Path

    @property
    def name(self) -> str:
        """Its file's name without the number, which may change: ``degradation``."""
        return self.path.stem.partition("_")[2]


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
    """All lessons, in order. Raises OSError if there are none: then the package was not installed whole."""
    paths = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    if not paths:
        raise OSError(f"lessons: there are none in {FOLDER}, where they belong; install minires again")
    return [read_lesson(path) for path in paths]


def table(lessons: list[Lesson]) -> str:
    """One line per lesson: number, the seconds it takes in full and quick, and title; long ones are marked."""
    lines = ["    seconds  quick"]
    for x in lessons:
        numbers, title = f"{x.number:>2}  {x.seconds:>7}  {x.quick:>5}  ", x.title + " (long)" * (x.seconds > 60)
        lines.append(wrapped(title, numbers) if sys.stdout.isatty() else f"{numbers}{title}")
    return "\n".join(lines)


def index(lessons: list[Lesson]) -> str:
    """The list in ``lessons/README.md``: one Markdown line per lesson, with the question it answers."""
    return "\n".join(f"- [{x.number}. {x.title}]({x.path.name}): *{x.question}*" for x in lessons)


def run_lesson(lesson: Lesson, quick: bool) -> int:
    """Ask for a guess if somebody is there, run the lesson, and return its exit code: 1 if a claim failed."""
    seconds = lesson.quick if quick else lesson.seconds
    guess = open_lesson(lesson.number, lesson.title, lesson.question, lesson.path, seconds)
    running.QUICK, sys.argv = quick or running.QUICK, [str(lesson.path)]
    running.shown.clear()
    started = time.perf_counter()
    code = execute(lesson.path)
    words = f"Lesson {lesson.number} took {time.perf_counter() - started:.0f} s."
    if guess is not None:
        words += f" Your guess was {guess}."
    if running.shown:
        figures = " ".join(from_here(path) for path in running.shown)
        words += f" Its figure{'s are' if len(running.shown) > 1 else ' is'} in {figures}"
    print(f"\n{wrapped(words)}", flush=True)
    if code is not None:
        diary.note_lesson(lesson.name, running.QUICK, code == 0, guess)
    return code if code is not None else 1


def execute(path: Path) -> int | None:
    """Run a script as if it had been started by itself; its exit code, or None if it raised something else."""
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:
        raise
    except Exception as error:  # a line that somebody has changed, perhaps: all of the traceback that is the lesson's
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != str(path):
            trace = trace.tb_next
        traceback.print_exception(error.with_traceback(trace or error.__traceback__))
        return None
    return 0


def write_scripts(lessons: list[Lesson], folder: str | Path) -> list[Path]:
    """Copy the scripts of these lessons. Raises FileExistsError rather than overwrite one that was changed."""
    target = writable_folder(folder, "lessons")
    written = [target / lesson.path.name for lesson in lessons]
    if there := [path for path in written if path.exists()]:
        raise FileExistsError(f"lessons: {there[0]} is there already, and is kept; name another folder with --copy")
    for lesson, path in zip(lessons, written):
        with replacing(path) as temporary:
            shutil.copyfile(lesson.path, temporary)
    return written


def write_notebooks(lessons: list[Lesson], folder: str | Path, kernel: str = "python3") -> list[Path]:
    """Write every lesson as a notebook, without outputs, for the kernel of this name.

    Its first line of code says what to do where minires is not installed. Raises OSError if jupytext is not installed.
    """
    try:
        import jupytext  # an optional dependency, which brings nbformat
        import nbformat
    except ImportError:
        raise OSError(
            "lessons: notebooks are written with jupytext, which is not installed; "
            "`python -m pip install -e '.[lessons]'`, or open the scripts themselves in VS Code"
        ) from None
    target = writable_folder(folder, "lessons")
    written = []
    for lesson in lessons:
        notebook = jupytext.read(lesson.path, fmt="py:percent")
        notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": kernel}
        notebook.cells.insert(1, nbformat.v4.new_code_cell(INSTALLED))
        path = target / lesson.path.with_suffix(".ipynb").name
        with replacing(path) as temporary:
            jupytext.write(notebook, temporary, fmt="ipynb")
        written.append(path)
    return written


def run(number: int | None = None, quick: bool = False, copy: str | None = None, notebook: str | None = None) -> int:
    """``minires lessons``: returns the exit code. Raises ValueError for a lesson that is not there."""
    lessons = read_lessons()
    if quick and (copy is not None or notebook is not None):
        raise ValueError("lessons: got --quick, but writes only; run what is written with --quick")
    if quick and number is None:
        raise ValueError("lessons: got --quick, but no lesson to run; say which, as in `minires lessons 9 --quick`")
    if number is not None:
        lessons = [lesson for lesson in lessons if lesson.number == number]
        if not lessons:
            raise ValueError(f"lessons: got lesson {number}; there are 0 to {read_lessons()[-1].number}")
    if copy is not None or notebook is not None:
        for path in write_scripts(lessons, copy) if copy is not None else write_notebooks(lessons, str(notebook)):
            print(path)
        return 0
    if number is None:
        print(table(lessons))
        print("\nRun one with `minires lessons 9`, or `minires lessons 9 --quick`.")
        return 0
    return run_lesson(lessons[0], quick)
