"""The backward walk: how a gradient goes back through a graph, and what happens where the graph forks.

Every tensor that came out of an operation has an ``op``; a tensor you made yourself is a leaf and has none (its ``op``
is None). An op has

    op.inputs             for each input, where its gradient goes: an op, a leaf tensor, or None (no gradient wanted)
    op.backward(g)        the gradients of its inputs, given the gradient g of its output: an array, or a tuple of
                          arrays, one for each input

Part "order" (4 points): list the ops so that each comes after all ops that *use* its output.
Part "walk" (4 points): start at the output, call each op's backward once, hand the gradients on, fill .grad of leaves.
Part "forks" (8 points): a tensor that is used twice gets two gradients, and its own is their sum. This is the sum that
makes a skip connection work.
Part "network" (4 points): 1,200 ops in a row, 40 forks in a row, and leaves that have a .grad already.

You may not call the library's own backward. Run this file to check yourself; ``minires grade autograd.py`` for points.
"""

import numpy as np

import minires as mr
from minires.ops.arithmetic import sum_to
from minires.testing import gradcheck


def order(output):
    """All ops that led to the tensor ``output``, each once, and before the ops that made its inputs.

    The first is output.op, the last one works on leaves. Deep graphs exceed Python's limit of 1,000 nested calls.
    """
    raise NotImplementedError('part "order"')


def backward(output, grad_output):
    """Add to ``.grad`` of every leaf behind ``output`` the gradient of Σ grad_output·output.

    output: a tensor. grad_output: an array of its shape. Ops take and return arrays; a leaf's .grad is None at first,
    and a tensor, ``mr.Tensor(gradient)``, afterwards; if it is one already, the new gradient is added. An input that
    was broadcast gets a gradient that is too large: ``sum_to(gradient, shape)`` sums it to the shape of the input,
    which is ``op.input_specs[i][0]`` for input i.
    """
    raise NotImplementedError('part "walk"')


if __name__ == "__main__":
    from minires.coursework import try_out

    rng = np.random.default_rng(0)
    assert sum_to(np.ones((3, 2)), (2,)).tolist() == [3, 3]
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 4))

    def engine(outputs, grads):
        backward(outputs[0], grads[0])

    def a_chain():
        return order((mr.tensor(x, requires_grad=True).tanh().exp()) ** 2)

    try_out(
        {
            "order of a chain, to be the square, exp, tanh": a_chain,
            "backward of relu(x @ w)": lambda: gradcheck(lambda x, w: mr.relu(x @ w), x, w, engine=engine),
            "backward of a skip": lambda: gradcheck(lambda x, w: x + mr.relu(x @ w), x, w, engine=engine),
        }
    )
