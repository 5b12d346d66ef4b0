"""``minires flow``: all figures of the gradient-flow instrument, for a pair of twins or a network of your choice.

`settings` has its options, `figures` draws, and `index` writes the page that shows all of them.
"""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ... import data, flow, kernels, models
from ...arguments import nearest
from ...experiments.watched import CHANNELS, Runner, load_data
from ...folders import writable_folder
from ...models import ResNet
from ...nn.examples import fit_to
from ...random import manual_seed
from . import figures, index, settings
from .settings import Settings


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    settings.add_parser(commands, run)


def run(**options: Any) -> int:
    """Draw every figure, print their paths and what to open, and return the exit code."""
    settings = Settings(**options | {"scale": tuple(options["scale"] or ())})
    drawn: list[figures.Drawn] = []
    page = Path(settings.out) / "index.html"
    try:
        draw(settings, drawn)
    except KeyboardInterrupt:
        what = f"the figures drawn until then are in {page}" if drawn else "no figure was drawn"
        print(f"minires: interrupted; {what}", file=sys.stderr)
        return 130
    finally:
        if drawn:
            index.write(page, f"Gradient flow: {settings.title}", drawn)
    for figure in drawn:
        print(figure.path)
    print(f"\nOpen {page}: all {len(drawn)} figures, each with what it says.")
    return 0


def draw(settings: Settings, drawn: list[figures.Drawn]) -> None:
    """Build, record, train, record again, and write the figures, which are added to ``drawn`` as they come.

    Raises ValueError for illegal settings, OSError for an unwritable folder or missing data, before any training.
    """
    settings.check()
    kernels.device(settings.device)  # a device that cannot be used fails before anything is downloaded
    manual_seed(settings.seed)
    networks = {name: model.to(settings.device) for name, model in build(settings).items()}
    with contextlib.ExitStack() as scaling:
        for model in networks.values():
            if settings.scale and (model.residual or settings.plain):
                scaling.enter_context(flow.scaled(model, dict(settings.scale)))
        folder = writable_folder(settings.out, "flow")
        train, test = load_data(settings.data, settings.root, settings.download, progress=not settings.quiet)
        batches = 0 if settings.init_only else data.batch_count(train, settings.batch_size, drop_last=True)
        moment = figures.Figures(networks, train, test, settings)
        drawn.extend(moment.draw(folder / "step-0", "step 0", trained=False))
        if settings.init_only:
            return
        steps = settings.epochs * batches
        runners = {
            name: Runner.start(model, steps, settings.lr, device=settings.device) for name, model in networks.items()
        }
        _train(runners, train, settings, steps)
        drawn.extend(moment.draw(folder / f"step-{steps}", f"step {steps}", trained=True))
        drawn.extend(figures.over_training(folder, runners, settings))


def build(settings: Settings) -> dict[str, ResNet]:
    """{name: network} according to the settings. Raises ValueError for an unknown name or an illegal depth."""
    options: dict[str, Any] = dict(in_channels=CHANNELS.get(settings.data, 1))
    if settings.model == "twins":
        plain, residual = models.twins(settings.depth, settings.width, preact=settings.preact, **options)
        return {"plain": plain} if settings.plain else {"plain": plain, "residual": residual}
    if settings.model not in models.VARIANTS:
        known = ", ".join(models.VARIANTS)
        near = nearest(settings.model, ["twins", *models.VARIANTS])
        near = " (--plain draws the plain twin alone)" if settings.model == "plain" else near
        raise ValueError(f"flow: got model {settings.model!r}{near}; expected twins or one of {known}")
    if settings.plain or settings.preact:
        raise ValueError(f"flow: got model {settings.model!r} with --plain or --preact, which concern the twins")
    return {settings.model: models.VARIANTS[settings.model].build(settings.depth, settings.width, **options)}


def _train(runners: Mapping[str, Runner], train: data.Dataset, settings: Settings, steps: int) -> None:
    with tqdm(total=steps, desc="training", disable=settings.quiet, unit="step") as bar:
        for epoch in range(settings.epochs):
            batches = data.batches(train, settings.batch_size, seed=settings.seed, epoch=epoch, drop_last=True)
            for images, labels in batches:
                for runner in runners.values():
                    x, y = fit_to(runner.model, images), fit_to(runner.model, labels)
                    runner.step(x, y, record=flow.is_due(len(runner.losses), last=steps - 1))
                bar.update()
