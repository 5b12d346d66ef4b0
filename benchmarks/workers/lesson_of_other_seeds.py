"""Runs a lesson in full with all its seeds shifted, without its second settings, and prints its claims as JSON."""

import contextlib
import io
import json
import re
import runpy
import sys
import tempfile

import numpy as np

from minires import lesson

CLAIM = re.compile(r"^([✓✗]) (.*?)(?: \(measured: (.*)\))?$", re.MULTILINE)


def shift(by):
    """Let ``np.random.default_rng`` give other numbers for every seed; all of minires draws from there."""
    of = np.random.default_rng

    def shifted(seed=None):
        if isinstance(seed, np.random.SeedSequence):
            return of(np.random.SeedSequence([int(seed.entropy), by], spawn_key=seed.spawn_key))
        return of([int(seed), by] if isinstance(seed, int | np.integer) else seed)

    np.random.default_rng = shifted


def claims_of(path, by):
    """[[statement, measured, whether it holds], …] of the lesson in this file."""
    shift(by)
    lesson.also_at = lambda *arguments, **options: None
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as figures, contextlib.redirect_stdout(printed):
        lesson.OUTPUT = lesson.Path(figures)
        with contextlib.suppress(SystemExit):  # some claims fail
            runpy.run_path(path, run_name="__main__")
    return [[what, measured, mark == "✓"] for mark, what, measured in CLAIM.findall(printed.getvalue())]


if __name__ == "__main__":
    print(json.dumps(claims_of(sys.argv[1], int(sys.argv[2]))))
