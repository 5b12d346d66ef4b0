"""Hypothesis draws the same examples in every run; `--hypothesis-profile=explore` looks further.

Two processes share the tests and the cores (pytest-xdist; ``-n0`` for one), so each computes in one thread. Exceptions
are the tests of threads, which set their own number, and the processes that tests start.
"""

import gc
import os

import numpy as np
import pytest
import threadpoolctl
from hypothesis import settings

from minires.threads import get_num_threads, set_num_threads

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50, database=None, print_blob=True)
settings.register_profile("few", settings.get_profile("ci"), max_examples=5)  # where all has been tried once before
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

if "PYTEST_XDIST_WORKER" in os.environ:
    set_num_threads(1)
    threadpoolctl.threadpool_limits(1, user_api="blas")


@pytest.fixture(scope="session", autouse=True)
def _own_progress(tmp_path_factory):
    """What tests run and grade is not what the person who runs them has done."""
    os.environ["MINIRES_PROGRESS"] = str(tmp_path_factory.mktemp("progress") / "progress.json")


@pytest.fixture
def collected():
    """Garbage from earlier tests goes before this one: if it has semaphores, Python 3.13 warns when the collector finds
    them while others are made."""
    gc.collect()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def threads():
    """Set the number of threads as often as you like; the old one comes back when the test ends."""
    before = get_num_threads()
    yield set_num_threads
    set_num_threads(before)
