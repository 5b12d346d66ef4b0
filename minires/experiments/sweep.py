"""A sweep: an experiment as independent jobs, a cell and a seed each, whose results are kept as they come.

A result is a small file, named after everything that it depends on: the settings, the version of minires and its
sources. A job whose file is there is not done again, so a sweep that was killed goes on where it was, also on another
machine over the same folder, and a larger sweep begins with what a smaller one has found.
"""

import functools
import hashlib
import json
import platform
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__, jobs, random
from ..files import replacing
from ..folders import writable_folder
from ..threads import get_num_threads, set_num_threads
from .experiment import Cell, Experiment, Found, Numbers
from .registry import named

NOT_SOURCES = "commands", "coursework", "experiments", "export", "testing"  # rooms that no measured number comes from


class Job(NamedTuple):
    """One cell at one seed. It is all that travels to where it is done; options: (name, value) pairs in order."""

    experiment: str
    seed: int
    cell: Cell
    data: str | None
    options: tuple[tuple[str, Any], ...]
    sources: str

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on, as plain values."""
        return self._asdict() | {"cell": list(self.cell), "options": dict(self.options), "version": __version__}

    @property
    def key(self) -> str:
        """The name of the result's file."""
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def command(self) -> str:
        """What does this job alone."""
        parts = ["minires", "experiments", self.experiment, "--seed", self.seed, "--seeds", 1]
        parts += ["--variants", self.cell.variant] if self.cell.variant is not None else []
        parts += ["--depths", self.cell.depth] if self.cell.depth is not None else []
        parts += ["--data", self.data] if self.data is not None else []
        for name, value in self.options:
            parts += ["--set", f"{name}={value}"]
        return shlex.join(map(str, parts))


class Done(NamedTuple):
    """What a job returns: its numbers, the seconds it took, and where it was done."""

    numbers: Numbers
    seconds: float
    where: dict[str, str]


@dataclass(frozen=True)
class Sweep:
    """Which jobs. Empty variants and depths, and no data, stand for the experiment's own."""

    experiment: Experiment
    seeds: Sequence[int] = range(5)
    variants: Sequence[str] = ()
    depths: Sequence[int] = ()
    data: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """All jobs, seed by seed. Raises ValueError for settings that the experiment does not have."""
        self.check()
        own = self.experiment
        data = self.data or next(iter(own.data), None)
        options = tuple(sorted((own.options | dict(self.options)).items()))
        code = sources(own.measure.__module__)
        cells = own.cells(self.variants, self.depths)
        return [Job(own.name, seed, cell, data, options, code) for seed in self.seeds for cell in cells]

    @property
    def as_declared(self) -> bool:
        """Whether data and settings are those that the experiment's criteria and remark are for."""
        own = self.experiment
        return own.options | dict(self.options) == own.options and self.data in (None, *own.data[:1])

    def second(self) -> "Sweep | None":
        """The same at the experiment's second setting, on two seeds; None if there is none, or settings are given."""
        second, asked = self.experiment.second, self.as_declared and not self.options
        return replace(self, seeds=self.seeds[:2], options=second) if second and asked else None

    def check(self) -> None:
        """Raise ValueError for settings that the experiment does not have, or that are too small for it."""
        own, problem = self.experiment, ""
        least = {"depth": 0} | dict.fromkeys(self.options, 1) | dict(own.least)
        whole = [*self.options.items(), *(("depth", depth) for depth in self.depths)]
        if unknown := [variant for variant in self.variants if variant not in own.variants]:
            problem = f"variants {', '.join(unknown)}; expected {_some_of(own.variants)}"
        elif self.depths and not own.depths:
            problem = "depths; it has a depth of its own"
        elif self.data and self.data not in own.data:
            problem = f"data {self.data}; expected {_some_of(own.data)}"
        elif unknown := [name for name in self.options if name not in own.options]:
            problem = f"settings {', '.join(unknown)}; expected {_some_of(own.options)}"
        elif small := [(name, value) for name, value in whole if isinstance(value, int) and value < least[name]]:
            name, value = small[0]
            problem = f"{name} {value}; expected at least {least[name]}"
        elif not self.seeds or min(self.seeds) < 0:
            problem = f"seeds {list(self.seeds)}; expected at least one, none of them below 0"
        for what, values in (("variants", self.variants), ("depths", self.depths)):
            if len(set(values)) < len(values):
                problem = f"{what} {', '.join(map(str, values))}, one of them twice"
        if problem:
            raise ValueError(f"experiments: {own.name}: got {problem}")


def _some_of(names: Any) -> str:
    return f"some of {', '.join(names)}" if names else "none, as it has none"


@dataclass
class Result:
    """What there is of a sweep: jobs that are done and that failed, how many were kept, and what ended it early.

    second: the part of it at the experiment's second setting; ``done`` and ``failed`` have the jobs of both.
    """

    sweep: Sweep
    jobs: list[Job]
    done: dict[Job, Done]
    failed: dict[Job, str] = field(default_factory=dict)
    kept: int = 0
    ended: str = ""  # "interrupted", or why the executor gave up
    second: "Result | None" = None

    @property
    def count(self) -> int:
        """How many jobs there are in all."""
        return len(self.jobs) + (len(self.second.jobs) if self.second else 0)

    def by_seed(self) -> dict[int, Found]:
        """The numbers of each seed of which a job is done, in order."""
        cells: dict[int, dict[Cell, Numbers]] = {}
        for job in self.jobs:
            if job in self.done:
                cells.setdefault(job.seed, {})[job.cell] = self.done[job].numbers
        return {seed: self.sweep.experiment.found(numbers) for seed, numbers in cells.items()}

    def found(self) -> dict[str, list[float]]:
        """{name: its numbers, of all seeds that have it, in order}."""
        found: dict[str, list[float]] = {}
        for numbers in self.by_seed().values():
            for name, number in numbers.items():
                found.setdefault(name, []).append(number)
        return found

    def also(self) -> dict[str, tuple[float, bool]]:
        """{bound: its number's mean at the second setting, and whether it holds there}."""
        if not self.second:
            return {}
        verdicts = self.sweep.experiment.verdicts(self.second.found())
        return {name: (mean, holds) for name, _, mean, holds in verdicts}


def run(
    sweep: Sweep, folder: str | Path, executor: Executor, *, progress: Callable[[Result, int], None] | None = None
) -> Result:
    """Do the jobs that have no result in ``folder`` yet, on any executor of processes, and return all results.

    progress: called with the result so far and the number of jobs, at the start and after each job. Ctrl-C ends the
    sweep, and so does an executor that gives up: ``ended`` says so, and all that is kept is returned. A job that fails
    stops nobody: it is told in ``failed``, and tried again by the next call.
    Raises ValueError for settings that the experiment does not have, and OSError for a folder that cannot be written.
    """
    own, second = sweep.jobs(), sweep.second()
    others = second.jobs() if second else []
    store = writable_folder(Path(folder) / "jobs", "experiments")
    kept = _kept(store, own + others)
    result = Result(sweep, own, kept, kept=len(kept))
    result.second = Result(second, others, result.done, result.failed) if second else None
    waiting = [job for job in own + others if job not in kept]
    waiting.sort(key=lambda job: -(job.cell.depth or 0))  # the longest first, else many workers wait for the last one
    tell = progress or (lambda result, count: None)
    try:
        tell(result, result.count)
        for number, outcome in jobs.outcomes(work, waiting, executor):
            job = waiting[number]
            if isinstance(outcome, Done):
                _keep(store, job, outcome)
                result.done[job] = outcome
            else:  # what went wrong, as `work` says it, or as the executor does
                result.failed[job] = outcome if isinstance(outcome, str) else _one_line(outcome)
            tell(result, result.count)
    except KeyboardInterrupt:
        result.ended = "interrupted"
        result.done |= _kept(store, waiting)  # one may have been kept just before it was to be counted
    except jobs.ExecutorGone as error:
        result.ended = str(error)
    failed = [(job, result.failed.pop(job)) for job in own + others if job in result.failed]
    result.failed.update(failed)  # in the order of the jobs, whichever ended first
    return result


# ── where the job is done ───────────────────────────────────────────────────────────────────────────────────────────

_alone = threading.Lock()  # a worker of Dask's has several threads, and a process has one generator of random numbers


def work(job: Job) -> Done | str:
    """Do a job, in one thread; its bits are the same wherever that is, on the same kind of processor.

    Returns what went wrong if it fails: not every exception can travel.
    """
    try:
        return _measure(job)
    except Exception as error:
        return _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:1000]


def _measure(job: Job) -> Done:
    experiment = named(job.experiment)
    here = sources(experiment.measure.__module__)
    if here != job.sources:
        raise RuntimeError(
            f"the sources of minires {__version__} on {platform.node()}, at {Path(__file__).parents[1]}, are not those "
            "of the program that asks; install the same there"
        )
    with _alone:
        threads, restore = get_num_threads(), random.restorer()
        started = time.perf_counter()
        try:
            set_num_threads(1)
            numbers = experiment.run(job.seed, job.cell, job.data, **dict(job.options))
        finally:
            set_num_threads(threads)
            restore()
    where = {"host": platform.node(), "python": platform.python_version(), "numpy": np.__version__}
    return Done(numbers, time.perf_counter() - started, where)


@functools.cache
def sources(module: str) -> str:
    """A digest of the package's code that can change a number which this module of experiments measures."""
    package = Path(__file__).parents[1]
    files = [
        path
        for path in package.rglob("*")
        if path.suffix in (".py", ".cu", ".cuh", ".npz") and path.relative_to(package).parts[0] not in NOT_SOURCES
    ]
    files += [Path(str(sys.modules[name].__file__)) for name in _imported(module, set())]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _imported(module: str, seen: set[str]) -> set[str]:
    """The module, and those beside it that it takes names from, and so on."""
    seen.add(module)
    for value in list(vars(sys.modules[module]).values()):
        name = getattr(value, "__module__", None) or getattr(value, "__name__", "")
        if isinstance(name, str) and name.startswith(__package__ or "") and name in sys.modules and name not in seen:
            _imported(name, seen)
    return seen


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────────


def _keep(store: Path, job: Job, done: Done) -> None:
    numbers = {what: plain(number) for what, number in done.numbers.items()}
    text = json.dumps(job.settings | done._asdict() | {"numbers": numbers}, indent=1, ensure_ascii=False)
    with replacing(store / f"{job.key}.json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _kept(store: Path, asked: list[Job]) -> dict[Job, Done]:
    """What has been kept of these jobs."""
    return {job: done for job in asked if (done := _load(store, job)) is not None}


def _load(store: Path, job: Job) -> Done | None:
    """What was kept of a job; None if there is nothing, or if that is damaged."""
    try:
        record = json.loads((store / f"{job.key}.json").read_text(encoding="utf-8"))
        numbers = {str(what): float(number) for what, number in record["numbers"].items()}
        return Done(numbers, float(record["seconds"]), dict(record["where"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def plain(number: float) -> float | str:
    """The number, as JSON can hold it: "nan" and "inf" are text, which ``float`` reads."""
    return number if np.isfinite(number) else str(float(number))
