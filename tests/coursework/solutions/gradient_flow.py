"""Reference solution: new leaves at each fork, and retain_grad at each block."""

import numpy as np

import minires as mr
from minires import Tensor


def through(model, x, y):
    """Run forward and backward; the input tensor of each block, with its gradient, and each block's output."""
    h = model.relu(model.bn1(model.conv1(Tensor(x))))
    blocks = [block for stage in (model.layer1, model.layer2, model.layer3) for block in stage]
    tensors = [h]
    for block in blocks:
        h.retain_grad()
        h = block(h)
        tensors.append(h)
    h.retain_grad()
    mr.nn.functional.cross_entropy(model.fc(model.avgpool(h).flatten(1)), Tensor(y)).backward()
    return blocks, tensors


def gradient_norms(model, x, y):
    return [float(np.linalg.norm(t.grad)) for t in through(model, x, y)[1][:-1]]


def fork_norms(model, x, y):
    blocks, tensors = through(model, x, y)
    found = []
    for block, start, end in zip(blocks, tensors, tensors[1:]):
        left, right = (Tensor(start.array, requires_grad=True) for _ in range(2))
        mr.relu(block.branch(left) + block.shortcut(right)).backward(end.grad)
        found.append((float(np.linalg.norm(right.grad)), float(np.linalg.norm(left.grad))))
    return found


def growth(norms):
    return (norms[0] / norms[-1]) ** (1 / (len(norms) - 1))


def measured():
    x, y = mr.data.digits()[0][:64]
    mr.manual_seed(0)
    return [growth(gradient_norms(model, x, y)) for model in mr.models.twins(20, width=8, in_channels=1)]


PLAIN, RESIDUAL = measured()
ANSWERS = {
    "at a fork": "sum",
    "plain against residual": "above" if PLAIN > RESIDUAL else "below",
    "zero branches": 0.0,
    "growth, plain": PLAIN,
    "growth, residual": RESIDUAL,
}
EXPLANATION = "The branch multiplies, the shortcut adds: going back, each block hands on at least what it was handed."
