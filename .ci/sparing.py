"""A pytest plugin for `run`: no test is run twice in one environment, and no thorough one is begun too late.

``$PASSED`` names a file of tests that have passed before; those that pass now are added when all is done. A test that
was skipped, for want of a peer say, runs again. Slow tests come first. At ``$UNTIL``, in seconds since 1970, thorough
tests cease to begin.
"""

import os
import time
from pathlib import Path

import pytest

PASSED, UNTIL = Path(os.environ["PASSED"]), float(os.environ["UNTIL"])
outcomes: dict[str, set[str]] = {}  # of a test's setup, call and teardown


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    before = set(PASSED.read_text("utf-8").splitlines()) if PASSED.exists() else set()
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in before])
    items[:] = [item for item in items if item.nodeid not in before]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)  # alone at the end, one would keep a core idle


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("thorough") and time.time() > UNTIL:
        pytest.skip("no time is left for thorough tests")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcomes.setdefault(report.nodeid, set()).add(report.outcome)


def pytest_sessionfinish() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        with PASSED.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name, seen in outcomes.items() if seen == {"passed"})
