"""What can still be read behind many blocks: the label and the picture, by linear probes (Alain & Bengio 2016)."""

import numpy as np

from .. import autograd, models, random
from ..flow.inside import passages
from ..flow.keeping import keeping
from ..nn.examples import fit_to
from .experiment import Experiment, Numbers, above, below
from .training import dataset, fit

PENALTIES = 1e-1, 1e1, 1e3, 1e5, 1e7
Arrays = list[np.ndarray]  # of the training images, and of the test images


def reading(seed: int, variant: str, depth: int, steps: int = 0, lr: float = 0.1) -> Numbers:
    """How often a linear map reads the digit from the features behind the last block, and R² of the pixels.

    A network of ``depth`` equal blocks of 8 channels at 8×8, untrained, or after some steps of training.
    """
    random.manual_seed(seed)
    model = models.ResNet(models.ResidualBlock, [depth], [8], in_channels=1, residual=variant == "residual")
    for _ in fit(model, "digits", seed, steps, lr) if steps else ():
        pass
    split = dataset("digits")
    pixels, labels = zip(*(part[:] for part in split))
    pictures = [part.reshape(len(part), -1).astype(np.float64) for part in pixels]
    answers = [np.eye(10)[part] for part in labels]
    h = features(model, list(pixels))
    guess, seen = linear_reader(h, answers), linear_reader(h, pictures)
    left = ((pictures[1] - seen) ** 2).sum() / ((pictures[1] - pictures[1].mean(0)) ** 2).sum()
    return {"label": float((guess.argmax(1) == labels[1]).mean()), "picture, R²": 1 - float(left)}


def features(model: models.ResNet, pixels: Arrays) -> Arrays:
    """Outputs of the last block, (N, 512), by means and one standard deviation of the training images."""
    with keeping(model), passages({"last": model.blocks()[-1]}) as seen, autograd.no_grad():
        model.train()(fit_to(model, np.concatenate(pixels)))
    h = seen[0][2].array.reshape(sum(map(len, pixels)), -1).astype(np.float64)
    train = h[: len(pixels[0])]
    return np.split((h - train.mean(0)) / (train.std() + 1e-12), [len(train)])


def linear_reader(h: Arrays, targets: Arrays) -> np.ndarray:
    """Ridge regression's predictions for the test images; the penalty is chosen on a fifth of the training images."""
    x, t = h[0], targets[0] - targets[0].mean(0)
    rest = 4 * len(x) // 5
    off = [((x[rest:] @ _ridge(x[:rest], t[:rest], penalty) - t[rest:]) ** 2).sum() for penalty in PENALTIES]
    return h[1] @ _ridge(x, t, PENALTIES[int(np.argmin(off))]) + targets[0].mean(0)


def _ridge(x: np.ndarray, t: np.ndarray, penalty: float) -> np.ndarray:
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ t)


READING = Experiment(
    "reading",
    "Behind 18 untrained plain blocks neither the digit nor its picture can be read; behind 18 residual ones, both",
    "Alain & Bengio 2016 (arXiv 1610.01644), whose probes these are; what they show is chaos, see the experiment chaos",
    reading,
    {
        "label, plain-18": below(0.25),
        "label, residual-18": above(0.75),
        "picture, R², plain-18": below(0.2),
        "picture, R², residual-18": above(0.4),
    },
    variants=("plain", "residual"),
    depths=(1, 6, 18),
    remark="label: how often a linear map reads the digit right; picture, R²: how much of the pixels it can draw.",
    tested={"seeds": range(2), "depths": (18,)},
    least={"depth": 1, "steps": 0},
)
