"""The plugin in real runs of pytest, one of them in a separate process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from minires.testing import pytest_plugin  # here: a first import inside a run of pytester is forgotten after it

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(pytester, monkeypatch):
    """Run these tests with the plugin, here or in a separate process."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(source, *arguments, within=pytester.runpytest_inprocess):
        pytester.makepyfile(source)
        own = () if _installed() else ("-p", "minires.testing.pytest_plugin")
        return within(*own, "--strict-markers", "-W", "error", *arguments)

    return run


@pytest.fixture
def alone(pytester, monkeypatch):
    """Run a suite in a process that loads none of the environment's plugins, except this one on request."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def alone(loaded, *arguments):
        plugin = ("-p", "minires.testing.pytest_plugin") if loaded else ()
        return pytester.runpytest_subprocess(*plugin, *arguments)

    return alone


def _installed():
    from importlib.metadata import entry_points

    return any(e.value == "minires.testing.pytest_plugin" for e in entry_points(group="pytest11"))


def test_points_are_summed_by_part_and_hints_given(run, pytester):
    result = run(
        """
        import pytest

        @pytest.mark.minires_part("forward")
        @pytest.mark.minires_points(2)
        def test_forward():
            pass

        @pytest.mark.minires_part("backward")
        @pytest.mark.minires_points(3)
        @pytest.mark.minires_hint("sum over the axes that were broadcast")
        @pytest.mark.parametrize("shape", [1, 2])
        def test_backward(shape):
            assert shape == 1

        @pytest.mark.minires_part("backward")
        @pytest.mark.minires_points(0.5)
        @pytest.mark.minires_visibility("hidden")
        @pytest.mark.minires_hint("try stride 2")
        def test_secret():
            assert False

        @pytest.mark.minires_points(4)
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

        @pytest.mark.minires_points(1)
        def test_skipped():
            pytest.skip("not today")

        @pytest.mark.minires_points(1)
        @pytest.mark.xfail
        def test_expected():
            assert False

        @pytest.mark.minires_points(1)
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

        def test_right(minires_gradcheck):
            assert minires_gradcheck((np.sin, lambda g, x: (g * np.cos(x),)), np.array([0.3, 0.4]))

        def test_wrong(minires_gradcheck):
            with pytest.raises(GradCheckError, match="sign"):
                minires_gradcheck((np.cos, lambda g, x: (g * np.sin(x),)), np.array([0.3, 0.4]))
        """
    )
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*= points =*")


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("minires_points('two')", "got minires_points('two'); expected a number"),
        ("minires_points(-1)", "got minires_points(-1)"),
        ("minires_points(1, 2)", "got 2 arguments for the marker minires_points"),
        (
            "minires_points(1)\n@pytest.mark.minires_visibility('never')",
            "got minires_visibility('never'); expected one of visible",
        ),
    ],
)
def test_wrong_marks_are_reported_before_anything_runs(run, mark, message):
    result = run(f"import pytest\n@pytest.mark.{mark}\ndef test(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str() + result.stdout.str()


@pytest.mark.parametrize("loaded", [True, False], ids=["with the plugin", "without it"])
def test_somebody_elses_suite_runs_as_it_would_without_the_plugin(alone, pytester, loaded):
    """It has markers and a fixture with names that a plugin like this might take, and a test that lacks a fixture."""
    pytester.makeini("[pytest]\nmarkers =\n    points(a, b): of a curve\n    visibility: of a window")
    pytester.makepyfile(
        test_own="""
        import pytest

        @pytest.fixture
        def gradcheck():
            return "our own"

        @pytest.mark.points("two", 3)
        @pytest.mark.visibility
        def test_own_names(gradcheck, record_property):
            record_property("minires", None)
            record_property(("any", "name"), [1])
            assert gradcheck == "our own"
        """,
        test_missing_fixture="def test_missing(gradcheck):\n    pass",
        test_missing_marker="import pytest\n@pytest.mark.hint('none')\ndef test_unknown_marker():\n    pass",
    )
    result = alone(loaded, "--strict-markers", "-W", "error", "--continue-on-collection-errors")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*'hint' not found in `markers`*"])
    result.stdout.fnmatch_lines(["*fixture 'gradcheck' not found"])
    result.stdout.no_fnmatch_line("*= points =*")


@pytest.mark.parametrize("option", ["--markers", "--fixtures"])
def test_every_marker_and_fixture_of_the_plugin_has_the_prefix(alone, option):
    def offered(loaded):
        lines = [line.removeprefix("@pytest.mark.") for line in alone(loaded, option).outlines]
        return {re.match(r"\w+", line)[0] for line in lines if re.match(r"\w+(\(.*\):| --|:)", line)}

    added = offered(True) - offered(False)
    assert added and all(name.startswith("minires_") for name in added)


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

    lines = pytest_plugin.summary({"z": test(1, "second"), "y": test(2, "second"), "x": test(0, "first")})
    assert [line.split()[0] for line in lines] == ["first", "second", "total"]
