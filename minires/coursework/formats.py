"""A grading's result as text, Markdown, JUnit XML, or a platform's file of results.

Each platform's field names and rules are the ones it documents or checks itself; `tests/coursework/test_platforms.py`
says which, and checks them.
"""

import json
import math
import os
import re
import time
import xml.etree.ElementTree as xml
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from .assignment import added
from .grading import Result, TestResult

MARKS = {"passed": "✓", "failed": "✗", "not run": "·"}
CLASSROOM50 = {  # field: the variable in which Classroom 50's runner passes it
    "classroom": "CLASSROOM",
    "assignment": "ASSIGNMENT",
    "submission": "SUBMISSION_TAG",
    "commit": "COMMIT_URL",
    "release": "RELEASE_URL",
    "review": "REVIEW_URL",
}


def text(result: Result) -> str:
    """For a terminal: each test, then the points by part and in total."""
    told = [text_of(test) for test in result.tests if not told_once(result, test)]
    return "\n".join([*told, *[""] * bool(told), text_end(result)])


def text_of(test: TestResult) -> str:
    """One test's line and, if it failed, what is shown of the failure."""
    name = f"{test.test.part}: {test.title}"
    line = f"{MARKS[test.status]} {test.number:<5}{name:<58}{test.score:>5g} of {test.test.points:g}"
    return "\n".join([line, *(f"      {told}" for told in clean(test.told).splitlines())])


def told_once(result: Result, test: TestResult) -> bool:
    """Whether the end says it for all such tests: nothing is written yet, or the whole file cannot be graded."""
    return test.unwritten or bool(result.trouble and test.message == result.trouble)


def text_end(result: Result) -> str:
    """What concerns several tests, points by part, and the summary."""
    lines = []
    if result.trouble:
        lines += [f"✗ {line}" if i == 0 else f"  {line}" for i, line in enumerate(clean(result.trouble).splitlines())]
        if printed := clean(next((t.output for t in result.tests if t.output.strip()), "")).strip():
            lines += ["  your code printed:", *(f"  {line}" for line in printed.splitlines())]
        lines.append("")
    if unwritten := [test for test in result.tests if test.unwritten]:
        worth = added(test.test.points for test in unwritten)
        parts = ", ".join(dict.fromkeys(test.test.part for test in unwritten))
        lines += [f"· not written yet: {parts} ({len(unwritten)} tests, {worth:g} points)", ""]
    of_parts = by_part(result)
    width = max(map(len, of_parts), default=0)
    lines += [f"{part:<{width}}  {added(t.score for t in tests):g} of {added(t.test.points for t in tests):g}"
              for part, tests in of_parts.items()]  # fmt: skip
    return "\n".join([*lines, "", f"{result.assignment.name}: {clean(result.summary)}"])


def markdown(result: Result) -> str:
    """For a CI's step summary: a table of parts, and the failures."""
    summary = " ".join(clean(result.summary).split())
    lines = [f"## {result.assignment.name}: {summary}", "", "| Part | Points | Tests |", "|---|---|---|"]
    for part, tests in by_part(result).items():
        points = f"{added(t.score for t in tests):g} of {added(t.test.points for t in tests):g}"
        name = part.replace("|", "\\|")
        lines.append(f"| {name} | {points} | {' '.join(MARKS[t.status] for t in tests)} |")
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
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def classroom50(result: Result) -> str:
    """Classroom 50's result.json: whole numbers, so the points of every test are multiplied by the same number.

    What the runner knows is read from the environment. Raises ValueError where it is not set.
    """
    given = {field: os.environ.get(variable, "") for field, variable in CLASSROOM50.items()}
    given["review"] = given["review"] or given["commit"]  # as in the platform's own templates
    missing = [CLASSROOM50[field] for field, value in given.items() if not value]
    if missing:
        raise ValueError(
            f"classroom50: got no {', '.join(missing)} in the environment; expected what Classroom 50's runner sets"
        )
    scale = math.lcm(*(Fraction(t.points).limit_denominator(1000).denominator for t in result.assignment.tests))
    tests: list[dict[str, Any]] = [
        {
            "test-name": f"{test.number} {test.test.part}: {test.title}",
            "passed": test.status == "passed",
            "score": round(scale * test.score),
            "max-score": round(scale * test.test.points),
            "output": clean(test.told),
        }
        for test in result.tests
    ]
    whole = {
        "schema": "classroom50/result/v1",
        **given,
        "datetime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "score": sum(test["score"] for test in tests),
        "max-score": sum(test["max-score"] for test in tests),
        "tests": tests,
    }
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def prairielearn(result: Result) -> str:
    """PrairieLearn's results/results.json: a share from 0 to 1, and the tests for <pl-external-grader-results>."""
    tests = [
        {
            "name": f"{test.number} {test.test.part}: {test.title}",
            "points": test.score,
            "max_points": test.test.points,
            "message": clean(test.told),
        }
        for test in result.tests
    ]
    whole = {
        "gradable": True,
        "score": min(result.score / result.points, 1.0) if result.points else 0.0,
        "message": clean(f"{result.assignment.name}: {result.summary}"),
        "tests": tests,
    }
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def otter(result: Result) -> str:
    """The results that Otter-Grader's ``GradingResults.from_ottr_json`` reads: a test file for each part."""
    files = [
        {
            "filename": f"{part}.py",
            "points": added(test.test.points for test in tests),
            "test_case_results": [
                {
                    "test_case": {
                        "name": f"{test.number} {test.title}",
                        "code": "",
                        "hidden": test.test.hidden,
                        "points": test.test.points,
                        "success_message": None,
                        "failure_message": test.test.hint,
                    },
                    "passed": test.status == "passed",
                    "error": clean(test.told) or None,
                }
                for test in tests
            ],
        }
        for part, tests in by_part(result).items()
    ]
    return json.dumps({"test_file_results": files}, indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Result], str]] = {
    "text": text,
    "markdown": markdown,
    "junit": junit,
    "gradescope": gradescope,
    "classroom50": classroom50,
    "prairielearn": prairielearn,
    "otter": otter,
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
