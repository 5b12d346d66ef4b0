"""minires new and minires grade, their errors, and the formats."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from coursework.conftest import SOLUTIONS, solution

from minires.commands import grade
from minires.commands.cli import main
from minires.coursework import ASSIGNMENTS, FORMATS
from minires.coursework.grading import VISIBILITIES


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_python(code):
    """What a new interpreter prints, and what it prints on stderr."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    return done.stdout.split(), done.stderr


def test_new_writes_the_exercise_and_keeps_what_is_there(tmp_path, capsys):
    assert main(["new", "conv2d"]) == 0
    assert (tmp_path / "conv2d.py").read_text(encoding="utf-8") == ASSIGNMENTS["conv2d"].exercise
    assert main(["new", "conv2d"]) == 1 and "is there already" in capsys.readouterr().err
    assert main(["new", "conv2d", "--out", "again.py"]) == 0 and (tmp_path / "again.py").exists()
    assert main(["new", "conv3d"]) == 1 and "there are fork, autograd, broadcasting" in capsys.readouterr().err
    assert main(["new", "list"]) == 0 and capsys.readouterr().out.count("20 points") == 12
    assert main(["new", "list", "--out", "exercises.txt"]) == 1
    assert "got list with --out exercises.txt" in capsys.readouterr().err


def test_an_exercise_that_does_not_fit_on_the_disk_leaves_no_part_that_would_be_kept(tmp_path):
    pytest.importorskip("resource")  # not on Windows
    code = "from minires import coursework; coursework.new('conv2d')"
    limit = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (1000, r.getrlimit(r.RLIMIT_FSIZE)[1]))"
    limit = f"import sys; sys.dont_write_bytecode = True; {limit}"  # of which Python would keep the part that fits
    _, told = run_python(f"{limit}; {code}")
    assert "not written" in told and not list(tmp_path.iterdir())
    assert (
        run_python(code) == ([], "") and (tmp_path / "conv2d.py").read_text("utf-8") == ASSIGNMENTS["conv2d"].exercise
    )


def test_grade_tells_that_hidden_tests_did_not_run(tmp_path, capsys):
    (tmp_path / "cross_entropy.py").write_text(solution("cross_entropy"), encoding="utf-8")
    assert main(["grade", "cross_entropy.py"]) == 0
    assert "13 of 13 points; 7 more are in 6 hidden tests, which were not run." in capsys.readouterr().out
    assert main(["grade", "cross_entropy.py", "--hidden"]) == 0
    assert "20 of 20 points.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "there is no nowhere.py"),
        (["conv2d.py"], "there is no conv2d.py"),
        (["mine.py"], "got 'mine', from the file's name"),
        (["conv2d.py", "--assignment", "fft"], "got 'fft'; there are"),
        (["conv2d.py", "--assignment", "conv2"], "got 'conv2' (nearest: conv2d); there are"),
        ([str(SOLUTIONS / "conv2d.py"), "--timeout", "0"], "timeout=0.0"),
        ([str(SOLUTIONS / "conv2d.py"), "--user", "no_such_user_here"], "user"),
        ([str(SOLUTIONS / "broadcasting.py"), "--out", "mine.py/x.json"], "grade: cannot write to the folder mine.py"),
    ],
)
def test_bad_arguments_are_told_in_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "mine.py").touch()
    assert main(["grade", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_formats(tmp_path, capsys):
    (tmp_path / "broadcasting.py").write_text(solution("broadcasting").replace("grad_output * b", "grad_output"))
    assert main(["grade", "broadcasting.py", "--format", "gradescope", "--out", "r.json", "--hidden"]) == 3
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["score"] == sum(t["score"] for t in found["tests"]) < 20 == sum(t["max_score"] for t in found["tests"])
    assert {"number", "name", "score", "max_score", "status", "output", "output_format", "visibility", "tags"} == set(
        found["tests"][0]
    )
    assert {t["visibility"] for t in found["tests"]} == {"visible"}
    later = ["--hidden", "--visibility", "after_published"]
    assert main(["grade", "broadcasting.py", "--format", "gradescope", "--out", "r.json", *later]) == 3
    found = json.loads((tmp_path / "r.json").read_text())
    for test in found["tests"]:
        assert test["visibility"] == ("after_published" if "hidden" in test["tags"] else "visible")
    assert main(["grade", "broadcasting.py", "--format", "junit", "--out", "r.xml"]) == 3
    suite = xml.parse(tmp_path / "r.xml").getroot()[0]
    assert int(suite.get("tests")) == len(suite.findall("testcase")) == 7
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) > 0
    assert main(["grade", "broadcasting.py", "--format", "markdown", "--out", "r.md"]) == 3
    assert "| multiply | " in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_folder_without_the_file_is_graded_to_zero(tmp_path):
    (tmp_path / "hand-in").mkdir()
    for name in ("a.py", "b.py"):
        (tmp_path / "hand-in" / name).touch()
    assert main(["grade", "hand-in", "--assignment", "conv2d", "--format", "gradescope", "--out", "r.json"]) == 3
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["score"] == 0 and "no conv2d.py among the submitted files (a.py, b.py)" in found["tests"][0]["output"]


def test_a_folder_of_scripts_may_be_a_class(tmp_path, capsys):
    for name in ("ada", "ben"):
        (tmp_path / "hand-in" / f"{name}_conv2d.py").parent.mkdir(exist_ok=True)
        (tmp_path / "hand-in" / f"{name}_conv2d.py").write_text(f"def conv2d(): return '{name}'")
    assert main(["grade", "hand-in", "--assignment", "conv2d"]) == 3
    assert "hand-in is a class: say --class." in capsys.readouterr().err
    assert main(["grade", "hand-in", "--assignment", "conv2d", "--one"]) == 3
    assert "--class" not in capsys.readouterr().err


def test_grader_never_imports_the_submission(tmp_path):
    (tmp_path / "broadcasting.py").write_text("import os\nopen('/proc/self/stat')\nraise SystemExit(os.getpid())")
    code = (
        "import os, sys; from minires.coursework import grade; r = grade('broadcasting.py'); "
        "print(f'exit({os.getpid()})' in r.tests[0].message, 'submission' in sys.modules, r.score)"
    )
    assert run_python(code)[0] == ["False", "False", "0.0"]


def test_other_commands_do_not_import_the_coursework():
    assert list(grade.FORMATS) == list(FORMATS) and grade.VISIBILITIES == VISIBILITIES
    code = (
        "import sys, minires.commands.cli as cli; cli._parser().parse_args(['compare']); "
        "print(sorted(m for m in sys.modules if m.startswith(('minires.coursework', 'minires.testing'))))"
    )
    assert run_python(code) == (["[]"], "")


def test_without_fork_the_portable_runner_grades_and_says_what_it_does_not_do(tmp_path):
    """As on Windows, which has neither fork nor these modules."""
    (tmp_path / "conv2d.py").touch()
    (tmp_path / "broadcasting.py").write_text(solution("broadcasting"), encoding="utf-8")
    windows = (
        "import os, sys; del os.fork; sys.modules.update(pwd=None, resource=None, fcntl=None, grp=None, termios=None); "
        "from minires.commands.cli import main; "
    )
    listed, _ = run_python(windows + "main(['new', 'list'])")
    assert listed.count("points") == 12
    printed, told = run_python(windows + "print(main(['grade', 'broadcasting.py']))")
    assert printed[-1] == "0" and "The runner is portable." in told and "Nothing limits its memory" in told
    printed, told = run_python(windows + "print(main(['grade', 'conv2d.py', '--runner', 'hardened']))")
    assert printed == ["1"] and "the hardened runner needs fork" in told and "WSL on Windows" in told
