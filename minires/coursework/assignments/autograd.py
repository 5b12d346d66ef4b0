"""Assignment autograd: the backward walk. The submission's walk is an engine for the gradient checker."""

import numpy as np

from ... import autograd
from ...ops import Op
from ...tensor import Tensor
from ...testing import gradcheck
from .. import networks
from ..assignment import Assignment, Check, Test
from ..graphs import GRAPHS
from ..judge import draw_shapes, judge, raise_failure
from ..learner import Learner, Wrong
from ..watch import WALKS

Shape = tuple[int, ...] | str  # letters: sizes that are drawn
X, SQUARE = (3, 4), (4, 4)


def ordered(graph: str, *shapes: Shape) -> Check:
    """Every op is listed once, before the ops that made its inputs."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        arrays = [rng.standard_normal(shape) for shape in draw_shapes(rng, *shapes)]
        places = learner.drive("order", graph, arrays)
        ops = networks.ops_behind(GRAPHS[graph](*[Tensor(a, requires_grad=True) for a in arrays]))
        place_of = {op.serial: i for i, op in enumerate(ops)}
        made_by = {i: {place_of[s.serial] for s in op.inputs if isinstance(s, Op)} for i, op in enumerate(ops)}
        if not isinstance(places, list) or not all(isinstance(p, int) for p in places):
            raise Wrong("order did not return a list of ops", "wrong type")
        if -1 in places:
            raise Wrong("order lists something that is no op of this graph", "not an op")
        if len(set(places)) < len(places):
            raise Wrong(f"order lists {len(places) - len(set(places))} ops more than once", "an op more than once")
        if len(places) < len(ops):
            raise Wrong(f"order lists {len(places)} of {len(ops)} ops", "ops are missing")
        seen: set[int] = set()
        for user in places:
            seen.add(user)
            for place in made_by[user] & seen:
                text = f"{ops[place].name} is listed before {ops[user].name}, which uses its output"
                raise Wrong(text, "an op comes before one that uses its output")

    return check


def walked(graph: str, *shapes: Shape) -> Check:
    """The leaves' gradients agree with differences; if not, the checker names the edge."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        arrays = [rng.standard_normal(shape) for shape in draw_shapes(rng, *shapes)]
        leaves: list[Tensor] = []

        def f(*tensors: Tensor) -> Tensor:
            leaves[:] = tensors
            return GRAPHS[graph](*tensors)

        def engine(outputs: list[Tensor], grads: list[np.ndarray]) -> None:
            found = learner.drive("walk", graph, [t.array for t in leaves], grads[0])
            for t, g in zip(leaves, found):
                t.grad = None if g is None else Tensor(g)

        engine([f(*[Tensor(a, requires_grad=True) for a in arrays])], [rng.standard_normal(_shape(graph, arrays))])
        report = gradcheck(f, *arrays, engine=engine, raise_on_failure=False)
        if learner.trouble is not None:
            raise learner.trouble
        if report.failures:
            raise_failure(f"the gradient of leaf {report.failures[0].input}", report.failures[0])

    return check


def held_to_the_library(graph: str, times: int, *shapes: Shape) -> Check:
    """The leaves' gradients after so many passes are so many times the library's."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        arrays = [rng.standard_normal(shape) for shape in draw_shapes(rng, *shapes)]
        leaves = [Tensor(a, requires_grad=True) for a in arrays]
        y = GRAPHS[graph](*leaves)
        g = rng.standard_normal(y.shape)
        right = [grad.numpy() for grad in autograd.grad(y, leaves, g)]
        found = learner.drive("walk", graph, arrays, g, times=times)
        for i, (grad, once) in enumerate(zip(found, right)):
            mistakes = [("only the last pass is there: add to .grad", once)] if times > 1 else []
            judge(f"the gradient of leaf {i} after {times} pass{'es' * (times > 1)}", grad, times * once, mistakes)

    return check


def _shape(graph: str, arrays: list[np.ndarray]) -> tuple[int, ...]:
    return GRAPHS[graph](*[Tensor(a) for a in arrays]).shape


ASSIGNMENT = Assignment(
    "autograd",
    [
        Test("order", "a chain", 1, ordered("chain", X), "start with output.op and follow op.inputs"),
        Test("order", "a fork", 1, ordered("skip_inside", X), "list an op only when all that use it are listed"),
        Test("order", "a long and a short way", 1, ordered("long_way_round", "nm"),
             "depth first, the op behind its inputs, then reversed; or: op.serial grows with the order of creation",
             hidden=True),
        Test("order", "1,200 ops", 1, ordered("deep", "n"),
             "a function that calls itself for each op meets Python's limit: keep a list of what is to be visited",
             hidden=True),
        Test("walk", "a chain", 1, walked("chain", X), "call op.backward with the gradient of the op's output"),
        Test("walk", "two inputs", 1, walked("two_inputs", X, SQUARE),
             "op.backward returns one gradient for each of op.inputs, in their order"),
        Test("walk", "an input without gradient", 1, walked("with_constant", X, X),
             "where op.inputs has None, there is nobody to hand a gradient to"),
        Test("walk", "a broadcast input", 1, walked("two_inputs", "bnm", "mm"),
             "sum_to(gradient, op.input_specs[i][0])", hidden=True),
        Test("forks", "a skip at the leaf", 2, walked("skip", X), "two gradients arrive at x: add them"),
        Test("forks", "a tensor used twice by one op", 1, walked("used_twice", X), "x·x sends two gradients to x"),
        Test("forks", "a skip inside", 2, walked("skip_inside", X),
             "hand a tensor's gradient on only when all its users have sent theirs"),
        Test("forks", "shared weights", 1, walked("three_blocks", "nm", "mm", "mm"),
             "a weight that three blocks use gets three gradients", hidden=True),
        Test("forks", "a long and a short way", 2, walked("long_way_round", "nm"),
             "the fork's sum must be whole before it is handed on: go through the ops in the order of part 1",
             hidden=True),
        Test("network", "40 forks in a row", 1, held_to_the_library("many_forks", 1, (2,)),
             "call each op's backward once, not once for every path"),
        Test("network", "1,200 ops", 1, held_to_the_library("deep", 1, (2,)), "no function that calls itself"),
        Test("network", "two passes", 1, held_to_the_library("three_blocks", 2, X, SQUARE, SQUARE),
             "a leaf that has a .grad keeps it: add"),
        Test("network", "three passes", 1, held_to_the_library("chain", 3, "nm"),
             "a leaf that has a .grad keeps it: add", hidden=True),
    ],
    off_limits=WALKS,
)  # fmt: skip
