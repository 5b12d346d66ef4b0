#!/usr/bin/env bash
# gradescope-utils 0.5.0: a test in which a subTest fails is missing from results.json, together with its points. The
# student has 1 of 2 points, where 1 of 4 would be right. A test that fails by itself is listed, with 0.
# One would have guessed that unittest's subTest counts as a failure of the test that it is in, as in unittest's own
# report, which says FAILED.
#
# Fails if the test is listed, or its points count.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet gradescope-utils==0.5.0
"$work/venv/bin/python" - "$work/results.json" <<'PY'
import importlib.metadata
import json
import sys
import unittest

from gradescope_utils.autograder_utils.decorators import weight
from gradescope_utils.autograder_utils.json_test_runner import JSONTestRunner


class Homework(unittest.TestCase):
    @weight(1)
    def test_right(self):
        pass

    @weight(2)
    def test_parts(self):
        for x in (1, 2):
            with self.subTest(x=x):
                self.assertEqual(x, 1)

    @weight(1)
    def test_wrong(self):
        self.assertEqual(1, 2)


with open(sys.argv[1], "w") as file:
    outcome = JSONTestRunner(stream=file).run(unittest.defaultTestLoader.loadTestsFromTestCase(Homework))
with open(sys.argv[1]) as file:
    tests = json.load(file)["tests"]
listed = {test["name"]: (test["score"], test["max_score"]) for test in tests}
print("gradescope-utils", importlib.metadata.version("gradescope-utils"), "listed:", listed)
assert not outcome.wasSuccessful()
assert not any("test_parts" in name for name in listed)
assert any("test_wrong" in name and points == (0.0, 1) for name, points in listed.items())
PY
