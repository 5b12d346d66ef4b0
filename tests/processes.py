"""Python programs in processes of their own, on this source tree."""

import os
import subprocess
import sys

import minires

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(minires.__file__))}


def run_python(program: str, *options: str, timeout: float = 60) -> str:
    """What a program prints. It must end in time, and well."""
    command = [sys.executable, *options, "-c", program]
    finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
