"""What ``minires flow`` can be told: its settings, and its options on the command line."""

import argparse
import math
from dataclasses import dataclass
from typing import Any

from ... import kernels, models


@dataclass(frozen=True)
class Settings:
    """Whose flow to draw: ``model`` is "twins" or a name in `models.VARIANTS`; ``plain`` takes the plain twin alone."""

    model: str = "twins"
    plain: bool = False
    preact: bool = False
    depth: int = 56
    width: int = 8
    epochs: int = 5
    batch_size: int = 64
    lr: float = 0.1
    init_only: bool = False
    scale: tuple[tuple[str, float], ...] = ()  # (pattern, factor) of what `flow.scaled` multiplies
    data: str = "digits"
    root: str | None = None
    download: bool = False
    seed: int = 0
    device: str = "cpu"
    out: str = "minires-flow"
    quiet: bool = False

    @property
    def title(self) -> str:
        """The networks and the data, in a few words."""
        networks = f"plain{' twin' if self.plain else ' and residual twins'}" if self.model == "twins" else self.model
        return f"{networks} of {self.depth} layers, width {self.width}, on {self.data}"

    def check(self) -> None:
        """Raise ValueError for what is illegal without looking at the data or the machine."""
        if self.epochs < 1:
            raise ValueError(f"flow: got epochs={self.epochs}; expected at least 1 (--init-only trains nothing)")
        if self.batch_size < 2 or not 0 < self.lr < math.inf:
            raise ValueError(
                f"flow: got batch_size={self.batch_size}, lr={self.lr}; expected batches of at least 2 and a finite, "
                "positive learning rate"
            )


def add_parser(commands: Any, run: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    defaults = Settings()
    parser = commands.add_parser(
        "flow",
        help="draw every figure of the gradient-flow instrument",
        description="Draw every figure of the gradient-flow instrument for a pair of twins, or for a network of your "
        "choice, before and after a short training: profile, forks, path spectrum, computation graph, responses, "
        "variance, shattering, Jacobians, lesion, landscape, and the flow over training.",
        epilog="examples:\n"
        "  minires flow                               plain and residual twins of 56 layers, on handwritten digits\n"
        "  minires flow --init-only                   nothing is trained: what the papers say about initialisation\n"
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
    network.add_argument("--depth", type=int, default=defaults.depth, help="layers, 6n+2 (default 56)")
    network.add_argument("--width", type=int, default=defaults.width, help="channels of the first stage (default 8)")
    network.add_argument("--plain", action="store_true", help="the plain twin alone")
    network.add_argument("--preact", action="store_true", help="BN and ReLU before each convolution (He et al. 2016)")
    training = parser.add_argument_group("training")
    training.add_argument("--init-only", action="store_true", help="draw the networks as they start; train nothing")
    training.add_argument("--epochs", type=int, default=defaults.epochs, help="default: 5")
    training.add_argument("--batch-size", type=int, default=defaults.batch_size, help="default: 64")
    training.add_argument("--lr", type=float, default=defaults.lr, help="learning rate (default 0.1)")
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
    training.add_argument("--download", action="store_true", help="download CIFAR-10 (170 MB) if it is not there")
    training.add_argument(
        "--device",
        choices=kernels.DEVICES,
        default=defaults.device,
        help="cpu (default); gpu: a CUDA device; cuda-on-cpu: the GPU's kernels run on the CPU, slowly",
    )
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
