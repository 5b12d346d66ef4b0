"""What lesson scripts use: checked claims, saved figures, progress bars, the training recipe, a quick version.

A lesson is a percent-format script in ``lessons/``. It runs as ``python lessons/05_batch_norm.py [--quick]``, in a
notebook, and on the lessons' site.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from . import data, train
from .files import replacing
from .progress import in_notebook, tqdm

QUICK = "--quick" in sys.argv or bool(os.environ.get("MINIRES_QUICK"))
OUTPUT = Path(os.environ.get("MINIRES_LESSON_OUTPUT") or Path(__file__).resolve().parent.parent / "lessons" / "output")

_failed: list[str] = []


def claim(statement: str, condition: Any, value: Any = None) -> None:
    """Print whether a statement holds, with the value that was measured; `finish` fails if one did not hold.

    ``claim("the skip carries more than the branch", skip > branch, skip / branch)`` prints
    ``✓ the skip carries more than the branch (measured: 3.06)``.
    """
    measured = "" if value is None else f" (measured: {_written(value)})"
    print(f"{'✓' if condition else '✗'} {statement}{measured}")
    if not condition:
        _failed.append(f"{statement}{measured}")


def show(figure: Any, name: str) -> None:
    """Save a figure as ``lessons/output/<name>.png``; in a notebook, also show it."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"{name}.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, bbox_inches="tight")
    if not _interactive():
        print(f"figure: {os.path.relpath(path)}")
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
