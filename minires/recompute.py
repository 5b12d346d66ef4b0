"""`checkpoint`: keep a function's inputs instead of everything inside it, and compute the inside again for backward.

A network of n blocks keeps the arrays of all its blocks until backward has passed. In segments of √n blocks, it keeps
only what goes into each segment and, while backward is in a segment, that segment's arrays: memory grows like √n, at
the price of one more forward pass (Chen et al. 2016, arXiv 1604.06174, section 4).

How it works here: the function runs as usual and its ops join the graph as usual, but each op at once forgets what its
forward saved. When backward reaches the first such op, the function runs again; the ops of the second run come in the
same order, and hand what they saved to those of the first. The graph itself is the plain one, with the same edges and
the same sums in the same order, so gradients are equal bit for bit, and a recording sees what it always sees.
"""

import functools
import operator
import weakref
from collections.abc import Callable
from typing import Any

from . import random, writes
from .ops import Op
from .state import current, scope, switch


def checkpoint(function: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    """``function(*inputs, **options)``, computed again during backward instead of kept, as in torch.utils.checkpoint.

    The function or module must compute the same each time from its inputs and from parameters. Gradients, recordings,
    the random state and the running statistics of batch norms (updated once) are those of the plain call, bit for bit.
    Calls may be nested. With ``retain_graph``, what was computed again is kept for the next backward; under `no_grad`,
    nothing is kept at all. Do not change inputs, parameters or modes between forward and backward.
    Backward raises RuntimeError if the second run computes something else than the first, or if an input, or a
    parameter of the module, has been written in place since.
    """
    segment = Segment(function, inputs, options)
    with switch(segment=segment):
        result = function(*inputs, **options)
    segment.outer, segment.complete = None, True
    return result


class Segment:
    """The ops of one checkpointed call, and what is needed to run it again."""

    def __init__(self, function: Callable[..., Any], inputs: tuple, options: dict[str, Any]):
        self.call = function, inputs, options
        self.ops: list[weakref.ref[Op]] = []  # weak: the ops hold the segment, and unneeded ops may go
        self.random, self.scope, self.started = random.get_state(), scope.get(), writes.latest
        self.outer, self.complete = current().segment, False  # the outer call, while this one runs

    def joined(self, op: Op) -> None:
        """List an op that has just joined the graph, and let it forget what it saved."""
        self.ops.append(weakref.ref(op))
        op.forget()
        op.segment = self
        if self.outer is not None:
            self.outer.joined(op)  # when an outer call runs again, it makes this op again

    def recompute(self) -> None:
        """Run the function again, and give every op back what it had saved."""
        if not self.complete:
            raise RuntimeError(
                "checkpoint: backward or grad was called inside the checkpointed function, whose ops have forgotten "
                "what they saved; call it outside, or leave that part out of the checkpoint"
            )
        function, inputs, options = self.call
        parameters = function.parameters() if hasattr(function, "parameters") else ()
        for tensor in (*inputs, *options.values(), *parameters):
            if hasattr(tensor, "requires_grad") and writes.latest_of(tensor.array) > self.started:
                raise RuntimeError(
                    f"checkpoint: a tensor of shape {tensor.shape} that the function computes from has been written in "
                    "place since, so it would compute something else. Call backward first, or write to a copy"
                )
        again = SecondRun()
        calls: list[Callable[[], Any]] = [functools.partial(scope.set, scope.get()), random.restorer()]
        restore = map(operator.call, calls)
        try:
            random.set_state(self.random)
            scope.set(self.scope)
            with switch(grad_enabled=True, recorder=None, segment=again, recomputing=True):
                function(*inputs, **options)
        finally:
            list(restore)  # in one C call, so that no interrupt comes between
        first = [reference() for reference in self.ops]
        _check_same(function, first, again.ops)
        for segment in {op.segment for op in again.ops} - {None}:  # nested calls: their ops are those of the first run
            own = {op: weakref.ref(one) for one, op in zip(first, again.ops) if one is not None}
            segment.ops = [own.get(op(), op) for op in segment.ops]
        for one, op in zip(first, again.ops):
            if one is not None:
                one.recall(op)


class SecondRun:
    """The ops of a call that runs again."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def joined(self, op: Op) -> None:
        """List an op that has just joined a graph."""
        self.ops.append(op)


def _check_same(function: Callable[..., Any], first: list[Op | None], second: list[Op]) -> None:
    """Raise RuntimeError unless both runs made ops of the same kinds and shapes, in the same order."""
    different = next(
        (
            f"op {i} was {one!r} and is now {two!r}"
            for i, (one, two) in enumerate(zip(first, second))
            if one is not None and (type(one), one.shape, one.dtype) != (type(two), two.shape, two.dtype)
        ),
        f"it made {len(first)} ops and now {len(second)}" if len(first) != len(second) else None,
    )
    if different:
        name = getattr(function, "__name__", type(function).__name__)
        raise RuntimeError(
            f"checkpoint: {name} did something else when backward ran it again: {different}. It must compute the same "
            "each time: no counters, no other random generator than minires', no train() or eval() before backward"
        )
