"""``minires compare``: train a plain and a residual twin side by side, and watch the gradient flow through both."""

import argparse
import contextlib
import dataclasses
import json
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import __version__, data, flow, kernels, models
from ..experiments.watched import CHANNELS, Runner, load_data
from ..files import replacing, writable_folder, write_csv
from ..nn.examples import fit_to
from ..random import manual_seed
from ..train import evaluate

EPOCHS = {"digits": 20, "cifar10": 2}  # default for each data set
TABLE_STEPS = (0, 10, 100)
TAIL = 50  # the final training loss is the mean over this many last steps
DIVERGED = 100.0  # at such a training loss nothing was learned: guessing one of ten classes costs ln 10 = 2.3


@dataclass(frozen=True)
class Settings:
    """What to compare, on what, and how long. ``epochs=None`` takes the data set's default."""

    depth: int = 56
    width: int = 8
    data: str = "digits"
    root: str | None = None
    download: bool = False
    epochs: int | None = None
    batch_size: int = 64
    lr: float = 0.1
    shortcut: str = "A"
    preact: bool = False
    zero_init_residual: bool = False
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    out: str = "minires-out"
    quiet: bool = False


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    defaults = Settings()
    parser = commands.add_parser(
        "compare",
        help="train a plain and a residual twin side by side and show their gradient flow",
        description="Train a plain and a residual network that start from the same weights and differ by one flag, "
        "record the gradient on its way back through both, and write a figure, a table and the numbers.",
        epilog="examples:\n"
        "  minires compare                            the default: depth 56 on handwritten digits, about a minute\n"
        "  minires compare --depth 20 --epochs 5      a quick look\n"
        "  minires compare --shortcut B --preact      projections, and BN and ReLU before the convolutions\n"
        "  minires compare --data cifar10 --root DIR  CIFAR-10, in its binary layout under DIR\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)

    network = parser.add_argument_group("the twins")
    network.add_argument("--depth", type=int, default=defaults.depth, help="layers, 6n+2: 8, 14, 20, … (default 56)")
    network.add_argument("--width", type=int, default=defaults.width, help="channels of the first stage (default 8)")
    network.add_argument(
        "--shortcut",
        choices="ABC",
        default=defaults.shortcut,
        help="A: identity, padded where shapes change (default); B: 1×1 convolution there; C: 1×1 convolution always",
    )
    network.add_argument("--preact", action="store_true", help="BN and ReLU before each convolution (He et al. 2016)")
    network.add_argument(
        "--zero-init-residual",
        action="store_true",
        help="start every residual block as its shortcut (γ = 0 at the end of its branch)",
    )
    training = parser.add_argument_group("training")
    training.add_argument("--data", choices=["digits", "cifar10"], default=defaults.data, help="default: digits")
    training.add_argument("--root", metavar="DIR", help="folder with CIFAR-10 (default: the user cache)")
    training.add_argument("--download", action="store_true", help="download CIFAR-10 (170 MB) if it is not there")
    epochs = ", ".join(f"{n} for {name}" for name, n in EPOCHS.items())
    training.add_argument("--epochs", type=int, help=f"passes over the training images (default: {epochs})")
    training.add_argument("--batch-size", type=int, default=defaults.batch_size, help="default: 64")
    training.add_argument("--lr", type=float, default=defaults.lr, help="learning rate (default 0.1)")
    training.add_argument("--seed", type=int, default=defaults.seed, help="of weights and order of images (default 0)")
    training.add_argument("--dtype", choices=["float32", "float64"], default=defaults.dtype, help="default: float32")
    training.add_argument(
        "--device",
        choices=kernels.DEVICES,
        default=defaults.device,
        help="cpu (default); gpu: a CUDA device; cuda-on-cpu: the GPU's kernels run on the CPU, slowly",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", default=defaults.out, help="folder to write to (default minires-out)")
    output.add_argument("--quiet", action="store_true", help="no progress bar")


@dataclass(frozen=True)
class Network:
    """What was measured of one of the twins; None for what is not finite or was not measured.

    parameters: how many numbers it learns. train_loss: mean over the last `TAIL` steps. test_accuracy: from 0 to 1.
    ratios: {step: ‖∂L/∂W‖ of the first convolution over that of the last}.
    """

    parameters: int
    train_loss: float | None
    test_accuracy: float | None
    ratios: dict[int, float | None]


@dataclass(frozen=True)
class Comparison:
    """What a comparison measured; the table and the sentences are written from it.

    networks: by name, "plain" and "residual". forks: those of the last recorded step. fork_sum_error: the largest
    relative error of skip + branch at any fork; None if it is not finite.
    """

    depth: int
    width: int
    data: str
    device: str
    seed: int
    epochs: int
    steps: int
    seconds: float
    interrupted: bool
    fork_sum_error: float | None
    networks: dict[str, Network]
    forks: list[flow.Fork]
    version: str = __version__

    def to_json(self) -> str:
        """A JSON object with everything but the forks, as written to ``compare.json``."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["forks"]
        networks = {}
        for name, network in fields.pop("networks").items():
            rows = [{"step": step, "first_over_last": ratio} for step, ratio in network.ratios.items()]
            networks[name] = {**dataclasses.asdict(network), "gradient_ratio": rows}
            del networks[name]["ratios"]
        return json.dumps({"version": fields.pop("version"), **fields, "networks": networks}, indent=2)


def run(**options: Any) -> int:
    """Train the twins, print the table and three sentences; returns the exit code."""
    settings = Settings(**options)
    measured = compare(settings)
    if measured.interrupted and not measured.steps:
        raise KeyboardInterrupt
    print()
    print(table(measured))
    print()
    for sentence in sentences(measured):
        print(f"• {sentence}")
    print(f"\nWritten to {settings.out}/: gradient-flow.png, compare.json, compare.csv ({measured.seconds:.0f} s)")
    if measured.interrupted:
        print(f"Interrupted after {measured.steps} steps: the files hold what was measured until then.")
        return 130
    return 0


@contextlib.contextmanager
def _no_overflow_warnings() -> Iterator[None]:
    """Silence NumPy's warnings of overflow: the table and the sentences report once that a training diverged.

    (Not `np.errstate`, which does not reach the kernels' threads.)
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
        yield


@_no_overflow_warnings()
def compare(settings: Settings) -> Comparison:
    """Train the twins, write the figure and the files, and return what was measured.

    Ctrl-C ends the training; what was measured until then is written, and the result is marked as interrupted.
    Raises ValueError for illegal settings, OSError for an unwritable folder or missing data, before any training.
    """
    epochs = EPOCHS.get(settings.data, 1) if settings.epochs is None else settings.epochs
    if epochs < 1 or settings.batch_size < 2 or settings.lr <= 0:
        raise ValueError(
            f"compare: got epochs={epochs}, batch_size={settings.batch_size}, lr={settings.lr}; expected at least 1 "
            "epoch, batches of at least 2 and a positive learning rate"
        )
    kernels.device(settings.device)  # a device that cannot be used fails before anything is downloaded
    manual_seed(settings.seed)
    plain, residual = models.twins(
        settings.depth,
        settings.width,
        in_channels=CHANNELS.get(settings.data, 1),
        shortcut=settings.shortcut,
        preact=settings.preact,
        zero_init_residual=settings.zero_init_residual,
    )
    folder = writable_folder(settings.out, "compare")
    train, test = load_data(settings.data, settings.root, settings.download, progress=not settings.quiet)
    started = time.perf_counter()
    steps = epochs * data.batch_count(train, settings.batch_size, drop_last=True)
    runners = {
        name: Runner.start(model, steps, settings.lr, settings.dtype, settings.device)
        for name, model in (("plain", plain), ("residual", residual))
    }

    interrupted = False
    names = f"plain-{settings.depth} and ResNet-{settings.depth}"
    bar = tqdm(total=steps, desc=names, disable=settings.quiet, unit="step")
    try:
        with bar:
            for epoch in range(epochs):
                batches = data.batches(train, settings.batch_size, seed=settings.seed, epoch=epoch, drop_last=True)
                for images, labels in batches:
                    x, y = fit_to(plain, images), fit_to(plain, labels)
                    due = flow.is_due(len(runners["plain"].losses), last=steps - 1)
                    for runner in runners.values():
                        runner.step(x, y, record=due)
                    bar.set_postfix_str(_progress(runners), refresh=False)
                    bar.update()
    except KeyboardInterrupt:
        interrupted = True
    done = min(len(runner.losses) for runner in runners.values())
    for runner in runners.values():  # an interrupt may have come between the two
        del runner.losses[done:]
    try:
        for runner in runners.values() if done else ():
            runner.test_accuracy = evaluate(runner.model, test)[1]
    except KeyboardInterrupt:  # without the test images, the rest is still written
        interrupted = True
    measured = _measured(settings, epochs, runners, time.perf_counter() - started, interrupted)
    if done:
        write(folder, settings, measured, runners)
    return measured


def _progress(runners: dict[str, Runner]) -> str:
    return ", ".join(f"{name} loss {r.losses[-1]:.2f} acc {r.correct:.0%}" for name, r in runners.items())


# ── what was measured ───────────────────────────────────────────────────────────────────────────────────────────────


def _measured(
    settings: Settings, epochs: int, runners: dict[str, Runner], seconds: float, interrupted: bool
) -> Comparison:
    steps = len(runners["plain"].losses)
    return Comparison(
        depth=settings.depth,
        width=settings.width,
        data=settings.data,
        device=settings.device,
        seed=settings.seed,
        epochs=epochs,
        steps=steps,
        seconds=round(seconds, 2),
        interrupted=interrupted,
        fork_sum_error=_number(runners["residual"].history.sum_error),
        networks={name: _network(runner) for name, runner in runners.items()},
        forks=runners["residual"].history.forks[-1] if steps else [],
    )


def _network(runner: Runner) -> Network:
    history = runner.history
    return Network(
        parameters=sum(p.numel() for p in runner.model.parameters()),
        train_loss=_number(np.mean(runner.losses[-TAIL:])) if runner.losses else None,
        test_accuracy=_number(runner.test_accuracy),
        ratios=dict(zip(history.steps, map(_number, history.first_over_last()))) if history.steps else {},
    )


def _number(value: Any) -> float | None:
    """A float that JSON can hold; None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def table(measured: Comparison) -> str:
    """The comparison as a text table, a column for each network."""
    networks = measured.networks
    recorded = networks["plain"].ratios
    steps = [s for s in TABLE_STEPS if s in recorded]
    last = max(recorded, default=0)
    rows = [("", *(f"{name}-{measured.depth}" for name in networks))]
    rows.append(("parameters", *(f"{n.parameters:,}" for n in networks.values())))
    rows.append(("final training loss", *(_loss(n.train_loss) for n in networks.values())))
    rows.append(("test accuracy", *(_accuracy(n.test_accuracy) for n in networks.values())))
    for step in [*steps, *([last] if last not in steps else [])]:
        end = " (end)" if step == last else ""
        cells = (_cell(n.ratios[step], ".3g") for n in networks.values())
        rows.append((f"first/last gradient, step {step}{end}", *cells))
    rows.append(("largest fork-sum error", "(no fork)", _cell(measured.fork_sum_error, ".0e")))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) for row in rows]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def _cell(value: float | None, spec: str) -> str:
    return "not finite" if value is None else format(value, spec)


def _loss(value: float | None) -> str:
    return _cell(value, ".3f" if not value or 0.01 <= value < 1000 else ".1e")


def _accuracy(value: float | None) -> str:
    return "not measured" if value is None else format(value, ".1%")


def sentences(measured: Comparison) -> list[str]:
    """Three sentences that say what the table shows, each computed from it."""
    networks, forks = measured.networks, measured.forks
    plain, residual = networks["plain"].ratios, networks["residual"].ratios
    later = max(step for step in plain if step <= 100)
    first = (
        f"At step 0 the plain network's gradient {_trend(plain[0])}, the residual network's {_trend(residual[0])}; "
        f"by step {later} of the training the ratio of the plain one {_change(plain[0], plain[later])}, that of the "
        f"residual one {_change(residual[0], residual[later])}."
    )
    losses = {name: math.inf if n.train_loss is None else n.train_loss for name, n in networks.items()}
    if min(losses.values()) > DIVERGED:
        diverged = "The training of both networks diverged; try a smaller --lr."
        return [first, diverged, "So the gradient at the forks means nothing."]
    lower, higher = ("residual", "plain") if losses["residual"] <= losses["plain"] else ("plain", "residual")
    second = (
        f"After {measured.steps} steps from the same weights the {lower} network has the lower training loss, "
        f"{_loss(networks[lower].train_loss)} against {_loss(networks[higher].train_loss)}"
    )
    accuracy = {name: n.test_accuracy for name, n in networks.items()}
    if None not in accuracy.values():
        second += (
            f", and classifies {_accuracy(accuracy[lower])} of the test images against {_accuracy(accuracy[higher])}"
        )
    second += "."
    shares = [fork.share for fork in forks]
    if measured.fork_sum_error is None or not np.isfinite(shares).all():
        return [first, second, "The gradient at the forks of the residual network is not finite, or 0."]
    third = (
        f"At each of the {len(forks)} forks the gradient is the sum of what skip and branch returned, to within "
        f"{measured.fork_sum_error:.0e} of its size; at the end the branch returned between {_share(min(shares))} and "
        f"{_share(max(shares))} of ‖skip‖² + ‖branch‖², and {_share(float(np.median(shares)))} at the median fork."
    )
    return [first, second, third]


def _trend(ratio: float | None) -> str:
    """Describe what a first/last ratio says about the gradient on its way back."""
    if ratio is None:
        return "is not finite"
    if ratio == 0:
        return "is 0 at the first convolution (it vanishes on its way back)"
    if ratio > 1.5:
        explodes = " (it explodes on its way back)" if ratio > 20 else ""
        return f"is {_times(ratio)} times as large at the first convolution as at the last{explodes}"
    if ratio < 1 / 1.5:
        vanishes = " (it vanishes on its way back)" if ratio < 1 / 20 else ""
        return f"is {_times(1 / ratio)} times smaller at the first convolution than at the last{vanishes}"
    return f"is about the same at both ends (ratio {ratio:.2f})"


def _change(before: float | None, after: float | None) -> str:
    """Describe how a first/last ratio changed in training."""
    if before is None or after is None:
        return "is not finite"
    if before == after:
        return f"is still {after:.2g}"
    if not before or not after:
        return f"has {'grown' if after else 'fallen'} from {before:.2g} to {after:.2g}"
    factor = max(before / after, after / before)
    if factor < 10:
        return f"has changed by a factor of {factor:.1f}, to {after:.2g}"
    return f"has {'collapsed' if after < before else 'grown'} {_times(factor)}-fold, to {after:.2g}"


def _times(factor: float) -> str:
    return f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}" if factor < 1e6 else f"{factor:.0e}"


def _share(share: float) -> str:
    """In percent, with a power of ten where it would be rounded to 0."""
    return f"{share:.0%}" if share == 0 or share >= 0.005 else f"{100 * share:.0e}%"


def write(folder: Path, settings: Settings, measured: Comparison, runners: dict[str, Runner]) -> None:
    """Write compare.json, compare.csv and gradient-flow.png, each whole or not at all."""
    with replacing(folder / "compare.json") as path:
        path.write_text(measured.to_json() + "\n", encoding="utf-8")
    rows = (
        [step, name, layer, f"{g:.8g}"]
        for name, runner in runners.items()
        for step, norms in zip(runner.history.steps, runner.history.norms)
        for layer, g in zip(runner.history.layers, norms)
    )
    write_csv(folder / "compare.csv", ["step", "network", "layer", "gradient_norm"], rows)
    draw(folder / "gradient-flow.png", settings, runners)


def draw(path: Path, settings: Settings, runners: dict[str, Runner]) -> None:
    """Write the four-panel figure."""
    import matplotlib  # slow to import, and needed only here

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ..flow import plots

    names = f"Plain-{settings.depth} and ResNet-{settings.depth}, width {settings.width}, on {settings.data}"
    title = f"{names}: same weights at the start, one flag apart"
    figure = plots.comparison(
        {name: runner.history for name, runner in runners.items()},
        {name: runner.losses for name, runner in runners.items()},
        {name: runner.test_accuracy for name, runner in runners.items() if np.isfinite(runner.test_accuracy)},
        title,
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)
