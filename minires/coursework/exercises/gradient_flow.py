"""Gradient flow: measure how the gradient goes back through a plain and a residual network, and explain what you see.

A network of 6n+2 layers has 3n blocks: model.layer1, layer2 and layer3 hold n each. The forward pass runs
conv1 – bn1 – relu – the blocks – average pool – fc, and a block is ``block(x)``.

Part "measure" (8 points): gradient_norms, the gradient at the input of each block.
Part "forks" (6 points): fork_norms, its two summands at each fork: what the shortcut and what the branch sent back.
Part "explain" (6 points): your answers, compared with what the grader itself measures, and a few sentences for your
teacher.

``mr.flow.record`` does what you are to do; do it without (the graph and ``.grad`` are enough: see ``retain_grad``),
then compare your numbers with it. Run this file to check yourself; ``minires grade gradient_flow.py`` for points.
"""

import numpy as np

import minires as mr


def gradient_norms(model, x, y):
    """The Euclidean norm of the loss's gradient at the input of each block, first block first, in a list.

    model: a ResNet in training mode, plain or residual. x (N, 1, 8, 8) and y (N) are arrays; the loss is
    mr.nn.functional.cross_entropy(model(x), y).
    """
    raise NotImplementedError('part "measure"')


def fork_norms(model, x, y):
    """For each block of a residual network: (norm of what the shortcut sent back, norm of what the branch sent back).

    A residual block computes ``relu(block.branch(x) + block.shortcut(x))``.
    """
    raise NotImplementedError('part "forks"')


def growth(norms):
    """The factor by which the norm grows from one block to the one before it, on average: a geometric mean.

    growth([8, 4, 2, 1]) is 2: going back, from the last block to the first, the norm doubles each time.
    """
    raise NotImplementedError('part "explain"')


ANSWERS = {
    # The gradient at the input of a residual block, from what the shortcut and the branch sent back, is their:
    # "sum", "product", "mean" or "larger one"?
    "at a fork": "?",
    # In the plain network of 20 layers before training, is the growth above or below that of the residual one?
    "plain against residual": "?",
    # With γ = 0 in the last batch norm of each branch (model.zero_branches()), what is the branch's share of the
    # gradient at a fork, a number from 0 to 1? Measure it.
    "zero branches": None,
    # The growth in the plain network of 20 layers, seed 0, before training, to 10 %:
    # mr.manual_seed(0); plain, residual = mr.models.twins(20, width=8, in_channels=1), the first 64 training digits.
    "growth, plain": None,
    # The same in the residual one.
    "growth, residual": None,
}

EXPLANATION = """
Three to six sentences: what happens to the gradient in the plain network, what in the residual one, and why does the
shortcut make the difference? Your teacher reads this; it earns nothing here.
"""


if __name__ == "__main__":
    from minires.coursework import try_out

    train, _ = mr.data.digits()
    x, y = train[:64]
    mr.manual_seed(0)
    plain, residual = mr.models.twins(20, width=8, in_channels=1)
    try_out(
        {
            "growth of 8, 4, 2, 1, to be 2": lambda: growth([8, 4, 2, 1]),
            "norms in the plain network": lambda: np.round(gradient_norms(plain, x, y), 4),
            "norms in the residual one": lambda: np.round(gradient_norms(residual, x, y), 4),
            "growth in the plain network": lambda: growth(gradient_norms(plain, x, y)),
            "growth in the residual one": lambda: growth(gradient_norms(residual, x, y)),
            "shortcut and branch at each fork": lambda: np.round(fork_norms(residual, x, y), 4).tolist(),
        }
    )
