"""The exercise files themselves: what they print when they are run, as handed out and when they are solved."""

import subprocess
import sys

import pytest
from coursework.conftest import solution

from minires.coursework import ASSIGNMENTS

# each is a process of its own
ONE_QUICK = [pytest.param(name, marks=() if name == "fork" else pytest.mark.slow) for name in ASSIGNMENTS]


def printed(source, tmp_path):
    """What a file prints when it is run."""
    file = tmp_path / "mine.py"
    file.write_text(source, encoding="utf-8")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", ONE_QUICK)
def test_a_new_exercise_says_once_what_is_not_written(name, tmp_path):
    out = printed(ASSIGNMENTS[name].exercise, tmp_path)
    assert out.startswith("not written yet: ") and out.count("\n") == 1


@pytest.mark.parametrize("name", ONE_QUICK)
def test_a_solved_exercise_reaches_every_check_and_passes_it(name, tmp_path):
    start, mark, end = ASSIGNMENTS[name].exercise.partition('if __name__ == "__main__":')
    out = printed(f"{start}\n{solution(name)}\n{mark}{end}", tmp_path)
    assert out.count("\n") >= 2
    assert "not written" not in out and "wrong\n" not in out and "Error" not in out


def test_one_failing_check_stops_none(tmp_path):
    start, mark, end = ASSIGNMENTS["broadcasting"].exercise.partition('if __name__ == "__main__":')
    mine = "def sum_to(grad, shape):\n    return 1 / 0\n\ndef add_backward(g, a, b):\n    return g, b\n"
    lines = printed(f"{start}\n{mine}\n{mark}{end}", tmp_path).splitlines()
    assert "ZeroDivisionError: division by zero (line" in lines[0] and "add: wrong" in lines
    assert lines[-1] == 'not written yet: part "multiply"'
