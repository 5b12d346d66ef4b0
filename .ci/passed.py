"""A pytest plugin for `run`: no test runs twice in one environment.

It leaves out the tests named in the file ``$PASSED``, and when all is done adds those that have passed now. A test that
was skipped, for want of a peer say, runs again.
"""

import os
from pathlib import Path

import pytest

FILE = Path(os.environ["PASSED"])
outcomes: dict[str, set[str]] = {}  # of a test's setup, call and teardown


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    before = set(FILE.read_text("utf-8").splitlines()) if FILE.exists() else set()
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in before])
    items[:] = [item for item in items if item.nodeid not in before]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcomes.setdefault(report.nodeid, set()).add(report.outcome)


def pytest_sessionfinish() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        with FILE.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name, seen in outcomes.items() if seen == {"passed"})
