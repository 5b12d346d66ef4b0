"""Networks that come trained with the package, so that one can look into them without waiting.

minires has trained them itself: ``python -m benchmarks.trained`` does it again. The recipe is that of
``minires compare``: SGD with momentum and weight decay, a learning rate of 0.1 that is divided by 10 after 70 % of the
steps, batches of 64, seed 0, float32. The twins on the digits are those of ``minires compare`` with that depth.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from ... import random
from ...arguments import one_of
from ..resnet import ResNet, resnet_cifar

FOLDER = Path(__file__).parent


class Network(NamedTuple):
    """What a network is, on which data it was trained and for how many epochs, and its test accuracy, from 0 to 1."""

    depth: int
    residual: bool
    data: str
    width: int
    epochs: int
    accuracy: float


NETWORKS = {
    "plain-20": Network(20, False, "digits", 8, 20, 0.9778),
    "residual-20": Network(20, True, "digits", 8, 20, 0.9806),
    "plain-56": Network(56, False, "digits", 8, 20, 0.4694),
    "residual-56": Network(56, True, "digits", 8, 20, 0.9778),
    "residual-20-cifar10": Network(20, True, "cifar10", 16, 2, 0.6709),
}


def build(network: Network) -> ResNet:
    """The network before its training, with random weights."""
    channels = 1 if network.data == "digits" else 3
    return resnet_cifar(network.depth, network.width, in_channels=channels, residual=network.residual)


def trained(name: str) -> ResNet:
    """A trained network in evaluation mode: "plain-20", "residual-20", "plain-56" or "residual-56", on `data.digits`.

    "residual-20-cifar10" is a ResNet-20 on `data.cifar10` after no more than two epochs: it classifies 67.1 % of the
    test images; trained to its end it would reach 91 % (He et al. 2015, table 6). `NETWORKS` says how each was trained,
    and how accurate it is. Images must be normalised, as those functions do by default. No random number is drawn.

    Raises ValueError for another name, WeightsError or FileNotFoundError if the installed file is damaged or
    missing.

    >>> from minires import data, models, train
    >>> _, test = data.digits()
    >>> round(train.evaluate(models.trained("residual-56"), test).accuracy, 3)
    0.978
    """
    if name not in NETWORKS:
        raise ValueError(f"trained: got {name!r}; {one_of(name, NETWORKS)}")
    from ...nn.weights import load_weights  # only now: `import minires` is to stay quick

    before = random.get_state()
    model = build(NETWORKS[name])
    random.set_state(before)
    try:
        with resources.as_file(resources.files(__package__).joinpath(f"{name}.npz")) as path:
            load_weights(model, path)
    except (OSError, ValueError) as error:
        again = "python -m pip install --force-reinstall --no-deps minires-lab"
        error.add_note(f"trained: the file belongs to the package; install minires again: {again}")
        raise
    return model.eval()
