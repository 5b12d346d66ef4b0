"""`Source`: which tensor a gradient came back to. `Node`: what a recording keeps of it."""

from typing import Any, NamedTuple

import numpy as np

# A parameter that goes into one of these ops, our own or PyTorch's, is an offset, a factor or a row (of positions, a
# token), not the weight of a layer.
WITHOUT_WEIGHT = frozenset(
    "Add Addcdiv Addcmul Cat Div Lerp Maximum Minimum Mul Rsub Stack Sub WeightNormInterface Where".split()
)


class Source(NamedTuple):
    """A tensor of an engine's graph: the output of an op, or a leaf tensor, whose op is ""."""

    number: int  # of the op, the same in every pass: from 0, larger than those of its inputs; of a leaf: negative
    op: str  # its class name; forks end at those called "Add", gates are those called "Mul"
    shape: tuple[int, ...]
    scope: str = ""  # the module in which the op ran, such as "layer1.0"
    name: str = ""  # a leaf's own, such as "layer1.0.conv1.weight"
    role: str = ""  # of a leaf without a name: what it was used for, such as "weight"
    parameter: bool = False


class Scaling(NamedTuple):
    """What the edges of a node were multiplied by, see `flow.scaled`, and what had come back along them before that."""

    factors: tuple[float, ...]
    norms: tuple[float, ...]
    others: tuple[float, ...]  # for each edge: ‖sum of all the others‖
    grads: tuple[Any, ...] = ()  # if arrays were requested


class Node(NamedTuple):
    """A tensor as one pass of backward saw it: what made it, what used it, and the gradient each user sent back.

    Where edges were multiplied (``scaling``), all numbers are of the products, which add up to what was passed on.
    If the pass started at this tensor, the last edge is the gradient that it started with, and has no consumer.
    """

    key: int  # position in forward order, a later pass behind an earlier one; leaf tensors count down from −1
    name: str  # a parameter's own; that of any other tensor is made by `naming`, such as "layer1.0.relu: ReLU"
    op: str  # class name of the op that made it, "" for a leaf
    scope: str  # of the op that made it
    shape: tuple[int, ...]
    parameter: bool
    consumers: tuple[int, ...]  # keys of the ops that used it, one per edge
    slots: tuple[int, ...]  # for each consumer, which of its inputs this tensor was
    edge_norms: tuple[float, ...]  # ‖gradient‖ on each edge, in forward order of the consumers
    cosines: np.ndarray  # between the edges' gradients (edges, edges); 0 where one of the two is 0
    others: tuple[tuple[float, float], ...]  # for each edge: ‖sum of all the others‖, and their cosine
    norm: float  # of the gradient that was passed on
    sum_error: float  # ‖passed on − Σ edges‖ / ‖passed on‖, in float64; 0 if both are 0
    grads: tuple[Any, ...] = ()  # the edges' gradients, if arrays were requested
    pass_: int = 1  # which walk back of the recording it belongs to, from 1
    scaling: Scaling | None = None  # None where nothing was multiplied

    @property
    def gram(self) -> np.ndarray:
        """Inner products of the edges' gradients (edges, edges); 0 or inf where float64 cannot hold one."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return np.outer(self.edge_norms, self.edge_norms) * self.cosines


def edge_scaling(node: Node) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    """For each edge, its factor, and the norm of what had come back; 1 and None where nothing was multiplied."""
    if node.scaling is None:
        return (1.0,) * len(node.edge_norms), (None,) * len(node.edge_norms)
    factors = node.scaling.factors
    return factors, tuple(None if f == 1 else norm for f, norm in zip(factors, node.scaling.norms))
