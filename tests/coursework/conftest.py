"""Real submissions, in real files."""

from pathlib import Path

import pytest

from minires.coursework import formats, grade, networks
from minires.coursework.launcher import Keeper

SOLUTIONS = Path(__file__).with_name("solutions")


def solution(name):
    """The text of a reference solution."""
    return (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")


@pytest.fixture
def quick_training(monkeypatch):
    """Networks take two steps, and need not read any digit afterwards."""
    monkeypatch.setattr(networks, "STEPS", 2)
    monkeypatch.setattr(networks, "GOOD", 0.0)


@pytest.fixture(scope="module")
def keeper():
    """One for all tests of a file, as for a class."""
    with Keeper() as kept:
        yield kept


@pytest.fixture
def in_classroom50(monkeypatch):
    """What Classroom 50's runner puts into the environment."""
    for variable in formats.CLASSROOM50.values():
        monkeypatch.setenv(variable, f"submit/{variable.lower()}")


@pytest.fixture
def graded(tmp_path, keeper):
    """Grade a text as a submission: (result, {number of test: its result})."""

    def run(source, assignment="relu_maxpool", **options):
        file = tmp_path / f"{assignment}.py"
        if isinstance(source, bytes):
            file.write_bytes(source)
        else:
            file.write_text(source, encoding="utf-8")
        result = grade(file, keeper=keeper, **options)
        return result, {test.number: test for test in result.tests}

    return run
