"""``python -m benchmarks.trained NAME …``: train the networks that come with the package, and write their files again.

Each is described in `minires.models.trained.NETWORKS`: the network, the data, the epochs. The rest is the project's
recipe (`train.recipe`), seed 0, batches of 64, float32; on CIFAR-10 images are cropped and mirrored at random. A run
that was stopped continues from its checkpoint. Equal machines give equal files, bit for bit, with one thread.
"""

import argparse
import math
import sys
from pathlib import Path

import minires as mr
from minires import data, train
from minires.experiments.watched import load_data
from minires.models.trained import FOLDER, NETWORKS, Network, build


def main() -> None:
    """Train those that are named, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trained", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--root", help="folder with CIFAR-10 (default: the user cache)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to (default: that of the package)")
    parser.add_argument("--checkpoints", type=Path, help="folder for checkpoints to go on from (default: none)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - NETWORKS.keys())
    if unknown:
        parser.error(f"got {', '.join(unknown)}; expected some of {', '.join(NETWORKS)}")
    mr.set_num_threads(1)
    try:
        for name in arguments.names or NETWORKS:
            model, accuracy, seconds = fit(name, NETWORKS[name], arguments.root, arguments.checkpoints)
            mr.save_weights(model, arguments.out / f"{name}.npz")
            print(f"{name}: test accuracy {accuracy:.4f} after {NETWORKS[name].epochs} epochs, {seconds:.0f} s")
    except (ValueError, OSError) as error:
        sys.exit(f"benchmarks.trained: {error}")


def fit(name: str, network: Network, root=None, checkpoints: Path | None = None) -> tuple[mr.nn.Module, float, float]:
    """The trained network, its test accuracy, and how many seconds it took."""
    training, test = load_data(network.data, root)
    mr.manual_seed(0)
    model = build(network)
    steps = network.epochs * data.batch_count(training, 64, drop_last=True)
    optimizer, schedule = train.recipe(model, steps)
    history = train.fit(
        model,
        training,
        optimizer,
        epochs=network.epochs,
        batch_size=64,
        test_data=test,
        drop_last=True,
        augment=data.random_crop_flip if network.data == "cifar10" else None,
        schedule=schedule,
        checkpoint=checkpoints and checkpoints / f"{name}.checkpoint.npz",
        checkpoint_every=checkpoints and 200,
    )
    return model, history.test_accuracy[-1], math.fsum(history.seconds)


if __name__ == "__main__":
    main()
