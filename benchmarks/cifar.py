"""``python -m benchmarks.cifar``: train ResNet-20 on CIFAR-10 by the paper's recipe, on a GPU.

He et al. 2015 (arXiv 1512.03385, section 4.2): SGD with momentum 0.9 and weight decay 1e-4, batches of 128, learning
rate 0.1 divided by 10 after 32,000 and 48,000 of 64,000 iterations, images padded by 4, cropped and mirrored at random;
their ResNet-20 has a test error of 8.75 %. Here all 50,000 training images are used, standardised by channel. The
images are on the device as bytes, and a step is one CUDA graph. A run that was stopped continues from its checkpoint.
"""

import argparse
import math
import sys
from pathlib import Path

import minires as mr
from minires import data, kernels, models, optim, train

from . import harness

PAPER = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97}  # test error in per cent, table 6


def main() -> None:
    """Train, and write ``benchmarks/results/cifar.json`` and ``cifar.md``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cifar", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=kernels.DEVICES, default="gpu", help="default: gpu")
    parser.add_argument("--depth", type=int, default=20, help="layers, 6n+2 (default 20)")
    parser.add_argument("--iterations", type=int, default=64_000, help="rounded to whole epochs (default 64000)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default 0)")
    parser.add_argument("--root", help="folder with CIFAR-10 (default: the user cache)")
    parser.add_argument("--download", action="store_true", help="download CIFAR-10 (170 MB) if it is not there")
    parser.add_argument("--checkpoint", default="cifar.npz", help="file to go on from (default cifar.npz)")
    parser.add_argument("--quick", action="store_true", help="a narrow network and 512 images, just to see it run")
    try:
        run(**vars(parser.parse_args()))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"benchmarks.cifar: {error}")


def run(
    device: str, depth: int, iterations: int, seed: int, root, download: bool, checkpoint: str, quick: bool
) -> None:
    """Do one training run, and return its result."""
    kernels.device(device)  # says at once what is missing
    parts = data.cifar10(root, download=download)
    training, test = (part.subset(512) if quick else part for part in parts)
    training, test = training.to(device), test.to(device)
    steps = data.batch_count(training, 128, drop_last=True)
    epochs = max(round(iterations / steps), 1)
    mr.manual_seed(seed)
    model = models.resnet_cifar(depth, 4 if quick else 16).to(device)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    schedule = optim.MultiStepLR(optimizer, [epochs * steps // 2, epochs * steps * 3 // 4])
    history = train.fit(
        model,
        training,
        optimizer,
        epochs=epochs,
        batch_size=128,
        drop_last=True,
        augment=data.random_crop_flip,
        schedule=schedule,
        checkpoint=Path(checkpoint),
        graph=device != "cpu",
        seed=seed,
    )
    seconds = math.fsum(history.seconds)
    result = train.evaluate(model, test, 256)
    error = 100 * (1 - result.accuracy)
    paper = f"; the paper's is {PAPER[depth]} %" if depth in PAPER else ""
    text = (
        f"ResNet-{depth} on CIFAR-10, {device}: test error {error:.2f} % after {epochs * steps:,} iterations "
        f"({epochs} epochs){paper}. Training took {seconds / 60:.1f} minutes, "
        f"{1e3 * seconds / (epochs * steps):.2f} ms an iteration."
    )
    numbers = {"depth": depth, "device": device, "iterations": epochs * steps, "seed": seed, "seconds": seconds}
    harness.save("cifar", harness.Plan(1, quick), {**numbers, "test_error_percent": error}, text)


if __name__ == "__main__":
    main()
