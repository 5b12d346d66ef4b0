"""A class: every submission of a folder is graded, several at a time, into a folder of reports and an overview.

What is finished is on the disk, so that an interrupted grading goes on where it was.
"""

import contextlib
import hashlib
import json
import os
import re
import select
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import replacing
from ..folders import writable_folder
from ..jobs import outcomes
from . import jobs, overview, runners
from .formats import clean
from .grading import check_options, find_assignment
from .submission import DEPTH, ENTRIES, gradable, plain_stem, some

ENDINGS = {"text": "txt", "markdown": "md", "junit": "xml"}  # all others are JSON
TRIES = 2


@dataclass
class Entry:
    """A submission of the class: ``name`` is that of its file or folder, ``safe`` one that any system can store."""

    path: Path
    name: str
    safe: str
    tries: int = 0
    record: dict[str, Any] = field(default_factory=dict)


def submissions_in(folder: Path) -> list[Path]:
    """What a class handed in: the visible folders, scripts, notebooks and archives of this folder, in order."""
    entries = sorted(os.scandir(folder), key=lambda e: e.name)
    return [Path(e.path) for e in entries if not e.name.startswith(".") and e.name != "__MACOSX"
            and (gradable(e.name) or e.is_symlink() or e.is_dir(follow_symlinks=False))]  # fmt: skip


def others_in(folder: Path) -> list[str]:
    """The visible files of this folder that are no submissions: a list of names, or an archive not read here."""
    taken = {path.name for path in submissions_in(folder)} | {"__MACOSX"}
    return sorted(e.name for e in os.scandir(folder) if not e.name.startswith(".") and e.name not in taken)


def is_class(folder: str | os.PathLike, name: str) -> bool:
    """Whether this folder holds several submissions, in folders or archives, and no file that could be one."""
    if not os.path.isdir(folder) or os.path.islink(folder):
        return False
    found = submissions_in(Path(folder))
    files = [p for p in found if not p.is_dir() and not p.name.lower().endswith(".zip")]
    return not files and len(found) >= 2 and not any(plain_stem(p.name) == name for p in found)


def grade_class(
    folder: str | os.PathLike,
    assignment: str,
    out: str | os.PathLike | None = None,
    *,
    at_once: int | None = None,
    executor: Executor | None = None,
    format: str = "text",
    again: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Grade every submission of a folder, print a line as each ends, and write reports and an overview.

    out: the folder for ``reports/NAME.txt`` (or as ``format`` says), ``records/NAME.json``, ``grades.csv`` and
    ``index.html`` (default: the folder's name with ``-grades``). at_once: how many are graded at the same
    time (default: one per processor). executor: where to grade instead, on machines that reach the folder by the same
    path. again: grade also what an earlier call has graded with the same options; else that is kept. options: those of
    `grade`.

    Returns a record for each, in order. Raises ValueError or OSError for arguments that do not fit; a submission that
    the machine could not grade has a record without a score.
    """
    top = Path(folder)
    chosen = find_assignment(folder, assignment)
    defaults: dict[str, Any] = {
        "timeout": 30.0,
        "total": 540.0,
        "memory": 512,
        "seed": 0,
        "user": None,
        "visibility": "visible",
    }
    check_options(**{name: options.get(name, value) for name, value in defaults.items()})
    runners.check(options.get("runner"))
    if at_once is None:
        at_once = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if executor is not None and options.get("user") is not None:
        raise ValueError(
            f"grade: got user={options['user']!r} with an executor; submissions that run at the same time need a user "
            "each, and other machines have others: leave one of the two out"
        )
    if at_once < 1:
        raise ValueError(f"grade: got jobs={at_once}; expected at least 1")
    entries = [Entry(path, path.name, safe_name(path.name)) for path in submissions_in(top)]
    if not entries:
        raise ValueError(f"grade: got {top}, which holds no submissions; expected a folder, script or archive for each")
    if others := others_in(top):
        print(f"not graded, as they are no folder, script, notebook or zip archive: {clean(some(others))}", flush=True)
    target = writable_folder(out if out is not None else f"{os.path.normpath(top)}-grades", "grade")
    for part in ("reports", "records"):
        writable_folder(target / part, "grade")
    order = {"assignment": chosen.name, "format": format, "options": options, "version": __version__}
    for entry in entries:
        if not again:
            entry.record = kept(target, entry, order)
    waiting = [entry for entry in entries if not entry.record]
    count = len(entries) - len(waiting)
    if count:
        print(
            f"{count} of {len(entries)} submissions are graded already, and kept; --again grades them anew", flush=True
        )
    try:
        graded = work(waiting, min(at_once, len(waiting)), target, order)
        for entry in graded if executor is None else elsewhere(waiting, executor, target, order):
            count += 1
            print(f"{count:>{len(str(len(entries)))}}/{len(entries)}  {overview.line(entry.record)}", flush=True)
    finally:
        records = [entry.record for entry in entries if entry.record]
        if records:
            overview.write(target, chosen, records, len(entries))
    print(f"\n{overview.summary(records, len(entries))} Written to {target}/index.html and grades.csv")
    return records


def work(waiting: list[Entry], count: int, target: Path, order: dict[str, Any]) -> Iterator[Entry]:
    """Let ``count`` processes grade these; yields each entry as its record is there.

    Other runners than the hardened one grade them from here, one after the other.
    """
    runner = runners.check(order["options"].get("runner"))
    if runner != "hardened":
        with runners.start(runner) as only:
            for entry in waiting:
                name = report_of(entry, order)
                graded = jobs.grade_one(entry.path, target / name, order, only)
                entry.record = {"name": clean(entry.name), "report": name, **graded}
                keep(target, entry, order)
                yield entry
        return
    queue = list(waiting)
    busy: dict[Any, tuple[jobs.Job, Entry]] = {}
    free = [jobs.start(user) for user in jobs.users(order["options"].get("user"), count)]
    try:
        while queue or busy:
            while queue and free:
                job, entry = free.pop(), queue.pop(0)
                busy[job.control] = job, entry
                report = target / report_of(entry, order)
                jobs.assign(job, entry.path, report, order["assignment"], order["format"], order["options"])
            patience = min(job.until for job, _ in busy.values()) - time.monotonic()
            ready = select.select(list(busy), [], [], max(0.0, patience))[0]
            for control in ready or [c for c, (job, _) in busy.items() if job.until <= time.monotonic()]:
                job, entry = busy[control]
                reply = jobs.hear(job)
                if reply is None and time.monotonic() < job.until:
                    continue  # a part of it
                del busy[control]
                if reply:
                    free.append(job)
                else:  # it was ended, or it hangs: by a submission, or for lack of memory
                    jobs.stop(job, now=True)
                    free.append(jobs.start(job.user))
                    entry.tries += 1
                    if entry.tries < TRIES:
                        queue.insert(0, entry)
                        continue
                    reply = {"cannot": "what graded it was ended, twice: by the submission, or for lack of memory"}
                entry.record = {"name": clean(entry.name), "report": report_of(entry, order), **reply}
                keep(target, entry, order)
                yield entry
    finally:
        for job in [*free, *(job for job, _ in busy.values())]:
            jobs.stop(job, now=job not in free)


def elsewhere(waiting: list[Entry], executor: Executor, target: Path, order: dict[str, Any]) -> Iterator[Entry]:
    """Let an executor's processes grade these; yields each entry as its record is there."""
    tasks = [(os.path.abspath(entry.path), entry.name, entry.safe, order) for entry in waiting]
    for number, outcome in outcomes(grade_alone, tasks, executor):
        entry = waiting[number]
        if isinstance(outcome, BaseException):
            entry.record = {"name": clean(entry.name), "cannot": clean(f"{outcome or type(outcome).__name__}")[:1000]}
        else:
            entry.record, report = outcome
            if report is not None:
                with replacing(target / entry.record["report"]) as temporary:
                    temporary.write_bytes(report)
        keep(target, entry, order)
        yield entry


def grade_alone(task: tuple[str, str, str, dict[str, Any]]) -> tuple[dict[str, Any], bytes | None]:
    """The record and the report of one submission, graded in a process that ends with it, wherever this runs."""
    path, name, safe, order = task
    with tempfile.TemporaryDirectory() as folder:
        for part in ("reports", "records"):
            Path(folder, part).mkdir()
        (entry,) = work([Entry(Path(path), name, safe)], 1, Path(folder), order)
        report = Path(folder, entry.record["report"])
        return entry.record, report.read_bytes() if report.exists() else None


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────────


def safe_name(name: str) -> str:
    """A file name for the reports of a submission of this name, different for different ones."""
    safe = re.sub(r"[^\w.()-]+", "_", name, flags=re.ASCII)[:80].strip(".")
    return safe if safe == name else f"{safe}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def report_of(entry: Entry, order: dict[str, Any]) -> str:
    """Where a submission's report lies, relative to the folder of results."""
    return f"reports/{entry.safe}.{ENDINGS.get(order['format'], 'json')}"


def key(entry: Entry, order: dict[str, Any]) -> str:
    """What a record depends on: the files' names, sizes and times, and how they are graded."""
    text = json.dumps([stamps(entry.path), order], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def stamps(path: Path, depth: int = 0) -> list[Any]:
    """Names, sizes and times of what is there, as deep as it is looked at; links are not followed."""
    with contextlib.suppress(OSError):
        about = os.lstat(path)
        if not stat.S_ISDIR(about.st_mode):
            return [about.st_size, about.st_mtime_ns]
        if depth < DEPTH:
            inside = sorted(os.scandir(path), key=lambda e: e.name)[:ENTRIES]
            return [[os.fsencode(e.name).hex(), stamps(Path(e.path), depth + 1)] for e in inside]
    return []


def keep(target: Path, entry: Entry, order: dict[str, Any]) -> None:
    """Store a record, unless the machine could not grade: the next call tries that again."""
    if "cannot" not in entry.record:
        with replacing(target / "records" / f"{entry.safe}.json") as temporary:
            text = json.dumps(entry.record | {"key": key(entry, order)}, indent=1, allow_nan=False)
            temporary.write_text(text, encoding="utf-8")


def kept(target: Path, entry: Entry, order: dict[str, Any]) -> dict[str, Any]:
    """The record of an earlier call for the same files and options, or {}."""
    try:
        record = json.loads((target / "records" / f"{entry.safe}.json").read_text(encoding="utf-8"))
        same = record.pop("key") == key(entry, order) and (target / record["report"]).exists()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return record if same else {}
