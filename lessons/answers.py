"""The answers to the lessons' exercises: ``python lessons/answers.py 9`` runs the code of a page, and fills in what it prints.

A page is ``lessons/answers/NN_name.md``. Its blocks of code are one program, and a block of text behind a block of code
holds what it printed. Code marked ``py`` instead of ``python`` trains: it takes longer than a test should, and ends a little
differently on another machine; the tests leave it out.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGES = HERE / "answers"
BLOCK = re.compile(r"^```(python|py)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def lesson(number: int, until: str) -> dict[str, Any]:
    """Run a lesson up to the heading ``until``, silently, and return its names. Raises ValueError without that heading."""
    (path,) = HERE.glob(f"{number:02}_*.py")
    source, heading, _ = path.read_text("utf-8").partition(f"\n# ## {until}\n")
    if not heading:
        raise ValueError(f"lesson: got until={until!r}; expected a heading of {path.name}")
    names: dict[str, Any] = {"__name__": path.stem}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, str(path), "exec"), names)
    return names


def run(page: Path, long: bool = True) -> list[tuple[str, str | None]]:
    """(what it prints, what the page says) for every block of code; without ``long``, for those that are not long."""
    names: dict[str, Any] = {"__name__": "__answers__"}
    outputs = []
    for found in BLOCK.finditer(page.read_text("utf-8")):
        if found[1] == "py" and not long:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(found[2], str(page), "exec"), names)
        outputs.append((printed.getvalue(), found[3]))
    return outputs


def write(page: Path) -> None:
    """Run the page and put what its code prints behind it."""
    outputs = iter(run(page))

    def filled(found: re.Match) -> str:
        printed, _ = next(outputs)
        return f"```{found[1]}\n{found[2]}```\n" + (f"\n```text\n{printed}```\n" if printed else "")

    page.write_text(BLOCK.sub(filled, page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    sys.modules["answers"] = sys.modules["__main__"]  # which the pages import
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINIRES_LESSON_OUTPUT"] = folder
        for number in map(int, sys.argv[1:]):
            page = next(PAGES.glob(f"{number:02}_*.md"), None)
            if page is None:
                sys.exit(f"answers: got lesson {number}; there are 0 to {max(PAGES.glob('[0-9]*')).name[:2]}")
            write(page)
            print(page.name)
