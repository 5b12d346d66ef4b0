"""The figures that ``minires flow`` draws, each with its takeaway."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ... import data, flow
from ...experiments.watched import Runner
from ...files import replacing
from ...folders import writable_folder
from ...models import ResNet
from .settings import Settings

PROBE_IMAGES = 64  # images that the recordings and probes look at
JACOBIAN_IMAGES = 4
FORWARD = "variance", "jacobian"  # figures that do not depend on how gradients are scaled, until they have trained


class Drawn(NamedTuple):
    """A figure that was written, and the sentences under the titles of its panels, computed from what it shows."""

    path: Path
    sentences: Sequence[str]


def scaling(settings: Settings) -> str:
    """What is cut or scaled, for the figures' titles."""
    ways = (f"{pattern} {'cut' if factor == 0 else f'×{factor:g}'}" for pattern, factor in dict(settings.scale).items())
    return f"\ngradient: {', '.join(ways)}" if settings.scale else ""


def over_training(folder: Path, runners: Mapping[str, Runner], settings: Settings) -> list[Drawn]:
    """Depth × step heatmaps on one colour scale, and the training curves."""
    plt, plots = _matplotlib()
    scale = plots.colour_scale(np.concatenate([r.history.convolution_norms.ravel() for r in runners.values()]))
    figure, axes = plt.subplots(len(runners), 1, figsize=(7, 3 * len(runners)), squeeze=False, layout="constrained")
    for ax, (name, runner) in zip(axes[:, 0], runners.items()):
        plots.heatmap(ax, runner.history.steps, runner.history.convolution_norms, scale, name)
    axes[-1, 0].set_xlabel("convolution, from input to output")
    plots.colour_bar(figure, list(axes[:, 0]))
    figure.suptitle(plots.style.plain(scaling(settings).strip()), size=11)
    heatmap = _save(figure, folder / "heatmap.png", plt)
    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    plots.training(ax, {name: runner.losses for name, runner in runners.items()})
    ax.set_title(plots.style.plain(ax.get_title() + scaling(settings)), size=11)
    return [heatmap, _save(figure, folder / "training.png", plt)]


class Figures:
    """The figures that show networks at one moment."""

    def __init__(self, networks: Mapping[str, ResNet], train: data.Dataset, test: data.Dataset, settings: Settings):
        self.networks, self.test, self.quiet = networks, test, settings.quiet
        self.scaling = scaling(settings)
        self.x, self.y = train[:PROBE_IMAGES]
        self.residual = {name: model for name, model in networks.items() if model.residual}

    def draw(self, folder: Path, when: str, trained: bool) -> Iterator[Drawn]:
        """Write every figure that fits the networks into the folder, one by one; three of them need trained networks.

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
        for name, recording in self.recordings.items():
            recording.to_json(folder / f"recording-{name}.json")
            recording.to_csv(folder / f"recording-{name}.csv")
        with tqdm(figures.items(), desc=f"figures at {when}", disable=self.quiet, unit="figure") as bar:
            for name, function in bar:
                bar.set_postfix_str(name)
                note = self.scaling if trained or name not in FORWARD else ""
                yield _save(function(plt, plots, when + note), folder / f"{name}.png", plt)

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
        figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
        results = {name: flow.path_spectrum(m, self.x, self.y, progress=False) for name, m in self.residual.items()}
        plots.path_spectrum(ax, results, when)
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
        return plots.graphs({name: recording.graph() for name, recording in self.recordings.items()}, when)

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

    from ...flow import plots

    return plt, plots


def _save(figure: Any, path: Path, plt: Any) -> Drawn:
    from ...flow import plots

    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    sentences = plots.takeaways(figure)
    plt.close(figure)
    return Drawn(path, sentences)
