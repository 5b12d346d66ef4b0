"""Programs that real MPI processes run."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
from processes import ENVIRONMENT

HEAD = """
import os, sys
import numpy as np
import minires as mr
from mpi4py import MPI
from minires import flow, nn, optim, train
from minires.nn import functional as F

comm = MPI.COMM_WORLD
digits, test = mr.data.digits()

def network(depth=8, width=4, dtype=np.float64, seed=0):
    mr.manual_seed(seed)
    model = mr.models.resnet_cifar(depth, width, in_channels=1).to(dtype)
    return model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

def row(arrays):
    return np.concatenate([np.ravel(a.array if hasattr(a, "array") else a) for a in arrays])

def close(a, b, tolerance):
    worst = np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(b).max()
    assert worst <= tolerance, worst
"""


class Ended(NamedTuple):
    """How a program ended: its exit status, and what its ranks have written."""

    status: int
    out: str
    err: str


def mpiexec() -> str | None:
    """The one beside this Python, or on the path."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


@pytest.fixture
def over(tmp_path):
    """``over(3, program)`` runs a program on three ranks; it must end in time, and well unless ``fails``."""
    pytest.importorskip("mpi4py")
    if mpiexec() is None:
        pytest.skip("there is no mpiexec; pip install mpich brings one")

    def run(ranks: int, program: str, fails: bool = False, timeout: float = 100, **variables: str) -> Ended:
        script = tmp_path / "program.py"
        script.write_text(HEAD + textwrap.dedent(program), "utf-8")
        command = [mpiexec(), "-n", str(ranks), sys.executable, "-W", "error", str(script)]
        environment = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", **variables}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    return run
