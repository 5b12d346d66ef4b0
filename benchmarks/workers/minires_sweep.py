"""A sweep of 16 jobs, plain and residual networks of 20 layers for an epoch on the digits, by some workers."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import minires as mr
from minires import executors
from minires.experiments import sweep, training
from minires.experiments.registry import EXPERIMENTS

STEPS = 22  # an epoch


def by_processes(chosen, folder, workers):
    """Seconds of work in all jobs, done by processes."""
    with executors.opened("processes", workers) as opened:
        result = sweep.run(chosen, folder, opened)
    assert len(result.done) == len(result.jobs), result.failed
    return sum(done.seconds for done in result.done.values())


def by_mpi(chosen, folder, workers):
    """The same, by the whole command on MPI's ranks."""
    ranks = ["mpiexec", "-n", str(workers + 1), sys.executable, "-m", "mpi4py.futures", "-m", "minires"]
    what = f"--variants plain,residual --depths 20 --data digits --seeds {len(chosen.seeds)} --set steps={STEPS}"
    flags = ["experiments", "degradation", *what.split(), "--executor", "mpi", "--quiet", "--out", folder]
    subprocess.run([*ranks, *flags], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "sweep.json"), encoding="utf-8") as file:
        return sum(job["seconds"] for job in json.load(file)["jobs"])


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
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        work = (by_processes if options.executor == "processes" else by_mpi)(chosen, folder, options.workers)
        ms = 1e3 * (time.perf_counter() - started)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    print(json.dumps({"ms": ms, "work": work, "cpu": cpu, "threads": 1, "version": f"minires {mr.__version__}"}))


if __name__ == "__main__":
    main()
