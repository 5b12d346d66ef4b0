"""What ``minires compare`` can be told: its settings, and its options on the command line."""

import argparse
import math
from dataclasses import dataclass
from typing import Any

from ... import kernels
from ...models import VARIANTS

EPOCHS = {"digits": 20, "cifar10": 2}  # default for each data set


@dataclass(frozen=True)
class Settings:
    """What to compare, on what, and how long.

    networks: two of `pairs.KINDS`; empty for the twins. epochs and processes: None takes what suits the data and the
    machine. seeds: how many, from ``seed`` on.
    """

    networks: tuple[str, ...] = ()
    depth: int = 56
    width: int = 8
    data: str = "digits"
    root: str | None = None
    download: bool = False
    epochs: int | None = None
    batch_size: int = 64
    lr: float = 0.1
    shortcut: str | None = None
    preact: bool = False
    zero_init_residual: bool = False
    seed: int = 0
    seeds: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    processes: int | None = None
    out: str = "minires-out"
    explorer: bool = True
    quiet: bool = False

    @property
    def passes(self) -> int:
        """Epochs, or the default of the data set."""
        return EPOCHS.get(self.data, 1) if self.epochs is None else self.epochs

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two networks."""
        first, second = self.networks or ("plain", "residual")
        return first, second

    def check(self) -> None:
        """Raise ValueError for what is illegal without looking at the data or the machine."""
        if self.passes < 1 or self.batch_size < 2 or not 0 < self.lr < math.inf:
            raise ValueError(
                f"compare: got epochs={self.passes}, batch_size={self.batch_size}, lr={self.lr}; expected at least 1 "
                "epoch, batches of at least 2 and a finite, positive learning rate"
            )
        if self.seeds < 1 or (self.processes is not None and self.processes < 1):
            raise ValueError(
                f"compare: got seeds={self.seeds}, processes={self.processes}; expected at least 1 of each"
            )
        if len(self.networks) not in (0, 2):
            raise ValueError(
                f"compare: got {' '.join(self.networks)!r}; expected two networks, such as residual preact, or none "
                "for the twins"
            )
        if self.networks and (self.preact or self.zero_init_residual):
            raise ValueError(
                "compare: got two networks with --preact or --zero-init-residual, which concern the twins; "
                "the networks of that kind are called preact and zero-gamma"
            )
        if "conv-shortcut" in self.networks and self.shortcut is not None:
            raise ValueError(f"compare: got --shortcut {self.shortcut} with conv-shortcut, whose shortcut is C")


def add_parser(commands: Any, run: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    defaults = Settings()
    kinds = "\n".join(f"  {name:<22}{kind.description}" for name, kind in VARIANTS.items())
    parser = commands.add_parser(
        "compare",
        help="train a plain and a residual twin side by side and show their gradient flow",
        description="Train a plain and a residual network that start from the same weights and differ by one flag, "
        "or any two of the networks below; record the gradient on its way back through both, and write a figure, a "
        "table and the numbers.",
        epilog="examples:\n"
        "  minires compare                            the default: depth 56 on handwritten digits, less than a minute\n"
        "  minires compare --depth 20 --epochs 5      a quick look\n"
        "  minires compare --seeds 3                  with bands that show what depends on the seed\n"
        "  minires compare residual preact            two of the networks below\n"
        "  minires compare --shortcut B --preact      projections, and BN and ReLU before the convolutions\n"
        "  minires compare --data cifar10 --root DIR  CIFAR-10, in its binary layout under DIR\n\n"
        f"networks:\n  {'plain':<22}the other one without its shortcuts\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)

    network = parser.add_argument_group("the networks")
    network.add_argument(
        "networks",
        nargs="*",
        metavar="A B",
        help="two networks from the list below (default: plain and residual twins)",
    )
    network.add_argument("--depth", type=int, default=defaults.depth, help="layers, 6n+2: 8, 14, 20, … (default 56)")
    network.add_argument("--width", type=int, default=defaults.width, help="channels of the first stage (default 8)")
    network.add_argument(
        "--shortcut",
        choices="ABC",
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
    training.add_argument("--seeds", metavar="N", type=int, default=defaults.seeds, help="train N times, from N seeds")
    training.add_argument("--dtype", choices=["float32", "float64"], default=defaults.dtype, help="default: float32")
    training.add_argument(
        "--device",
        choices=kernels.DEVICES,
        default=defaults.device,
        help="cpu (default); gpu: a CUDA device; cuda-on-cpu: the GPU's kernels run on the CPU, slowly",
    )
    training.add_argument(
        "--processes",
        metavar="N",
        type=int,
        help="train in N processes side by side (default: one for each core if the work of a step is too small to be "
        "shared by several, else one)",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", default=defaults.out, help="folder to write to (default minires-out)")
    output.add_argument("--no-explorer", dest="explorer", action="store_false", help="do not write explorer.html")
    output.add_argument("--quiet", action="store_true", help="no progress bar")
