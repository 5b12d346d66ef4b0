"""Make the figures that stand in the repository: ``python lessons/figures.py 9 10`` runs these lessons in full.

Without numbers it runs those whose code has changed since. Every figure becomes a small PNG in ``lessons/figures``, and
``made.json`` there says of which code it is, what was claimed and how many seconds of one core it took.
``python lessons/figures.py --check`` runs nothing, and ends with an error that names the lessons to run again.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from minires.commands.lessons import Lesson, read_lessons  # noqa: E402

FOLDER = HERE / "figures"
MADE = FOLDER / "made.json"
WIDTH = 1400  # pixels, at most
HEADER = """\
# What the lessons show

The figures and the claims of every lesson, as its full version made them: `python lessons/figures.py` makes them again.
How to read a figure, and what follows from it, is in its lesson.
"""


def code(lesson: Lesson) -> str:
    """A digest of the lesson's code; its text may change without the figures."""
    lines = lesson.path.read_text("utf-8").splitlines()
    kept = [line.rstrip() for line in lines if line.strip() and not line.startswith("#")]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


def read_made() -> dict:
    return json.loads(MADE.read_text("utf-8")) if MADE.exists() else {}


def outdated(lessons: list[Lesson]) -> list[Lesson]:
    """Those whose figures are missing, or of other code."""
    made = read_made()
    return [
        lesson
        for lesson in lessons
        if made.get(lesson.path.stem, {}).get("code") != code(lesson)
        or not all((FOLDER / name).exists() for name in made[lesson.path.stem]["figures"])
    ]


def make(lesson: Lesson) -> dict:
    """Run the lesson in full and keep its figures; returns what ``made.json`` says of it. Raises if a claim fails."""
    of = code(lesson)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "MINIRES_LESSON_OUTPUT": folder, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
        environment.pop("MINIRES_QUICK", None)
        before = os.times()
        done = subprocess.run(
            [sys.executable, str(lesson.path)], capture_output=True, text=True, encoding="utf-8", env=environment
        )
        after = os.times()
        if done.returncode:
            raise RuntimeError(f"figures: {lesson.path.name} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        figures = sorted(Path(folder).glob("*.png"))
        for old in FOLDER.glob(f"{lesson.number:02}-*.png"):
            old.unlink()
        for figure in figures:
            shrink(figure, FOLDER / figure.name)
    seconds = sum(after[2:4]) - sum(before[2:4])  # of children
    claims = re.findall(r"^✓ (.*)$", done.stdout, re.MULTILINE)
    return {"code": of, "seconds": round(seconds), "figures": [figure.name for figure in figures], "claims": claims}


def shrink(figure: Path, to: Path) -> None:
    """Save the figure with at most 256 colours, and `WIDTH` pixels across."""
    from PIL import Image

    with Image.open(figure) as opened:
        image = opened.convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(to, optimize=True)


def page(lessons: list[Lesson]) -> str:
    """The page that shows them all."""
    made, parts = read_made(), [HEADER]
    for lesson in lessons:
        entry = made.get(lesson.path.stem)
        if entry is None:
            continue
        parts.append(f"## [{lesson.number}. {lesson.title}](../{lesson.path.name})\n\n*{lesson.question}*\n")
        parts += [f"![{name[3:-4].replace('-', ' ')}]({name})\n" for name in entry["figures"]]
        parts.append("\n".join(f"- {claim}" for claim in entry["claims"]) + "\n")
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", type=int, nargs="*", help="the lessons to run")
    parser.add_argument("--check", action="store_true", help="run nothing; say which lessons are to be run again")
    settings = parser.parse_args()
    lessons = read_lessons()
    if settings.check:
        old = outdated(lessons)
        if old:
            print("figures of other code; run: python lessons/figures.py", *(lesson.number for lesson in old))
        return bool(old)
    if missing := set(settings.numbers) - {lesson.number for lesson in lessons}:
        parser.error(f"got lesson {min(missing)}; there are 0 to {lessons[-1].number}")
    FOLDER.mkdir(exist_ok=True)
    for lesson in lessons:
        if lesson.number in settings.numbers or (not settings.numbers and lesson in outdated(lessons)):
            entry = make(lesson)
            made = {**read_made(), lesson.path.stem: entry}
            known = {lesson.path.stem for lesson in lessons}
            written = {stem: made[stem] for stem in sorted(made) if stem in known}
            MADE.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", "utf-8")
            (FOLDER / "README.md").write_text(page(lessons), "utf-8")
            print(f"{lesson.number}: {written[lesson.path.stem]['seconds']} s of one core", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
