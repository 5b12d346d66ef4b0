"""The page of the literature's statements: a sweep of every experiment in the registry, over five seeds."""

import platform
from typing import Any

import numpy as np

import minires
from minires import executors
from minires.experiments import sweep
from minires.experiments.registry import LIST
from minires.experiments.sweep import Result, Sweep
from minires.experiments.table import at_second_setting, criterion, document, spread, verdict
from minires.folders import cache_folder
from minires.progress import tqdm

from . import harness

COMMAND = "MINIRES_CACHE=<folder that holds cifar-10-batches-bin> python -m benchmarks science"


def measure(seeds: int) -> list[Result]:
    """What each experiment found. Results are kept in the cache, so that the page goes on where it was stopped."""
    results, folder = [], cache_folder() / "science"
    with executors.opened() as executor, tqdm(LIST, unit="experiment") as bar:
        for experiment in bar:
            bar.set_description(experiment.name)
            results.append(sweep.run(Sweep(experiment, range(seeds)), folder, executor))
            if results[-1].ended:
                raise RuntimeError(f"science: {experiment.name}: {results[-1].ended}")
    return results


def table(results: list[Result], seeds: int) -> str:
    """The Markdown page."""
    rows, beside, failed, remarks, missing = [], [], [], [], []
    for result in results:
        own, found = result.sweep.experiment, result.found()
        cells = [own.name, f"{own.statement}. {own.source}", own.pilot]
        also = at_second_setting(result)
        bounds = {what: limits for what, limits in own.bounds.items() if what in found or what in also}
        columns = [
            [f"{what}: {spread(found[what]) if what in found else 'not yet'}" for what in bounds],
            [criterion(limits) for limits in bounds.values()],
            [verdict(found[what], limits) if what in found else "" for what, limits in bounds.items()],
            [f"{own.second_setting}: {also[what]}" if what in also else "" for what in (bounds if also else ())],
        ]
        seconds = sum(done.seconds for done in result.done.values())
        rows.append([*cells, *("<br>".join(column) for column in columns), f"{seconds:.1f}"])
        points = f", {own.along} " if own.along not in ("depth", "step") else None  # of a curve, too many for a page
        shown = (what for what in found if what not in own.bounds and not (points and points in what))
        others = "; ".join(f"{what}: {spread(found[what])}" for what in shown)
        beside += [f"- {own.name}. {others}."] if others else []
        remarks += [f"- {own.name}. {own.remark}"] if own.remark else []
        missing += [f"{own.name} ({len(result.done)} of {result.count})"] if len(result.done) < result.count else []
        failed += [f"- `{job.command}`: {error}" for job, error in list(result.failed.items())[:1]]
    header = ["experiment", "statement", "pilot", "measured: mean (range)", "criterion for the mean"]
    header += ["holds, in seeds", "at a second setting: mean"]
    m = harness.machine()
    about = (
        f"Seeds 0–{seeds - 1}; those that train, on CIFAR-10 at 8×8 unless they say otherwise: 8,000 training images, "
        f"widths 8/16/32, batch 64. What is trained is tried once more at a second setting, on two seeds; what is "
        f"measured at initialisation has none. Each job in one thread; the last column is the seconds of all together. "
        f"{m['processor']}, {m['cores']} cores, shared with other programs; "
        f"Python {m['python']}, NumPy {np.__version__}, minires {minires.__version__}. Command: `{COMMAND}`."
    )
    sections = [harness.markdown([*header, "s"], rows), about, "Also measured:\n\n" + "\n".join(beside)]
    if missing:
        sections.insert(1, f"Jobs that are not done yet, which the same command goes on with: {', '.join(missing)}.")
    sections += ["Remarks:\n\n" + "\n".join(remarks)]
    return "\n\n".join([*sections, *(["Failed:\n\n" + "\n".join(failed)] if failed else [])])


def science(plan: harness.Plan) -> None:
    """The literature's statements about plain and residual networks on five seeds (an hour or two, with CIFAR-10)."""
    seeds = 1 if plan.quick else min(plan.rounds, 5)
    results = measure(seeds)
    about: dict[str, Any] = {"seeds": seeds, "numpy": np.__version__, "command": COMMAND, "system": platform.system()}
    rows = [{what: value for what, value in document(result).items() if what != "jobs"} for result in results]
    harness.save("science", plan, {**about, "rows": rows}, table(results, seeds))
