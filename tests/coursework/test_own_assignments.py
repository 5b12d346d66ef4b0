"""An assignment of a teacher's own: points of any size, parts of any name, tests of any kind."""

import csv
import json

import numpy as np
import pytest

from minires.coursework import assignment, formats, overview
from minires.coursework.assignment import Assignment, Test as AssignmentTest
from minires.coursework.grading import Result, number_tests
from minires.coursework.learner import Learner, Limits, Wrong
from minires.coursework.submission import Submission, read_submission

POINTS = [("a|b", 0.1, False)] * 8 + [
    ("c", 2.01, False),
    ("c", 0.7, True),
    ("only hidden", 1 / 3, True),
    ("none", 0, False),
]


def own(points=POINTS):
    return Assignment("own", [AssignmentTest(part, "x", n, lambda *_: None, "", hidden=h) for part, n, h in points])


def result(hidden=True, failed=()):
    tests = number_tests(own(), hidden)
    for i, test in enumerate(tests):
        test.status = "failed" if i in failed else "passed"
    return Result(own(), "own.py", hidden, tests)


def test_points_add_up_and_are_the_same_numbers_everywhere(in_classroom50, tmp_path):
    found = result(failed=(0, 9))
    assert (found.score, found.points) == (pytest.approx(3.043333333, abs=1e-9), pytest.approx(3.843333333, abs=1e-9))
    record = overview.record(found) | {"name": "ada", "report": "reports/ada.txt"}
    overview.write(tmp_path, found.assignment, [record], 1)
    with open(tmp_path / "grades.csv", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert [row[name] for name in ("a|b", "c", "only hidden", "none")] == ["0.7", "2.01", "0.333333333", "0.0"]
    assert float(row["score"]) == found.score and float(row["points"]) == found.points
    assert "3.04333 of 3.84333" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "3.04333 of 3.84333 points" in formats.text(found) and "a|b          0.7 of 0.8" in formats.text(found)
    assert json.loads(formats.gradescope(found))["score"] == found.score
    otter = json.loads(formats.otter(found))["test_file_results"]
    assert [file["points"] for file in otter] == [0.8, 2.71, 0.333333333, 0]
    whole = json.loads(formats.classroom50(found))
    assert (whole["score"], whole["max-score"]) == (913, 1153)  # all points times 300


def test_a_part_that_did_not_run_has_no_points_rather_than_0(tmp_path):
    record = overview.record(result(hidden=False)) | {"name": "ada", "report": "reports/ada.txt"}
    overview.write(tmp_path, own(), [record], 1)
    with open(tmp_path / "grades.csv", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["only hidden"] == "" and row["none"] == "0.0" and row["c"] == "2.01"


def test_a_table_of_parts_keeps_its_columns():
    rows = [line for line in formats.markdown(result()).splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {4}


def test_an_annotated_constant_is_asked_for_and_found(tmp_path, monkeypatch):
    monkeypatch.setattr(assignment, "EXERCISES", tmp_path)
    (tmp_path / "own.py").write_text('"""Own."""\nRATES: dict[str, float] = {}\n')
    assert own().asked == ["RATES"]
    handed_in = tmp_path / "handed in"
    handed_in.mkdir()
    (handed_in / "week3.py").write_text("RATES: dict = {'sgd': 0.1}\n")
    (handed_in / "helper.py").write_text("x = 1\n")
    assert read_submission(handed_in, "own", own().asked).file == "week3.py"


def test_inputs_passed_by_name_are_watched_too(keeper):
    source = "def step(p, *, g):\n    g *= 2\n    return p - g\n"
    with Learner(keeper, Submission("own.py", source), Limits(10.0, 512)) as learner:
        with pytest.raises(Wrong, match="step wrote into its input g"):
            learner.call("step", np.ones(2), g=np.ones(2))
