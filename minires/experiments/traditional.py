"""Traditional networks: what is left of the gradient through tanh layers and through time, and what clipping does."""

import numpy as np

from .. import autograd, data as datasets, flow, models, nn, optim, random, train
from ..nn import functional as F
from ..tensor import Tensor
from .experiment import BATCH, Experiment, Numbers, above, below
from .training import dataset

ROWS, HIDDEN = 8, 32  # numbers in a row of a digit, and in the state


def tanh_layers(seed: int, variant: str, depth: int) -> Numbers:
    """Which share of ‖∂L/∂h‖ a layer of 3×3 convolution and tanh leaves on average, from the last to the first.

    variant: "default", PyTorch's start, of variance 1/(3·fan_in), or "Xavier".
    """
    random.manual_seed(seed)
    layers: list[nn.Module] = []
    for channels in (1, *[16] * (depth - 1)):
        convolution = nn.Conv2d(channels, 16, 3, padding=1)
        if variant == "Xavier":
            nn.init.xavier_normal_(convolution.weight)
        layers += [convolution, nn.Tanh()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    recorded = flow.record(model, *dataset("digits").train[:BATCH]).layers
    norms = [layer.output_gradient for layer in recorded if layer.op == "Tanh"]
    return {"left per layer": (norms[0] / norms[-1]) ** (1 / (depth - 1))}


class Reader(nn.Module):
    """Reads images (N, 1, steps, 8) row by row, and names the digit (N, 10) from its last state.

    kind: a variant of `THROUGH_TIME`, or "RNN orthogonal × 2", whose gradient explodes.
    """

    def __init__(self, kind: str):
        super().__init__()
        layer = nn.LSTM if "LSTM" in kind else models.ResidualRNN if "residual" in kind else nn.RNN
        self.recurrent, self.fc = layer(ROWS, HIDDEN, batch_first=True), nn.Linear(HIDDEN, 10)
        if "residual" in kind:
            self.recurrent.scale = 1 / 8
        if "orthogonal" in kind:
            nn.init.orthogonal_(self.recurrent.weight_hh_l0, gain=2 if "× 2" in kind else 1)
        if "open" in kind:  # the second quarter of the bias is the forget gate's
            self.recurrent.bias_ih_l0.array[HIDDEN : 2 * HIDDEN] = 3

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.recurrent(images[:, 0])[0][:, -1])


def waiting(digits: datasets.Dataset, steps: int) -> datasets.Dataset:
    """The data set with blank rows beneath every image: (N, 1, 8 + steps, 8)."""
    images = np.pad(digits[:][0], ((0, 0), (0, 0), (0, steps), (0, 0)))
    return datasets.Dataset(images, digits.labels, digits.classes)


def through_time(seed: int, variant: str, depth: int, epochs: int = 4, lr: float = 0.003) -> Numbers:
    """What is left of ‖∂L/∂x‖ over a wait of ``depth`` steps, and the accuracy after training with Adam for that."""
    random.manual_seed(seed)
    reader, split = Reader(variant), dataset("digits")
    images, labels = waiting(split.train, depth)[:BATCH]
    x = Tensor(images, requires_grad=True)
    (g,) = autograd.grad(F.cross_entropy(reader(x), Tensor(labels)), x)
    norms = np.sqrt((g.numpy().astype(np.float64) ** 2).sum((0, 1, 3)))
    found = {"gradient left": float(norms[ROWS - 1] / norms[-1])}
    if epochs:
        optimizer = optim.Adam(reader.parameters(), lr)
        longer = waiting(split.train, depth)
        train.fit(reader, longer, optimizer, epochs=epochs, batch_size=BATCH, seed=seed, progress=False)
        found["accuracy"] = train.evaluate(reader, waiting(split.test, depth)).accuracy
    return found


def clipping(seed: int, variant: str, depth: int, bound: float = 1.0, steps: int = 2, lr: float = 0.1) -> Numbers:
    """Which share of an exploding RNN's states is stuck at ±1 after some steps of gradient descent.

    depth: how long it waits. variant: "clipped" to a norm of at most ``bound``, or "unclipped".
    """
    random.manual_seed(seed)
    reader, (images, labels) = Reader("RNN orthogonal × 2"), waiting(dataset("digits").train, depth)[:BATCH]
    optimizer, norms = optim.SGD(reader.parameters(), lr), []
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(reader(Tensor(images)), Tensor(labels)).backward()
        limit = bound if variant == "clipped" else np.inf
        norms.append(float(nn.utils.clip_grad_norm_(reader.parameters(), limit)))
        optimizer.step()
    states = reader.recurrent(Tensor(images[:, 0]))[0].numpy()
    return {"stuck": float((np.abs(states) > 0.99).mean()), "‖gradient‖": norms[0]}


TANH_LAYERS = Experiment(
    "tanh-layers",
    "Through tanh layers the gradient vanishes from PyTorch's start, and not from Xavier's",
    "Glorot & Bengio 2010; Hochreiter 1991; Bengio et al. 1994",
    tanh_layers,
    {"left per layer, default-20": below(0.65), "left per layer, Xavier-20": (0.85, 1.1)},
    variants=("default", "Xavier"),
    depths=(20,),
    least={"depth": 2},
)

THROUGH_TIME = Experiment(
    "through-time",
    "Over 40 blank steps nothing of an RNN's gradient is left, and it learns nothing; with a shortcut around every "
    "step it does",
    "Hochreiter 1991; Bengio et al. 1994; Hochreiter & Schmidhuber 1997; Gers et al. 2000",
    through_time,
    {
        "gradient left, RNN-40": below(1e-6),
        "gradient left, residual RNN-40": above(0.01),
        "gradient left, LSTM gate open-40": above(0.01),
        "accuracy, RNN-0": above(0.7),
        "accuracy, RNN-40": below(0.2),
        "accuracy, residual RNN-40": above(0.4),
    },
    variants=("RNN", "RNN orthogonal", "residual RNN", "LSTM", "LSTM gate open"),
    depths=(0, 40),
    log=("gradient left",),
    remark="depth: how many steps it waits. At a fifth of the rate, the RNN that does not wait learns more slowly, and "
    "reads 58 % after as many epochs; all else holds.",
    tested={"seeds": range(2), "variants": ("RNN", "residual RNN"), "epochs": 2},
    slow=True,
    second={"lr": 0.0006},
    fails=("accuracy, RNN-0",),
    least={"epochs": 0},
)

CLIPPING = Experiment(
    "clipping",
    "An exploded gradient drives the states of an RNN to ±1 within two steps, where no gradient is left; clipped, not",
    "Pascanu, Mikolov & Bengio 2013 (arXiv 1211.5063)",
    clipping,
    {
        "stuck, unclipped-40": above(0.5),
        "stuck, clipped-40": below(0.2),
        "‖gradient‖, unclipped-40": above(20),
    },
    variants=("unclipped", "clipped"),
    depths=(40,),
    remark="depth: how many steps it waits. At a fifth of the rate two steps drive half of the states to "
    "±1, not nine tenths; clipped, as few as ever.",
    second={"lr": 0.02},
    fails=("stuck, unclipped-40",),
)
