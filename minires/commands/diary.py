"""What a learner has done so far, kept in one small file: lessons that ran, guesses, and what exercises have earned.

Only `minires lessons N` and `minires grade FILE` write it, on the learner's own machine, and nothing else reads it.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import locked, replacing

Diary = dict[str, dict[str, dict[str, Any]]]  # "lessons" and "exercises": by name, what came of each


def path() -> Path:
    """The file: `$MINIRES_PROGRESS`, else `minires/progress.json` in `$XDG_DATA_HOME`, else in `~/.local/share`."""
    if own := os.environ.get("MINIRES_PROGRESS"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "minires" / "progress.json"


def read() -> Diary:
    """What is known; nothing if the file is not there. Raises ValueError, naming it, if it is not a diary."""
    try:
        found = json.loads(path().read_text(encoding="utf-8"))
        for kind in ("lessons", "exercises"):
            for entry in found[kind].values():
                entry.items()
        return found
    except FileNotFoundError:
        return {"lessons": {}, "exercises": {}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"progress: {path()} is damaged; remove it to begin anew") from error


def note_lesson(name: str, quick: bool, held: bool, guess: str | None) -> None:
    """Note that a lesson has run to its end: whether all claims held, and what was guessed."""

    def change(diary: Diary) -> None:
        entry = diary["lessons"].setdefault(name, {})
        entry["quick" if quick else "full"] = {"on": time.strftime("%Y-%m-%d"), "held": held}
        if guess is not None:
            entry["guess"] = guess

    _change(change)


def note_grade(name: str, score: float, points: float) -> None:
    """Note what an exercise has earned, unless it has earned more before."""

    def change(diary: Diary) -> None:
        best = diary["exercises"].get(name, {"score": -1.0})["score"]
        if score >= best:
            diary["exercises"][name] = {"on": time.strftime("%Y-%m-%d"), "score": score, "points": points}

    _change(change)


def _change(change: Callable[[Diary], None]) -> None:
    """Change the file, one process at a time. Where it cannot be written or read, nothing is noted."""
    with contextlib.suppress(OSError, ValueError):
        file = path()
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.with_suffix(".lock"), "waiting for another minires to note its progress"):
            diary = read()
            change(diary)
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(diary, indent=1) + "\n", encoding="utf-8")
