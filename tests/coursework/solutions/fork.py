"""Reference solution."""


def consumers(graph, target):
    return [(value, d) for value, sources in graph.items() for source, d in sources if source == target]


def by_paths(graph, output):
    def paths(target):
        return (target == output) + sum(paths(value) * d for value, d in consumers(graph, target))

    return {value: float(paths(value)) for value in graph}


def order(graph, output):
    listed, seen, stack = [], set(), [(output, False)]
    while stack:
        value, done = stack.pop()
        if done:
            listed.append(value)
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            stack += [(source, False) for source, _ in graph[value]]
    return listed[::-1]


def gradients(graph, output):
    totals = dict.fromkeys(graph, 0.0)
    totals[output] = 1.0
    for value in order(graph, output):
        for source, derivative in graph[value]:
            totals[source] += totals[value] * derivative
    return totals


def counterexample():
    return {"y": [("a", 1.0), ("b", 1.0)], "b": [("c", 1.0)], "c": [("a", 1.0)], "a": [("x", 1.0)], "x": []}
