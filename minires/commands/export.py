"""``minires export``: one of the networks as an ONNX file, for ONNX Runtime and other programs."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import models
from ..arguments import nearest
from ..export import difference, export_onnx
from ..export.check import import_onnxruntime
from ..export.writer import import_onnx
from ..folders import writable_file
from ..models import ResNet
from ..random import manual_seed
from ..train import Checkpoint

IMAGENET: dict[str, Callable[..., ResNet]] = {
    "resnet18": models.resnet18,
    "resnet34": models.resnet34,
    "resnet50": models.resnet50,
    "resnet101": models.resnet101,
    "resnet152": models.resnet152,
}
BATCHES = 1, 5  # that --compare tries


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parser of ``minires``."""
    parser = commands.add_parser(
        "export",
        help="write a network as an ONNX file",
        description="Write a network, as it is in evaluation, as an ONNX file that takes any batch size. For a network "
        "of your own: minires.export_onnx(model, example, path).",
        epilog="examples:\n"
        "  minires export residual --checkpoint run.npz       the ResNet-20 that fit(…, checkpoint=…) saved\n"
        "  minires export resnet50 --compare                  and run it in ONNX Runtime, batch 1 and 5\n\n"
        f"networks: {', '.join(IMAGENET)}, plain, and\n"
        + "\n".join(f"  {name:<24}{variant.description}" for name, variant in models.VARIANTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("name", metavar="NAME", help="a network from the list below")
    parser.add_argument("--out", metavar="FILE", help="file to write (default NAME.onnx)")
    parser.add_argument(
        "--compare", action="store_true", help="print how far ONNX Runtime's outputs are from the network's"
    )
    network = parser.add_argument_group("the network")
    network.add_argument("--depth", type=int, help="layers, 6n+2 (default 20; not of resnet18 and so on)")
    network.add_argument("--width", type=int, help="channels of the first stage (default 16)")
    network.add_argument("--shortcut", choices=["A", "B", "C"], help="default: the network's own")
    network.add_argument("--in-channels", type=int, default=3, help="channels of an image (default 3)")
    network.add_argument(
        "--size", type=int, help="height and width of an image (default 32; 224 of resnet18 and so on)"
    )
    network.add_argument("--classes", type=int, help="default: 10; 1000 of resnet18 and so on")
    weights = parser.add_argument_group("the weights")
    weights.add_argument("--checkpoint", metavar="FILE", help="take the weights from a checkpoint of train.fit")
    weights.add_argument("--seed", type=int, default=0, help="of random weights, without a checkpoint (default 0)")


def run(
    name: str, out: str | None, compare: bool, size: int | None, checkpoint: str | None, seed: int, **given: Any
) -> int:
    """Build the network, write it, say what was written, and return the exit code."""
    if compare:
        import_onnxruntime()  # before anything is written
    size = (224 if name in IMAGENET else 32) if size is None else size
    if size < 1:
        raise ValueError(f"export: got --size {size}; expected at least 1")
    manual_seed(seed)
    model = build(name, **given)
    if checkpoint is not None:
        Checkpoint.load(checkpoint).restore_weights(model)
    sample, path = (given["in_channels"], size, size), out or f"{name}.onnx"
    writable_file(path, "export")
    export_onnx(model, np.zeros((1, *sample), np.float32), path)
    weights = f"weights of {checkpoint}" if checkpoint is not None else f"random weights, seed {seed}"
    count = sum(p.numel() for p in model.parameters())
    print(f"{path}: {name}, {count:,} parameters, {weights}; input (N, {', '.join(map(str, sample))})")
    if compare:
        proto, rng = import_onnx().load(path), np.random.default_rng(seed)
        for batch in BATCHES:
            apart, largest = difference(model, proto, rng.standard_normal((batch, *sample)).astype(np.float32))
            print(
                f"ONNX Runtime, batch {batch}: at most {apart:.1e} from the network, whose outputs reach {largest:.2g}"
            )
    return 0


def build(
    name: str, depth: int | None, width: int | None, shortcut: str | None, in_channels: int, classes: int | None
) -> ResNet:
    """The network of this name. Raises ValueError for an unknown name, or options that do not go with it."""
    options: dict[str, Any] = dict(in_channels=in_channels)
    options |= {} if shortcut is None else {"shortcut": shortcut}
    options |= {} if classes is None else {"num_classes": classes}
    if name in IMAGENET:
        if depth is not None or width is not None:
            raise ValueError(f"export: got --depth or --width for {name}, which has its own")
        return IMAGENET[name](**options)
    if name != "plain" and name not in models.VARIANTS:
        names = [*IMAGENET, "plain", *models.VARIANTS]
        raise ValueError(f"export: got {name!r}{nearest(name, names)}; expected one of {', '.join(names)}")
    make = models.plain_cifar if name == "plain" else models.VARIANTS[name].build
    return make(20 if depth is None else depth, 16 if width is None else width, **options)
