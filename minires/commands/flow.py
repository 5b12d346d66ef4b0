"""``minires flow``: all figures of the gradient-flow instrument, for a pair of twins or a network of your choice."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import data, flow, models
from ..experiments.watched import CHANNELS, Runner, load_data
from ..files import replacing, writable_folder
from ..models import ResNet
from ..random import manual_seed
from ..tensor import Tensor

PROBE_IMAGES = 64  # images that the recordings and probes look at
JACOBIAN_IMAGES = 4
BATCH_SIZE = 64  # of the training
FORWARD = "variance", "jacobian"  # figures that do not depend on how gradients are scaled, until they have trained


@dataclass(frozen=True)
class Settings:
    """Whose flow to draw: ``model`` is "twins" or a name in `models.VARIANTS`; ``plain`` takes the plain twin alone."""

    model: str = "twins"
    plain: bool = False
    preact: bool = False
    depth: int = 20
    width: int = 8
    epochs: int = 5
    init_only: bool = False
    scale: tuple[tuple[str, float], ...] = ()  # (pattern, factor) of what `flow.scaled` multiplies
    data: str = "digits"
    root: str | None = None
    seed: int = 0
    out: str = "minires-flow"
    quiet: bool = False


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    defaults = Settings()
    parser = commands.add_parser(
        "flow",
        help="draw every figure of the gradient-flow instrument",
        description="Draw every figure of the gradient-flow instrument for a pair of twins, or for a network of your "
        "choice, before and after a short training: profile, forks, path spectrum, computation graph, responses, "
        "variance, shattering, Jacobians, lesion, landscape, and the flow over training.",
        epilog="examples:\n"
        "  minires flow                               plain and residual twins of 20 layers, on handwritten digits\n"
        "  minires flow --init-only --depth 56        nothing is trained: what the papers say about initialisation\n"
        "  minires flow --plain --depth 20            the plain network alone\n"
        "  minires flow --model skipinit              one of the models below\n"
        "  minires flow --cut 'layer1.*.skip'         no gradient passes along the first stage's skips\n\n"
        "models:\n" + "\n".join(f"  {name:<24}{variant.description}" for name, variant in models.VARIANTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    network = parser.add_argument_group("the network")
    network.add_argument(
        "--model", metavar="NAME", default=defaults.model, help="twins (default), or a model from the list below"
    )
    network.add_argument("--depth", type=int, default=defaults.depth, help="layers, 6n+2 (default 20)")
    network.add_argument("--width", type=int, default=defaults.width, help="channels of the first stage (default 8)")
    network.add_argument("--plain", action="store_true", help="the plain twin alone")
    network.add_argument("--preact", action="store_true", help="BN and ReLU before each convolution (He et al. 2016)")
    training = parser.add_argument_group("training")
    training.add_argument("--init-only", action="store_true", help="draw the networks as they start; train nothing")
    training.add_argument("--epochs", type=int, default=defaults.epochs, help="default: 5")
    training.add_argument(
        "--cut",
        dest="scale",
        metavar="PATTERN",
        action="append",
        type=lambda pattern: (pattern, 0.0),
        help="let no gradient pass along these skips or branches, in training and in the figures, while forward stays "
        "as it is: '*.skip', 'layer1.0.branch' (may be repeated)",
    )
    training.add_argument(
        "--scale",
        metavar="PATTERN=FACTOR",
        action="append",
        type=_factor,
        help="multiply the gradient along these by a number: 'layer2.*.skip=0.5' (may be repeated)",
    )
    training.add_argument("--data", choices=["digits", "cifar10"], default=defaults.data, help="default: digits")
    training.add_argument("--root", metavar="DIR", help="folder with CIFAR-10 (default: the user cache)")
    training.add_argument("--seed", type=int, default=defaults.seed, help="of weights and order of images (default 0)")
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", default=defaults.out, help="folder to write to (default minires-flow)")
    output.add_argument("--quiet", action="store_true", help="no progress bar")


def _factor(text: str) -> tuple[str, float]:
    pattern, equals, factor = text.rpartition("=")
    try:
        if equals:
            return pattern, float(factor)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"got {text!r}; expected a pattern and a number, such as 'layer2.*.skip=0.5'")


def run(**options: Any) -> int:
    """Draw every figure, print their paths, and return the exit code."""
    settings = Settings(**options | {"scale": tuple(options["scale"] or ())})
    try:
        for path in draw(settings):
            print(path)
    except KeyboardInterrupt:
        print(f"minires: interrupted; what was drawn until then is in {settings.out}", file=sys.stderr)
        return 130
    return 0


def draw(settings: Settings) -> list[Path]:
    """Build, record, train, record again, and write the figures; returns their paths.

    Raises ValueError for illegal settings, OSError for an unwritable folder or missing data, before any training.
    """
    if settings.epochs < 1:
        raise ValueError(f"flow: got epochs={settings.epochs}; expected at least 1 (--init-only trains nothing)")
    manual_seed(settings.seed)
    networks = build(settings, CHANNELS.get(settings.data, 1))
    with contextlib.ExitStack() as scaling:
        for model in networks.values():
            if settings.scale and (model.residual or settings.plain):
                scaling.enter_context(flow.scaled(model, dict(settings.scale)))
        folder = writable_folder(settings.out, "flow")
        train, test = load_data(settings.data, settings.root, progress=not settings.quiet)
        figures = _Figures(networks, train, test, settings)
        paths = figures.draw(folder / "step-0", "step 0", trained=False)
        if settings.init_only:
            return paths
        steps = settings.epochs * data.batch_count(train, BATCH_SIZE, drop_last=True)
        runners = {name: Runner.start(model, steps) for name, model in networks.items()}
        _train(runners, train, settings, steps)
        paths += figures.draw(folder / f"step-{steps}", f"step {steps}", trained=True)
        paths += _draw_training(folder, runners, settings)
        return paths


def build(settings: Settings, in_channels: int) -> dict[str, ResNet]:
    """{name: network} according to the settings. Raises ValueError for an unknown name or an illegal depth."""
    options: dict[str, Any] = dict(in_channels=in_channels)
    if settings.model == "twins":
        plain, residual = models.twins(settings.depth, settings.width, preact=settings.preact, **options)
        return {"plain": plain} if settings.plain else {"plain": plain, "residual": residual}
    if settings.model not in models.VARIANTS:
        known = ", ".join(models.VARIANTS)
        raise ValueError(f"flow: got model {settings.model!r}; expected twins or one of {known}")
    if settings.plain or settings.preact:
        raise ValueError(f"flow: got model {settings.model!r} with --plain or --preact, which concern the twins")
    return {settings.model: models.VARIANTS[settings.model].build(settings.depth, settings.width, **options)}


def _train(runners: Mapping[str, Runner], train: data.Dataset, settings: Settings, steps: int) -> None:
    with tqdm(total=steps, desc="training", disable=settings.quiet, unit="step") as bar:
        for epoch in range(settings.epochs):
            for x, y in data.batches(train, BATCH_SIZE, seed=settings.seed, epoch=epoch, drop_last=True):
                for runner in runners.values():
                    runner.step(Tensor(x), Tensor(y), record=flow.is_due(len(runner.losses), last=steps - 1))
                bar.update()


def _scaling(settings: Settings) -> str:
    """What is cut or scaled, for the figures' titles."""
    ways = (f"{pattern} {'cut' if factor == 0 else f'×{factor:g}'}" for pattern, factor in dict(settings.scale).items())
    return f"\ngradient: {', '.join(ways)}" if settings.scale else ""


def _draw_training(folder: Path, runners: Mapping[str, Runner], settings: Settings) -> list[Path]:
    """Depth × step heatmaps on one colour scale, and the training curves."""
    plt, plots = _matplotlib()
    scale = plots.colour_scale(np.concatenate([r.history.convolution_norms.ravel() for r in runners.values()]))
    figure, axes = plt.subplots(len(runners), 1, figsize=(7, 3 * len(runners)), squeeze=False, layout="constrained")
    for ax, (name, runner) in zip(axes[:, 0], runners.items()):
        plots.heatmap(ax, runner.history.steps, runner.history.convolution_norms, scale, name)
    axes[-1, 0].set_xlabel("convolution, from input to output")
    figure.colorbar(axes[0, 0].collections[0], ax=list(axes[:, 0]), label="‖∂L/∂W‖", extend="both")
    figure.suptitle(plots.style.plain(_scaling(settings).strip()), size=11)
    heatmap = _save(figure, folder / "heatmap.png", plt)
    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    plots.training(ax, {name: runner.losses for name, runner in runners.items()})
    ax.set_title(plots.style.plain(ax.get_title() + _scaling(settings)), size=11)
    return [heatmap, _save(figure, folder / "training.png", plt)]


class _Figures:
    """The figures that show networks at one moment."""

    def __init__(self, networks: Mapping[str, ResNet], train: data.Dataset, test: data.Dataset, settings: Settings):
        self.networks, self.test, self.quiet = networks, test, settings.quiet
        self.scaling = _scaling(settings)
        self.x, self.y = train[:PROBE_IMAGES]
        self.residual = {name: model for name, model in networks.items() if model.residual}

    def draw(self, folder: Path, when: str, trained: bool) -> list[Path]:
        """Write every figure that fits the networks into the folder; the last three need trained networks.

        (Batch norm starts with γ = 1, so all responses have a standard deviation of 1 at first.)
        """
        writable_folder(folder, "flow")
        figures: dict[str, Callable[[Any, Any, str], Any]] = {
            "profile": self.profile,
            "variance": self.variance,
            "shattering": self.shattering,
            "jacobian": self.jacobian,
            "graph": self.graph,
        }
        self.recordings = {name: flow.record(model, self.x, self.y) for name, model in self.networks.items()}
        norms = {name: [r.weight_gradient for r in _convolutions(rec)] for name, rec in self.recordings.items()}
        silent = [name for name, gradients in norms.items() if not any(gradients)]
        if silent:
            names = ", ".join(silent)
            tqdm.write(f"{names}: at {when} the gradient of every convolution is 0; its figures are left out")
            del figures["profile"]
        if self.residual and not silent:
            figures |= {"fork-strip": self.fork_strip, "path-spectrum": self.path_spectrum}
        if trained:
            figures |= {"responses": self.responses, "lesion": self.lesion, "landscape": self.landscape}
        plt, plots = _matplotlib()
        paths = []
        for name, recording in self.recordings.items():
            recording.to_json(folder / f"recording-{name}.json")
            recording.to_csv(folder / f"recording-{name}.csv")
        with tqdm(figures.items(), desc=f"figures at {when}", disable=self.quiet, unit="figure") as bar:
            for name, function in bar:
                bar.set_postfix_str(name)
                note = self.scaling if trained or name not in FORWARD else ""
                paths.append(_save(function(plt, plots, when + note), folder / f"{name}.png", plt))
        return paths

    def profile(self, plt: Any, plots: Any, when: str) -> Any:
        figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
        rows = {name: _convolutions(recording) for name, recording in self.recordings.items()}
        lines = [(name, name, [layer.weight_gradient for layer in layers], "-") for name, layers in rows.items()]
        plots.profile(ax, lines, [layer.name for layer in max(rows.values(), key=len)], when)
        return figure

    def fork_strip(self, plt: Any, plots: Any, when: str) -> Any:
        figure = plt.figure(figsize=(8, 4.5), layout="constrained")
        (name,) = list(self.residual)[:1]
        plots.fork_strip(*plots.strip_axes(figure), self.recordings[name].forks, f"{name}, {when}")
        return figure

    def path_spectrum(self, plt: Any, plots: Any, when: str) -> Any:
        figure, axes = plt.subplots(1, len(self.residual), figsize=(8 * len(self.residual), 4.5), squeeze=False)
        for ax, model in zip(axes[0], self.residual.values()):
            plots.path_spectrum(ax, flow.path_spectrum(model, self.x, self.y, progress=False), when=when)
        figure.set_layout_engine("constrained")
        return figure

    def responses(self, plt: Any, plots: Any, when: str) -> Any:
        figure, axes = plt.subplots(2, 1, figsize=(8, 8), layout="constrained")
        results = {name: flow.responses(model, self.x) for name, model in self.networks.items()}
        plots.responses(axes[0], results, when)
        plots.responses(axes[1], results, when, ranked=True)
        return figure

    def variance(self, plt: Any, plots: Any, when: str) -> Any:
        figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
        plots.variance(ax, {name: flow.variance_profile(m, self.x) for name, m in self.networks.items()}, when)
        return figure

    def shattering(self, plt: Any, plots: Any, when: str) -> Any:
        figure, axes = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
        line = dict(start=self.x[0], direction=self.x[1] - self.x[0])  # from one image to another
        t = np.linspace(0, 1, 128)
        results = {name: flow.shattering(model, t, **line) for name, model in self.networks.items()}
        plots.input_gradient(axes[0], results, when)
        plots.shattering(axes[1], results, when)
        return figure

    def jacobian(self, plt: Any, plots: Any, when: str) -> Any:
        figure, axes = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
        for ax, product in zip(axes, (False, True)):
            results = {
                name: flow.jacobians(
                    model, self.x[:JACOBIAN_IMAGES], count=3, iterations=20, product=product, progress=False
                )
                for name, model in self.networks.items()
            }
            plots.jacobian(ax, results, when, product=product)
        return figure

    def graph(self, plt: Any, plots: Any, when: str) -> Any:
        graphs = {name: recording.graph() for name, recording in self.recordings.items()}
        detail = "ops" if max(len(model.blocks()) for model in self.networks.values()) <= 3 else "blocks"
        limits = plots.graph_limits(list(graphs.values()))
        figure, axes = plt.subplots(len(graphs), 1, figsize=(13, 6 * len(graphs)), squeeze=False, layout="constrained")
        scale = min(plots.graph_scale(ax, graph, detail) for ax, graph in zip(axes[:, 0], graphs.values()))
        for ax, (name, graph) in zip(axes[:, 0], graphs.items()):
            plots.graph(ax, graph, detail=detail, limits=limits, scale=scale)
            ax.set_title(f"{name}, {when}", size=11)
        return figure

    def lesion(self, plt: Any, plots: Any, when: str) -> Any:
        figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
        results = {name: flow.lesion(m, self.test, progress=False) for name, m in self.networks.items()}
        plots.lesion(ax, results, when)
        return figure

    def landscape(self, plt: Any, plots: Any, when: str) -> Any:
        figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
        results = {name: flow.landscape(m, self.test, progress=False) for name, m in self.networks.items()}
        plots.landscape(ax, results, when)
        return figure


def _convolutions(recording: flow.Recording) -> list[flow.Layer]:
    return [r for r in recording.weight_layers if len(r.weight_shape) == 4 and ".downsample" not in r.name]


def _matplotlib() -> tuple[Any, Any]:
    """pyplot without a screen, and the panels: slow to import, and needed only for drawing."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ..flow import plots

    return plt, plots


def _save(figure: Any, path: Path, plt: Any) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)
    return path
