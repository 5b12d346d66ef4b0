"""Meeting points in a graph, against a definition by brute force."""

from hypothesis import given, strategies as st

from minires.flow.forks import longest_ways, meeting_points


@st.composite
def graphs(draw):
    """A random acyclic graph in which every node but the last has consumers."""
    n = draw(st.integers(2, 9))
    return {
        key: tuple(draw(st.lists(st.integers(key + 1, n - 1), min_size=1, max_size=3))) if key < n - 1 else ()
        for key in range(n)
    }


def ways(consumers, key):
    """All ways from a node to the end, each a tuple of the nodes after it."""
    if not consumers[key]:
        return [()]
    return [(c, *rest) for c in consumers[key] for rest in ways(consumers, c)]


@given(graphs())
def test_the_meeting_point_is_the_first_node_on_all_ways(consumers):
    for key, point in meeting_points(consumers).items():
        common = set.intersection(*(set(way) for way in ways(consumers, key)))
        assert point == (min(common) if common else None)


@given(graphs(), st.randoms(use_true_random=False))
def test_longest_ways(consumers, rng):
    meets = meeting_points(consumers)
    cost = {key: (rng.randint(0, 1), rng.randint(0, 2)) for key in consumers}
    for key, point in meets.items():
        if point is None:
            continue
        for start, length in zip(consumers[key], longest_ways(consumers, consumers[key], point, cost)):
            between = [(start, *way)[: (start, *way).index(point)] for way in ways(consumers, start)]
            assert length == max((sum(cost[k][0] for k in way), sum(cost[k][1] for k in way)) for way in between)


def test_a_very_deep_chain_needs_no_recursion():
    n = 50_000
    consumers = {key: (key + 1,) if key < n - 1 else () for key in range(n)}
    assert meeting_points(consumers)[0] == 1
    assert longest_ways(consumers, [0], n - 1, dict.fromkeys(range(n), (0, 1))) == [(0, n - 1)]
