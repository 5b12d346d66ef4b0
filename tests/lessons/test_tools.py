"""The tools of the lessons: claims that end a script, figures that are whole files, and a quick version."""

import os
import subprocess
import sys

import numpy as np
import pytest

import minires as mr
from minires import data, lesson, models


def script(tmp_path, body, *arguments, **environment):
    path = tmp_path / "script.py"
    path.write_text("from minires.lesson import QUICK, claim, finish, progress, show\n" + body, "utf-8")
    environment = {**os.environ, "MINIRES_LESSON_OUTPUT": str(tmp_path / "out"), **environment}
    command = [sys.executable, str(path), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)


def test_claims_that_hold_end_well(tmp_path):
    done = script(tmp_path, 'claim("one is less than two", 1 < 2, 1 / 3)\nfinish()\nprint("done")')
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "✓ one is less than two (measured: 0.3333)\ndone\n"


def test_a_claim_that_fails_lets_the_script_go_on_and_ends_it_with_an_error(tmp_path):
    done = script(tmp_path, 'claim("two is less than one", 2 < 1, 2)\nprint("goes on")\nfinish()\nprint("never")')
    assert done.returncode == 1
    assert done.stdout == "✗ two is less than one (measured: 2)\ngoes on\n"
    assert done.stderr == "1 claim(s) failed: two is less than one (measured: 2)\n"


def test_a_quick_run_answers_nothing(tmp_path):
    body = "from minires.lesson import answer\nprint('Half of it:', answer('b'))"
    assert script(tmp_path, body).stdout == "Half of it: answer b)\n"
    assert script(tmp_path, body, "--quick").stdout == "Half of it: (quick: too small to answer)\n"


def test_a_slider_prints_one_place_and_tells_the_site_all(capsys, monkeypatch):
    lesson.slider("At {dial:g}, {kept:.0%} is kept.", 1, dial=[1, 0.1], kept=np.array([1.0, 0.93]))
    assert capsys.readouterr().out == "At 0.1, 93% is kept.\n"
    told = []
    monkeypatch.setattr(lesson, "listener", lambda kind, what: told.append((kind, what)))
    lesson.slider("{x}", -1, x=range(3))
    assert told == [("slider", {"sentences": ["0", "1", "2"], "at": 2, "columns": {"x": [0.0, 1.0, 2.0]}})]
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match=r"slider: got columns of the lengths {'x': 2, 'y': 1}; expected equal ones"):
        lesson.slider("{x}", 0, x=[1, 2], y=[1])


TWO_CLAIMS = """
from minires.lesson import also_at
def measure(lr):
    claim("it learns", lr < 1, lr)
    claim("it learns fast", lr > 0.05, lr)
    return lr
measure(0.1)
"""


def test_claims_are_made_at_a_second_setting_too(tmp_path):
    body = TWO_CLAIMS + 'print(also_at("rate 0.02", lambda: measure(0.02), fails=["fast"]))\nfinish()'
    done = script(tmp_path, body)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == [
        "✓ holds also at rate 0.02: it learns (measured: 0.02)",
        "✓ does not hold at rate 0.02: it learns fast (measured: 0.02)",
        "0.02",
    ]
    assert script(tmp_path, body, "--quick").stdout.splitlines()[2:] == ["None"]


@pytest.mark.parametrize(
    ("lr", "fails", "line"),
    [
        (0.02, [], "✗ does not hold at the other: it learns fast (measured: 0.02)"),
        (0.2, ["fast"], "✗ was said not to hold, but holds at the other: it learns fast (measured: 0.2)"),
    ],
)
def test_a_second_setting_that_is_not_as_the_lesson_says_ends_it_with_an_error(tmp_path, lr, fails, line):
    done = script(tmp_path, TWO_CLAIMS + f'also_at("the other", lambda: measure({lr}), {fails})\nfinish()')
    assert done.returncode == 1 and line in done.stdout.splitlines() and "1 claim(s) failed" in done.stderr


def test_a_second_setting_ends_with_its_work_and_knows_its_claims():
    with pytest.raises(ValueError, match=r"also_at: got fails=\['slow'\]; expected words of claims"):
        lesson.also_at("rate 1", lambda: None, ["slow"])
    with pytest.raises(ZeroDivisionError):
        lesson.also_at("rate 1", lambda: 1 / 0)
    assert lesson._second is None


def test_fit_trains_with_the_recipe():
    digits, _ = data.digits()
    few, losses = digits.subset(256), []
    for _ in range(2):
        mr.manual_seed(0)
        losses.append(lesson.fit(models.resnet_cifar(8, 4, in_channels=1), few, epochs=6, seed=1))
    assert losses[0].shape == (24,) and np.array_equal(*losses)
    assert losses[0][-4:].mean() < 0.8 * losses[0][:4].mean()


@pytest.mark.parametrize(("arguments", "environment"), [(["--quick"], {}), ([], {"MINIRES_QUICK": "1"})])
def test_quick(tmp_path, arguments, environment):
    body = "print(QUICK, list(progress(range(3), 'counting')))"
    assert script(tmp_path, body, *arguments, **environment).stdout == "True [0, 1, 2]\n"
    assert script(tmp_path, body, MINIRES_QUICK="").stdout == "False [0, 1, 2]\n"


def test_a_figure_is_written_as_a_whole_file(tmp_path):
    done = script(tmp_path, 'import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nshow(fig, "00-empty")')
    assert done.returncode == 0 and done.stdout.startswith("figure: ") and "00-empty.png" in done.stdout
    (only,) = (tmp_path / "out").iterdir()
    assert only.name == "00-empty.png" and only.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.123456), "0.1235"),
        (1234567, "1234567"),
        ([0.5, 1, "a"], "0.5, 1, a"),
        ((np.float64(1e-12),), "1e-12"),
        ("a word", "a word"),
    ],
)
def test_measured_values_are_written_with_four_digits(value, text, capsys):
    assert lesson.claim("it holds", True, value) is None  # else a notebook would show it again, as Out: True
    assert capsys.readouterr().out == f"✓ it holds (measured: {text})\n"


def test_a_condition_may_be_a_numpy_truth_value(capsys):
    lesson.claim("it holds", np.bool_(True))
    assert capsys.readouterr().out == "✓ it holds\n"
