"""Training the networks that are compared, in this process or side by side, with one progress bar."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tqdm import tqdm

from ... import data, jobs
from ...experiments import pairs
from ...experiments.watched import CHANNELS, Advance, Task, Watched, watch
from ...models import ResNet
from ...random import manual_seed
from ...terminal import columns
from ...threads import PARALLEL_BYTES, available_cores, get_num_threads, worth_threads
from .settings import Settings

WORTH_A_PROCESS = 1500  # layers × steps that a network of this size trains in while a process starts (both 0.8 s here)


def builder(settings: Settings) -> Callable[[], dict[str, ResNet]]:
    """What makes the two networks, drawing from the generator as it is."""
    shape: dict[str, Any] = dict(depth=settings.depth, width=settings.width, in_channels=CHANNELS.get(settings.data, 1))
    if settings.networks:
        shape |= {} if settings.shortcut is None else {"shortcut": settings.shortcut}
        return partial(pairs.pair, settings.names, **shape)
    flags = dict(preact=settings.preact, zero_init_residual=settings.zero_init_residual)
    return partial(pairs.twins, shortcut=settings.shortcut or "A", **shape, **flags)


def tasks(
    settings: Settings, make: Callable[[], dict[str, ResNet]], sets: tuple[data.Dataset, data.Dataset]
) -> list[Task]:
    """One task for each network and seed, the two networks of a seed side by side."""
    rest = (*sets, settings.passes, settings.batch_size, settings.lr)
    return [
        Task(partial(pairs.one_of, make, seed, name), *rest, seed, settings.dtype, settings.device)
        for seed in range(settings.seed, settings.seed + settings.seeds)
        for name in settings.names
    ]


def train(settings: Settings, tasks: list[Task]) -> tuple[list[tuple[Watched, Watched]], bool]:
    """The two networks of each seed, trained equally long, and whether Ctrl-C ended it.

    Seeds at which Ctrl-C came before the first step of both are left out.
    """
    count = processes(settings, tasks)
    threads = max(min(available_cores(), get_num_threads()) // count, 1)
    interrupted = False
    with _bar(settings, tasks) as progress, _executor(count, threads) as executor:
        try:
            found = jobs.run(watch, tasks, executor=executor, abreast=len(settings.names), progress=progress)
        except jobs.Interrupted as stopped:
            found, interrupted = stopped.result, True
    trained = zip(found[::2], found[1::2])
    return [_equally_long(*both) for both in trained if None not in both], interrupted


def processes(settings: Settings, tasks: list[Task]) -> int:
    """In how many processes to train: the number given, or one for each core where that is faster and changes no bit.

    It is where no kernel would share its work among threads: the numbers are then the same for any number of them.
    """
    if settings.processes is not None:
        return min(settings.processes, len(tasks))
    cores = min(available_cores(), get_num_threads())
    images = tasks[0].train.pixels.shape[2:]
    outputs = settings.batch_size * settings.width * images[0] * images[1]  # of a convolution of the first stage
    small = outputs * (8 if settings.dtype == "float64" else 4) < PARALLEL_BYTES
    small = small and not worth_threads(outputs * settings.width * 9)
    long = settings.depth * tasks[0].steps > WORTH_A_PROCESS
    return min(cores, len(tasks)) if small and long and settings.device == "cpu" else 1


def _executor(count: int, threads: int) -> contextlib.AbstractContextManager:
    return jobs.Processes(count, threads) if count > 1 else contextlib.nullcontext()


def _equally_long(a: Watched, b: Watched) -> tuple[Watched, Watched]:
    """Both without what came after the last step that both took: an interrupt may have come between."""
    steps = min(len(a.losses), len(b.losses))
    first, second = (run._replace(losses=run.losses[:steps], history=run.history.until(steps - 1)) for run in (a, b))
    return first, second


@contextlib.contextmanager
def _bar(settings: Settings, tasks: list[Task]) -> Iterator[jobs.Progress]:
    """One progress bar for all tasks; yields what is called when one of them has advanced."""
    latest: dict[int, Advance] = {}
    total = sum(task.steps for task in tasks)
    layout = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {remaining} left"
    with tqdm(total=total, disable=settings.quiet, bar_format=layout, dynamic_ncols=True, unit="step") as bar:

        def progress(number: int, advance: Advance) -> None:
            before, latest[number] = latest.get(number), advance
            bar.set_description_str(describe(settings, latest, columns(sys.stderr)), refresh=False)
            bar.update(advance.steps - (before.steps if before else 0))

        yield progress


def describe(settings: Settings, latest: dict[int, Advance], width: int) -> str:
    """How far the networks are that advance now, in at most half of a terminal this wide, if that is possible."""
    parts: dict[str, list[str]] = {"long": [], "short": []}
    current = max(latest) // 2
    for number in sorted(latest):
        if number // 2 == current:
            name, now = settings.names[number % 2], latest[number]
            parts["long"].append(f"{name} loss {now.loss:.2f} acc {now.correct:.0%}")
            parts["short"].append(f"{name[:8]} {now.loss:.2f}")
    seed = f"seed {settings.seed + current}: " if settings.seeds > 1 else ""
    texts = (f"{seed}{', '.join(parts[kind])} " for kind in ("long", "short"))
    return next((text for text in texts if len(text) < width - 45), f"{' '.join(parts['short'])} ")


def check(settings: Settings, make: Callable[[], dict[str, ResNet]]) -> float:
    """Build the networks once, to see that they can be; returns which share of their weights is equal at the start."""
    manual_seed(settings.seed)
    return pairs.shared_weights(make())
