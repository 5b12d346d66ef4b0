"""The results of a sweep as a table, in JSON, CSV and Markdown, and how its numbers are written."""

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..csv_files import write_csv
from ..files import replacing
from . import figure
from .experiment import Bounds
from .sweep import Result, Sweep, plain

FILES = "sweep.png", "sweep.md", "sweep.csv", "sweep.json"


def write(folder: Path, result: Result) -> None:
    """Write `FILES` into the folder: all of them, or none."""
    with ExitStack() as whole:
        path = {name: whole.enter_context(replacing(folder / name)) for name in FILES}
        figure.draw(path["sweep.png"], result)
        path["sweep.md"].write_text(page(result) + "\n", encoding="utf-8")
        whats = list(dict.fromkeys(what for done in result.done.values() for what in done.numbers))
        rows = (
            [job.cell.variant or "", "" if job.cell.depth is None else job.cell.depth, job.seed, f"{done.seconds:.3f}"]
            + [repr(done.numbers[what]) if what in done.numbers else "" for what in whats]
            for job in result.jobs
            if (done := result.done.get(job))
        )
        write_csv(path["sweep.csv"], ["variant", "depth", "seed", "seconds", *whats], rows)
        text = json.dumps(document(result), indent=1, ensure_ascii=False, allow_nan=False)
        path["sweep.json"].write_text(text + "\n", encoding="utf-8")


def check_folder(folder: Path, sweep: Sweep) -> str:
    """The command of another sweep of this experiment whose table lies in the folder; "" if there is none.

    Raises ValueError if the folder holds the results of another experiment, or a sweep.json that is none of ours.
    """
    try:
        before = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["settings"]
        name, told = before["experiment"], before["command"]
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError, OSError):
        raise ValueError(
            f"experiments: {folder / 'sweep.json'} is not the table of a sweep; choose another folder with --out"
        ) from None
    if name != sweep.experiment.name:
        raise ValueError(
            f"experiments: {folder} holds the results of {name!r}, not of {sweep.experiment.name!r}; choose another "
            "folder with --out"
        )
    return "" if before == settings(sweep) else str(told)


def settings(sweep: Sweep) -> dict[str, Any]:
    """What was asked for, as plain values, with the experiment's own filled in."""
    own = sweep.experiment
    return {
        "experiment": own.name,
        "seeds": list(sweep.seeds),
        "variants": list(sweep.variants or own.variants),
        "depths": list(sweep.depths or own.depths),
        "data": sweep.data or next(iter(own.data), None),
        "options": own.options | dict(sweep.options),
        "command": command(sweep),
    }


def document(result: Result) -> dict[str, Any]:
    """Everything, as plain values."""
    own, found = result.sweep.experiment, result.found()
    return {
        "version": __version__,
        "statement": own.statement,
        "source": own.source,
        "settings": settings(result.sweep),
        "jobs": [
            {"variant": job.cell.variant, "depth": job.cell.depth, "seed": job.seed, "key": job.key}
            | {"numbers": {what: plain(n) for what, n in done.numbers.items()}}
            | {"seconds": round(done.seconds, 3), "where": done.where}
            for job in result.jobs
            if (done := result.done.get(job))
        ],
        "over_seeds": {name: [plain(n) for n in numbers] for name, numbers in found.items()},
        "criterion": {
            name: {"above": _finite(low), "below": _finite(high), "mean": plain(mean), "holds": holds}
            for name, (low, high), mean, holds in own.verdicts(found)
        },
        "second": result.second
        and {
            "options": dict(own.second),
            "over_seeds": {n: [*map(plain, v)] for n, v in result.second.found().items()},
        },
        "failed": [{"seed": job.seed, "command": job.command, "error": text} for job, text in result.failed.items()],
        "ended": result.ended,
    }


def page(result: Result) -> str:
    """The Markdown page."""
    own, found, sweep = result.sweep.experiment, result.found(), result.sweep
    rows = [[name, _mean(numbers), _range(numbers), str(len(numbers))] for name, numbers in found.items()]
    parts = [f"# {own.name}", f"{own.statement}.\n{own.source}."]
    parts.append(markdown(["number", "mean over seeds", "range", "seeds"], rows) if rows else "No job is done.")
    if verdicts := list(own.verdicts(found)):
        table = [[name, criterion(bounds), verdict(found[name], bounds)] for name, bounds, *_ in verdicts]
        header = ["criterion, for the mean", "", "holds, in seeds"]
        if also := at_second_setting(result):
            header, table = [*header, f"at {own.second_setting}"], [[*row, also.get(row[0], "")] for row in table]
        parts.append(markdown(header, table))
        if not sweep.as_declared:
            parts.append("It was made for the experiment's own settings and data, not for these.")
    if absent := [name for name in own.bounds if name not in found]:
        parts.append(f"Criteria for numbers that were not measured here: {'; '.join(absent)}.")
    if own.remark and sweep.as_declared:
        parts.append(own.remark)
    if result.failed:
        parts.append("Failed:\n\n" + "\n".join(f"- `{job.command}`\n  {e}" for job, e in result.failed.items()))
    seconds = sum(done.seconds for done in result.done.values())
    count = f"{len(result.done)} of {result.count} jobs, {seconds:.0f} s of work"
    where = f", {_where(result)}" if result.done else ""
    parts.append(f"{count}; minires {__version__}{where}.\nCommand: `{command(sweep)}`")
    return "\n\n".join(parts)


def command(sweep: Sweep) -> str:
    """The command that runs a sweep."""
    parts = ["minires", "experiments", sweep.experiment.name]
    seeds = list(sweep.seeds)
    parts += ["--seed", str(seeds[0])] if seeds[0] else []
    parts += ["--seeds", str(len(seeds))]
    parts += ["--variants", ",".join(sweep.variants)] if sweep.variants else []
    parts += ["--depths", ",".join(map(str, sweep.depths))] if sweep.depths else []
    parts += ["--data", sweep.data] if sweep.data else []
    for name, value in sweep.options.items():
        parts += ["--set", f"{name}={value}"]
    return shlex.join(parts)


# ── how numbers are written ─────────────────────────────────────────────────────────────────────────────────────────


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def number(value: float) -> str:
    """Three digits, and a minus sign."""
    return f"{value:.3g}".replace("-", "−")


def spread(values: Sequence[float]) -> str:
    """The mean, and the range in parentheses."""
    return f"{_mean(values)} ({_range(values)})"


def criterion(bounds: Bounds) -> str:
    """``< 0.5``, ``> 0.5`` or ``0.4 … 0.6``."""
    low, high = bounds
    if math.isinf(low):
        return f"< {number(high)}"
    return f"> {number(low)}" if math.isinf(high) else f"{number(low)} … {number(high)}"


def verdict(values: Sequence[float], bounds: Bounds) -> str:
    """Whether the mean lies between the bounds, and in how many seeds the number does."""
    low, high = bounds
    count = sum(low < value < high for value in values)
    return f"{'yes' if low < np.mean(values) < high else '**no**'}, {count}/{len(values)}"


def at_second_setting(result: Result) -> dict[str, str]:
    """What is said of each bound at the second setting: ``holds also: 0.71``."""
    first = {name: holds for name, _, _, holds in result.sweep.experiment.verdicts(result.found())}
    said = {True: "holds", False: "**does not hold**"}
    return {
        name: f"{said[holds]}{' also' if holds and first.get(name) else ''}: {number(mean)}"
        for name, (mean, holds) in result.also().items()
    }


def _mean(values: Sequence[float]) -> str:
    return number(float(np.mean(values)))


def _range(values: Sequence[float]) -> str:
    return f"{number(min(values))} … {number(max(values))}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _where(result: Result) -> str:
    """The hosts and versions that the results came from."""
    places: list[Mapping[str, str]] = [done.where for done in result.done.values()]
    hosts = len({place.get("host") for place in places})
    versions = ", ".join(
        f"{name} {' and '.join(sorted({place[key] for place in places if key in place}))}"
        for name, key in (("Python", "python"), ("NumPy", "numpy"))
    )
    return f"{hosts} host{'' if hosts == 1 else 's'}, {versions}"
