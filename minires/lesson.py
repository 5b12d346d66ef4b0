"""What lesson scripts use: checked claims, saved figures, progress bars, the training recipe, a quick version.

A lesson is a percent-format script in ``lessons/``. It runs as ``python lessons/06_batch_norm.py [--quick]``, in a
notebook, and on the lessons' site.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import data, train
from .files import replacing
from .folders import from_here
from .progress import in_notebook, tqdm
from .terminal import set_up, wrapped

_quick = os.environ.get("MINIRES_QUICK", "1" if sys.platform == "emscripten" else "")  # in a browser, all is slower
QUICK = "--quick" in sys.argv or _quick not in ("", "0")
HERE = Path(__file__).resolve().parent
REPOSITORY = not (HERE / "lessons").is_dir()  # else this is an installed package, which has its lessons inside
FOLDER = HERE.parent / "lessons" if REPOSITORY else HERE / "lessons"
OUTPUT = Path(os.environ.get("MINIRES_LESSON_OUTPUT") or (FOLDER / "output" if REPOSITORY else "minires-lessons"))

listener: Callable[[str, dict[str, Any]], None] | None = None  # the site: is told of "figure", "slider" and "answer"

shown: list[Path] = []  # the figures that `show` has written
set_up()
_failed: list[str] = []
_second: "_Second | None" = None  # the second setting that claims are checked at, inside `also_at`


class _Second:
    """A second setting: its name, and the claims that are said not to hold there, with how often each was made."""

    def __init__(self, setting: str, fails: Sequence[str]):
        self.setting, self.made = setting, dict.fromkeys(fails, 0)

    def sentence(self, statement: str, holds: bool) -> tuple[str, bool]:
        """What to print of a claim at this setting, and whether it is as the lesson says."""
        excepted = [name for name in self.made if name in statement]
        for name in excepted:
            self.made[name] += 1
        if excepted:
            said = "does not hold" if not holds else "was said not to hold, but holds"
            return f"{said} at {self.setting}: {statement}", not holds
        return f"{'holds also' if holds else 'does not hold'} at {self.setting}: {statement}", holds


def claim(statement: str, condition: Any, value: Any = None) -> None:
    """Print whether a statement holds, with the value that was measured; `finish` fails if one did not hold.

    ``claim("the skip carries more than the branch", skip > branch, skip / branch)`` prints
    ``✓ the skip carries more than the branch (measured: 3.06)``.
    """
    right = bool(condition)
    if _second:
        statement, right = _second.sentence(statement, right)
    measured = "" if value is None else f" (measured: {_written(value)})"
    line, mark = f"{statement}{measured}", "✓ " if right else "✗ "
    print(wrapped(line, mark) if sys.stdout.isatty() else f"{mark}{line}")
    if not right:
        _failed.append(f"{statement}{measured}")


def also_at(setting: str, work: Callable[[], Any], fails: Sequence[str] = ()) -> Any:
    """Make the claims of ``work`` once more at a second setting, and return its result; in the full version only.

    What training shows at one learning rate or width may be gone at another. ``also_at("learning rate 0.02", lambda:
    measure(lr=0.02))`` prints ``✓ holds also at learning rate 0.02: …`` for each claim that `measure` makes. ``fails``
    are words of those claims that do not hold there: the lesson then says so, and `finish` fails if one holds after
    all. Raises ValueError if no claim has those words.
    """
    global _second
    if QUICK:
        return None
    _second = _Second(setting, fails)
    try:
        result = work()
        never = [words for words, made in _second.made.items() if not made]
    finally:
        _second = None
    if never:
        raise ValueError(f"also_at: got fails={never}; expected words of claims that are made at {setting}; copy them")
    return result


def answer(letter: str) -> str:
    """``answer("c")`` is "answer c)", for the sentence that says so; a quick run is too small and says that instead."""
    if listener:
        listener("answer", {"letter": "" if QUICK else letter})
    return "(quick: too small to answer)" if QUICK else f"answer {letter})"


def slider(sentence: str, at: int, **columns: Sequence[Any]) -> None:
    """Print a sentence with the numbers at one place of the columns; on the site a slider moves through all of them.

    ``slider("At {dial:g}, {kept:.0%} is kept.", 1, dial=[1, 0.1], kept=[1.0, 0.93])`` prints ``At 0.1, 93% is kept.``
    The slider moves along the first column, and the others are drawn. Raises ValueError for columns of unequal length.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"slider: got columns of the lengths {lengths}; expected equal ones")
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    sentences = [sentence.format(**row) for row in rows]
    if listener:
        numbers = {name: [float(value) for value in column] for name, column in columns.items()}
        listener("slider", {"sentences": sentences, "at": range(len(rows))[at], "columns": numbers})
    else:
        print(sentences[at])


def show(figure: Any, name: str) -> None:
    """Save a figure as ``<name>.png`` in ``lessons/output``, or, with an installed package, in ``minires-lessons``.

    In a notebook, also show it.
    """
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"{name}.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, bbox_inches="tight")
    shown.append(path)
    if listener:
        titles = dict.fromkeys(ax.get_title() for ax in figure.axes if ax.get_title())
        listener("figure", {"name": name, "title": "; ".join(titles)})
    elif not _interactive():
        print(f"figure: {from_here(path)}")
    elif in_notebook():
        import matplotlib.pyplot as plt
        from IPython.display import display

        if getattr(figure, "number", None) not in plt.get_fignums():  # else it appears because it is open
            display(figure)


def progress(items: Iterable, what: str, total: int | None = None) -> Iterable:
    """The items, with a progress bar if this is a terminal or a notebook."""
    return tqdm(items, desc=what, total=total, leave=False, disable=not (sys.stderr.isatty() or in_notebook()))


def fit(model: Any, dataset: data.Dataset, epochs: int, lr: float = 0.1, seed: int = 0) -> np.ndarray:
    """Train by `train.recipe`, in batches of 64, and return the training loss of every step.

    The warm-up starts at a twentieth of ``lr``, however short it is. Equal seeds give equal batches in equal order.
    """
    steps = epochs * data.batch_count(dataset, 64, drop_last=True)
    optimizer, schedule = train.recipe(model, steps, lr, start_factor=1 / 20)
    options: dict[str, Any] = {"epochs": epochs, "batch_size": 64, "drop_last": True, "progress": False}
    return np.array(train.fit(model, dataset, optimizer, schedule=schedule, seed=seed, **options).step_loss)


def finish() -> None:
    """The last line of a lesson: end with an error if a claim failed (exit code 1 as a script)."""
    failed = list(_failed)
    _failed.clear()
    if not failed:
        return
    message = f"{len(failed)} claim(s) failed: " + "; ".join(failed)
    if _interactive():
        raise AssertionError(message)
    sys.exit(message)


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_written, value))
    return f"{value:.4g}" if isinstance(value, float) or hasattr(value, "dtype") else str(value)


def _interactive() -> bool:
    """Whether this runs in a notebook or IPython, where figures appear by themselves."""
    return "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
