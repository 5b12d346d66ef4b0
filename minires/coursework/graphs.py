"""Small graphs for assignment autograd: functions of Tensors, by name. Grader and submission both build them."""

from collections.abc import Callable

from ..nn import functional as F
from ..tensor import Tensor


def chain(x: Tensor) -> Tensor:
    """x -> tanh -> exp -> square: one consumer each."""
    return (x.tanh().exp()) ** 2


def two_inputs(x: Tensor, w: Tensor) -> Tensor:
    """A matrix product and a ReLU."""
    return F.relu(x @ w)


def with_constant(x: Tensor, w: Tensor) -> Tensor:
    """An op with one input that needs no gradient."""
    return (x * 3.0).tanh() * w


def skip(x: Tensor) -> Tensor:
    """x + f(x): one fork, at the leaf."""
    return x + x.tanh()


def skip_inside(x: Tensor) -> Tensor:
    """h + f(h) with h inside the graph: the fork's sum must be whole before it is passed on."""
    h = x.exp()
    return (h + h.tanh()) * x


def long_way_round(x: Tensor) -> Tensor:
    """A short and a long way from the same tensor: a walk that follows one way to its end meets the fork too early."""
    h = x.tanh()
    way = h
    for _ in range(4):
        way = way.exp().tanh()
    return h * way + h


def used_twice(x: Tensor) -> Tensor:
    """x · x: the same op takes the tensor twice."""
    return x * x


def three_blocks(x: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Three residual blocks that share their weights: forks at each block and at each weight."""
    for _ in range(3):
        x = x + F.relu(x @ v) @ w
    return x


def deep(x: Tensor) -> Tensor:
    """1,200 ops, one after the other."""
    for _ in range(600):
        x = (x * 0.999).tanh()
    return x


def many_forks(x: Tensor) -> Tensor:
    """40 forks in a row: 2⁴⁰ paths, 80 ops. A walk along every path never ends."""
    for _ in range(40):
        x = (x + x.tanh()) * 0.5
    return x


GRAPHS: dict[str, Callable[..., Tensor]] = {
    f.__name__: f
    for f in (
        chain, two_inputs, with_constant, skip, skip_inside, long_way_round, used_twice, three_blocks, deep, many_forks,
    )
}  # fmt: skip
