"""The path spectrum: the gradient taken apart by the number of residual branches it crossed.

A residual network of n blocks is a sum over 2ⁿ paths, each of which takes the branch or the shortcut of every block
(Veit et al. 2016, arXiv 1605.06431). Backward is linear, so the gradient is the sum of what came along each path, and
the part that crossed exactly k branches can be tracked separately: at each block G′[k] = Sᵀ·G[k] + Bᵀ·G[k − 1], with S
the shortcut and B the branch. This is exact; no path is sampled, and ΣG[k] is the ordinary gradient.
"""

import collections
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import autograd, html
from ..nn import Module, functional as F
from ..norms import exact_sum, norm, relative
from ..ops import Op
from ..progress import tqdm
from ..tensor import Tensor
from .behind import Behind
from .forks import skip_edges
from .inside import as_input
from .keeping import keeping


@dataclass(frozen=True)
class PathSpectrum:
    """How much of the gradient at the first residual block's input crossed k branches, k = 0 … number of blocks.

    norms: ‖G[k]‖. counts: the number of paths that cross k branches, binomial unless a branch has forks of its own;
    what splits and meets again without being a fork is one path. sum_error: ‖ΣG[k] − g‖ / ‖g‖ against the gradient g
    of an ordinary backward pass. arrays: the G[k] themselves, if requested. sampled: Veit's estimate, if requested:
    counts[k] times the mean norm of single paths with k branches. It adds up the paths' norms as if all gradients
    pointed the same way; in fact they largely cancel, so it overstates the long paths.
    """

    norms: np.ndarray
    counts: np.ndarray
    sum_error: float
    sampled: np.ndarray | None = None
    arrays: list[Any] | None = None

    def __repr__(self) -> str:
        lengths = f"effective length {self.effective_length:.2f}, mean length {self.mean_length:g}"
        return f"PathSpectrum({self.blocks} blocks: {lengths})"

    def _repr_html_(self) -> str:
        lines: dict[str, Any] = {"‖G[k]‖": self.norms} | ({} if self.sampled is None else {"sampled": self.sampled})
        x = f"branches crossed, k = 0 to {self.blocks}"
        return html.block(html.line(repr(self)), html.profile(lines, x, log=True))

    @property
    def blocks(self) -> int:
        """Number of residual blocks."""
        return len(self.norms) - 1

    @property
    def effective_length(self) -> float:
        """Mean number of branches crossed, each k weighted by ‖G[k]‖²."""
        largest = float(self.norms.max())
        return _mean_length((self.norms / largest) ** 2 if largest else self.norms)  # the squares alone may underflow

    @property
    def mean_length(self) -> float:
        """Mean number of branches crossed, all paths weighted equally: half the blocks, if they form a chain."""
        return _mean_length(self.counts)

    @property
    def sampled_length(self) -> float:
        """Mean number of branches crossed according to Veit's sampled estimate."""
        if self.sampled is None:
            raise ValueError("sampled_length: no paths were sampled; call path_spectrum(…, samples=40)")
        return _mean_length(self.sampled)


def path_spectrum(
    model: Module,
    x: Any,
    target: Any,
    loss: Callable[..., Tensor] = F.cross_entropy,
    *,
    samples: int = 0,
    arrays: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> PathSpectrum:
    """The exact path spectrum of the gradient with respect to the first residual block's input.

    Takes any network whose blocks add a shortcut and a branch: identity or projected, pre- or post-activation, ours or
    yours. A shortcut, projected or not, counts as no branch crossed. Inside `scaled`, it is the spectrum of the scaled
    gradient. x (N, …) and target are what ``loss(model(x), target)`` takes. ``samples`` single paths for every k give
    Veit's estimate as well.
    The model is left exactly as it was; n blocks cost about as much as n/2 backward passes.
    Raises ValueError if the network has no fork, or if paths are to be sampled where a branch has forks of its own.

    >>> import minires as mr
    >>> model = mr.models.resnet_cifar(8, in_channels=1)
    >>> spectrum = mr.flow.path_spectrum(model, mr.ones(2, 1, 8, 8), mr.tensor([3, 7]), progress=False)
    >>> spectrum.counts.tolist(), spectrum.norms.shape  # 8 paths: one crosses no branch, three cross one, …
    ([1.0, 3.0, 3.0, 1.0], (4,))
    """
    x, target = (as_input("path_spectrum", model, t) for t in (x, target))
    if samples < 0:
        raise ValueError(f"path_spectrum: got samples={samples}; expected 0 (none) or more, such as 40")
    with keeping(model), autograd.switch(grad_enabled=True, recorder=None):
        value = loss(model(Tensor(x.array, requires_grad=True)), target)
        paths = Paths(value)
        counts = paths.counts()
        if samples and counts.sum() < 0.9 * 2.0**paths.blocks:
            raise ValueError(
                f"path_spectrum: got samples={samples} for a network with forks within a branch; paths are sampled "
                "where each block follows the other. Leave samples out: the spectrum is exact without them"
            )
        with tqdm(total=paths.blocks, desc="path spectrum", disable=not progress, unit="block", leave=False) as bar:
            parts = paths.spectrum(on_block=bar.update)
            bar.update()  # the first fork is where the walk ends
        sampled = None
        if samples:
            sampled = paths.sample(samples, np.random.default_rng(seed), progress)
        ordinary = paths.ordinary(value)
    return PathSpectrum(
        norms=np.array([_norm(part) for part in parts]),
        counts=counts,
        sum_error=relative(norm(exact_sum([*map(_in_float64, parts), -_in_float64(ordinary)])), _norm(ordinary)),
        sampled=None if sampled is None else sampled * counts,
        arrays=parts if arrays else None,
    )


class Paths:
    """The graph behind a loss with its forks marked, and backward walks that tell skip from branch."""

    def __init__(self, loss: Tensor):
        """Find the forks of the graph behind a scalar loss. Raises ValueError if there is none."""
        ops = list(autograd.ops_latest_first([loss.op] if loss.op else [], None))
        graph = Behind(ops[::-1])
        edges, sources = graph.edges, graph.sources
        skips = skip_edges(graph.nodes)
        if not skips:
            raise ValueError(
                "path_spectrum: found no fork in this network: no tensor's consumers meet again at an addition. "
                "A plain network has a single path; skips that are concatenated, as in DenseNet, are no forks"
            )
        self.blocks = len(skips)
        self.forks = {sources[key] for key in skips}
        self.first = sources[min(skips)]
        self.route: dict[tuple[Any, Op, int], tuple[int, bool]] = {}  # edge of a fork -> (block, is it the branch?)
        for block, (key, skip) in enumerate(skips.items()):
            for i, (consumer, slot) in enumerate(edges[sources[key]]):
                self.route[sources[key], consumer, slot] = block, i != skip
        self.factors = autograd.edge_factors([loss])
        self.loss: Any = loss.op
        self.seed = np.ones_like(loss.array)
        reach = {self.first}  # only ops between the first fork and the loss matter, and only gradients along them
        for op in reversed(ops):
            if any(source in reach for source in op.inputs if source is not None):
                reach.add(op)
                op.needs = [source in reach for source in op.inputs]
        self.ops = [op for op in ops if op in reach and op is not self.first]

    def spectrum(self, on_block: Callable[[], Any] = lambda: None) -> list[Any]:
        """[G[0], …, G[blocks]]: the gradient at the first fork, split by the number of branches crossed."""
        parts = self._walk(lambda block, is_branch: int(is_branch), on_block)
        zero = np.zeros_like(next(iter(parts.values())))
        return [parts.get(k, zero) for k in range(self.blocks + 1)]

    def counts(self) -> np.ndarray:
        """The number of paths that cross k branches, (blocks + 1)."""
        none = np.zeros(self.blocks + 1)
        # the ways to each op: those that arrive by a branch come second
        ways: dict[Any, list[np.ndarray]] = collections.defaultdict(lambda: [none, none])
        ways[self.loss] = [np.eye(self.blocks + 1)[0], none]
        for op in self.ops:
            here = np.add(*ways.pop(op))
            for slot, source in enumerate(op.inputs):
                if op.needs[slot]:
                    _, is_branch = self.route.get((source, op, slot), (None, False))
                    longer = np.append(0, here[:-1]) if is_branch else here
                    ways[source][is_branch] = np.maximum(ways[source][is_branch], longer)
        return np.add(*ways[self.first])

    def single(self, crossed: np.ndarray) -> Any:
        """The gradient along one path: through the branch where ``crossed[block]``, else through the shortcut."""
        parts = self._walk(lambda block, is_branch: 0 if is_branch == bool(crossed[block]) else None)
        return parts.get(0)

    def sample(self, samples: int, rng: np.random.Generator, progress: bool) -> np.ndarray:
        """Mean gradient norm of ``samples`` random paths with k branches, for k = 0 … blocks."""
        means = []
        for k in tqdm(range(self.blocks + 1), desc="sampled paths", disable=not progress, leave=False):
            norms = []
            for _ in range(samples if 0 < k < self.blocks else 1):  # at both ends there is a single path
                crossed = np.zeros(self.blocks, bool)
                crossed[rng.choice(self.blocks, k, replace=False)] = True
                norms.append(_norm(self.single(crossed)))
            means.append(float(np.mean(norms)))
        return np.array(means)

    def ordinary(self, loss: Tensor) -> Any:
        """The gradient at the first fork by the engine's own backward pass. Frees the graph."""
        for op in self.ops:
            op.needs = [source is not None for source in op.inputs]
        catch = _Catch(self.first)
        with autograd.switch(recorder=catch):
            loss.backward()
        return catch.total

    def _walk(
        self, count: Callable[[int, bool], int | None], on_block: Callable[[], Any] = lambda: None
    ) -> dict[int, Any]:
        """Backward with the gradients kept apart by what was counted along their way; returns {count: gradient}.

        ``count(block, is_branch)`` says what an edge of a fork adds to the count; None drops what comes along it.
        """
        totals: dict[Any, dict[int, Any]] = {self.loss: {0: self.seed}}
        for op in self.ops:
            for k, gradient in totals.pop(op, {}).items():
                grads = autograd.gradients(op, gradient)
                for slot, source in enumerate(op.inputs):
                    if not op.needs[slot]:
                        continue
                    route = self.route.get((source, op, slot))
                    more = 0 if route is None else count(*route)
                    if more is not None:
                        parts = totals.setdefault(source, {})
                        g = autograd.checked(grads[slot], op, slot)
                        if (op, slot) in self.factors:
                            g = autograd.times(g, self.factors[op, slot])
                        parts[k + more] = parts[k + more] + g if k + more in parts else g
            if op in self.forks:
                on_block()
        return totals.get(self.first, {})


class _Catch(autograd.Recorder):
    """Keeps one tensor's gradient."""

    def __init__(self, wanted: Any):
        self.wanted, self.total = wanted, None

    def backward(self, source: Any, edges: Any, total: Any) -> None:
        """Keep the gradient if it is the wanted one."""
        if source is self.wanted:
            self.total = total


def _norm(array: Any) -> float:
    return 0.0 if array is None else norm(_in_float64(array))


def _in_float64(array: Any) -> np.ndarray:
    return Tensor(array).numpy().astype(np.float64)


def _mean_length(weights: np.ndarray) -> float:
    """Mean of k, weighted; NaN if all weights are 0."""
    total = float(weights.sum())
    return float((np.arange(len(weights)) * weights).sum()) / total if total else math.nan
