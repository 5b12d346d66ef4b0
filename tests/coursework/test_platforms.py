"""Each platform's file of results, against the rules that the platform states or checks itself.

Gradescope: gradescope-autograders.readthedocs.io/en/latest/specs. Classroom 50: the wiki page Advanced Autograding, and
what its collector of scores refuses. PrairieLearn: docs/externalGrading.md. Otter and nbgrader: their own code, where
it is installed.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from coursework.conftest import solution

from minires.commands.cli import main
from minires.coursework import formats

LABEL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def strict(text):
    """JSON as other languages read it: no NaN."""

    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(params=["right", "half", "nothing", "no file", "out of time"])
def result(request, graded):
    """Results of all kinds."""
    source, options = solution("cross_entropy"), {"hidden": True, "seed": 3}
    if request.param == "half":
        source = source.replace("grad / len(target)", "grad")
    if request.param == "nothing":
        source = "def softmax(z): raise ValueError('\\x00 <b> \\ud800')"
    if request.param == "no file":
        source = b"%PDF-1.7"
    if request.param == "out of time":
        source, options = "import time; time.sleep(0.5)\n" + source, options | {"total": 0.9}
    return graded(source, "cross_entropy", **options)[0]


def test_gradescope(result):
    found = strict(formats.gradescope(result))
    assert 0 <= found["score"] == sum(t["score"] for t in found["tests"]) <= 20
    assert found["visibility"] in ("visible", "hidden", "after_due_date", "after_published")
    for test in found["tests"]:
        assert 0 <= test["score"] <= test["max_score"] and math.isfinite(test["score"])
        assert test["status"] in ("passed", "failed") and test["output_format"] in ("text", "html", "md", "ansi")
        assert all(isinstance(test[name], str) for name in ("name", "number", "output", "visibility"))
    assert len(formats.gradescope(result)) < 2**20


def test_classroom50(result, in_classroom50):
    found = strict(formats.classroom50(result))
    names = "schema classroom assignment submission commit release review datetime score max-score tests"
    assert list(found) == names.split() and found["schema"] == "classroom50/result/v1"
    assert all(found[name] for name in names.split()[1:8]) and LABEL.fullmatch(found["datetime"])
    for entry in (found, *found["tests"]):
        assert type(entry["score"]) is type(entry["max-score"]) is int and 0 <= entry["score"] <= entry["max-score"]
    assert found["score"] == sum(t["score"] for t in found["tests"])
    assert found["max-score"] == sum(t["max-score"] for t in found["tests"])
    assert math.isclose(found["score"] / found["max-score"], result.score / result.points)
    assert all(type(t["passed"]) is bool and t["test-name"] for t in found["tests"])


def test_classroom50_needs_its_runner(result, monkeypatch):
    for variable in formats.CLASSROOM50.values():
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match="SUBMISSION_TAG"):
        formats.classroom50(result)


def test_classroom50_shows_the_commit_where_there_is_nothing_to_compare_it_with(result, in_classroom50, monkeypatch):
    monkeypatch.delenv("REVIEW_URL")
    found = strict(formats.classroom50(result))
    assert found["review"] == found["commit"]


def test_classroom50_ends_well_whatever_the_grade(in_classroom50, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cross_entropy.py").write_text("")
    assert (
        main(
            ["grade", ".", "--one", "--assignment", "cross_entropy", "--format", "classroom50", "--out", "result.json"]
        )
        == 0
    )
    assert json.loads((tmp_path / "result.json").read_text())["score"] == 0


def test_prairielearn(result):
    found = strict(formats.prairielearn(result))
    assert 0 <= found["score"] <= 1 and found["gradable"] is True and len(formats.prairielearn(result)) < 10**6
    assert math.isclose(found["score"], sum(t["points"] for t in found["tests"]) / 20)
    assert all(0 <= t["points"] <= t["max_points"] for t in found["tests"])
    assert all(isinstance(t[name], str) for t in found["tests"] for name in ("name", "message"))


def test_otter(result):
    found = strict(formats.otter(result))
    cases = [case for file in found["test_file_results"] for case in file["test_case_results"]]
    assert (
        sum(case["test_case"]["points"] for case in cases) == 20 == sum(f["points"] for f in found["test_file_results"])
    )
    assert sum(case["test_case"]["points"] for case in cases if case["passed"]) == result.score
    otter = pytest.importorskip("otter.test_files")
    results = otter.GradingResults.from_ottr_json(formats.otter(result))
    assert results.total == result.score and results.possible == result.points


def test_nbgrader_takes_the_points_from_a_cell(tmp_path):
    nbgrader = pytest.importorskip("nbgrader.utils")
    notebook = pytest.importorskip("nbformat").v4
    call = "from minires.coursework import grade\ngrade('.', 'cross_entropy').score"
    about = {"nbgrader": {"grade": True, "solution": False, "locked": True, "points": 13, "grade_id": "tests"}}
    cells = [notebook.new_code_cell(solution("cross_entropy")), notebook.new_code_cell(call, metadata=about)]
    (tmp_path / "cross_entropy.ipynb").write_text(json.dumps(notebook.new_notebook(cells=cells)))
    code = call.replace("grade('.', 'cross_entropy').score", "print(grade('.', 'cross_entropy').score)")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    cells[1]["outputs"] = [notebook.new_output("execute_result", {"text/plain": printed.stdout.strip()})]
    assert nbgrader.determine_grade(cells[1]) == (13.0, 13.0)
