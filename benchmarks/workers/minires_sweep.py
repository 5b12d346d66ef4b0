"""A sweep of 16 jobs, plain and residual networks of 20 layers for an epoch on the digits, by some workers."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from common import mpiexec

import minires as mr
from minires import executors
from minires.experiments import sweep, training
from minires.experiments.registry import EXPERIMENTS

STEPS = 22  # an epoch


def by_processes(chosen, folder, workers):
    """What processes take to start, and then for all jobs."""
    started = time.perf_counter()
    with executors.opened("processes", workers) as opened:
        list(opened.map(abs, range(workers)))
        ready = time.perf_counter()
        result = sweep.run(chosen, folder, opened)
        end = time.perf_counter()
    assert len(result.done) == result.count, result.failed
    work = sum(done.seconds for done in result.done.values())
    return {"ms": 1e3 * (end - ready), "start": 1e3 * (ready - started), "work": work}


def by_mpi(chosen, folder, workers):
    """What the whole command takes on MPI's ranks."""
    started = time.perf_counter()
    ranks = [mpiexec(), "-n", str(workers + 1), sys.executable, "-m", "mpi4py.futures", "-m", "minires"]
    what = f"--variants plain,residual --depths 20 --data digits --seeds {len(chosen.seeds)} --set steps={STEPS}"
    flags = ["experiments", "degradation", *what.split(), "--executor", "mpi", "--quiet", "--out", folder]
    subprocess.run([*ranks, *flags], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "sweep.json"), encoding="utf-8") as file:
        work = sum(job["seconds"] for job in json.load(file)["jobs"])
    return {"ms": 1e3 * (time.perf_counter() - started), "work": work}


def main():
    """Measure once, and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("executor", choices=["processes", "mpi"])
    parser.add_argument("workers", type=int)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seeds, steps = range(2 if options.quick else 8), {"steps": STEPS}
    chosen = sweep.Sweep(EXPERIMENTS["degradation"], seeds, ["plain", "residual"], [20], "digits", steps)
    training.dataset("digits")
    chosen.jobs()  # the command finds out about its sources while the workers start
    with tempfile.TemporaryDirectory() as folder:
        found = (by_processes if options.executor == "processes" else by_mpi)(chosen, folder, options.workers)
    print(json.dumps({**found, "threads": 1, "version": f"minires {mr.__version__}"}))


if __name__ == "__main__":
    main()
