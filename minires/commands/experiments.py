"""``minires experiments``: the literature's experiments, listed, or one of them as a sweep over seeds and settings."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..progress import tqdm
from ..terminal import fitted, wrapped

ERRORS = 3  # of failed jobs, so many are printed; all are in the files


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    parser = commands.add_parser(
        "experiments",
        help="run the literature's experiments, as sweeps over seeds, depths and variants",
        description="Without NAME: list the literature's experiments on plain and residual networks, each with the "
        "paper it is from and the criterion for its numbers. With NAME: measure one on several seeds, as independent "
        "jobs, and write a table and a figure. What is done is kept: the same command goes on where it was stopped, "
        "also on another machine over the same folder.",
        epilog="The exit code is 0 if all jobs are done, 1 if some failed, 130 for Ctrl-C.\n\n"
        "examples:\n"
        "  minires experiments\n"
        "  minires experiments effective-length --seeds 3\n"
        "  minires experiments degradation --data digits --depths 8,20,56 --set steps=200\n"
        "  mpiexec -n 4 python -m mpi4py.futures -m minires experiments degradation --executor mpi\n"
        "  minires experiments degradation --executor dask://scheduler:8786\n"
        "  minires experiments degradation --executor slurm:partition=cpu,timeout_min=30\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the experiment (default: list all)")
    what = parser.add_argument_group("what")
    what.add_argument("--seeds", type=int, default=5, metavar="N", help="on how many seeds (default 5)")
    what.add_argument("--seed", type=int, default=0, metavar="N", help="the first of them (default 0)")
    what.add_argument("--depths", type=_numbers, default=(), metavar="N,N,…", help="default: the experiment's own")
    what.add_argument("--variants", type=_names, default=(), metavar="NAME,…", help="default: the experiment's own")
    what.add_argument(
        "--data",
        metavar="NAME",
        help="of those that train: c8 (CIFAR-10 at 8×8) or digits; default: the first one listed",
    )
    what.add_argument("--download", action="store_true", help="download CIFAR-10 if it is not there")
    what.add_argument("--set", action="append", default=[], type=_setting, metavar="NAME=VALUE", dest="options",
                      help="another setting of the experiment; may be repeated")  # fmt: skip
    how = parser.add_argument_group("how")
    how.add_argument("--executor", default="processes", metavar="WHERE",
                     help="processes on this machine (default); mpi; dask://HOST:PORT; slurm[:NAME=VALUE]")  # fmt: skip
    how.add_argument("--workers", type=int, metavar="N", help="how many processes (default: one for each core)")
    how.add_argument("--out", metavar="DIR", help="folder to write to (default minires-experiments/NAME)")
    how.add_argument("--quiet", action="store_true", help="no progress bar")


def run(name: str | None, **options: Any) -> int:
    """List the experiments, or run one; returns the exit code."""
    from ..experiments import registry  # only when needed

    if name is None:
        print("\n\n".join(about(experiment) for experiment in registry.LIST))
        print("\nmeasure one: minires experiments NAME")
        return 0
    return sweep(registry.named(name), **options)


def about(experiment: Any) -> str:
    """What there is to know of an experiment, in a few lines."""
    from ..experiments.table import criterion

    holds = "; ".join(f"{name}: {criterion(bounds)}" for name, bounds in experiment.bounds.items())
    settings = {
        "--variants": ",".join(experiment.variants),
        "--depths": ",".join(map(str, experiment.depths)),
        "--data": "|".join(experiment.data),
        "--set": " ".join(f"{name}={value}" for name, value in experiment.options.items()),
    }
    lines = [f"{experiment.statement}.", f"{experiment.source}.", f"Criterion: {holds}."]
    if experiment.missed:
        lines.append(f"Missed here: {'; '.join(experiment.missed)}.")
    if experiment.second:
        but = f", but for {'; '.join(experiment.fails)}" if experiment.fails else ""
        lines.append(f"Holds also at {experiment.second_setting}{but}.")
    lines.append("  ".join(f"{option} {values}" for option, values in settings.items() if values))
    return "\n".join([experiment.name, *(wrapped(line, "  ", "    ") for line in lines if line)])


def sweep(
    experiment: Any,
    *,
    seeds: int,
    seed: int,
    depths: Sequence[int],
    variants: Sequence[str],
    data: str | None,
    download: bool,
    options: Sequence[tuple[str, str]],
    executor: str,
    workers: int | None,
    out: str | None,
    quiet: bool,
) -> int:
    """Run the jobs that are not done yet, write the files, and say what came of it."""
    from .. import executors
    from ..experiments import sweep as sweeps, table, training
    from ..experiments.sweep import Sweep

    if seeds < 1 or seed < 0:
        raise ValueError(f"experiments: got seeds={seeds} from seed={seed}; expected at least 1, from at least 0")
    chosen = Sweep(experiment, range(seed, seed + seeds), variants, depths, data, _values(experiment, options))
    chosen.check()
    folder = Path(out or f"minires-experiments/{experiment.name}")
    replaced = table.check_folder(folder, chosen)
    if experiment.data:
        training.dataset(chosen.data or experiment.data[0], download=download)  # before anything begins
    with executors.opened(executor, workers, folder) as opened, _bar(quiet) as progress:
        result = sweeps.run(chosen, folder, opened, progress=progress)
    table.write(folder, result)
    print(f"\n{fitted(table.page(result))}\n")
    for job, error in list(result.failed.items())[:ERRORS]:
        print(f"minires: failed: {job.command}\n  {error}", file=sys.stderr)
    if result.failed:
        print(f"minires: {len(result.failed)} of {result.count} jobs failed; all are in {folder / 'sweep.md'}, "
              "and are tried again by the same command", file=sys.stderr)  # fmt: skip
    if replaced:
        print(f"The table replaces that of another sweep, whose results are kept: {replaced}")
    shown = table.FILES[0] if result.done else "sweep.md"
    kept = f", {result.kept} of them kept from before" if result.kept else ""
    print(f"{len(result.done)} of {result.count} jobs are done{kept}. Open {folder / shown}")
    if result.ended:
        print(f"minires: {result.ended}; the same command goes on from here", file=sys.stderr)
        return 130 if result.ended == "interrupted" else 1
    return 1 if result.failed else 0


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[Any, int], None]]:
    """A progress bar over jobs."""
    with contextlib.ExitStack() as shown:
        bar: Any = None

        def progress(result: Any, count: int) -> None:
            nonlocal bar
            ended = len(result.done) + len(result.failed)
            if bar is None:  # at the start, when it is known what is kept
                bar = shown.enter_context(tqdm(total=count, initial=ended, disable=quiet, unit="job"))
            if result.failed:
                bar.set_postfix_str(f"{len(result.failed)} failed", refresh=False)
            bar.update(ended - bar.n)

        yield progress


def _values(experiment: Any, options: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The settings with values of the type that their defaults have."""
    found: dict[str, Any] = {}
    for name, text in options:
        default = experiment.options.get(name, text)
        kind = type(default) if isinstance(default, int | float | str) and not isinstance(default, bool) else None
        try:
            found[name] = kind(text) if kind else None
        except ValueError:
            found[name] = None
        if found[name] is None:
            wanted = f"a value such as {default!r}" if kind else "none: it cannot be set here"
            raise ValueError(f"experiments: {experiment.name}: got --set {name}={text}; expected {wanted}")
    return found


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    if not all(part.isdecimal() for part in _names(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not whole numbers with commas between, such as 8,20,56")
    return tuple(int(part) for part in _names(text))


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
