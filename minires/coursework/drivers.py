"""What runs beside a submission, in its process, where a test needs more than one call: a network, a graph, a block.

Each driver takes the submission's module first, then arrays and plain values; it returns arrays and plain values.
"""

import contextlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .. import kernels, nn
from ..kernels import cpu
from ..tensor import Tensor
from . import mutants, networks
from .graphs import GRAPHS

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
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Train a ResNet-8 on these batches with the submission's kernels in place; return (losses, final weights).

    The library's stands in for a kernel or gradient that is not written. Raises NotImplementedError if none is.
    """
    model = networks.resnet8(pool)
    model.load_state_dict(weights)
    pieces = {name: Piece(getattr(submission, name, None), getattr(cpu, name)) for name in swaps}
    with kernels.use(**{name: piece.run for name, piece in pieces.items()}):
        losses = networks.train_on(model, batches)
    if not any(piece.written for piece in pieces.values()):
        raise NotImplementedError(f"nothing of {', '.join(swaps)}")
    return losses, {name: np.asarray(array) for name, array in model.state_dict().items()}


class Piece:
    """A submission's kernel, and the library's for what it lacks; ``written``: whether any of it was written."""

    def __init__(self, mine: Callable | None, library: Callable):
        self.mine, self.library, self.written = mine, library, False

    def run(self, *arguments: Any, **options: Any) -> Any:
        """The submission's result, or the library's for what is not written (NotImplementedError, None)."""
        found = None
        if self.mine is not None:
            with contextlib.suppress(NotImplementedError):
                found = self.mine(*arguments, **options)
        parts = found if isinstance(found, tuple) else (found,)
        missing = [part is None for part in parts]
        self.written |= not all(missing)
        if not any(missing):
            return found
        theirs = self.library(*arguments, **options)
        if found is None or len(parts) != len(theirs):
            return theirs if found is None else found
        return tuple(his if part is None else part for part, his in zip(parts, theirs))


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


def check_mutant(submission: ModuleType, name: str, seeds: Sequence[int]) -> list[list[int]]:
    """For each seed, the indices of the gradients that the submission's ``gradcheck`` calls wrong."""
    mutant = mutants.MUTANTS[name]
    found = []
    for seed in seeds:
        arrays = mutant.arrays(np.random.default_rng([seed, 1]))  # not the numbers the checker will draw
        wrong = submission.gradcheck(mutant.forward, mutant.backward, arrays, seed=int(seed))
        found.append(sorted(int(i) for i in wrong))
    return found


# ── gradient flow ───────────────────────────────────────────────────────────────────────────────────────────────────


def norms(submission: ModuleType, kind: str, depth: int, seed: int, x: np.ndarray, y: np.ndarray) -> Any:
    """What the submission's ``gradient_norms`` measures in a plain or residual network."""
    return submission.gradient_norms(networks.twin(kind, depth, seed), x, y)


def forks(submission: ModuleType, depth: int, seed: int, x: np.ndarray, y: np.ndarray) -> Any:
    """What the submission's ``fork_norms`` measures in a residual network."""
    return submission.fork_norms(networks.twin("residual", depth, seed), x, y)


def answer(submission: ModuleType, question: str) -> Any:
    """The submission's answer to a question of assignment gradient_flow."""
    return submission.ANSWERS[question]
