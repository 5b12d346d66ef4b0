"""Where jobs run, by name: processes on this machine, the ranks of MPI, a Dask cluster, or Slurm.

Each is a ``concurrent.futures.Executor``, which is all that those who use it know. The engines are not ours, and are
installed with the extras ``mpi``, ``dask`` and ``slurm``.
"""

import asyncio
import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path
from typing import Any

from .arguments import one_of
from .jobs import Processes
from .threads import available_cores

KINDS = "processes", "mpi", "dask://HOST:PORT", "slurm"
PATIENCE = 10.0  # seconds until an address that does not answer is given up, and until a cluster has a worker
ASK_SLURM = 0.5  # seconds from one look at what has been submitted to the next

MPI_COMMAND = "mpiexec -n 4 python -m mpi4py.futures -m minires … --executor mpi"


@contextlib.contextmanager
def opened(name: str = "processes", workers: int | None = None, folder: Path | str = ".") -> Iterator[Executor]:
    """An executor, open inside the block.

    name: "processes" on this machine, as many as ``workers`` (default: one per core), each with one thread; "mpi", the
    other ranks of a program started as `MPI_COMMAND` (if it has a single rank: one process); "dask://HOST:PORT" (tcp://
    and tls:// too), the scheduler's workers; "slurm" or "slurm:partition=gpu,timeout_min=60", a Slurm job for each,
    with submitit's settings, whose scripts and logs lie in ``folder``; "slurm:cluster=local" runs the same scripts on
    this machine, without Slurm.

    Raises ValueError for another name, ImportError, which says what to install, for an engine that is not, and
    RuntimeError for one that does not answer or has no workers.
    """
    scheme, _, rest = name.partition(":")
    if scheme != "processes" and workers is not None:
        raise ValueError(f"executor: got {workers} workers for {name!r}, which decides that itself; leave them out")
    if name == "processes":
        if workers is not None and workers < 1:
            raise ValueError(f"executor: got {workers} workers; expected at least 1")
        with Processes(workers or available_cores()) as processes:
            yield processes
    elif name == "mpi":
        with _mpi() as executor:
            yield executor
    elif scheme in ("dask", "tcp", "tls") and rest.startswith("//"):
        with _dask(f"{'tcp' if scheme == 'dask' else scheme}:{rest}") as executor:
            yield executor
    elif scheme == "slurm":
        with Submitit(Path(folder), _settings(name, rest)) as executor:
            yield executor
    else:
        raise ValueError(f"executor: got {name!r}; {one_of(name, KINDS)}")


def _missing(engine: str, extra: str) -> ImportError:
    return ImportError(
        f"executor: {engine} is not installed; python -m pip install -e '.[{extra}]', in the folder of the repository"
    )


# ── MPI ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _mpi() -> Iterator[Executor]:
    try:
        from mpi4py import MPI
        from mpi4py.futures import MPIPoolExecutor, _core
    except ImportError as error:
        raise _missing("mpi4py", "mpi") from error
    if MPI.COMM_WORLD.Get_size() == 1:
        print(f"mpi: a single rank, so one job at a time; for more: {MPI_COMMAND}", file=sys.stderr)
        with Processes(1) as processes:
            yield processes
        return
    if _core.SharedPool is None:  # every rank runs the whole program
        if MPI.COMM_WORLD.Get_rank():
            raise SystemExit(1)
        raise RuntimeError(f"executor: got mpi without mpi4py.futures, so that no rank waits for work: {MPI_COMMAND}")
    with MPIPoolExecutor() as executor:
        yield executor


# ── Dask ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client, Security
        from distributed.comm import connect
    except ImportError as error:
        raise _missing("dask", "dask") from error

    async def greet() -> None:  # Client itself waits for ever where something listens that is no scheduler
        options = Security().get_connection_args("client")
        comm = await asyncio.wait_for(connect(address, PATIENCE, **options), PATIENCE)
        await comm.close()

    try:
        asyncio.run(greet())
    except Exception as error:
        raise RuntimeError(
            f"executor: no Dask scheduler answers at {address} within {PATIENCE:g} s ({str(error) or 'silence'}); "
            "start one with `dask scheduler`, and take the address that it prints"
        ) from None
    with Client(address, timeout=PATIENCE, set_as_default=False) as client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise RuntimeError(
                f"executor: the Dask scheduler at {address} has no worker after {PATIENCE:g} s; start some with "
                f"`dask worker {address}`"
            ) from None
        yield client.get_executor(pure=False)  # else it runs equal calls once


# ── Slurm ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _settings(name: str, text: str) -> dict[str, Any]:
    """{"partition": "gpu", "timeout_min": 60} of "partition=gpu,timeout_min=60"."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise ValueError(f"executor: got {name!r}; expected slurm:NAME=VALUE,…, such as slurm:timeout_min=60")
        found[key] = int(value) if value.isdecimal() else value
    return found


class Submitit(Executor):
    """submitit's executor as one of ``concurrent.futures``: what was submitted at a time is an array of Slurm's.

    settings: of ``submitit.AutoExecutor.update_parameters``; "cluster" is its constructor's. A thread looks for what
    has been submitted, and for what has ended. Leaving the block cancels the rest.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        try:
            import submitit
        except ImportError as error:
            raise _missing("submitit", "slurm") from error
        cluster = settings.pop("cluster", "slurm")
        try:
            self._executor = submitit.AutoExecutor(folder / "slurm", cluster=cluster)
            self._executor.update_parameters(**{"name": "minires", "timeout_min": 60, "cpus_per_task": 1} | settings)
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise RuntimeError(f"executor: submitit cannot use {cluster!r} with these settings here: {error}") from None
        self._futures: list[Future] = []  # all that were submitted
        self._new: deque[tuple[Future, Any]] = deque()
        self._jobs: dict[Future, Any] = {}
        self._open = True
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future:
        """As every executor's."""
        future: Future = Future()
        self._futures.append(future)
        self._new.append((future, (function, args, options)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As every executor's; without ``wait``, or with ``cancel_futures``, jobs that run are cancelled too."""
        while wait and not cancel_futures and not all(f.done() for f in self._futures) and self._watch.is_alive():
            time.sleep(ASK_SLURM)
        self._open = False
        self._watch.join()
        for future, _ in self._new:
            future.cancel()
        for future, job in self._jobs.items():
            job.cancel()
            future.set_exception(CancelledError())
        self._new.clear()
        self._jobs.clear()

    def __exit__(self, *error: Any) -> None:
        self.shutdown(cancel_futures=True)

    def _look(self) -> None:
        while self._open:
            time.sleep(ASK_SLURM)
            new = [self._new.popleft() for _ in range(len(self._new))]
            if begun := [(future, call) for future, call in new if future.set_running_or_notify_cancel()]:
                try:
                    with self._executor.batch():
                        jobs = [self._executor.submit(call[0], *call[1], **call[2]) for _, call in begun]
                except Exception as error:  # of sbatch: it belongs to those who wait
                    for future, _ in begun:
                        future.set_exception(error)
                else:
                    self._jobs |= {future: job for (future, _), job in zip(begun, jobs)}
            for future, job in list(self._jobs.items()):
                try:
                    if not job.done():
                        continue
                    future.set_result(job.result())
                except Exception as error:  # the job's, or one of asking for it
                    future.set_exception(error)
                del self._jobs[future]
