"""What the lessons print and draw, run once and kept: ``python lessons/results.py [--quick] [09_degradation …]``.

A lesson is run in a process of its own, cell by cell, and what it printed and drew is kept in build/results (or in
$MINIRES_RESULTS). It is used again as long as the lesson, and every file of the package that it has read, are as they
were. To throw all of it away, delete that folder.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import types
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from minires.arguments import one_of  # noqa: E402
from minires.files import replacing  # noqa: E402

FORMAT = 1  # of result.json


@dataclass(frozen=True)
class Result:
    """What a run of a lesson left.

    cells: for each code cell, its pieces in order: {"text": what it printed}, {"figure": its name and title}
    and {"slider": sentences, place and columns}. answer: the letter of the right guess, "" in a
    quick run. answered: the number of the code cell that said so, or None. versions: what it ran with. folder: where
    the figures are, as name.png, and other files that the lesson wrote. quick: whether it was the quick version.
    """

    cells: list[list[dict[str, Any]]]
    answer: str
    answered: int | None
    versions: dict[str, str]
    folder: Path
    quick: bool


def scripts() -> list[Path]:
    """The lessons, and what the site's first page shows."""
    return [*sorted(HERE.glob("[0-9][0-9]_*.py")), HERE / "home_explorer.py"]


def results_folder(quick: bool) -> Path:
    """Where results are kept; those of quick runs apart from the others."""
    return Path(os.environ.get("MINIRES_RESULTS") or HERE / "build" / "results") / ("quick" if quick else "full")


def result(script: Path, quick: bool) -> Result:
    """What a lesson prints and draws: as kept, or of a new run if it or the package has changed since.

    Raises RuntimeError, with what the lesson said, if it fails; what was kept then stays.
    """
    folder = results_folder(quick) / script.stem
    kept = _read(folder)
    if kept is None or not is_current(kept, script):
        _run(script, quick, folder)
        kept = _read(folder)
        assert kept is not None
    return Result(kept["cells"], kept["answer"], kept["answered"], kept["versions"], folder, quick)


def forget_others(quick: bool) -> None:
    """Remove what is kept of lessons that are no more."""
    known = {script.stem for script in scripts()}
    for folder in results_folder(quick).glob("[!.]*"):
        if folder.name not in known:
            shutil.rmtree(folder)


def is_kept(script: Path, quick: bool) -> bool:
    """Whether a lesson need not be run again."""
    kept = _read(results_folder(quick) / script.stem)
    return kept is not None and is_current(kept, script)


def is_current(kept: dict[str, Any], script: Path) -> bool:
    """Whether the lesson, and all that it has read of the package, are still as they were when it ran."""
    return kept["script"] == _digest(script) and all(
        _digest(HERE.parent / name) == digest for name, digest in kept["files"].items()
    )


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        kept = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if kept.get("format") == FORMAT else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _run(script: Path, quick: bool, folder: Path) -> None:
    """Run the lesson in a new process, and put what it left into the folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{script.stem}-") as work:
        new = Path(work) / "new"
        new.mkdir()
        environment = {**os.environ, "MINIRES_LESSON_OUTPUT": str(new), "MPLBACKEND": "Agg", "PYTHONUTF8": "1"}
        environment.pop("MINIRES_QUICK", None)
        if quick:
            environment["MINIRES_QUICK"] = "1"
        command = [sys.executable, str(Path(__file__).resolve()), "--here", str(script), str(new)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
        if done.returncode:
            raise RuntimeError(f"{script.name}{' (quick)' if quick else ''} failed:\n{done.stdout}{done.stderr}")
        if folder.exists():
            folder.rename(Path(work) / "old")
        new.rename(folder)


# ── in the lesson's process ─────────────────────────────────────────────────────────────────────────────────────────


class Listener:
    """Notes down what a lesson prints and shows, in order."""

    def __init__(self) -> None:
        self.printed, self.pieces, self.letter, self.answered = io.StringIO(), [], "", False

    def __call__(self, kind: str, what: dict[str, Any]) -> None:
        if kind == "answer":
            self.letter, self.answered = self.letter or what["letter"], True
        else:
            self._end_text()
            self.pieces.append({kind: what})

    def end_cell(self) -> list[dict[str, Any]]:
        """The pieces of the cell that ends."""
        self._end_text()
        pieces, self.pieces = self.pieces, []
        return pieces

    def _end_text(self) -> None:
        if text := self.printed.getvalue().rstrip():
            self.pieces.append({"text": text})
        self.printed.seek(0)
        self.printed.truncate()


def run_here(script: Path, folder: Path) -> None:
    """Run the lesson's cells one by one in this process, and write result.json into the folder."""
    opened: set[Path] = set()
    package = HERE.parent / "minires"

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[1] and "r" in arguments[1]:
            opened.add(Path(arguments[0]))

    digest = _digest(script)
    sys.addaudithook(note)
    import jupytext
    import matplotlib
    import numpy as np

    import minires
    from minires import lesson

    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=str(script))
    sys.modules["__main__"], sys.argv = module, [str(script)]
    listener = lesson.listener = Listener()
    cells, answered = [], None
    for cell in jupytext.read(script, fmt="py:percent").cells:
        if cell.cell_type != "code":
            continue
        with redirect_stdout(listener.printed):
            exec(compile(cell.source, str(script), "exec"), module.__dict__)
        cells.append(listener.end_cell())
        if listener.answered and answered is None:
            answered = len(cells) - 1
    files = {Path(m.__file__) for m in list(sys.modules.values()) if getattr(m, "__file__", None)} | opened
    ours = sorted(file for file in files if file.is_relative_to(package) and file.suffix != ".pyc" and file.is_file())
    kept = {
        "format": FORMAT,
        "script": digest,
        "files": {file.relative_to(HERE.parent).as_posix(): _digest(file) for file in ours},
        "versions": {
            "minires": minires.__version__,
            "Python": platform.python_version(),
            "NumPy": np.__version__,
            "matplotlib": matplotlib.__version__,
        },
        "answer": listener.letter,
        "answered": answered,
        "cells": cells,
    }
    with replacing(folder / "result.json") as temporary:
        temporary.write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the lessons whose results are not kept, or no longer hold.")
    parser.add_argument("names", nargs="*", help="lessons such as 09_degradation; all, if none is named")
    parser.add_argument("--quick", action="store_true", help="their quick versions, which answer nothing")
    parser.add_argument("--here", nargs=2, metavar=("SCRIPT", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        return run_here(*map(Path, arguments.here))
    known = {script.stem: script for script in scripts()}
    for name in arguments.names:
        if name not in known:
            parser.error(f"got {name!r}; {one_of(name, known)}")
    for name in arguments.names or known:
        began = time.monotonic()
        state = "kept" if is_kept(known[name], arguments.quick) else "run"
        result(known[name], arguments.quick)
        print(f"{name}: {state}, {time.monotonic() - began:.0f} s", flush=True)
    return None


if __name__ == "__main__":
    main()
