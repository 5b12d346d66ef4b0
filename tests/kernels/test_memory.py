"""Keeping freed memory: requested from glibc once, by the first convolution, and not if the user has chosen."""

import os
import platform
import subprocess
import sys

import pytest

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
TOLD = "from minires.kernels.memory import keep_freed_memory; print(keep_freed_memory())"
RSS_AFTER = """
import numpy as np, resource
import minires as mr
{}
arrays = [np.ones(8_000_000, np.uint8) for _ in range(30)]
del arrays
print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6)
"""


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout.strip()


@glibc
def test_glibc_can_be_told():
    assert run(TOLD) == "True"


@glibc
def test_the_users_own_choice_stands():
    assert run(TOLD, MALLOC_TRIM_THRESHOLD_="131072") == "False"


@glibc
def test_freed_memory_stays_with_the_process_unless_the_user_has_chosen():
    convolution = "mr.nn.Conv2d(1, 1, 3)(mr.zeros(1, 1, 3, 3))"
    assert float(run(RSS_AFTER.format(convolution))) > 240
    assert float(run(RSS_AFTER.format(convolution), MALLOC_TRIM_THRESHOLD_="131072")) < 200


@glibc
def test_importing_changes_nothing():
    assert float(run(RSS_AFTER.format(""))) < 200
