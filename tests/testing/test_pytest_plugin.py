"""The plugin in real runs of pytest, one of them in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

import minires.testing  # noqa: F401  (a first import inside a run of pytester would be forgotten after it)
from minires.testing.pytest_plugin import summary

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(pytester, monkeypatch):
    """Run these tests with the plugin, here or in a process of their own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(source, *arguments, within=pytester.runpytest_inprocess):
        pytester.makepyfile(source)
        own = () if _installed() else ("-p", "minires.testing.pytest_plugin")
        return within(*own, "--strict-markers", "-W", "error", *arguments)

    return run


def _installed():
    from importlib.metadata import entry_points

    return any(e.value == "minires.testing.pytest_plugin" for e in entry_points(group="pytest11"))


def test_points_are_summed_by_part_and_hints_told(run, pytester):
    result = run(
        """
        import pytest

        @pytest.mark.part("forward")
        @pytest.mark.points(2)
        def test_forward():
            pass

        @pytest.mark.part("backward")
        @pytest.mark.points(3)
        @pytest.mark.hint("sum over the axes that were broadcast")
        @pytest.mark.parametrize("shape", [1, 2])
        def test_backward(shape):
            assert shape == 1

        @pytest.mark.part("backward")
        @pytest.mark.points(0.5)
        @pytest.mark.visibility("hidden")
        @pytest.mark.hint("try stride 2")
        def test_secret():
            assert False

        @pytest.mark.points(4)
        def test_teardown_fails(broken):
            pass

        @pytest.fixture
        def broken():
            yield
            raise ValueError

        def test_without_points():
            pass
        """,
        within=pytester.runpytest_subprocess,
    )
    result.assert_outcomes(passed=4, failed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*= points =*",
            "forward   2 of 2 points",
            "backward  3 of 6.5 points",
            "*− 3  test_backward?2?: sum over the axes that were broadcast",
            "*− 0.5  a hidden test: try stride 2",
            "other     0 of 4 points",
            "total     5 of 12.5 points",
        ]
    )


def test_skipped_and_expected_failures_earn_nothing(run):
    result = run(
        """
        import pytest

        @pytest.mark.points(1)
        def test_skipped():
            pytest.skip("not today")

        @pytest.mark.points(1)
        @pytest.mark.xfail
        def test_expected():
            assert False

        @pytest.mark.points(1)
        @pytest.mark.xfail
        def test_unexpected():
            pass
        """
    )
    result.stdout.fnmatch_lines(["total  0 of 3 points"])


def test_fixture_and_silence_without_points(run):
    result = run(
        """
        import numpy as np
        from minires.testing import GradCheckError
        import pytest

        def test_right(gradcheck):
            assert gradcheck((np.sin, lambda g, x: (g * np.cos(x),)), np.array([0.3, 0.4]))

        def test_wrong(gradcheck):
            with pytest.raises(GradCheckError, match="sign"):
                gradcheck((np.cos, lambda g, x: (g * np.sin(x),)), np.array([0.3, 0.4]))
        """
    )
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*= points =*")


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("points('two')", "got points('two'); expected a number"),
        ("points(-1)", "got points(-1)"),
        ("points(1, 2)", "got 2 arguments for the marker points"),
        ("points(1)\n@pytest.mark.visibility('never')", "got visibility('never'); expected one of visible"),
    ],
)
def test_wrong_marks_are_told_before_anything_runs(run, mark, message):
    result = run(f"import pytest\n@pytest.mark.{mark}\ndef test(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str() + result.stdout.str()


def test_plugin_and_testing_import_neither_hypothesis_nor_matplotlib():
    code = (
        "import sys, minires.testing, minires.testing.pytest_plugin; "
        "print([m for m in ('matplotlib', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_parts_come_in_the_order_of_collection_however_the_tests_ran():
    def test(place, part):
        return {"part": part, "points": 1, "visibility": "visible", "hint": "", "place": place}, True

    lines = summary({"z": test(1, "second"), "y": test(2, "second"), "x": test(0, "first")})
    assert [line.split()[0] for line in lines] == ["first", "second", "total"]
