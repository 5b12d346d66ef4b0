"""``minires explore``: train twins, and write the page that shows the gradient on every edge while they learn."""

import argparse
import math
import sys
import webbrowser
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from .. import data, flow, models
from ..experiments.watched import CHANNELS, Runner, load_data
from ..folders import writable_file
from ..jobs import Interrupted
from ..nn import init as initialisers
from ..random import manual_seed
from ..tensor import Tensor
from ..train import evaluate

PROBE_IMAGES = 64  # on which cuts and paths are measured
EPOCHS = {"digits": 10, "cifar10": 1}
INITS: dict[str, Callable[[Any], Any]] = {
    "he": initialisers.kaiming_normal_,
    "xavier": initialisers.xavier_normal_,
    "orthogonal": initialisers.orthogonal_,
}


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    parser = commands.add_parser(
        "explore",
        help="write a page that shows the gradient on every edge, plain above residual",
        description="Train plain and residual twins, and write one HTML page, which needs no other file: the gradient "
        "on every edge over the training, what cutting a skip does, and the paths that the gradient takes. Several "
        "depths or starts, or both values of a switch, are trained one after the other; the page chooses between them.",
        epilog="examples:\n"
        "  minires explore --open                      depth 20 on handwritten digits, about a minute\n"
        "  minires explore --depth 8 20 56             three depths on one page\n"
        "  minires explore --zero-init-residual both   with γ of every branch starting at 1, and at 0\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    network = parser.add_argument_group("the twins")
    network.add_argument("--depth", type=int, nargs="+", default=[20], help="layers, 6n+2: 8, 14, 20, … (default 20)")
    network.add_argument("--width", type=int, default=8, help="channels of the first stage (default 8)")
    network.add_argument("--shortcut", choices="ABC", default="A", help="as of minires compare (default A)")
    switch = {"nargs": "?", "choices": ["no", "yes", "both"], "const": "yes", "default": "no"}
    network.add_argument("--preact", **switch, help="BN and ReLU before each convolution; both: with and without")
    network.add_argument("--zero-init-residual", **switch, help="start every residual block as its shortcut; or both")
    starts = "how the convolutions start: he (default), xavier, orthogonal; several to choose between them"
    network.add_argument("--init", nargs="+", choices=list(INITS), default=["he"], help=starts)
    training = parser.add_argument_group("training")
    training.add_argument("--data", nargs="+", choices=list(EPOCHS), default=["digits"], help="default: digits")
    training.add_argument("--root", metavar="DIR", help="folder with CIFAR-10 (default: the user cache)")
    training.add_argument("--download", action="store_true", help="download CIFAR-10 (170 MB) if it is not there")
    epochs = ", ".join(f"{n} for {name}" for name, n in EPOCHS.items())
    training.add_argument("--epochs", type=int, help=f"passes over the training images (default: {epochs})")
    training.add_argument("--batch-size", type=int, default=64, help="default: 64")
    training.add_argument("--lr", type=float, default=0.1, help="learning rate (default 0.1)")
    training.add_argument("--seed", type=int, default=0, help="of weights and order of images (default 0)")
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE", default="explorer.html", help="default: explorer.html")
    output.add_argument("--open", action="store_true", help="open the page in the browser")
    output.add_argument("--quiet", action="store_true", help="no progress bar")


def run(out: str, open: bool, quiet: bool, root: str | None, download: bool, **options: Any) -> int:
    """Train, write the page, say where it is, and return the exit code.

    Ctrl-C ends the training; the page then shows what was recorded until then.
    """
    path, chosen = writable_file(out, "explore"), combinations(**options)
    names = dict.fromkeys(options["data"])
    sets = {name: load_data(name, root, download, progress=not quiet) for name in names}  # before anything is trained
    for train, _ in sets.values():
        data.batch_count(train, options["batch_size"], drop_last=True)
    runs, interrupted = [], False
    try:
        for settings in chosen:
            runs.append(trained(sets[settings["name"]], **settings, quiet=quiet))
    except KeyboardInterrupt as stop:
        runs += [stop.result] if isinstance(stop, Interrupted) else []
        if not runs:
            raise
        interrupted = True
    flow.explore_runs(runs, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB; open it in a browser, choose a block, move through the steps")
    if interrupted:
        print("minires: interrupted; the page shows what was recorded until then", file=sys.stderr)
    if open:
        webbrowser.open(path.resolve().as_uri())
    return 130 if interrupted else 0


def combinations(
    depth: list[int], data: list[str], preact: str, zero_init_residual: str, init: list[str], **common: Any
) -> list[dict[str, Any]]:
    """The settings of every run: all depths, data sets and switches. Raises ValueError for numbers out of range."""
    epochs, batch_size, lr = common["epochs"], common["batch_size"], common["lr"]
    if (epochs is not None and epochs < 1) or batch_size < 2 or not 0 < lr < math.inf:
        raise ValueError(
            f"explore: got epochs={epochs}, batch_size={batch_size}, lr={lr}; expected at least 1 epoch, batches of at "
            "least 2 and a finite, positive learning rate"
        )
    sides = {"no": [False], "yes": [True], "both": [False, True]}
    found = [
        {**common, "depth": one, "name": name, "preact": before, "zero_init_residual": zero, "init": start}
        for name in dict.fromkeys(data)
        for one in dict.fromkeys(depth)
        for before in sides[preact]
        for zero in sides[zero_init_residual]
        for start in dict.fromkeys(init)
    ]
    for settings in found:
        build(**settings)  # a depth that cannot be built fails before anything is trained
    return found


def build(
    depth: int,
    width: int,
    name: str,
    shortcut: str,
    preact: bool,
    zero_init_residual: bool,
    init: str,
    seed: int,
    **_: Any,
) -> dict[str, Any]:
    """The twins, by name: from the same weights."""
    manual_seed(seed)
    options: dict[str, Any] = {"shortcut": shortcut, "preact": preact, "zero_init_residual": zero_init_residual}
    plain, residual = models.twins(depth, width, in_channels=CHANNELS[name], **options)
    if init != "he":  # which is how `models` starts them
        shared = dict(plain.named_parameters())
        for parameter_name, parameter in residual.named_parameters():
            if parameter.ndim == 4:
                INITS[init](parameter)
                if parameter_name in shared:
                    shared[parameter_name].data = parameter.array.copy()
    return {"plain": plain, "residual": residual}


def trained(
    sets: tuple[data.Dataset, data.Dataset],
    name: str,
    epochs: int | None,
    batch_size: int,
    lr: float,
    quiet: bool,
    **network: Any,
) -> flow.Run:
    """Train the twins, recorded on the log schedule and probed before the first step and after the last.

    Ctrl-C raises `Interrupted` with what was recorded until then, or KeyboardInterrupt if that is nothing.
    """
    train, test = sets
    epochs = EPOCHS[name] if epochs is None else epochs
    steps = epochs * data.batch_count(train, batch_size, drop_last=True)
    networks = build(name=name, **network)
    runners = {kind: Runner.start(model, steps, lr) for kind, model in networks.items()}
    accuracies: dict[str, dict[int, float]] = {kind: {} for kind in networks}
    probes: dict[str, dict[int, flow.Probe]] = {kind: {} for kind in networks}
    images, interrupted = train[:PROBE_IMAGES], False

    def probe(step: int) -> None:
        for kind, model in networks.items():
            probes[kind][step] = flow.probe(model, *images, test, progress=not quiet)

    label = f"depth {network['depth']}, {name}"
    with tqdm(total=steps, desc=label, disable=quiet, unit="step") as bar:
        probe(0)
        step = 0
        try:
            for epoch in range(epochs):
                for x, y in data.batches(train, batch_size, seed=network["seed"], epoch=epoch, drop_last=True):
                    due = flow.is_due(step, last=steps - 1)
                    for kind, runner in runners.items():
                        if due:
                            accuracies[kind][step] = evaluate(runner.model, test)[1]
                        runner.step(Tensor(x), Tensor(y), record=due)
                    step += 1
                    bar.update()
            probe(steps - 1)
        except KeyboardInterrupt:
            if not all(runner.history.steps for runner in runners.values()):
                raise
            interrupted = True
    words = {False: "no", True: "yes"}
    run = flow.Run(
        {kind: runner.history for kind, runner in runners.items()},
        {
            "data": name,
            "depth": network["depth"],
            "pre-activation": words[network["preact"]],
            "γ = 0": words[network["zero_init_residual"]],
            "initialisation": network["init"],
        },
        {kind: runner.losses for kind, runner in runners.items()},
        accuracies,
        probes,
    )
    if interrupted:
        raise Interrupted(run)
    return run
