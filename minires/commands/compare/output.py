"""The files that ``minires compare`` writes, and its last words, which say what they are."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...experiments.watched import Watched
from ...files import replacing, write_csv
from . import report
from .measured import Comparison
from .settings import Settings

Pairs = Sequence[tuple[Watched, Watched]]


def complete(settings: Settings) -> dict[str, Any]:
    """All settings as plain values, with what the data set decided filled in."""
    plain = dataclasses.asdict(settings) | {"epochs": settings.passes, "networks": list(settings.names)}
    shortcut = settings.shortcut or (None if settings.networks else "A")
    return plain | {"shortcut": shortcut}


def last_words(measured: Comparison) -> list[str]:
    """What was written, and what to open and do next."""
    folder, settings = measured.settings["out"], measured.settings
    seeds, names = measured.seeds, list(measured.networks)
    words = [f"Written to {folder}/: gradient-flow.png, compare.json, compare.csv ({measured.seconds:.0f} s)"]
    if measured.interrupted:
        words.append(f"Interrupted after {measured.steps} steps: the files hold what was measured until then.")
    if seeds < settings["seeds"]:
        words.append(f"{seeds} of {settings['seeds']} seeds were begun.")
    networks = "" if names == ["plain", "residual"] else f" --model {names[-1]}"
    depth = "" if settings["depth"] == 56 else f" --depth {settings['depth']}"
    more = f"minires compare{'' if not networks else ' ' + ' '.join(names)}{depth} --seeds 3"
    then = f"every figure: minires flow{networks}{depth}" + ("" if seeds > 1 else f"; what depends on the seed: {more}")
    words.append(f"Open {Path(folder) / 'gradient-flow.png'}. Then {then}")
    return words


def write(folder: Path, measured: Comparison, pairs: Pairs) -> None:
    """Write gradient-flow.png, compare.csv and compare.json: all of them, or none."""
    with contextlib.ExitStack() as whole:
        figure, numbers, summary = (
            whole.enter_context(replacing(folder / name))
            for name in ("gradient-flow.png", "compare.csv", "compare.json")
        )
        draw(figure, measured, pairs)
        rows = (
            [step, name, layer, f"{g:.8g}", run.seed]
            for i, (name, network) in enumerate(measured.networks.items())
            for run, pair in zip(network.runs, pairs)
            for step, norms in zip(pair[i].history.steps, pair[i].history.norms)
            for layer, g in zip(pair[i].history.layers, norms)
        )
        write_csv(numbers, ["step", "network", "layer", "gradient_norm", "seed"], rows)
        summary.write_text(measured.to_json() + "\n", encoding="utf-8")


def draw(path: Path, measured: Comparison, pairs: Pairs) -> None:
    """Write the four-panel figure."""
    import matplotlib  # slow to import, and needed only here

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ...flow import plots

    settings, names = measured.settings, list(measured.networks)
    both = f"{names[0]}-{settings['depth']} and {names[1]}-{settings['depth']}"
    start = "same weights at the start, one flag apart" if names == ["plain", "residual"] else "from the same seed"
    title = f"{both}, width {settings['width']}, on {settings['data']}: {start}\n{report.headline(measured)}"
    first = pairs[0]
    figure = plots.comparison(
        {name: run.history for name, run in zip(names, first)},
        {name: run.losses for name, run in zip(names, first)},
        {name: run.test_accuracy for name, run in zip(names, first) if np.isfinite(run.test_accuracy)},
        title,
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
