"""Every exercise of a lesson has an answer, and the code of the answers prints what they say."""

import importlib
import re
import subprocess
import sys

import pytest

from minires.commands.lessons import FOLDER, read_lessons

LESSONS = read_lessons()
FAST = 1, 3, 4  # those whose code runs in the short suite, too
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


@pytest.fixture
def answers(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("MINIRES_LESSON_OUTPUT", str(tmp_path))
    return importlib.import_module("answers")


def page_of(lesson):
    return FOLDER / "answers" / f"{lesson.path.stem}.md"


def alike(printed, written):
    """Equal words, and numbers that agree within a tenth; rounding errors, below 1e-6, are not compared."""
    if NUMBER.sub("#", printed).split() != NUMBER.sub("#", written).split():
        return False
    pairs = zip(*([float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (printed, written)))
    return all(abs(a - b) <= 0.02 + 0.1 * abs(b) or max(abs(a), abs(b)) < 1e-6 for a, b in pairs)


def test_numbers_are_compared_and_words_are_not_forgiven():
    assert alike("loss 0.51, 3 blocks", "loss 0.50, 3 blocks") and alike("off by 3e-17", "off by 8e-16")
    assert not alike("loss 0.61", "loss 0.50") and not alike("gain 0.50", "loss 0.50") and not alike("1 2", "1")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.path.stem)
def test_every_exercise_has_an_answer(lesson):
    source = lesson.path.read_text("utf-8")
    exercises = re.search(r"^# ## Exercises\n(.*?)^# ## Sources", source, re.MULTILINE | re.DOTALL)[1]
    asked = len(re.findall(r"^# (?:- |\d\. )", exercises, re.MULTILINE))
    page = page_of(lesson).read_text("utf-8")
    headings = re.findall(r"^## ((?:\d\. and )?\d)\. ", page, re.MULTILINE)
    answered = [int(number) for heading in headings for number in re.findall(r"\d", heading)]
    assert answered == list(range(1, asked + 1))
    title = lesson.title.split(":")[0]
    assert page.startswith(f"# {lesson.number}. {title}: answers\n") and f"(../{lesson.path.name})" in page
    assert f"(answers/{page_of(lesson).name})" in exercises, "the lesson should name its answers"


@pytest.mark.parametrize(
    "lesson",
    [pytest.param(x, marks=[] if x.number in FAST else pytest.mark.slow, id=x.path.stem) for x in LESSONS],
)
def test_the_code_of_the_answers_prints_what_they_say(lesson, answers):
    for printed, written in answers.run(page_of(lesson), long=False):
        assert alike(printed, written or ""), f"printed:\n{printed}\nthe page says:\n{written}"


def test_the_readme_of_the_answers_lists_them():
    text = (FOLDER / "answers" / "README.md").read_text("utf-8")
    assert re.findall(r"\(([\w.]+)\)", text) == [page_of(lesson).name for lesson in LESSONS]


@pytest.mark.slow
def test_the_figures_belong_to_the_lessons():
    command = [sys.executable, str(FOLDER / "figures.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = [*(FOLDER / "figures").glob("*.png")]
    assert figures and sum(figure.stat().st_size for figure in figures) < 4e6
    page = (FOLDER / "figures" / "README.md").read_text("utf-8")
    assert {figure.name for figure in figures} == set(re.findall(r"\]\(([\w-]+\.png)\)", page))
