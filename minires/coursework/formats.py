"""A grading's result as text, Markdown, JUnit XML, or Gradescope's results.json."""

import json
import re
import xml.etree.ElementTree as xml
from collections.abc import Callable
from typing import Any

from .grading import Result, TestResult

MARKS = {"passed": "✓", "failed": "✗", "not run": "·"}


def text(result: Result) -> str:
    """For a terminal: each test, then the points by part and in total."""
    return "\n".join([*(text_of(test) for test in result.tests), "", text_end(result)])


def text_of(test: TestResult) -> str:
    """One test's line and, if it failed, what is shown of the failure."""
    name = f"{test.test.part}: {test.title}"
    line = f"{MARKS[test.status]} {test.number:<5}{name:<58}{test.score:>5g} of {test.test.points:g}"
    return "\n".join([line, *(f"      {told}" for told in clean(test.told).splitlines())])


def text_end(result: Result) -> str:
    """Points by part, and the summary."""
    parts = by_part(result)
    width = max(map(len, parts), default=0)
    lines = [f"{part:<{width}}  {sum(t.score for t in tests):g} of {sum(t.test.points for t in tests):g}"
             for part, tests in parts.items()]  # fmt: skip
    return "\n".join([*lines, "", f"{result.assignment.name}: {result.summary}"])


def markdown(result: Result) -> str:
    """For a CI's step summary: a table of parts, and the failures."""
    lines = [f"## {result.assignment.name}: {result.summary}", "", "| Part | Points | Tests |", "|---|---|---|"]
    for part, tests in by_part(result).items():
        points = f"{sum(t.score for t in tests):g} of {sum(t.test.points for t in tests):g}"
        lines.append(f"| {part} | {points} | {' '.join(MARKS[t.status] for t in tests)} |")
    for test in result.tests:
        if test.status != "passed":
            told = clean(test.told).replace("```", "'''")
            lines += ["", f"**{test.number} {test.test.part}: {test.title}** ({test.test.points:g} points)"]
            lines += ["", "```text", told, "```"]
    return "\n".join(lines) + "\n"


def junit(result: Result) -> str:
    """JUnit XML as pytest writes it; points are properties of the test cases."""
    failed = sum(t.status == "failed" for t in result.tests)
    skipped = sum(t.status == "not run" for t in result.tests)
    counts: dict[str, Any] = {"tests": str(len(result.tests)), "errors": "0"}
    counts |= {"failures": str(failed), "skipped": str(skipped)}
    suites = xml.Element("testsuites", name="minires")
    suite = xml.SubElement(suites, "testsuite", name=result.assignment.name, time=f"{result.seconds:.3f}", **counts)
    for test in result.tests:
        classname = f"{result.assignment.name}.{test.test.part}"
        name = f"{test.number} {test.title}"
        case = xml.SubElement(suite, "testcase", classname=classname, name=name, time=f"{test.seconds:.3f}")
        properties = xml.SubElement(case, "properties")
        for key, value in (("points", test.test.points), ("score", test.score)):
            xml.SubElement(properties, "property", name=key, value=f"{value:g}")
        if test.status != "passed":
            told = clean(test.told)
            kind = "failure" if test.status == "failed" else "skipped"
            xml.SubElement(case, kind, message=told.partition("\n")[0]).text = told
    xml.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + xml.tostring(suites, encoding="unicode") + "\n"


def gradescope(result: Result) -> str:
    """Gradescope's results.json (gradescope-autograders.readthedocs.io/en/latest/specs)."""
    tests = [
        {
            "number": test.number,
            "name": f"{test.test.part}: {test.title}",
            "score": test.score,
            "max_score": test.test.points,
            "status": "passed" if test.status == "passed" else "failed",
            "output": clean(test.told),
            "output_format": "text",
            "visibility": result.visibility if test.test.hidden else "visible",
            "tags": [test.test.part, *(["hidden"] if test.test.hidden else [])],
        }
        for test in result.tests
    ]
    whole = {
        "score": result.score,
        "execution_time": round(result.seconds, 3),
        "output": clean(f"{result.assignment.name}: {result.summary}"),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }
    return json.dumps(whole, indent=1) + "\n"


FORMATS: dict[str, Callable[[Result], str]] = {
    "text": text,
    "markdown": markdown,
    "junit": junit,
    "gradescope": gradescope,
}


def by_part(result: Result) -> dict[str, list[TestResult]]:
    """The tests of each part, in order."""
    parts: dict[str, list[TestResult]] = {}
    for test in result.tests:
        parts.setdefault(test.test.part, []).append(test)
    return parts


def clean(told: str) -> str:
    """The text without what XML, JSON readers or terminals cannot take: control characters and lone surrogates."""
    return re.sub(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", told)
