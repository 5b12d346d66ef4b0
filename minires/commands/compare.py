"""``minires compare``: train a plain and a residual twin side by side, and watch the gradient flow through both."""

import contextlib
import csv
import json
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import __version__, data, flow, kernels, models, optim
from ..files import replacing, writable_folder
from ..models import ResNet
from ..nn import functional as F
from ..random import manual_seed
from ..tensor import Tensor
from ..train import evaluate

EPOCHS = {"digits": 20, "cifar10": 2}  # default for each data set
WARM_UP = 20  # steps in which the learning rate rises to its full value
TABLE_STEPS = (0, 10, 100)
TAIL = 50  # the final training loss is the mean over the last so many steps
DIVERGED = 100.0  # a training loss from which nothing was learnt: guessing one of ten classes costs ln 10 = 2.3


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


@dataclass
class Runner:
    """One of the twins in training: its optimiser, its losses so far, and the history of its gradient flow."""

    model: ResNet
    optimizer: optim.SGD
    schedule: Any
    losses: list[float] = field(default_factory=list)
    history: flow.FlowHistory = field(default_factory=flow.FlowHistory)
    correct: float = 0.0  # running mean of the batch accuracy, for the progress bar
    test_accuracy: float = float("nan")

    def step(self, x: Tensor, y: Tensor, record: bool) -> None:
        """One training step, with its gradient flow recorded or not (which changes no bit of the result)."""
        self.optimizer.zero_grad()
        if record:
            with flow.recording(self.model) as recorder:
                logits, loss = self._forward_backward(x, y)
            self.history.add(len(self.losses), recorder)
        else:
            logits, loss = self._forward_backward(x, y)
        self.optimizer.step()
        self.schedule.step()
        self.losses.append(loss)
        self.correct += 0.1 * (float((logits.argmax(1) == y.data).mean()) - self.correct)

    def _forward_backward(self, x: Tensor, y: Tensor) -> tuple[np.ndarray, float]:
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        return logits.data, loss.item()


@contextlib.contextmanager
def _overflow_told_in_words() -> Iterator[None]:
    """No NumPy warnings of overflow: that a training diverged is said once, in the table and the sentences.

    (Not `np.errstate`, which does not reach the kernels' threads.)
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
        yield


@_overflow_told_in_words()
def compare(settings: Settings) -> tuple[dict[str, Any], list[flow.Fork]]:
    """Train the twins and write figure and files; returns the report in ``compare.json``, and the last recorded forks.

    Ctrl-C ends the training; what was measured until then is written, and the report says ``"interrupted": true``.
    Raises ValueError for illegal settings, OSError for an unwritable folder or missing data, before any training.
    """
    epochs = EPOCHS.get(settings.data, 1) if settings.epochs is None else settings.epochs
    if epochs < 1 or settings.batch_size < 2 or settings.lr <= 0:
        raise ValueError(
            f"compare: got epochs={epochs}, batch_size={settings.batch_size}, lr={settings.lr}; expected at least 1 "
            "epoch, batches of at least 2 and a positive learning rate"
        )
    kernels.device(settings.device)  # one that cannot be used says so before anything is downloaded
    manual_seed(settings.seed)
    plain, residual = models.twins(
        settings.depth,
        settings.width,
        in_channels={"digits": 1, "cifar10": 3}.get(settings.data, 1),
        shortcut=settings.shortcut,
        preact=settings.preact,
        zero_init_residual=settings.zero_init_residual,
    )
    folder = writable_folder(settings.out, "compare")
    train, test = load_data(settings)
    started = time.perf_counter()
    steps = epochs * data.batch_count(train, settings.batch_size, drop_last=True)
    runners = {name: make_runner(model, settings, steps) for name, model in (("plain", plain), ("residual", residual))}

    interrupted = False
    names = f"plain-{settings.depth} and ResNet-{settings.depth}"
    bar = tqdm(total=steps, desc=names, disable=settings.quiet, unit="step")
    try:
        with bar:
            for epoch in range(epochs):
                batches = data.batches(train, settings.batch_size, seed=settings.seed, epoch=epoch, drop_last=True)
                for images, labels in batches:
                    x = Tensor(images.astype(settings.dtype, copy=False)).to(settings.device)
                    y = Tensor(labels).to(settings.device)
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
    except KeyboardInterrupt:  # who cannot wait for the test images gets the rest
        interrupted = True
    report = _report(settings, epochs, runners, time.perf_counter() - started, interrupted)
    if done:
        write(folder, settings, report, runners)
    return report, runners["residual"].history.forks[-1] if done else []


def load_data(settings: Settings) -> tuple[data.Dataset, data.Dataset]:
    """(train, test) of the data set the settings name. Raises ValueError for an unknown name."""
    if settings.data == "digits":
        return data.digits()
    if settings.data == "cifar10":
        return data.cifar10(settings.root, download=settings.download, progress=not settings.quiet)
    raise ValueError(f'compare: got data={settings.data!r}; expected "digits" or "cifar10"')


def make_runner(model: ResNet, settings: Settings, steps: int) -> Runner:
    """SGD with momentum 0.9 and weight decay 1e-4 (He et al. 2015), warmed up, and divided by 10 at 70 %."""
    model.to(settings.dtype).to(settings.device)
    optimizer = optim.SGD(model.parameters(), settings.lr, momentum=0.9, weight_decay=1e-4)
    warm_up = min(WARM_UP, max(steps // 4, 1))
    rise = optim.LinearLR(optimizer, start_factor=1 / warm_up, total_iters=warm_up)
    drop = optim.MultiStepLR(optimizer, [max(int(0.7 * steps) - warm_up, 1)])
    schedule = optim.SequentialLR(optimizer, [rise, drop], [warm_up])
    return Runner(model, optimizer, schedule)


def _progress(runners: dict[str, Runner]) -> str:
    return ", ".join(f"{name} loss {r.losses[-1]:.2f} acc {r.correct:.0%}" for name, r in runners.items())


# ── the report ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _report(settings: Settings, epochs: int, runners: dict[str, Runner], seconds: float, interrupted: bool) -> dict:
    return {
        "version": __version__,
        "depth": settings.depth,
        "width": settings.width,
        "data": settings.data,
        "device": settings.device,
        "seed": settings.seed,
        "epochs": epochs,
        "steps": len(runners["plain"].losses),
        "seconds": round(seconds, 2),
        "interrupted": interrupted,
        "fork_sum_error": _number(runners["residual"].history.sum_error),
        "networks": {
            name: {
                "parameters": sum(p.numel() for p in runner.model.parameters()),
                "train_loss": _number(np.mean(runner.losses[-TAIL:])) if runner.losses else None,
                "test_accuracy": _number(runner.test_accuracy),
                "gradient_ratio": [
                    {"step": step, "first_over_last": _number(ratio)}
                    for step, ratio in zip(runner.history.steps, runner.history.first_over_last())
                ]
                if runner.history.steps
                else [],
            }
            for name, runner in runners.items()
        },
    }


def _number(value: Any) -> float | None:
    """A float that JSON can hold; None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def ratios(report: dict[str, Any], network: str) -> dict[int, float]:
    """step -> ‖∂L/∂W_first‖/‖∂L/∂W_last‖ of one network."""
    return {row["step"]: row["first_over_last"] for row in report["networks"][network]["gradient_ratio"]}


def table(report: dict[str, Any]) -> str:
    """The report as a text table, a column for each network."""
    networks = report["networks"]
    steps = [s for s in TABLE_STEPS if s in ratios(report, "plain")]
    last = max(ratios(report, "plain"), default=0)
    rows = [("", *(f"{name}-{report['depth']}" for name in networks))]
    rows.append(("parameters", *(f"{n['parameters']:,}" for n in networks.values())))
    rows.append(("final training loss", *(_loss(n["train_loss"]) for n in networks.values())))
    rows.append(("test accuracy", *(_accuracy(n["test_accuracy"]) for n in networks.values())))
    for step in [*steps, *([last] if last not in steps else [])]:
        values = [ratios(report, name)[step] for name in networks]
        end = " (end)" if step == last else ""
        rows.append((f"first/last gradient, step {step}{end}", *(_cell(v, ".3g") for v in values)))
    rows.append(("largest fork-sum error", "(no fork)", _cell(report["fork_sum_error"], ".0e")))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) for row in rows]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def _cell(value: float | None, spec: str) -> str:
    return "not finite" if value is None else format(value, spec)


def _loss(value: float | None) -> str:
    return _cell(value, ".3f" if value is None or value < 1000 else ".1e")


def _accuracy(value: float | None) -> str:
    return "not measured" if value is None else format(value, ".1%")


def sentences(report: dict[str, Any], forks: Sequence[flow.Fork]) -> list[str]:
    """Three sentences that say what the table shows, each computed from it."""
    plain, residual = ratios(report, "plain"), ratios(report, "residual")
    later = max(step for step in plain if step <= 100)
    first = (
        f"At step 0 the plain network's gradient {_trend(plain[0])}, the residual network's {_trend(residual[0])}; "
        f"by step {later} of the training the ratio of the plain one {_change(plain[0], plain[later])}, that of the "
        f"residual one {_change(residual[0], residual[later])}."
    )
    networks = report["networks"]
    losses = {name: math.inf if n["train_loss"] is None else n["train_loss"] for name, n in networks.items()}
    if min(losses.values()) > DIVERGED:
        diverged = "The training of both networks diverged; try a smaller --lr."
        return [first, diverged, "So the gradient at the forks means nothing."]
    lower, higher = ("residual", "plain") if losses["residual"] <= losses["plain"] else ("plain", "residual")
    second = (
        f"After {report['steps']} steps from the same weights the {lower} network has the lower training loss, "
        f"{_loss(networks[lower]['train_loss'])} against {_loss(networks[higher]['train_loss'])}"
    )
    accuracy = {name: n["test_accuracy"] for name, n in networks.items()}
    if None not in accuracy.values():
        second += (
            f", and classifies {_accuracy(accuracy[lower])} of the test images against {_accuracy(accuracy[higher])}"
        )
    second += "."
    shares = [fork.share for fork in forks]
    if report["fork_sum_error"] is None or not np.isfinite(shares).all():
        return [first, second, "The gradient at the forks of the residual network is not finite, or 0."]
    third = (
        f"At each of the {len(forks)} forks the gradient is the sum of what skip and branch returned, to within "
        f"{report['fork_sum_error']:.0e} of its size; at the end the branch returned between {min(shares):.0%} and "
        f"{max(shares):.0%} of ‖skip‖² + ‖branch‖², and {np.median(shares):.0%} at the median fork."
    )
    return [first, second, third]


def _trend(ratio: float | None) -> str:
    """What a first/last ratio says of the gradient's way from output to input."""
    if ratio is None:
        return "is not finite"
    if ratio > 1.5:
        explodes = " (it explodes on its way back)" if ratio > 20 else ""
        return f"is {_times(ratio)} times as large at the first convolution as at the last{explodes}"
    if ratio < 1 / 1.5:
        vanishes = " (it vanishes on its way back)" if ratio < 1 / 20 else ""
        return f"is {_times(1 / max(ratio, 1e-300))} times smaller at the first convolution than at the last{vanishes}"
    return f"is about the same at both ends (ratio {ratio:.2f})"


def _change(before: float | None, after: float | None) -> str:
    """What became of a first/last ratio in training."""
    if not before or not after:
        return "is not finite"
    factor = max(before / after, after / before)
    if factor < 10:
        return f"has changed by a factor of {factor:.1f}, to {after:.2g}"
    return f"has {'collapsed' if after < before else 'grown'} {_times(factor)}-fold, to {after:.2g}"


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"


def write(folder: Path, settings: Settings, report: dict[str, Any], runners: dict[str, Runner]) -> None:
    """Write compare.json, compare.csv and gradient-flow.png, each whole or not at all."""
    with replacing(folder / "compare.json") as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    with replacing(folder / "compare.csv") as path, open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "network", "layer", "gradient_norm"])
        for name, runner in runners.items():
            for step, norms in zip(runner.history.steps, runner.history.norms):
                rows.writerows([step, name, layer, f"{g:.8g}"] for layer, g in zip(runner.history.layers, norms))
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
