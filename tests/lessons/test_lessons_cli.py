"""``minires lessons`` in a real process."""

import json
import subprocess
import sys

import pytest

from minires.commands.lessons import read_lesson, read_lessons

FIRST = """# %% [markdown]
# # 5. Batch norm: three terms
#
# *Why three?*
#
# Takes 20 s (quick: 3 s).

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
        assert f"{lesson.number:>2}  {lesson.title}" in done.stdout
    assert "seconds  quick" in done.stdout


def test_one_runs_and_its_exit_code_is_handed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_LESSON_OUTPUT", str(tmp_path))
    done = lessons(1, "--quick")
    assert done.returncode == 0 and "✓ " in done.stdout and (tmp_path / "01-fork.png").exists()
    (tmp_path / "05_failing.py").write_text(FIRST + "raise SystemExit(1)\n", "utf-8")
    elsewhere = LESSONS_IN.format(str(tmp_path))
    assert lessons(5, before=elsewhere).returncode == 1


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
    assert cells[-1]["cell_type"] == "code" and cells[-1]["source"] == ["finish()"]


def test_without_jupytext_it_says_so_in_one_line(tmp_path):
    done = lessons("--notebook", tmp_path, before="sys.modules['jupytext'] = None")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "jupytext, which is not installed" in done.stderr


def test_without_the_folder_it_says_where_lessons_are_to_be_had(tmp_path):
    elsewhere = LESSONS_IN.format(str(tmp_path))
    done = lessons(before=elsewhere)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"there are none in {tmp_path}" in done.stderr and "clone it" in done.stderr


def test_a_lesson_that_is_not_there():
    done = lessons(99)
    assert done.returncode == 1 and "got lesson 99; there are 0, 1" in done.stderr


def test_the_first_cell_is_read(tmp_path):
    path = tmp_path / "05_batch_norm.py"
    path.write_text(FIRST, "utf-8")
    lesson = read_lesson(path)
    assert (lesson.number, lesson.title, lesson.question) == (5, "Batch norm: three terms", "Why three?")
    assert (lesson.seconds, lesson.quick) == (20, 3)


@pytest.mark.parametrize(("line", "name"), [("# # 5.", "title"), ("# *Why", "question"), ("# Takes", "times")])
def test_a_first_cell_that_lacks_something_is_named(tmp_path, line, name):
    path = tmp_path / "05_batch_norm.py"
    path.write_text("\n".join(x for x in FIRST.splitlines() if not x.startswith(line)), "utf-8")
    with pytest.raises(ValueError, match=f"05_batch_norm.py has no {name}; expected a line such as"):
        read_lesson(path)
