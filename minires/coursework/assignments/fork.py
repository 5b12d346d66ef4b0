"""Assignment fork: gradients in a graph of numbers, collected in topological order, and why in that order."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..assignment import Assignment, Check, Test
from ..judge import TOLERANCE
from ..learner import Learner, Wrong

Graph = dict[str, list[tuple[str, float]]]
Draw = Callable[[np.random.Generator], Graph]
LARGEST = 50  # values of a counterexample


# ── graphs, their output named "y" ──────────────────────────────────────────────────────────────────────────────────


def given(edges: str) -> Draw:
    """A graph such as "y a b, b a": y was computed from a and b, and b from a; derivatives are drawn."""

    def draw(rng: np.random.Generator) -> Graph:
        rows = [row.split() for row in edges.split(",")]
        graph: Graph = {value: [(s, float(rng.uniform(0.5, 2))) for s in sources] for value, *sources in rows}
        return graph | {s: [] for sources in list(graph.values()) for s, _ in sources if s not in graph}

    return draw


def drawn(size: int) -> Draw:
    """A random graph of so many values, listed in random order; y may not depend on all of them."""

    def draw(rng: np.random.Generator) -> Graph:
        names = ["y", *(f"v{i}" for i in rng.permutation(size - 1))]  # each computed from later ones
        graph: Graph = {}
        for i, name in enumerate(names):
            later = names[i + 1 : i + 7]
            chosen: Any = rng.choice(later, min(len(later), int(rng.integers(1, 4)))) if later else []
            graph[name] = [(str(source), float(rng.uniform(-2, 2))) for source in chosen]
        graph["y"].append((graph["y"][0][0], float(rng.uniform(1, 2))))  # the same source twice
        graph["unused"] = [(names[-1], 1.0)]
        return {str(name): graph[name] for name in rng.permutation(list(graph))}

    return draw


def in_a_row(forks: int, way: int = 1) -> Draw:
    """Forks, one after the other: each value is used by the next, and again ``way`` steps later."""

    def draw(rng: np.random.Generator) -> Graph:
        names = ["y", *(f"v{i}" for i in range(forks, -1, -1))]
        graph: Graph = {}
        for i, name in enumerate(names):
            sources = names[i + 1 : i + 2] + names[i + 1 + way : i + 2 + way]
            graph[name] = [(source, float(rng.uniform(0.4, 0.6))) for source in sources]
        return graph

    return draw


# ── right and wrong answers ─────────────────────────────────────────────────────────────────────────────────────────


def sorted_values(graph: Graph, output: str = "y") -> list[str]:
    """What output was computed from, each value before its sources: Kahn's algorithm."""
    reached, stack = {output}, [output]
    while stack:
        for source, _ in graph[stack.pop()]:
            if source not in reached:
                reached.add(source)
                stack.append(source)
    waits = dict.fromkeys(reached, 0)
    for value in reached:
        for source, _ in graph[value]:
            waits[source] += 1
    listed, ready = [], [value for value in reached if not waits[value]]
    while ready:
        listed.append(value := ready.pop())
        for source, _ in graph[value]:
            waits[source] -= 1
            if not waits[source]:
                ready.append(source)
    if len(listed) < len(reached):
        raise Wrong("the graph goes round in a circle: a value is computed from itself", "a circle")
    return listed


def collected(graph: Graph, values: list[str], add: Callable[[float, float], float] = lambda a, b: a + b) -> dict:
    """The gradients by a walk over these values, in this order; ``add`` joins what there is and what comes."""
    found = dict.fromkeys(graph, 0.0)
    found["y"] = 1.0
    for value in values:
        for source, derivative in graph[value]:
            found[source] = add(found[source], found[value] * derivative)
    return found


def as_met(graph: Graph) -> list[str]:
    """The values in the order in which a breadth-first walk meets them."""
    met = ["y"]
    for value in met:
        met += [source for source in dict.fromkeys(s for s, _ in graph[value]) if source not in met]
    return met


def mistakes(graph: Graph) -> list[tuple[str, dict[str, float]]]:
    """What gradients with a common mistake are."""
    values = sorted_values(graph)
    return [
        ("the last contribution replaces the others: add to it (+=)", collected(graph, values, lambda old, new: new)),
        ("only the first contribution is kept: add to it (+=)", collected(graph, values, lambda old, new: old or new)),
        ("a value hands its gradient on before all its consumers have sent theirs: go in the order of part 2",
         collected(graph, as_met(graph))),
    ]  # fmt: skip


# ── checks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def gives(function: str, *draws: Draw) -> Check:
    """The function gives the right gradients of graphs that are drawn."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for draw in draws:
            graph = draw(rng)
            right = collected(graph, sorted_values(graph))
            found = learner.call(function, graph, "y")
            if not isinstance(found, dict):
                raise Wrong(f"{function}: a {type(found).__name__} came back; expected a dictionary", "wrong type")
            if missing := [value for value in graph if value not in found]:
                raise Wrong(f"{function}: no gradient for {', '.join(missing[:4])}; expected all values of the graph "
                            "(0 for those that output does not depend on)", "values are missing")  # fmt: skip
            if not _agree(found, right):
                known = (words for words, wrong in mistakes(graph) if _agree(found, wrong))
                likely = next(known, "no known mistake explains it")
                worst = max(right, key=lambda value: _apart(found.get(value), right[value]))
                text = f"the gradient of {worst} is {found[worst]!r:.60}, and should be {right[worst]:.6g}"
                shown = f"\n    of {graph}" if len(graph) < 8 else ""
                raise Wrong(f"{function}: {text}{shown}\n    likely: {likely}", likely)

    return check


def _apart(a: Any, b: float) -> float:
    a = a.item() if isinstance(a, np.ndarray) and a.ndim == 0 else a  # one of NumPy's numbers
    return abs(a - b) if isinstance(a, int | float) and a == a else np.inf


def _agree(found: dict, right: dict[str, float]) -> bool:
    scale = max(map(abs, right.values()))
    return all(_apart(found.get(value), number) <= TOLERANCE * scale for value, number in right.items())


def ordered(*draws: Draw) -> Check:
    """The function order lists what it should, each value before its sources."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        for draw in draws:
            graph = draw(rng)
            graph["later"] = [("y", 1.0)]  # y was not computed from it
            graph = {str(value): graph[value] for value in rng.permutation(list(graph))}
            wanted, found = set(sorted_values(graph)), learner.call("order", graph, "y")
            if not isinstance(found, list | tuple) or not all(isinstance(value, str) for value in found):
                raise Wrong("order did not return a list of names", "wrong type")
            if len(set(found)) < len(found):
                raise Wrong(f"order lists {len(found) - len(set(found))} values more than once", "more than once")
            if set(found) != wanted:
                text = f"order lists {len(wanted & set(found))} of the {len(wanted)} values that y was computed from"
                extra = f", and {len(set(found) - wanted)} others" if set(found) - wanted else ""
                raise Wrong(f"{text}{extra}", "not the values that y was computed from")
            place = {value: i for i, value in enumerate(found)}
            for value in found:
                for source, _ in graph[value]:
                    if place[source] < place[value]:
                        text = f"{source} is listed before {value}, which was computed from it"
                        raise Wrong(text, "a value comes before one that was computed from it")

    return check


def refuted(turned: bool) -> Check:
    """The submission's counterexample is one; turned: also if each list of sources is read backwards."""

    def check(learner: Learner, rng: np.random.Generator) -> None:
        graph = as_graph(learner.call("counterexample"))
        right = collected(graph, sorted_values(graph))
        for lists in (1, -1) if turned else (1,):
            told = {value: sources[::lists] for value, sources in graph.items()}
            if _agree(collected(told, as_met(told)), right):
                how = "is right on this graph" if lists == 1 else "is right if each list of sources is turned round"
                raise Wrong(f"counterexample: breadth_first {how}", "the walk is right there")

    return check


def as_graph(found: Any) -> Graph:
    """What came back, if it is a graph with an output "y" of at most 50 values; else Wrong."""
    try:
        graph = {value: [(source, float(number)) for source, number in sources] for value, sources in found.items()}
        known = all(source in graph for sources in graph.values() for source, _ in sources)
        finite = all(abs(number) < 1e6 for sources in graph.values() for _, number in sources)
    except (AttributeError, TypeError, ValueError):
        raise Wrong("counterexample did not return a graph as the text describes it", "wrong type") from None
    if "y" not in graph or not known or not finite or len(graph) > LARGEST:
        text = f'counterexample: expected a graph of at most {LARGEST} values with "y" and every source among them'
        raise Wrong(f"{text}, all derivatives below a million", "not a graph")
    return graph


SMALL, DIAMOND, SQUARE = given("y a b, b a"), given("y a b, a x, b x"), given("y x x")
LONG_WAY = given("y a b, b c, c a, a x")
COMPLETE = "a gradient is complete when all consumers have sent theirs: walk in the order of part 2"
ASSIGNMENT = Assignment(
    "fork",
    [
        Test("paths", "small graphs", 2, gives("by_paths", SMALL, DIAMOND),
             "by_paths of a value: 1 for the output, else the sum over its consumers of their paths times derivative"),
        Test("paths", "a value used twice, and one not used", 1, gives("by_paths", SQUARE, given("y a, z a b, a b")),
             "x·x has two paths to x; where there is no path the sum is 0"),
        Test("paths", "other graphs", 1, gives("by_paths", drawn(7), drawn(9)), "two lists: consumers and sources",
             hidden=True),
        Test("order", "a fork", 1, ordered(SMALL, DIAMOND), "list a value when all that were computed from it are"),
        Test("order", "a short and a long way", 1, ordered(LONG_WAY),
             "count how many uses each value waits for; or depth first, a value after its sources, then reversed"),
        Test("order", "other graphs", 1, ordered(drawn(12), drawn(20)), "start from output: not all are reached",
             hidden=True),
        Test("order", "1,500 values", 1, ordered(in_a_row(1500)), "no function that calls itself: keep a list",
             hidden=True),
        Test("collect", "small graphs", 2, gives("gradients", SMALL, DIAMOND, SQUARE), "add to what is there (+=)"),
        Test("collect", "a short and a long way", 2, gives("gradients", LONG_WAY), COMPLETE),
        Test("collect", "60 forks in a row", 1, gives("gradients", in_a_row(60)),
             "there are 2⁶⁰ paths: hand each value's gradient on once"),
        Test("collect", "other graphs", 2, gives("gradients", drawn(12), drawn(20)), COMPLETE, hidden=True),
        Test("collect", "1,500 values", 1, gives("gradients", in_a_row(1500, 3)), "no function that calls itself",
             hidden=True),
        Test("why", "a graph on which breadth first is wrong", 2, refuted(False),
             "it goes wrong where a value is met early by a short way, and once more by a longer one"),
        Test("why", "in whatever order sources are listed", 2, refuted(True),
             "make the longer way longer by two, so that it is met late in either order", hidden=True),
    ],
)  # fmt: skip
