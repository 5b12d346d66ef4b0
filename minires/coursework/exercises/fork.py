"""The fork: a value that is used twice gets two gradients, and their sum is handed on. When is the sum complete?

Here a graph is a dictionary of numbers' names: for each value, what it was computed from, and its derivative by each.

    graph = {"y": [("a", 2.0), ("b", 3.0)], "b": [("a", 5.0)], "a": []}

says that y was computed from a and b, with ∂y/∂a = 2 and ∂y/∂b = 3, and b from a, with ∂b/∂a = 5. A value may occur
twice in a list (x·x). The gradient of a is a sum over all paths from y to a, each the product of its derivatives:
2 + 3·5 = 17. A network has far too many paths, so the backward walk collects instead: a value's gradient is the sum of
what its consumers send, each its own gradient times the derivative.

Part "paths" (4 points): by_paths, the definition, for small graphs.
Part "order" (4 points): order, each value before all that it was computed from: a topological order.
Part "collect" (8 points): gradients, in one walk that visits each value once.
Part "why" (4 points): counterexample, a graph on which the walk below, which takes values in the order in which it
meets them, is wrong.

Run this file to check yourself; ``minires grade fork.py`` for points.
"""


def breadth_first(graph, output):
    """A walk that visits each value once, but hands a gradient on as soon as it meets the value. Often right; why?"""
    gradients, queue, met = dict.fromkeys(graph, 0.0), [output], {output}
    gradients[output] = 1.0
    while queue:
        value = queue.pop(0)
        for source, derivative in graph[value]:
            gradients[source] += gradients[value] * derivative
            if source not in met:
                met.add(source)
                queue.append(source)
    return gradients


def by_paths(graph, output):
    """{value: gradient of output by it} for all values of the graph, as sums over all paths.

    The output's own gradient is 1 (the path of no steps); a value that no path reaches has the gradient 0.
    """
    raise NotImplementedError('part "paths"')


def order(graph, output):
    """The values that output was computed from, and output itself, in a list: each once, and before its sources.

    A graph may be deeper than Python's limit of 1,000 nested calls.
    """
    raise NotImplementedError('part "order"')


def gradients(graph, output):
    """The same as by_paths, but each value hands its gradient on once, when all contributions to it have been added."""
    raise NotImplementedError('part "collect"')


def counterexample():
    """A graph with an output named "y" on which breadth_first is wrong."""
    raise NotImplementedError('part "why"')


if __name__ == "__main__":
    from minires.coursework import try_out

    graph = {"y": [("a", 2.0), ("b", 3.0)], "b": [("a", 5.0)], "a": []}
    try_out(
        {
            "by_paths, to be a: 17, b: 3, y: 1": lambda: by_paths(graph, "y"),
            "order, to be y, b, a": lambda: order(graph, "y"),
            "gradients, to be a: 17, b: 3, y: 1": lambda: gradients(graph, "y"),
            "breadth_first on your counterexample": lambda: breadth_first(counterexample(), "y"),
            "the right gradients there": lambda: gradients(counterexample(), "y"),
        }
    )
