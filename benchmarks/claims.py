"""What the lessons claim about training: with their own seeds, with others, and at a second setting."""

import re
from typing import Any

from lessons.figures import code, read_made
from minires.commands.lessons import Lesson, read_lessons

from .harness import Plan, load, markdown, program, run, save

SHIFTS = 3  # each gives a lesson as many other seeds as it has of its own
CLAIM = re.compile(r"(?:(holds also|does not hold) at ([^:]+): )?(.*?)(?: \(measured: (.*)\))?")
ABOUT = """# What the lessons claim about training

Every claim that a lesson makes at a second setting too, which are all that need training. With the lesson's own seeds
and at the second setting: the full run whose figures are in [lessons/figures](../../lessons/figures/README.md). With
other seeds: the whole lesson run again, with all its random numbers drawn from shifted seeds; in how many of these runs
the claim holds (for all seeds of the lesson, where it says so), and what was measured where it does not.
`python -m benchmarks claims`"""


def claims(plan: Plan) -> None:
    """The lessons' claims about training with other seeds (half an hour); goes on where it was stopped."""
    lessons = [lesson for lesson in read_lessons() if "also_at(" in lesson.path.read_text(encoding="utf-8")]
    before, made = (load("claims") or {}).get("lessons", {}), read_made()
    found: dict[str, dict[str, Any]] = {}
    for lesson in lessons:
        kept = before.get(lesson.path.stem, {})
        same = kept.get("code") == code(lesson)
        found[lesson.path.stem] = {"code": code(lesson), "shifted": kept["shifted"] if same else {}}
    for shift in range(1, min(plan.rounds, SHIFTS) + 1):
        for lesson in lessons:
            shifted = found[lesson.path.stem]["shifted"]
            if str(shift) not in shifted:
                result: Any = run(program("lesson_of_other_seeds", lesson.path, shift))
                if isinstance(result, dict):
                    raise RuntimeError(f"claims: {lesson.path.name}, seeds shifted by {shift}: {result['absent']}")
                shifted[str(shift)] = result
                parts = [section(each, made[each.path.stem]["claims"], found[each.path.stem]) for each in lessons]
                save("claims", plan, {"lessons": found}, "\n\n".join([ABOUT, *parts]))


def section(lesson: Lesson, made: list[str], found: dict[str, Any]) -> str:
    """A lesson's claims about training as a table. made: its claims, as they were printed."""
    own, second, rows = dict[str, str](), dict[str, str](), []
    for holds, setting, what, measured in (CLAIM.fullmatch(text).groups("") for text in made):
        (second if setting else own)[what] = f"{holds} at {setting}: {measured}" if setting else measured
    for what, at_second in second.items():
        others = [(m, holds) for run in found["shifted"].values() for each, m, holds in run if each == what]
        fails = "; ".join(f"not with {m}" for m, holds in others if not holds)
        count = f"{sum(holds for _, holds in others)} of {len(others)}" if others else "not yet run"
        rows.append([what, own.get(what, "—"), f"{count}<br>{fails}" if fails else count, at_second])
    table = markdown(["claim", "measured", "holds with other seeds", "at a second setting"], rows)
    return f"## {lesson.number}. {lesson.title}\n\n{table}"
