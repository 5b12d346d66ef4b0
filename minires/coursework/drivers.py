"""What runs beside a submission, in its process, where a test needs more than one call: a network, a graph, a block.

Each driver takes the submission's module first, then arrays and plain values; it returns arrays and plain values.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .. import nn
from ..tensor import Tensor
from . import networks
from .graphs import GRAPHS
from .pieces import train_with

UNWATCHED = "train_network", "train_blocks"  # long; what they use is judged, and watched, in the same test


def ask(name: str, *arguments: Any) -> Any:
    """What a function of the grader returns; the worker puts in place of this what does it."""
    raise RuntimeError(f"ask: there is no grader to ask for {name}")


# ── autograd ────────────────────────────────────────────────────────────────────────────────────────────────────────


def order(submission: ModuleType, graph: str, arrays: Sequence[np.ndarray]) -> list[int]:
    """The ops that the submission's ``order`` lists, by their place in the order of creation (−1: not in the graph)."""
    output = GRAPHS[graph](*[Tensor(a, requires_grad=True) for a in arrays])
    places = {id(op): i for i, op in enumerate(networks.ops_behind(output))}
    return [places.get(id(op), -1) for op in submission.order(output)]


def walk(
    submission: ModuleType, graph: str, arrays: Sequence[np.ndarray], grad_output: np.ndarray, times: int = 1
) -> list[np.ndarray | None]:
    """The leaves' gradients after ``times`` forward and backward passes, the submission's ``backward`` walking."""
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    for _ in range(times):
        submission.backward(GRAPHS[graph](*leaves), grad_output)
    return [_gradient(t) for t in leaves]


# ── kernels in a network ────────────────────────────────────────────────────────────────────────────────────────────


def train_network(
    submission: ModuleType,
    swaps: Sequence[str],
    pool: bool,
    weights: dict[str, np.ndarray],
    batches: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[list[float], dict[str, np.ndarray], dict[str, list[int]]]:
    """Train a ResNet-8 on these batches with the submission's kernels in place; return (losses, final weights, used).

    The library's stands in for a kernel or gradient that is not written. used: by kernel, the places of the results
    that were the submission's. Raises NotImplementedError if none is.
    """
    model = networks.resnet8(pool)
    model.load_state_dict(weights)
    losses, used = train_with({name: getattr(submission, name, None) for name in swaps}, model, batches)
    if not any(used.values()):
        raise NotImplementedError(f"nothing of {', '.join(swaps)}")
    return losses, {name: np.asarray(array) for name, array in model.state_dict().items()}, used


# ── the residual block ──────────────────────────────────────────────────────────────────────────────────────────────


def block(
    submission: ModuleType,
    shape: tuple[int, int, int],
    weights: dict[str, np.ndarray],
    x: np.ndarray,
    grad_output: np.ndarray,
    training: bool = True,
) -> dict[str, Any]:
    """The submission's block with given weights: its output, the gradient of x, and those of its parameters."""
    module = submission.ResidualBlock(*shape)
    module.double()
    module.load_state_dict(weights)
    module.train(training)
    leaf = Tensor(x, requires_grad=True)
    y = module(leaf)
    if not isinstance(y, Tensor):
        raise TypeError(f"forward returned a {type(y).__name__}; expected a Tensor")
    if y.shape != grad_output.shape:
        return {"y": y.array, "x": None, "parameters": {}}
    y.backward(grad_output)
    parameters = {name: _gradient(p) for name, p in module.named_parameters()}
    return {"y": y.array, "x": _gradient(leaf), "parameters": parameters}


def _gradient(leaf: Tensor) -> np.ndarray | None:
    return None if leaf.grad is None else leaf.grad.numpy()


def block_parameters(submission: ModuleType, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Name -> shape of everything in the state of the submission's block."""
    module = submission.ResidualBlock(*shape)
    if not isinstance(module, nn.Module):
        raise TypeError("ResidualBlock is not a Module; derive it from nn.Module")
    return {name: list(np.asarray(array).shape) for name, array in module.state_dict().items()}


def train_blocks(
    submission: ModuleType, batches: Sequence[tuple[np.ndarray, np.ndarray]], seed: int
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Train a ResNet-8 made of the submission's blocks; return (losses, final weights)."""

    def make(in_channels, channels, stride, shortcut):
        return submission.ResidualBlock(in_channels, channels, stride)

    make.expansion, make.preact = 1, False  # type: ignore[attr-defined]
    model = networks.resnet8(block=make, seed=seed)
    losses = networks.train_on(model, batches)
    return losses, {name: np.asarray(array) for name, array in model.state_dict().items()}


# ── the gradient checker ────────────────────────────────────────────────────────────────────────────────────────────


def check_pair(submission: ModuleType, arrays: Sequence[np.ndarray], seed: int) -> list[int]:
    """The indices of the gradients that the submission's ``gradcheck`` calls wrong.

    Forward and backward run in the grader: here, right and wrong ones look alike.
    """

    def forward(*arrays: np.ndarray) -> np.ndarray:
        return ask("forward", *arrays)

    def backward(grad_output: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        return ask("backward", grad_output, *arrays)

    found = submission.gradcheck(forward, backward, list(arrays), seed=seed)
    try:
        indices = list(found)
        if not any(isinstance(i, bool | np.bool_) for i in indices):
            return sorted({int(i) for i in indices})
    except (TypeError, ValueError):
        pass
    raise TypeError(f"gradcheck returned {found!r:.60}; expected a list of indices, [] if all gradients are right")


# ── gradient flow ───────────────────────────────────────────────────────────────────────────────────────────────────


def norms(submission: ModuleType, kind: str, depth: int, seed: int, x: np.ndarray, y: np.ndarray) -> Any:
    """What the submission's ``gradient_norms`` measures in a plain or residual network."""
    return submission.gradient_norms(networks.twin(kind, depth, seed), x, y)


def forks(submission: ModuleType, depth: int, seed: int, x: np.ndarray, y: np.ndarray) -> Any:
    """What the submission's ``fork_norms`` measures in a residual network."""
    return submission.fork_norms(networks.twin("residual", depth, seed), x, y)


def on_block(
    submission: ModuleType,
    function: str,
    kind: str,
    shape: tuple[int, int, int],
    weights: dict[str, np.ndarray],
    x: np.ndarray,
    grad_output: np.ndarray,
    training: bool,
) -> Any:
    """What a function of the submission says of a residual block with given weights."""
    block = networks.BLOCKS[kind](*shape).double()
    block.load_state_dict(weights)
    return getattr(submission, function)(block.train(training), x, grad_output)


def answer(submission: ModuleType, question: str) -> Any:
    """The submission's answer to a question of assignment gradient_flow."""
    return submission.ANSWERS[question]
