"""The files that ``minires compare`` writes, and its last words, which say what they are."""

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ... import flow
from ...csv_files import write_csv
from ...experiments.watched import Watched
from ...files import replacing
from . import report
from .measured import TAIL, Comparison
from .settings import Settings

Pairs = Sequence[tuple[Watched, Watched]]

COLUMNS = "gradient_norm", "weight_norm", "free_of_scale", "degrees_turned"  # of every layer, in compare.csv
FLOW = "depth", "width", "preact", "data", "root", "batch_size", "lr", "seed", "device"  # as of ``minires flow``
COMPARE = *FLOW, "epochs", "shortcut", "zero_init_residual", "dtype"


def complete(settings: Settings) -> dict[str, Any]:
    """All settings as plain values, with what the data set decided filled in."""
    plain = dataclasses.asdict(settings) | {"epochs": settings.passes, "networks": list(settings.names)}
    shortcut = settings.shortcut or (None if settings.networks else "A")
    return plain | {"shortcut": shortcut}


def last_words(measured: Comparison) -> list[str]:
    """What was written, and what to open and do next."""
    folder, settings = measured.settings["out"], measured.settings
    seeds, names = measured.seeds, list(measured.networks)
    words = [f"Written to {folder}/: {', '.join(files(measured))} ({measured.seconds:.0f} s)"]
    if measured.interrupted:
        words.append(f"Interrupted after {measured.steps} steps: the files hold what was measured until then.")
    if seeds < settings["seeds"]:
        words.append(f"{seeds} of {settings['seeds']} seeds were begun.")
    twins = {*names} == {"plain", "residual"}
    model = [] if twins else ["--model", [name for name in names if name != "plain"][-1]]
    figures = shlex.join(["minires", "flow", *model, *_flags(settings, FLOW)])
    more = shlex.join(["minires", "compare", *([] if twins else names), *_flags(settings, COMPARE), "--seeds", "3"])
    then = f"every figure: {figures}" + ("" if seeds > 1 else f"; what depends on the seed: {more}")
    page = " and, in a browser, explorer.html beside it" if settings["explorer"] else ""
    words.append(f"Open {Path(folder) / 'gradient-flow.png'}{page}. Then {then}")
    return words


def _flags(settings: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Those of the settings that were not the usual ones, as options of the command line."""
    usual, flags = complete(Settings(data=settings["data"])) | {"data": Settings.data}, []
    for name in names:
        value = settings[name]
        if value is not None and value != usual[name]:
            flags += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return flags


def write(folder: Path, measured: Comparison, pairs: Pairs) -> None:
    """Write gradient-flow.png, compare.csv, compare.json and explorer.html: all of them, or none."""
    with contextlib.ExitStack() as whole:
        path = {name: whole.enter_context(replacing(folder / name)) for name in files(measured)}
        draw(path["gradient-flow.png"], measured, pairs)
        rows = (
            [step, name, layer, *(f"{value:.8g}" for value in numbers), run.seed]
            for i, (name, network) in enumerate(measured.networks.items())
            for run, pair in zip(network.runs, pairs)
            for step, *measured in _by_step(pair[i].history)
            for layer, *numbers in zip(pair[i].history.layers, *measured)
        )
        write_csv(path["compare.csv"], ["step", "network", "layer", *COLUMNS, "seed"], rows)
        path["compare.json"].write_text(measured.to_json() + "\n", encoding="utf-8")
        if "explorer.html" in path:
            flow.explore_runs(_explorer(measured, pairs), path["explorer.html"], title=_title(measured))


def _by_step(history: flow.FlowHistory) -> Iterator[tuple]:
    """The step, and its `COLUMNS`, each with a number for every layer, nan where it was not measured."""
    norms, sizes = history.norms, history.weight_norms
    return zip(history.steps, norms, sizes, norms * sizes, history.turns)


def files(measured: Comparison) -> list[str]:
    """The names of the files, the first the one to look at."""
    pictures = ["gradient-flow.png", "explorer.html"] if measured.settings["explorer"] else ["gradient-flow.png"]
    return [*pictures, "compare.json", "compare.csv"]


def _explorer(measured: Comparison, pairs: Pairs) -> list[flow.Run]:
    """What the explorer shows: a run for each seed."""
    names, runs = list(measured.networks), []
    for k, pair in enumerate(pairs):
        of = dict(zip(names, pair))
        seed = {"seed": measured.settings["seed"] + k} if len(pairs) > 1 else {}
        accuracies = {
            name: {run.history.steps[-1]: run.test_accuracy} for name, run in of.items() if run.test_accuracy >= 0
        }
        histories, losses = ({name: getattr(run, what) for name, run in of.items()} for what in ("history", "losses"))
        runs.append(flow.Run(histories, seed, losses, accuracies))
    return runs


def _title(measured: Comparison) -> str:
    settings, (one, two) = measured.settings, measured.networks
    return f"{one}-{settings['depth']} and {two}-{settings['depth']}, width {settings['width']}, on {settings['data']}"


def draw(path: Path, measured: Comparison, pairs: Pairs) -> None:
    """Write the figure."""
    import matplotlib  # slow to import, and needed only here

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ...flow import plots

    names = list(measured.networks)
    start = "same weights at the start, one flag apart" if names == ["plain", "residual"] else "from the same seed"
    title = f"{_title(measured)}: {start}\n{report.headline(measured)}"
    runs = dict(zip(names, zip(*pairs)))
    shortest = measured.steps
    accuracy = {name: network.test_accuracy for name, network in measured.networks.items()}
    figure = plots.comparison(
        {name: [run.history for run in of] for name, of in runs.items()},
        {name: [run.losses[:shortest] for run in of] if len(of) > 1 else of[0].losses for name, of in runs.items()},
        {name: value for name, value in accuracy.items() if value is not None},
        title,
        smooth=TAIL,
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
