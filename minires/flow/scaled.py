"""`scaled`: multiply, or cut, the gradient that comes back along a skip or a branch; forward stays as it is.

The forks are found in the graph when a walk back begins, by the rules and under the names of a recording. The engine
then multiplies what comes back along their edges before it adds it up: see `autograd.edge_factors`.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

from .. import autograd
from ..arguments import described
from ..blocks import contextmanager
from ..nn import Module, Parameter
from ..ops import Op
from ..state import current
from .behind import Behind, all_ops
from .forks import between_nodes, meeting_points, name_forks, skip_edges

Factors = dict[tuple[Op, int], float]  # (consumer, which of its inputs) -> what its gradient is multiplied by
WAYS = "skip", "branch"


@contextmanager
def scaled(model: Module, factors: Mapping[str, float]) -> Iterator[None]:
    """Inside the block, multiply the gradients that come back along skips or branches of the model's forks.

    factors: {pattern: number}. A pattern is a fork's name in a recording and ".skip" or ".branch", such as
    "layer1.0.skip"; "*", "?" and "[…]" match as in `fnmatch`, so "*.skip" means all skips. "layer1.0.skip" means every
    fork of that name, such as all calls of a block that runs twice, or both additions of a transformer's block;
    "layer1.0#1.skip" means the first alone, "layer1.0#2.skip" the second. Of several patterns that match, the last one
    counts.
    0 cuts: y = F(x) + x then has the gradient of F(x) + x.detach(). A factor s gives that of s·x + (1 − s)·x.detach().
    Forward is not touched, not in one bit. Every call of backward and `grad` in the block is concerned, but no fork
    in which a parameter of another model takes part. Blocks may be nested; then factors multiply. A recording shows
    both what came back and what was passed on.
    Raises TypeError or ValueError for factors that are no finite numbers, ValueError for a pattern that matches no
    fork, and RuntimeError if no gradient came back inside the block.

    >>> import minires as mr
    >>> model = mr.models.resnet_cifar(8, in_channels=1)
    >>> with mr.flow.scaled(model, {"*.skip": 0, "layer3.0.skip": 0.5}):
    ...     recording = mr.flow.record(model, mr.ones(2, 1, 8, 8), mr.tensor([3, 7]))
    >>> [(fork.name, fork.skip_factor, fork.skip, fork.skip_came > 0) for fork in recording.forks[:2]]
    [('layer1.0', 0.0, 0.0, True), ('layer2.0', 0.0, 0.0, True)]
    """
    scaling = Scaling(model, factors, current().scaling)
    with autograd.switch(scaling=scaling):
        yield
    scaling.check_all_matched()


class Scaling:
    """Which edges to multiply, and by what. The engine calls `factors`; ``outer`` is that of the block around."""

    def __init__(self, model: Module, factors: Mapping[str, float], outer: "Scaling | None" = None):
        if not isinstance(model, Module) or not isinstance(factors, Mapping):
            raise TypeError(
                f"scaled: got {described(model)} and {described(factors)}; expected a model of minires and "
                'a dict such as {"layer1.0.skip": 0}'
            )
        self.model, self.outer = model, outer
        self.patterns = {pattern: _checked(pattern, factor) for pattern, factor in factors.items()}
        self.unmatched = set(self.patterns)  # those that have matched no fork yet
        self.known: list[str] | None = None  # all skips and branches of the first walk through the model

    def factors(self, outputs: Sequence[Any]) -> Factors:
        """The factors of all edges behind the tensors that have one. Raises ValueError for a pattern that fits none."""
        found = {} if self.outer is None else self.outer.factors(outputs)
        graph = Behind(all_ops(outputs))
        own = {id(parameter) for parameter in self.model.parameters()}
        parameters = _parameters(graph.sources.values())
        if parameters and own.isdisjoint(parameters):
            return found  # through other models alone
        consumers = {key: node.consumers for key, node in graph.nodes.items()}
        skips, meets = skip_edges(graph.nodes), meeting_points(consumers)
        names = []
        for key, name in name_forks(graph.nodes, skips, meets).items():
            meeting = meets[key]
            assert meeting is not None  # every fork has one
            between = between_nodes(consumers, consumers[key], meeting)
            if not own.issuperset(_parameters(source for k in between for source in graph.sources[k].inputs)):
                continue
            names += [f"{name}.{way}" for way in WAYS]
            by_way = [self._factor(name, way) for way in WAYS]
            for i, edge in enumerate(graph.edges[graph.sources[key]]):
                factor = by_way[i != skips[key]]
                if factor is not None:
                    found[edge] = found.get(edge, 1.0) * factor
        if self.known is None:
            self.known = names
            self._refuse({pattern for pattern in self.unmatched if not (names and self._may_come(pattern))})
        return found

    def check_all_matched(self) -> None:
        """Raise RuntimeError if no gradient came back, ValueError if a pattern has matched no fork."""
        if self.patterns and self.known is None:
            raise RuntimeError(
                f"scaled: no gradient came back through this {type(self.model).__name__} inside the block; call "
                "backward there"
            )
        self._refuse(self.unmatched)

    def described(self) -> list[dict[str, float]]:
        """Patterns and factors of this block and those around it, the outermost first."""
        return [*([] if self.outer is None else self.outer.described()), self.patterns]

    def _factor(self, name: str, way: str) -> float | None:
        """The factor of the last pattern that matches a way of a fork; None if none does."""
        base, _, number = name.partition("#")
        names = {f"{base}.{way}", f"{base}#{number or 1}.{way}"}
        matching = [p for p in self.patterns if any(fnmatchcase(one, p) for one in names)]
        self.unmatched.difference_update(matching)
        return self.patterns[matching[-1]] if matching else None

    def _may_come(self, pattern: str) -> bool:
        """Whether a block has the name but not yet a fork: stochastic depth leaves branches out, now and then."""
        blocks = [name for name, module in self.model.named_modules() if any(module.children())]
        return any(fnmatchcase(f"{name}.{way}", pattern) for name in blocks for way in WAYS)

    def _refuse(self, patterns: set[str]) -> None:
        if not patterns:
            return
        wrong = next(pattern for pattern in self.patterns if pattern in patterns)
        known = self.known or []
        if not known:
            hint = "it has no fork: no tensor's consumers meet again at an addition"
        else:
            nearest = difflib.get_close_matches(wrong, known, 3, cutoff=0.0)
            hint = f"the nearest of its {len(known)} names: {', '.join(nearest)}"
        raise ValueError(f"scaled: {wrong!r} matches no skip and no branch of this {type(self.model).__name__}; {hint}")


def _checked(pattern: Any, factor: Any) -> float:
    """The factor as a float. Raises TypeError if the pattern is no text or the factor no number, ValueError for NaN."""
    if not isinstance(pattern, str) or not isinstance(factor, Real):
        raise TypeError(
            f'scaled: got {pattern!r}: {factor!r}; expected a fork\'s name and a number, such as "layer1.0.skip": 0.5'
        )
    if not math.isfinite(factor):
        raise ValueError(f"scaled: got {factor!r} for {pattern!r}; expected a finite number (0 cuts)")
    return float(factor)


def _parameters(sources: Iterable[Any]) -> set[int]:
    """The ids of the parameters among ops and leaf tensors."""
    return {id(source) for source in sources if isinstance(source, Parameter)}
