"""The pytest plugin: the markers of graded tests, the fixture `minires_gradcheck`, and a summary of points.

pytest loads it in every run in an environment where minires is installed (entry point ``pytest11``), other people's
suites included. So every name it adds begins with ``minires_``, it imports no more than `import minires` does until a
test uses it, and it prints nothing unless a test carries points.
"""

from collections.abc import Callable
from typing import Any

import pytest

from ..arguments import one_of

MARKERS = (
    "minires_part(name): the part of an assignment that a test belongs to",
    "minires_points(number): what a test is worth when it passes",
    'minires_visibility(when): "visible" (the default), "hidden", "after_due_date" or "after_published"',
    "minires_hint(text): what to say to someone whose solution fails the test",
)
VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture
def minires_gradcheck() -> Callable:
    """`minires.testing.gradcheck`."""
    from . import gradcheck  # not before a test uses it

    return gradcheck


def graded(item: pytest.Item) -> dict[str, Any] | None:
    """part, points, visibility and hint of a test, or None if it carries no points.

    Raises pytest.UsageError unless the points are a number of at least 0 and the visibility is a known word.
    """
    found = {name: _argument(item, name) for name in ("part", "points", "visibility", "hint")}
    if found["points"] is None:
        return None
    points = found["points"]
    if isinstance(points, bool) or not isinstance(points, int | float) or not 0 <= points < float("inf"):
        raise pytest.UsageError(f"{item.nodeid}: got minires_points({points!r}); expected a number of at least 0")
    found["visibility"] = found["visibility"] or "visible"
    if found["visibility"] not in VISIBILITIES:
        raise pytest.UsageError(
            f"{item.nodeid}: got minires_visibility({found['visibility']!r}); "
            f"{one_of(found['visibility'], VISIBILITIES)}"
        )
    return found | {"part": str(found["part"] or "other"), "hint": str(found["hint"] or "")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Read the marks, so that a mistake in one is reported before anything runs."""
    for place, item in enumerate(items):
        item.user_properties += [("minires", grade | {"place": place})] if (grade := graded(item)) else []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Points by part, and the hint of every test that did not pass."""
    tests: dict[str, tuple[dict[str, Any], bool]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            grade = next((value for name, value in getattr(report, "user_properties", ()) if name == "minires"), None)
            if grade:  # a test passes if its setup, call and teardown do
                right = report.outcome == "passed" and not hasattr(report, "wasxfail")
                tests[report.nodeid] = grade, right and tests.get(report.nodeid, (grade, True))[1]
    if not tests:
        return
    terminalreporter.section("points")
    for line in summary(tests):
        terminalreporter.write_line(line)


def summary(tests: dict[str, tuple[dict[str, Any], bool]]) -> list[str]:
    """The lines of the summary, from {test: (its marks, whether it passed)} in the order of collection."""
    parts: dict[str, list[tuple[str, dict[str, Any], bool]]] = {}
    for name, (grade, passed) in sorted(tests.items(), key=lambda test: test[1][0]["place"]):
        parts.setdefault(grade["part"], []).append((name, grade, passed))
    width = max(len("total"), *map(len, parts))
    lines = []
    for part, entries in parts.items():
        lines.append(f"{part:<{width}}  {_score(entries)}")
        for name, grade, passed in entries:
            if not passed:
                hidden = grade["visibility"] != "visible"
                what = "a hidden test" if hidden else name.rpartition("::")[2]
                lines.append(
                    f"{'':<{width}}  − {grade['points']:g}  {what}" + f": {grade['hint']}" * bool(grade["hint"])
                )
    lines.append(f"{'total':<{width}}  {_score([e for entries in parts.values() for e in entries])}")
    return lines


def _score(entries: list[tuple[str, dict[str, Any], bool]]) -> str:
    earned = sum(grade["points"] for _, grade, passed in entries if passed)
    return f"{earned:g} of {sum(grade['points'] for _, grade, _ in entries):g} points"


def _argument(item: pytest.Item, name: str) -> Any:
    """The only argument of the marker ``minires_<name>``, None if the test does not carry it."""
    mark = item.get_closest_marker(f"minires_{name}")
    if mark is None:
        return None
    values = [*mark.args, *mark.kwargs.values()]
    if len(values) != 1:
        raise pytest.UsageError(
            f"{item.nodeid}: got {len(values)} arguments for the marker minires_{name}; expected one"
        )
    return values[0]
