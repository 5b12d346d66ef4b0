"""``minires progress``: which lessons you have run, what you guessed, and what your exercises have earned."""

from typing import Any

from . import diary
from .lessons import read_lessons


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``minires``."""
    parser = commands.add_parser(
        "progress",
        help="show which lessons you have run, and what your exercises have earned",
        description="Show which lessons `minires lessons` has run for you, what you guessed, and the most points that "
        "`minires grade` has given to each exercise. It is kept on this machine alone, in one file: "
        "$MINIRES_PROGRESS, else ~/.local/share/minires/progress.json.",
    )
    parser.set_defaults(command=run)


def run() -> int:
    """Print the table of lessons and that of exercises, and what to do next; returns the exit code."""
    print(report(diary.read()))
    return 0


def report(known: diary.Diary) -> str:
    """The tables, a sum of both, and the next step."""
    from .. import coursework  # only when needed

    lessons, exercises = read_lessons(), coursework.ASSIGNMENTS.values()
    rows = [(f"{x.number:>2}  {_short(x.title)}", *_lesson(known["lessons"].get(x.name, {}))) for x in lessons]
    rows += [("", "", "")]
    rows += [(f"{x.name:<16}{_short(x.title)}", _exercise(known["exercises"].get(x.name)), "") for x in exercises]
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"{name:<{first}}  {what:<{second}}  {more}".rstrip() for name, what, more in rows]

    full = [x for x in lessons if "full" in known["lessons"].get(x.name, {})]
    solved = [x for x in exercises if _share(known["exercises"].get(x.name)) == 1]
    lines += [
        "",
        f"{len(full)} of {len(lessons)} lessons run in full, {len(solved)} of {len(exercises)} exercises solved.",
    ]
    if left := [x for x in lessons if x not in full]:
        lines.append(f"Next: minires lessons {left[0].number}")
    elif to_do := [x for x in exercises if x not in solved]:
        lines.append(f"Next: minires new {to_do[0].name}")
    return "\n".join(lines)


def _short(title: str) -> str:
    """The title without what follows its colon."""
    return title.partition(":")[0]


def _lesson(entry: dict[str, Any]) -> tuple[str, str]:
    """How a lesson was run, and what was guessed."""
    run = entry.get("full") or entry.get("quick")
    what = "" if run is None else "in full" if "full" in entry else "quick"
    if run is not None and not run.get("held"):
        what += ", a claim failed"
    return what, f"guessed {entry['guess']}" if entry.get("guess") else ""


def _exercise(entry: dict[str, Any] | None) -> str:
    return "" if entry is None else f"{entry['score']:g} of {entry['points']:g} points"


def _share(entry: dict[str, Any] | None) -> float:
    return 0.0 if entry is None else entry["score"] / entry["points"]
