"""Python programs in processes of their own, on this source tree."""

import os
import subprocess
import sys
from typing import Any

import minires

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(minires.__file__))}


def run_python(program: str, *options: str, timeout: float = 60) -> str:
    """What a program prints. It must end in time, and well."""
    command = [sys.executable, *options, "-c", program]
    finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


# pty.fork may leave its child waiting for ever for a lock that another thread of this process held, as pytest has them.
IN_ITS_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a job in the background inherits as ignored
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def in_a_terminal(*arguments: str, **options: Any) -> tuple[subprocess.Popen, int]:
    """Python with these arguments in a terminal of its own, and the file descriptor of what sits before it."""
    before, behind = os.openpty()
    command = [sys.executable, "-c", IN_ITS_TERMINAL, *arguments]
    options = {"env": ENVIRONMENT, **options}
    process = subprocess.Popen(command, stdin=behind, stdout=behind, stderr=behind, start_new_session=True, **options)
    os.close(behind)
    return process, before
