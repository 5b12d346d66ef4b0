"""Every exercise of a lesson has an answer, and the code of the answers prints what they say."""

import dataclasses
import importlib
import re
import subprocess
import sys

import pytest

from minires.commands.lessons import FOLDER, read_lessons

LESSONS = read_lessons()
FAST = 1, 3, 4  # those whose code runs in the short suite, too
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def loaded(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)


@pytest.fixture
def answers(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIRES_LESSON_OUTPUT", str(tmp_path))
    return loaded("answers", monkeypatch)


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


def test_a_page_is_filled_in_and_its_long_code_left_out_of_a_test(answers, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n\n```python\nx = 1\n```\n\nb\n\n```python\nprint(x + 1)\n```\n\n```text\n7\n```\n\n```py\nprint(x)\n```\n"
    )
    assert answers.run(page, long=False) == [("", None), ("2\n", "7\n")]
    answers.write(page)
    filled = page.read_text("utf-8")
    assert answers.run(page) == [("", None), ("2\n", "2\n"), ("1\n", "1\n")] and filled.startswith(
        "a\n\n```python\nx = 1\n```\n\nb"
    )
    answers.write(page)
    assert page.read_text("utf-8") == filled


def test_a_lesson_is_run_up_to_a_heading(answers, capsys):
    assert answers.lesson(1, "Done wrong, twice")["BLOCKS"] == 12 and capsys.readouterr().out == ""
    with pytest.raises(ValueError, match=r"got until='Nowhere'; expected a heading of 01_a_numbers_gradient\.py"):
        answers.lesson(1, "Nowhere")


def test_a_figure_is_of_other_code_if_the_code_has_changed_and_not_the_text(monkeypatch, tmp_path):
    figures = loaded("figures", monkeypatch)
    path = tmp_path / "01_a.py"
    digests = []
    for source in ("# %%\n# text\nx = 1\n", "# %%\n# other\n\nx = 1\n", "# %%\n# text\nx = 2\n"):
        path.write_text(source)
        digests.append(figures.code(dataclasses.replace(LESSONS[1], path=path)))
    assert digests[0] == digests[1] != digests[2]
    monkeypatch.setattr(figures, "read_made", lambda: {"01_a": {"code": digests[2], "figures": []}})
    assert figures.outdated([dataclasses.replace(LESSONS[1], path=path)]) == []
    path.write_text("x = 3\n")
    assert len(figures.outdated([dataclasses.replace(LESSONS[1], path=path)])) == 1


def test_the_readme_of_the_answers_lists_them():
    text = (FOLDER / "answers" / "README.md").read_text("utf-8")
    assert re.findall(r"\(([\w.]+)\)", text) == [page_of(lesson).name for lesson in LESSONS]


@pytest.mark.parametrize("script", ["figures.py", "answers.py"])
def test_a_number_that_no_lesson_has_is_refused(script):
    command = [sys.executable, str(FOLDER / script), "99"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode and "got lesson 99; there are 0 to 20" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_figures_belong_to_the_lessons():
    command = [sys.executable, str(FOLDER / "figures.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = [*(FOLDER / "figures").glob("*.png")]
    assert figures and sum(figure.stat().st_size for figure in figures) < 4e6
    page = (FOLDER / "figures" / "README.md").read_text("utf-8")
    assert {figure.name for figure in figures} == set(re.findall(r"\]\(([\w-]+\.png)\)", page))
