"""The same sweep on every engine gives the same bits: MPI's ranks, a Dask cluster and submitit's jobs, all real.

And what is said of an engine that is not installed, does not answer, or was started the wrong way.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import ENVIRONMENT

from minires import executors, jobs
from minires.experiments import sweep as sweeps
from minires.experiments.registry import EXPERIMENTS
from minires.experiments.sweep import Sweep

pytestmark = pytest.mark.usefixtures("collected")

SWEEP = Sweep(EXPERIMENTS["degradation"], range(2), ["plain", "residual"], [8], "digits", {"steps": 3})
FLAGS = "--seeds 2 --variants plain,residual --depths 8 --data digits --set steps=3 --quiet --out".split()
MINIRES = [sys.executable, "-m", "minires", "experiments", "degradation", *FLAGS]
MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))  # that of the mpich wheel, which is beside this Python


def run(command, timeout=150):
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False)


def numbers(folder):
    """{key: numbers} of what is kept in a folder, as the text that was written."""
    found = {path.stem: json.loads(path.read_text()) for path in (folder / "jobs").glob("*.json")}
    return {key: json.dumps(record["numbers"]) for key, record in found.items()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    with executors.opened("processes", 2) as opened:
        assert len(sweeps.run(SWEEP, folder, opened).done) == 4
    return numbers(folder)


def killed_after_the_first_job(command, folder, kill):
    """How a sweep ends of which something is killed when its first job is done: exit status, stdout, stderr."""
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        until = time.monotonic() + 60
        while time.monotonic() < until and not list(folder.glob("jobs/*.json")):
            time.sleep(0.05)
        kill(sweep)
        try:
            out, err = sweep.communicate(timeout=60)
        finally:
            sweep.kill()
    return sweep.returncode, out, err


@contextlib.contextmanager
def running(*command):
    """A program that runs in the background; its lines are read from stderr."""
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as it:
        try:
            yield it
        finally:
            it.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                it.communicate(timeout=10)
            it.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ── MPI ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_the_ranks_of_mpi_give_the_same_bits(expected, tmp_path):
    pytest.importorskip("mpi4py")
    ranks = [MPIEXEC if shutil.which(MPIEXEC) else "mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures"]
    done = run([*ranks, *MINIRES[1:], tmp_path, "--executor", "mpi"])
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == expected and "4 of 4 jobs are done" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="which process is which rank is read in /proc")
def test_when_a_rank_of_mpi_is_killed_all_end_and_the_sweep_goes_on_where_it_was(tmp_path):
    pytest.importorskip("mpi4py")

    def kill_rank_2(sweep):
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables, words = ((process / name).read_bytes().split(b"\0") for name in ("environ", "cmdline"))
                if b"PMI_RANK=2" in variables and os.fsencode(tmp_path) in words:
                    os.kill(int(process.name), signal.SIGKILL)

    ranks = [MPIEXEC if shutil.which(MPIEXEC) else "mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures"]
    command = [*ranks, *MINIRES[1:], tmp_path, "--executor", "mpi", "--seeds", "10", "--set", "steps=20"]
    assert killed_after_the_first_job(command, tmp_path, kill_rank_2)[0] != 0
    kept = len(numbers(tmp_path))
    assert 1 <= kept < 20
    done = run(command)
    assert f"20 of 20 jobs are done, {kept} of them kept from before" in done.stdout, done.stderr


@pytest.mark.slow
def test_mpi_that_was_started_the_wrong_way_is_told_the_right_one(expected, tmp_path):
    pytest.importorskip("mpi4py")
    done = run([*MINIRES, tmp_path / "one", "--executor", "mpi"])
    assert done.returncode == 0 and "mpi: a single rank, so one job at a time; for more: mpiexec -n 4" in done.stderr
    assert numbers(tmp_path / "one") == expected
    ranks = [MPIEXEC if shutil.which(MPIEXEC) else "mpiexec", "-n", "2"]
    done = run([*ranks, *MINIRES, tmp_path, "--executor", "mpi"])
    assert done.returncode and "mpiexec -n 4 python -m mpi4py.futures -m minires" in done.stderr
    assert not (tmp_path / "jobs").exists()


# ── Dask ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_dask_cluster_of_two_workers_gives_the_same_bits_and_what_is_wrong_with_one_is_told(expected, tmp_path):
    pytest.importorskip("distributed")
    address, dask = f"127.0.0.1:{free_port()}", [sys.executable, "-m", "dask"]
    flags = ["--executor", f"dask://{address}"]
    done = run([*MINIRES, tmp_path, *flags])
    assert done.returncode == 1 and f"no Dask scheduler answers at tcp://{address} within 10 s" in done.stderr
    host, port = address.split(":")
    with contextlib.ExitStack() as cluster:
        scheduler = cluster.enter_context(
            running(*dask, "scheduler", "--host", host, "--port", port, "--no-dashboard", "--no-show")
        )
        for number in range(2):
            command = ["worker", f"tcp://{address}", "--nthreads", "2", "--no-dashboard", "--no-nanny"]
            command += ["--local-directory", str(tmp_path / f"worker-{number}")]
            worker = cluster.enter_context(running(*dask, *command))
        done = run([*MINIRES, tmp_path, *flags])
        assert done.returncode == 0, done.stderr
        assert numbers(tmp_path) == expected and "4 of 4 jobs are done" in done.stdout
        several = [*MINIRES, tmp_path / "several", *flags, "--seeds", "8", "--set", "steps=20"]
        status, out, err = killed_after_the_first_job(several, tmp_path / "several", lambda sweep: worker.kill())
        assert status == 0 and "16 of 16 jobs are done" in out, err
        long = [*MINIRES, tmp_path / "long", *flags, "--seeds", "40", "--set", "steps=60"]
        status, out, err = killed_after_the_first_job(long, tmp_path / "long", lambda sweep: scheduler.kill())
    assert status == 1 and "has its scheduler gone?; the same command goes on from here" in err
    assert 1 <= len(numbers(tmp_path / "long")) < 80


@pytest.mark.slow
def test_a_dask_scheduler_without_workers_is_told(tmp_path):
    pytest.importorskip("distributed")
    address = f"127.0.0.1:{free_port()}"
    host, port = address.split(":")
    scheduler = [sys.executable, "-m", "dask", "scheduler", "--host", host, "--port", port, "--no-dashboard"]
    with running(*scheduler, "--no-show"):
        done = run([*MINIRES, tmp_path, "--executor", f"dask://{address}"])
    assert done.returncode == 1 and f"the Dask scheduler at tcp://{address} has no worker after 10 s" in done.stderr


@pytest.mark.slow
def test_what_listens_but_is_no_scheduler_is_told(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, and says nothing
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for wrong, said in ((address, "silence"), ("127.0.0.1", "missing port number")):
            with pytest.raises(RuntimeError, match=rf"no Dask scheduler answers at tcp://{wrong} within .*{said}"):
                with executors.opened(f"dask://{wrong}", folder=tmp_path):
                    pass


# ── submitit ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_jobs_of_submitit_give_the_same_bits(expected, tmp_path):
    pytest.importorskip("submitit")
    done = run([*MINIRES, tmp_path, "--executor", "slurm:cluster=local,timeout_min=5"])
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == expected and list((tmp_path / "slurm").glob("*.pkl"))


@pytest.mark.slow
def test_a_job_of_submitit_that_fails_stops_nobody(tmp_path):
    pytest.importorskip("submitit")
    with executors.opened("slurm:cluster=local", folder=tmp_path) as executor:
        found = dict(jobs.outcomes(eval, ["1 + 1", "1 / 0", "__import__('os')._exit(9)", "2 + 2"], executor))
    assert (found[0], found[3]) == (2, 4) and "ZeroDivisionError" in str(found[1])
    assert isinstance(found[2], Exception)


def test_what_submitit_cannot_do_here_is_told(tmp_path):
    pytest.importorskip("submitit")
    for name in ("slurm:cluster=elsewhere", "slurm:cluster=local,colour=green"):
        with pytest.raises(RuntimeError, match=r"submitit cannot use .* with these settings here"):
            with executors.opened(name, folder=tmp_path):
                pass


# ── all ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name, module, extra",
    [("mpi", "mpi4py", "mpi"), ("dask://localhost:1", "distributed", "dask"), ("slurm", "submitit", "slurm")],
)
def test_an_engine_that_is_not_installed_is_named_with_its_extra(name, module, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"is not installed; python -m pip install -e '.\[{extra}\]'"):
        with executors.opened(name, folder=tmp_path):
            pass
