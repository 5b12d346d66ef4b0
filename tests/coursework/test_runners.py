"""The three runners: equal results for honest work, what each survives, and what is in one file only."""

import ast
import re
import sys
import time
from pathlib import Path

import pytest
from coursework.conftest import SOLUTIONS, solution

import minires
from minires import coursework
from minires.commands import grade as command
from minires.coursework import runners

OTHERS = "portable", "here"


def outcomes(path, runner, **options):
    """(number, status, message) of every test."""
    result = coursework.grade(path, runner=runner, **options)
    return [(test.number, test.status, test.message, test.output) for test in result.tests]


@pytest.mark.parametrize("runner", [pytest.param("portable", marks=pytest.mark.slow), "here"])
def test_every_runner_gives_the_same_points_and_the_same_words(runner, tmp_path):
    text = solution("broadcasting")
    (tmp_path / "broadcasting.py").write_text(text, "utf-8")
    assert {status for _, status, *_ in outcomes(tmp_path / "broadcasting.py", runner)} == {"passed"}
    wrong = re.sub(r"(?m)^    return ", "    print('here I am')\n    return 2 * ", text)
    (tmp_path / "broadcasting.py").write_text(wrong, "utf-8")
    hardened = outcomes(tmp_path / "broadcasting.py", "hardened")
    assert outcomes(tmp_path / "broadcasting.py", runner) == hardened
    assert "failed" in {status for _, status, *_ in hardened} and any("here I am" in text for *_, text in hardened)


@pytest.mark.slow
@pytest.mark.parametrize("runner", OTHERS)
@pytest.mark.parametrize("name", ["conv2d", "fork", "skip_or_branch"])
def test_a_solution_has_full_marks(runner, name, quick_training):
    result = coursework.grade(SOLUTIONS / f"{name}.py", runner=runner)
    assert result.score == result.points, [test.message for test in result.tests if test.status != "passed"]


HOSTILE = {
    "endless": "while True: pass",
    "crash": "import os; os._exit(3)",
    "exit": "raise SystemExit(0)",
    "flood": "print('x' * 10**6)\nraise ValueError('then')",
    "deep": "def f(): f()\nf()",
}


@pytest.mark.parametrize(
    "runner, kind",
    [
        pytest.param(r, k, id=f"{r}-{k}", marks=[] if k == "exit" else pytest.mark.slow)
        for r in OTHERS
        for k in HOSTILE
        if (r, k) != ("here", "crash")  # which would end the tests
    ],
)
def test_what_goes_wrong_costs_its_test_alone(runner, kind, tmp_path):
    first = solution("broadcasting")
    name = coursework.ASSIGNMENTS["broadcasting"].asked[0]
    body = "\n".join(f"    {line}" for line in HOSTILE[kind].splitlines())
    (tmp_path / "broadcasting.py").write_text(f"{first}\n\ndef {name}(*a, **k):\n{body}\n", "utf-8")
    began = time.monotonic()
    result = coursework.grade(tmp_path / "broadcasting.py", runner=runner, timeout=1.5, total=20)
    assert time.monotonic() - began < 40
    assert "failed" in {test.status for test in result.tests} and result.score < result.points
    if kind == "endless":
        assert any("stopped after 1.5 s" in test.message for test in result.tests)


def test_a_file_that_does_not_end_is_loaded_once(tmp_path):
    (tmp_path / "fork.py").write_text("while True:\n    pass\n", "utf-8")
    for runner in OTHERS:
        result = coursework.grade(tmp_path / "fork.py", runner=runner, timeout=1.0)
        assert "stopped after 1 s when your file was loaded" in result.trouble and result.score == 0


def test_the_runner_here_leaves_everything_as_it_was(tmp_path):
    (tmp_path / "helper.py").write_text("value = 1\n", "utf-8")
    (tmp_path / "fork.py").write_text(f"import helper\n{solution('fork')}", "utf-8")
    before = Path.cwd(), list(sys.path), sys.stdout, sys.gettrace(), sys.getprofile()
    coursework.grade(tmp_path / "fork.py", runner="here")
    assert before == (Path.cwd(), list(sys.path), sys.stdout, sys.gettrace(), sys.getprofile())
    assert "submission" not in sys.modules and "helper" not in sys.modules


@pytest.mark.slow
def test_a_class_is_graded_by_any_runner(tmp_path, capsys):
    for student, text in (("a", solution("broadcasting")), ("b", "")):
        (tmp_path / "class" / student).mkdir(parents=True)
        (tmp_path / "class" / student / "broadcasting.py").write_text(text, "utf-8")
    for runner in OTHERS:
        records = coursework.grade_class(tmp_path / "class", "broadcasting", tmp_path / runner, runner=runner)
        assert [record["score"] for record in records] == [records[0]["points"], 0.0]
        assert (tmp_path / runner / "grades.csv").exists() and (tmp_path / runner / "reports" / "a.txt").exists()


def test_what_does_not_go_together_is_refused(tmp_path):
    path = SOLUTIONS / "fork.py"
    with pytest.raises(ValueError, match="got runner='docker'; expected one of hardened, portable, here"):
        coursework.grade(path, runner="docker")
    with pytest.raises(ValueError, match="user"):
        coursework.grade(path, runner="portable", user=1)
    assert command.RUNNERS == tuple(runners.RUNNERS) == tuple(runners.SAYS)


def test_what_only_some_systems_have_is_in_one_file():
    """fork, the module resource and process groups; the keeper alone uses them."""
    found = set()
    folder = Path(minires.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            of_os = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            if "resource" in imported or (of_os and node.attr in ("fork", "killpg", "setsid", "wait4", "setuid")):
                found.add(path.relative_to(folder).as_posix())
    assert found == {"coursework/keeper.py"}
