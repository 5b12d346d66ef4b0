"""``minires compare``: train two networks side by side, and watch the gradient flow through both.

`settings` has its options, `running` trains, `measured` holds the numbers, `report` puts them into words, and `output`
writes the files.
"""

import sys
import time
from typing import Any

from ... import kernels
from ...experiments.watched import load_data
from ...folders import writable_folder
from ...terminal import wrapped
from . import output, running, settings
from .measured import Comparison, Network, Run, measure
from .report import sentences, table
from .settings import Settings

__all__ = ["Comparison", "Network", "Run", "Settings", "add_parser", "compare", "run", "sentences", "table"]


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    settings.add_parser(commands, run)


def run(**options: Any) -> int:
    """Train the networks, print the table, the sentences, and what to do next; returns the exit code."""
    chosen = Settings(**options | {"networks": tuple(options.get("networks", ()))})
    try:
        measured = compare(chosen)
    except KeyboardInterrupt:  # a second one, or before the training
        measured = None
    if measured is None or not measured.steps:
        print("minires: interrupted; nothing was written", file=sys.stderr)
        return 130
    print(f"\n{table(measured)}\n")
    for sentence in sentences(measured):
        print(wrapped(sentence, "• "))
    print()
    for line in output.last_words(measured):
        print(wrapped(line))
    return 130 if measured.interrupted else 0


def compare(settings: Settings) -> Comparison:
    """Train the two networks, write the figure and the files, and return what was measured.

    Ctrl-C ends the training; what was measured until then is written, and the result is marked as interrupted.
    Raises ValueError for illegal settings, OSError for an unwritable folder or missing data, before any training, and
    RuntimeError if a process that trains dies; then nothing is written.
    """
    settings.check()
    kernels.device(settings.device)  # a device that cannot be used fails before anything is downloaded
    make = running.builder(settings)
    shared = running.check(settings, make)
    folder = writable_folder(settings.out, "compare")
    sets = load_data(settings.data, settings.root, settings.download, progress=not settings.quiet)
    started = time.perf_counter()
    tasks = running.tasks(settings, make, sets)
    pairs, interrupted = running.train(settings, tasks)
    networks = {}
    for i, name in enumerate(settings.names):
        runs = [measure(settings.seed + k, pair[i]) for k, pair in enumerate(pairs)]
        if runs:
            networks[name] = Network(pairs[0][i].parameters, runs, pairs[0][i].history.forks[-1])
    measured = Comparison(
        settings=output.complete(settings),
        networks=networks,
        steps=min((len(pair[0].losses) for pair in pairs), default=0),
        test_images=len(sets[1]),
        shared_weights=shared,
        processes=running.processes(settings, tasks),
        seconds=round(time.perf_counter() - started, 2),
        interrupted=interrupted,
    )
    if pairs:
        output.write(folder, measured, pairs)
    return measured
