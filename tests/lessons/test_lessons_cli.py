"""``minires lessons`` in a real process."""

import json
import subprocess
import sys

import pytest

from minires.commands.cli import main
from minires.commands.lessons import read_lesson, read_lessons
from minires.commands.opening import plain, read_guess

FIRST = """# %% [markdown]
# # 5. Batch norm: three terms
#
# *Why three?*
#
# Takes 20 s (quick: 3 s).
#
# **Predict first.** Of $n$ terms,
# how many count?
#
# - a) all of them,
#   even the last;
# - b) *none*.

# %%
"""

LESSONS_IN = "import pathlib; from minires.commands import lessons; lessons.FOLDER = pathlib.Path({!r})"


def lessons(*arguments, before=""):
    code = f"import sys\n{before}\nfrom minires.commands.cli import main\nsys.exit(main(['lessons', *sys.argv[1:]]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=180, check=False)


def test_the_list_has_a_line_and_the_times_of_each():
    done = lessons()
    assert done.returncode == 0 and done.stderr == ""
    for lesson in read_lessons():
        line = next(line for line in done.stdout.splitlines() if lesson.title in line)
        assert line.split()[:3] == [str(n) for n in (lesson.number, lesson.seconds, lesson.quick)]
    assert "seconds  quick" in done.stdout


def test_one_opens_runs_says_where_its_figure_is_and_hands_on_its_exit_code(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_LESSON_OUTPUT", str(tmp_path))
    monkeypatch.setenv("MINIRES_PROGRESS", str(tmp_path / "progress.json"))
    done = lessons(1, "--quick")
    assert done.returncode == 0 and "✓ " in done.stdout and (tmp_path / "01-fork.png").exists()
    opening, _, rest = done.stdout.partition("✓ ")
    assert opening.startswith("1. A number's gradient") and "Which one counts?" in opening
    assert "Predict first. y = x · x at x = 3." in opening and "\n  c) 9: they multiply" in opening
    assert "Your guess" not in opening  # nobody is there to be asked
    assert "Lesson 1 took" in rest and "01-fork.png" in rest.partition("Lesson 1 took")[2]
    assert main(["progress"]) == 0
    (tmp_path / "05_failing.py").write_text(FIRST + "raise SystemExit('a claim failed')\n", "utf-8")
    elsewhere = LESSONS_IN.format(str(tmp_path))
    done = lessons(5, before=elsewhere)
    assert done.returncode == 1 and done.stderr == "a claim failed\n"


def test_an_error_in_a_changed_lesson_is_shown_from_the_lesson_on(tmp_path):
    (tmp_path / "05_changed.py").write_text(FIRST + "import minires as mr\nmr.ones(2).reshape(3)\n", "utf-8")
    done = lessons(5, before=LESSONS_IN.format(str(tmp_path)))
    first, second, *_ = done.stderr.splitlines()
    assert done.returncode == 1 and first.startswith("Traceback") and "05_changed.py" in second


def test_scripts_are_copied_and_one_that_is_there_is_kept(tmp_path):
    assert lessons(1, "--copy", tmp_path / "mine").returncode == 0
    (copy,) = (tmp_path / "mine").iterdir()
    assert copy.read_text("utf-8") == next(x for x in read_lessons() if x.number == 1).path.read_text("utf-8")
    copy.write_text("changed", "utf-8")
    again = lessons(1, "--copy", tmp_path / "mine")
    assert again.returncode == 1 and "is there already, and is kept" in again.stderr
    assert copy.read_text("utf-8") == "changed"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--quick"], "no lesson to run"),
        (["--quick", "--notebook", "books"], "run what is written with --quick"),
        (["1", "--quick", "--copy", "x"], "run what is written with --quick"),
    ],
)
def test_quick_needs_a_lesson_to_run(options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lessons", *options]) == 1
    assert said in capsys.readouterr().err and not any(tmp_path.iterdir())


def test_notebooks(tmp_path):
    pytest.importorskip("jupytext", reason="notebooks are written with jupytext")
    done = lessons("--notebook", tmp_path / "books")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    paths = sorted((tmp_path / "books").iterdir())
    assert [path.stem for path in paths] == [lesson.path.stem for lesson in read_lessons()]
    notebook = json.loads(paths[0].read_text("utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"  # or Jupyter would prompt for one
    cells = notebook["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# 0. ")
    assert cells[1]["cell_type"] == "code" and "minires is not installed for" in "".join(cells[1]["source"])
    assert cells[-1]["cell_type"] == "code" and cells[-1]["source"] == ["finish()"]


def test_without_jupytext_it_says_so_in_one_line(tmp_path):
    done = lessons("--notebook", tmp_path, before="sys.modules['jupytext'] = None")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "jupytext, which is not installed" in done.stderr


def test_without_lessons_it_says_where_they_belong(tmp_path):
    elsewhere = LESSONS_IN.format(str(tmp_path))
    done = lessons(before=elsewhere)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"there are none in {tmp_path}" in done.stderr and "install minires again" in done.stderr


def test_a_lesson_that_is_not_there():
    done = lessons(99)
    assert done.returncode == 1 and "got lesson 99; there are 0 to 20" in done.stderr


def test_the_first_cell_is_read(tmp_path):
    path = tmp_path / "05_batch_norm.py"
    path.write_text(FIRST, "utf-8")
    lesson = read_lesson(path)
    assert (lesson.number, lesson.title, lesson.question) == (5, "Batch norm: three terms", "Why three?")
    assert (lesson.seconds, lesson.quick) == (20, 3)


def test_the_guess_is_read_as_a_terminal_can_show_it(tmp_path):
    path = tmp_path / "05_batch_norm.py"
    path.write_text(FIRST, "utf-8")
    guess = read_guess(path)
    assert guess.text == "Predict first. Of n terms, how many count?"
    assert guess.choices == {"a": "all of them, even the last;", "b": "none."}
    path.write_text(FIRST.replace("- b)", "and"), "utf-8")
    with pytest.raises(ValueError, match=r"05_batch_norm\.py asks for no guess"):
        read_guess(path)
    assert plain(r"About $\sqrt{1 + \frac14}^{\,20} \approx 9$, *im2col*, `x`") == "About √(1 + 1/4)^20 ≈ 9, im2col, x"


def test_every_lesson_asks_for_a_guess_in_plain_text():
    for lesson in read_lessons():
        guess = read_guess(lesson.path)
        assert list(guess.choices) == list("abc"[: len(guess.choices)])
        assert not set("\\${}`") & set(guess.text + "".join(guess.choices.values())), lesson.path


@pytest.mark.parametrize(("line", "name"), [("# # 5.", "title"), ("# *Why", "question"), ("# Takes", "times")])
def test_a_first_cell_that_lacks_something_is_named(tmp_path, line, name):
    path = tmp_path / "05_batch_norm.py"
    path.write_text("\n".join(x for x in FIRST.splitlines() if not x.startswith(line)), "utf-8")
    with pytest.raises(ValueError, match=f"05_batch_norm.py has no {name}; expected a line such as"):
        read_lesson(path)
