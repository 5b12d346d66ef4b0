"""The engine: forks, the edge ledger, what backward frees and keeps, grad of pieces, deep chains, errors that name."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import seeds

import minires as mr
from minires import nn
from minires.autograd import backward, switch
from minires.checks import (
    GradientCountError,
    GradientError,
    GradientShapeError,
    GradientTypeError,
    NoGradientError,
)
from minires.nn import functional as F
from minires.state import current, scope
from minires.testing.errors import kind_of_error


def leaf(values, dtype=np.float64):
    return mr.tensor(np.array(values, dtype), requires_grad=True)


def residual(x, w):
    """out = relu(x·w) + x: one fork, at x."""
    return (x * w).relu() + x


class Ledger(mr.Recorder):
    """A recorder that keeps everything."""

    def __init__(self):
        self.outputs = {}
        self.calls = []

    def forward(self, op, arrays, output):
        self.outputs[op] = output

    def backward(self, source, edges, total):
        self.calls.append((source, edges, total))

    def of(self, tensor):
        """Edges and total of the one node that stands for ``tensor``."""
        ((edges, total),) = [(e, t) for source, e, t in self.calls if source is (tensor.op or tensor)]
        return edges, total


# ── forks ──


def test_contributions_add_at_a_fork():
    x, w = leaf([2.0, -3.0]), leaf([5.0, 7.0])
    residual(x, w).backward(np.array([1.0, 10.0]))
    assert x.grad.tolist() == [5 + 1, 10] and w.grad.tolist() == [2, 0]


def test_a_tensor_in_both_slots_is_a_fork_too():
    x = leaf(3.0)
    (x * x + x - x).backward()
    assert x.grad == 6


def test_backward_of_several_outputs_adds_them(rng):
    x, w = leaf(rng.standard_normal(4)), leaf(rng.standard_normal(4))
    g1, g2 = rng.standard_normal((2, 4))
    backward([x * w, x.exp()], [g1, g2])
    np.testing.assert_allclose(x.grad, g1 * w.array + g2 * np.exp(x.array))
    np.testing.assert_allclose(w.grad, g1 * x.array)


@st.composite
def programs(draw):
    """A random graph: each step takes two earlier values and an operation."""
    steps = []
    for n in range(2, draw(st.integers(3, 12))):
        steps.append((draw(st.sampled_from("+-*r")), draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))))
    return steps


def run(program, *values):
    """The last value, and beside it its derivative by every earlier one, by hand and from the end."""
    values = list(values)
    for op, i, j in program:
        a, b = values[i], values[j]
        values.append(a + b if op == "+" else a - b if op == "-" else a * b if op == "*" else a.relu())
    return values


def by_hand(program, values, cotangent):
    grads = [np.zeros_like(values[0]) for _ in values]
    grads[-1] = cotangent
    for k in range(len(program) - 1, -1, -1):
        (op, i, j), g = program[k], grads[k + 2]
        if op == "r":
            grads[i] = grads[i] + g * (values[i] > 0)
        else:
            to_i, to_j = {"+": (g, g), "-": (g, -g), "*": (g * values[j], g * values[i])}[op]
            grads[i] = grads[i] + to_i
            grads[j] = grads[j] + to_j
    return grads


@given(programs(), seeds)
def test_any_graph_agrees_with_a_tape_by_hand(program, seed):
    rng = np.random.default_rng(seed)
    inputs, cotangent = [leaf(rng.standard_normal(3)) for _ in range(2)], rng.standard_normal(3)
    values = run(program, *inputs)
    expected = by_hand(program, [v.array for v in values], cotangent)
    values[-1].backward(cotangent)
    for x, g in zip(inputs, expected):
        np.testing.assert_allclose(np.zeros(3) if x.grad is None else x.grad, g, rtol=1e-10, atol=1e-10)


# ── the ledger ──


@given(programs(), seeds)
def test_the_ledger_holds_every_contribution_and_changes_nothing(program, seed):
    """Every consumer's share is there by itself, they add up to the total, and the results are the same bits."""
    rng = np.random.default_rng(seed)
    data, cotangent, ledger = rng.standard_normal((2, 3)), rng.standard_normal(3), Ledger()
    plain, recorded = ([leaf(d) for d in data] for _ in range(2))
    run(program, *plain)[-1].backward(cotangent)
    values = run(program, *recorded)
    inputs_of = {v.op: v.op.inputs for v in values if v.op}
    with switch(recorder=ledger):
        values[-1].backward(cotangent)
    for a, b in zip(plain, recorded):
        np.testing.assert_array_equal(a.grad, b.grad)
    for source, edges, total in ledger.calls:
        summed = edges[0].grad
        for edge in edges[1:]:
            summed = summed + edge.grad
        np.testing.assert_array_equal(summed, total)
        for edge in edges:
            assert edge.source is source
            assert edge.consumer is None or inputs_of[edge.consumer][edge.slot] is source
    reached = {source for source, _, _ in ledger.calls}
    expected = {(e.consumer, e.slot) for _, edges, _ in ledger.calls for e in edges if e.consumer is not None}
    assert expected == {(op, slot) for op in inputs_of if op in reached for slot in range(len(inputs_of[op]))}


def test_at_a_fork_the_skip_and_the_branch_are_seen_apart():
    x, w, ledger = leaf([2.0, -3.0]), leaf([5.0, 7.0]), Ledger()
    h = x * 1
    branch = h * w
    out = branch.relu() + h
    skip_consumer, branch_consumer = out.op, branch.op
    with switch(recorder=ledger):
        out.backward(np.array([1.0, 10.0]))
    edges, total = ledger.of(h)
    assert [(e.consumer, e.slot, e.grad.tolist()) for e in edges] == [
        (skip_consumer, 1, [1, 10]),
        (branch_consumer, 0, [5, 0]),
    ]
    assert total.tolist() == [6, 10]
    ((seed,), _) = ledger.of(out)
    assert seed.consumer is None and seed.grad.tolist() == [1, 10]


def test_what_was_recorded_is_not_changed_by_a_later_backward():
    x, ledger = leaf([1.0, 2.0]), Ledger()
    with switch(recorder=ledger):
        (x * 2 + x).backward(np.ones(2))
    (x * 5).backward(np.ones(2))
    x.grad *= 100
    edges, total = ledger.of(x)
    assert total.tolist() == [3, 3] and sorted(e.grad.tolist() for e in edges) == [[1, 1], [2, 2]]


def test_the_ledger_sees_a_broadcast_input_with_the_sum_undone():
    x, bias, ledger = leaf(np.ones((4, 3))), leaf(np.zeros(3)), Ledger()
    with switch(recorder=ledger):
        (x + bias).sum().backward()
    edges, _ = ledger.of(bias)
    assert [e.grad.tolist() for e in edges] == [[4, 4, 4]]


def test_the_forward_pass_is_recorded_as_it_runs():
    x, ledger = leaf([1.0, 2.0]), Ledger()
    with switch(recorder=ledger):
        h = x * 3
        y = h + 1
        with mr.no_grad():
            y * 2
    assert list(ledger.outputs) == [h.op, y.op] and ledger.outputs[y.op] is y.array


def test_a_recorder_is_told_when_a_walk_begins_and_what_called_it():
    class Calls(mr.Recorder):
        def __init__(self):
            self.seen = []

        def begin(self, call):
            self.seen.append(call)

        def backward(self, source, edges, total):
            self.seen.append(source)

    x, calls = leaf([1.0, 2.0]), Calls()
    with switch(recorder=calls):
        y = x * 3
        y.backward(np.ones(2), retain_graph=True)
        mr.grad(y, x, np.ones(2))
    assert calls.seen == ["backward", y.op, x, "grad", y.op, x]


def test_grad_is_recorded_too():
    x, ledger = leaf([1.0, 2.0]), Ledger()
    h = x * 3
    with switch(recorder=ledger):
        mr.grad((h * h + h).sum(), h)
    edges, total = ledger.of(h)
    assert len(edges) == 3 and total.tolist() == [7, 13]


# ── what backward frees, and what it keeps ──


def test_a_second_backward_says_that_the_graph_is_gone():
    x = leaf([1.0, 2.0])
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"backward: the graph behind <Sum.*already freed.*retain_graph=True"):
        loss.backward()
    assert x.grad.tolist() == [2, 4]


def test_a_second_backward_through_a_shared_part_says_so_too():
    x = leaf([1.0, 2.0])
    shared = x.exp()
    first, second = (shared * 2).sum(), (shared * 3).sum()
    first.backward()
    with pytest.raises(RuntimeError, match=r"<Exp, output \(2,\)>"):
        second.backward()


def test_retain_graph_keeps_it():
    x = leaf([1.0, 2.0])
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad.tolist() == [6, 12]
    with pytest.raises(RuntimeError, match="already freed"):
        loss.backward()


class Saving(mr.Op):
    """The identity, with a saved array that can be watched."""

    saved: list = []  # noqa: RUF012

    def forward(self, x):
        self.memory = np.ones(1000).view(Watched)
        self.saved.append(weakref.ref(self.memory))
        return x.copy()

    def backward(self, grad_output):
        self.saved.append([ref() is not None for ref in self.saved if isinstance(ref, weakref.ref)])
        return grad_output


class Watched(np.ndarray):
    pass


@pytest.fixture
def saved():
    Saving.saved.clear()
    gc.disable()  # what is freed below must be freed by reference counts alone
    yield Saving.saved
    gc.enable()


def test_backward_frees_what_ops_saved_as_it_goes(saved):
    y = leaf([1.0])
    for _ in range(3):
        y = mr.apply(Saving, y)
    y.backward(np.ones(1))
    refs, alive = saved[:3], saved[3:]
    assert alive == [[True, True, True], [True, True, False], [True, False, False]]
    assert [ref() for ref in refs] == [None] * 3  # although y is still here


def test_retain_graph_keeps_what_ops_saved(saved):
    y = mr.apply(Saving, leaf([1.0]))
    y.backward(np.ones(1), retain_graph=True)
    assert saved[0]() is not None


def test_a_graph_that_nobody_holds_is_freed_without_backward(saved):
    y = mr.apply(Saving, leaf([1.0]))
    del y
    assert saved[0]() is None


def test_no_graph_is_held_under_no_grad(saved):
    with mr.no_grad():
        y = mr.apply(Saving, leaf([1.0]))
    assert saved[0]() is None and y.op is None


def test_inputs_are_not_kept_by_the_ops_behind_them(saved):
    """The output of an addition is freed as soon as nothing but the graph knows it."""
    x = leaf(np.ones(5))
    h = x + 1
    ref = weakref.ref(h)
    y = h + 2
    del h
    assert ref() is None and y.op is not None


def test_the_graph_around_a_piece_stays():
    x = leaf([2.0])
    h = x * x
    y = (h * 3).sum()
    (to_h,) = mr.grad(y, h)
    (to_x,) = mr.grad(h, x, to_h)
    assert to_x.tolist() == [12]
    with pytest.raises(RuntimeError, match="already freed"):
        mr.grad(y, h)


def test_a_piece_does_not_ask_for_what_lies_behind_it():
    x = leaf([2.0])
    before = x * x
    h = before * 1
    y = (h * 3).sum()
    before.backward(np.ones(1))  # frees it
    assert mr.grad(y, h)[0].tolist() == [3]


def test_grad_runs_and_frees_only_the_ways_to_its_inputs():
    x, other = leaf([2.0]), leaf([5.0])
    side = other * other
    mr.grad((x * side).sum(), x)
    side.backward(np.ones(1))
    assert other.grad.tolist() == [10]


# ── .grad ──


def test_grad_accumulates_until_it_is_cleared():
    x = leaf([1.0, 2.0])
    for expected in ([3, 3], [6, 6]):
        (x * 3).backward(np.ones(2))
        assert x.grad.tolist() == expected
    x.grad = None
    (x * 3).backward(np.ones(2))
    assert x.grad.tolist() == [3, 3]


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x + y,
        lambda x, y: mr.cat([x, y]),
        lambda x, y: mr.stack([x, y]),
        lambda x, y: (x + y).reshape(3, 2),
        lambda x, y: (x + y).T,
        lambda x, y: (x + y).sum(0),
        lambda x, y: (x + y).expand(4, 2, 3),
    ],
)
def test_no_two_leaves_share_an_array(f, rng):
    x, y = leaf(rng.standard_normal((2, 3))), leaf(rng.standard_normal((2, 3)))
    out = f(x, y)
    cotangent = rng.standard_normal(out.shape)
    kept = cotangent.copy()
    out.backward(cotangent)
    expected = y.grad.clone()
    x.grad += 1  # must be writeable, too
    np.testing.assert_array_equal(y.grad, expected)
    np.testing.assert_array_equal(cotangent, kept)
    first, second = mr.grad(f(x, y), [x, y], cotangent)
    first.array[...] += 1
    np.testing.assert_array_equal(second, expected)
    np.testing.assert_array_equal(cotangent, kept)


def test_a_scalar_leaf_gets_an_array():
    for x in (mr.tensor(2.0, requires_grad=True), leaf(2.0)):
        (x * x + x).backward()
        assert (
            type(x.grad) is mr.Tensor
            and x.grad.op is None
            and x.grad.shape == ()
            and x.grad.dtype == x.dtype
            and x.grad == 5
        )


def test_a_scalar_fork_reaches_kernels_as_an_array():
    x = leaf(2.0)
    h = x.relu()
    (h * h + h).backward()
    assert x.grad == 5


def test_backward_of_a_leaf_is_its_own_gradient():
    x = leaf(2.0)
    x.backward()
    assert x.grad == 1


def test_constants_get_no_gradient():
    x, c = leaf([1.0]), mr.tensor(np.array([2.0]))
    (x * c).sum().backward()
    assert c.grad is None and not c.requires_grad


def test_retain_grad_leaves_the_gradient_of_an_intermediate():
    x = leaf([1.0, 2.0])
    h = (x * 3).retain_grad()
    loss = (h * h + h).sum()
    assert h.grad is None
    loss.backward(retain_graph=True)
    assert h.grad.tolist() == [7, 13]
    held = h.grad
    held[0] = 100
    loss.backward()
    assert h.grad.tolist() == [107, 26]  # accumulates, as a leaf's does,
    assert held.tolist() == [100, 13]  # in an array of its own
    assert x.grad.tolist() == [42, 78]


def test_grad_leaves_every_grad_alone():
    x = leaf([1.0, 2.0])
    h = (x * 3).retain_grad()
    mr.grad((h * h).sum(), [x])
    assert x.grad is None and h.grad is None


# ── no_grad, detach ──


def test_no_grad_builds_no_graph():
    x = leaf([1.0])
    with mr.no_grad():
        assert not (x * 2).requires_grad
        with mr.no_grad():
            pass
        assert not (x * 2).requires_grad  # leaving the inner one does not end the outer one
    assert (x * 2).requires_grad


def test_no_grad_ends_with_an_error_too():
    with pytest.raises(ZeroDivisionError), mr.no_grad():
        1 / 0  # noqa: B018
    assert (leaf([1.0]) * 2).requires_grad


def test_no_grad_decorates_a_function():
    @mr.no_grad()
    def double(x):
        """Twice x."""
        return x * 2

    for _ in range(2):
        assert not double(leaf([1.0])).requires_grad
    assert double.__doc__ == "Twice x." and (leaf([1.0]) * 2).requires_grad


def test_no_grad_holds_for_its_own_thread_only():
    x, seen = leaf([1.0]), []
    with mr.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
        assert not (x * 2).requires_grad
    assert seen == [not getattr(sys.flags, "thread_inherit_context", False)]  # which Python 3.14 has


def test_detach_stops_the_gradient_and_shares_the_values():
    x = leaf([3.0])
    h = x * 2
    (h.detach() * x).backward(np.ones(1))
    assert x.grad.tolist() == [6]
    assert h.detach().array is h.array and not h.detach().requires_grad and h.detach().is_leaf


# ── grad ──


@given(programs(), seeds, st.data())
def test_grad_of_any_node(program, seed, data):
    rng = np.random.default_rng(seed)
    inputs, cotangent = [leaf(rng.standard_normal(3)) for _ in range(2)], rng.standard_normal(3)
    values = run(program, *inputs)
    expected = by_hand(program, [v.array for v in values], cotangent)
    wanted = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4))
    found = mr.grad(values[-1], [values[i] for i in wanted], cotangent, allow_unused=True)
    for i, g in zip(wanted, found):
        np.testing.assert_allclose(np.zeros(3) if g is None else g, expected[i], rtol=1e-10, atol=1e-10)
    assert all(v.grad is None for v in values)


@given(programs(), programs(), seeds)
def test_the_pieces_of_a_chain_multiply(first, second, seed):
    """The vector–Jacobian products of two pieces, one after the other, give that of the whole."""
    rng = np.random.default_rng(seed)
    x, c, cotangent = leaf(rng.standard_normal(3)), mr.tensor(rng.standard_normal(3)), rng.standard_normal(3)
    h = run(first, x, c)[-1] + x
    y = run(second, h, c)[-1] + h
    (whole,) = mr.grad(y, x, cotangent, retain_graph=True)
    (to_h,) = mr.grad(y, h, cotangent)
    (to_x,) = mr.grad(h, x, to_h)
    np.testing.assert_allclose(to_x, whole, rtol=1e-10, atol=1e-10)


def test_grad_of_a_single_input_is_a_tuple_of_one():
    x = leaf([2.0, 3.0])
    (g,) = mr.grad((x * x).sum(), x)
    assert g.tolist() == [4, 6]


def test_grad_of_the_output_itself():
    x = leaf(2.0)
    y = x * x
    to_y, to_x = mr.grad(y, [y, x])
    assert to_y == 1 and to_x == 4
    assert mr.grad(x, x)[0] == 1


def test_grad_of_several_outputs(rng):
    x = leaf(rng.standard_normal(3))
    g1, g2 = rng.standard_normal((2, 3))
    (g,) = mr.grad([x * 2, x * x], x, [g1, mr.tensor(g2)])
    np.testing.assert_allclose(g, 2 * g1 + 2 * x.array * g2)
    with pytest.raises(ValueError, match="grad: got 1 gradients for 2 outputs"):
        mr.grad([x * 2, x * x], x, [g1])


def test_grad_names_an_input_that_was_not_used():
    x, other = leaf([1.0]), leaf([1.0, 2.0])
    loss = (x * 2).sum()
    with pytest.raises(ValueError, match=r"grad: input 1 of shape \(2,\) was not used.*allow_unused=True"):
        mr.grad(loss, [x, other], retain_graph=True)
    g, unused = mr.grad(loss, [x, other], allow_unused=True)
    assert g.tolist() == [2] and unused is None


def test_an_unused_input_of_equal_value_is_still_unused():
    x, twin = leaf(1.0), leaf(1.0)
    assert mr.grad(x * 2, [twin, x], allow_unused=True)[0] is None


# ── deep and wide graphs ──


def test_a_chain_of_20000_ops_needs_no_recursion():
    x = leaf([1.0])
    y = x
    for _ in range(20_000):
        y = y + 1e-4
    y.backward(np.ones(1))
    assert x.grad.tolist() == [1]


def test_a_chain_of_20000_ops_is_deleted_without_recursion():
    x = leaf([1.0])
    y = x
    for _ in range(20_000):
        y = y * 1.0
    z = y.retain_grad() * 2  # and a cycle to collect
    del y, z
    gc.collect()
    assert (x * 2).requires_grad


def test_a_tensor_with_2000_consumers():
    x = leaf([1.0])
    sum((x * i for i in range(2000)), start=x * 0).backward(np.ones(1))
    assert x.grad.tolist() == [sum(range(2000))]


# ── ops of one's own ──


class Cube(mr.Op):
    def forward(self, x):
        self.x = x
        return x**3

    def backward(self, grad_output):
        return 3 * self.x**2 * grad_output


class ScaledSum(mr.Op):
    def forward(self, a, b, *, scale):
        self.scale = scale
        return scale * (a + b)

    def backward(self, grad_output):
        return self.scale * grad_output, self.scale * grad_output


def test_an_op_is_a_class_with_two_methods(rng):
    x, y = leaf(rng.standard_normal((2, 3))), leaf(rng.standard_normal(3))
    out = mr.apply(ScaledSum, mr.apply(Cube, x), y, scale=2.0)
    cotangent = rng.standard_normal((2, 3))
    out.backward(cotangent)
    np.testing.assert_allclose(out.array, 2 * (x.array**3 + y.array))
    np.testing.assert_allclose(x.grad, 6 * x.array**2 * cotangent)
    np.testing.assert_allclose(y.grad, 2 * cotangent.sum(0))  # broadcasting is undone by the engine
    assert out.op.name == "ScaledSum" and repr(out.op) == "<ScaledSum, output (2, 3)>"


def op_returning(gradient, forward=lambda x: x * 1):
    """An op called Mine whose backward returns the given gradients."""
    body = {"forward": lambda self, x: forward(x), "backward": lambda self, g: gradient(g)}
    return type("Mine", (mr.Op,), body)


WRONG_GRADIENTS = {
    "shape": (lambda g: g[:1], ValueError, r"Mine\.backward: got a gradient of shape \(1, 3\) for .*\(2, 3\)"),
    "one axis more": (lambda g: g[None], ValueError, r"Mine\.backward: got a gradient of shape \(1, 2, 3\)"),
    "type": (lambda g: g.astype(np.float32), TypeError, r"Mine\.backward: got a float32 gradient for float64 input 0"),
    "none": (lambda g: None, ValueError, r"Mine\.backward: got None for input 0, which requires grad"),
    "list": (lambda g: (g.tolist(),), ValueError, r"Mine\.backward: got list for .*an array of shape \(2, 3\)"),
    "number": (lambda g: 1.0, ValueError, r"Mine\.backward: got float for input 0"),
    "too many": (lambda g: (g, g), ValueError, r"Mine\.backward: got 2 gradients for 1 inputs"),
    "too few": (lambda g: (), ValueError, r"Mine\.backward: got 0 gradients for 1 inputs"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_GRADIENTS)
def test_a_wrong_gradient_is_named(name):
    gradient, error, message = WRONG_GRADIENTS[name]
    y = mr.apply(op_returning(gradient), leaf(np.ones((2, 3))))
    with pytest.raises(error, match=message):
        y.backward(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("gradient", "error", "got", "expected", "kind"),
    [
        (lambda g: g[:1], GradientShapeError, (1, 3), (2, 3), "wrong_shape"),
        (lambda g: g[None], GradientShapeError, (1, 2, 3), (2, 3), "missing_broadcast_sum"),
        (lambda g: g.astype(np.float32), GradientTypeError, np.float32, np.float64, "wrong_dtype"),
        (lambda g: None, NoGradientError, None, (2, 3), "no_gradient"),
        (lambda g: 1.0, NoGradientError, 1.0, (2, 3), "raises"),
        (lambda g: (g, g), GradientCountError, 2, 1, "raises"),
    ],
)
def test_the_error_of_a_wrong_gradient_says_what_was_wrong_in_its_attributes(gradient, error, got, expected, kind):
    """The checker reads these alone, and only repeats the message, which may change, as may the engine's variables."""
    y = mr.apply(op_returning(gradient), leaf(np.ones((2, 3))))
    op = y.op
    with pytest.raises(error) as caught:
        y.backward(np.ones((2, 3)))
    found = caught.value
    assert isinstance(found, GradientError) and isinstance(found, ValueError)
    slot = None if error is GradientCountError else 0
    assert (found.op, found.slot, found.got, found.expected) == (op, slot, got, expected)
    bare = error("", found.op, found.slot, found.got, found.expected)
    assert bare.__traceback__ is None and kind_of_error(found) == (kind, kind_of_error(bare)[1] + str(found))


def test_a_recorder_may_leave_out_what_it_does_not_want_to_see():
    x = leaf([2.0, -3.0])
    with switch(recorder=mr.Recorder()):
        residual(x, leaf([5.0, 7.0])).backward(np.ones(2))
    assert x.grad.tolist() == [6, 1]


def test_the_fields_of_the_engine_survive_forgetting_and_what_an_op_saved_does_not():
    op = (leaf([2.0]) * leaf([3.0])).op
    fields, inputs = set(vars(op)) & set(mr.Op.__annotations__), op.inputs
    op.forget()
    assert set(vars(op)) == fields and op.inputs is inputs and not hasattr(op, "a")


def test_a_gradient_for_a_broadcast_input_must_be_undone_from_the_outputs_shape():
    """(2, 1) may get (2, 3), the output's shape, but nothing else."""
    row = leaf(np.ones((2, 1)))
    mr.apply(op_returning(lambda g: g, lambda x: x + np.zeros(3)), row).backward(np.ones((2, 3)))
    assert row.grad.tolist() == [[3], [3]]
    with pytest.raises(ValueError, match=r"got a gradient of shape \(3, 2\) for input 0 of shape \(2, 1\)"):
        mr.apply(op_returning(lambda g: g.T, lambda x: x + np.zeros(3)), row).backward(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"got a gradient of shape \(4,\) for input 0 of shape \(2, 2\)"):
        mr.apply(op_returning(lambda g: g, lambda x: x.reshape(4)), leaf(np.ones((2, 2)))).backward(np.ones(4))


def test_an_op_that_widens_is_named():
    widening = op_returning(lambda g: g, lambda x: x * np.sqrt(2) if x.dtype == np.float64 else x * np.array([2.0]))
    with pytest.raises(TypeError, match=r"Mine\.forward: got float64 output from float32 input.*wrap it in float"):
        mr.apply(widening, leaf([1.0], np.float32))
    assert mr.apply(widening, leaf([1.0])).dtype == np.float64


@pytest.mark.parametrize("returned", [None, [1.0], 1.0, mr.tensor([1.0])], ids=["None", "list", "float", "Tensor"])
def test_an_op_that_returns_no_array_is_named(returned):
    with pytest.raises(TypeError, match=rf"Mine\.forward: got a {type(returned).__name__} back.*returns an array"):
        mr.apply(op_returning(lambda g: g, lambda x: returned), leaf([1.0]))


def test_an_op_without_its_methods_is_named():
    with pytest.raises(TypeError, match=r"Empty: an op must define forward"):
        mr.apply(type("Empty", (mr.Op,), {}), leaf([1.0]))
    half = type("Half", (mr.Op,), {"forward": lambda self, x: x * 1})
    with pytest.raises(TypeError, match=r"Half: an op must define backward"):
        mr.apply(half, leaf([1.0])).backward(np.ones(1))


def test_needs_says_which_gradients_are_wanted():
    seen = []

    class Looks(mr.Op):
        def forward(self, a, b, c):
            seen.append(list(self.needs))
            return a + b

        def backward(self, grad_output):
            return grad_output, None, None

    y = mr.apply(Looks, leaf([1.0]), mr.tensor(np.array([1.0])), None)
    y.backward(np.ones(1))
    with mr.no_grad():
        mr.apply(Looks, leaf([1.0]), 2.0, None)
    assert seen == [[True, False, False], [False, False, False]]


# ── scope and anomaly ──


class Inner(nn.Module):
    def forward(self, x):
        return x.log()


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.ReLU(), Inner())

    def forward(self, x):
        return self.block(x)


def test_an_op_knows_the_scope_it_ran_in():
    y = Outer()(leaf([1.0]))
    assert y.op.scope == "block.1" and repr(y.op) == "<Log in block.1, output (1,)>"
    assert scope.get() == ""


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_detect_anomaly_names_op_and_scope_forward():
    x = leaf([[0.0, 1.0]])
    Outer()(x)  # only when asked
    with mr.detect_anomaly(), pytest.raises(FloatingPointError) as caught:
        Outer()(x)
    assert str(caught.value) == "detect_anomaly: NaN or Inf in the output of <Log in block.1, output (1, 2)>"


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_detect_anomaly_names_op_and_scope_backward():
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()

    model = nn.Sequential(nn.Identity(), Root())
    with mr.detect_anomaly(), pytest.raises(FloatingPointError) as caught:
        model(leaf([0.0, 1.0])).sum().backward()
    message = "detect_anomaly: NaN or Inf in the gradient for input 0 of <Sqrt in 1, output (2,)>"
    assert str(caught.value) == message


def test_detect_anomaly_tells_where_it_did_not_begin():
    with mr.detect_anomaly(), pytest.raises(FloatingPointError, match="its input 1 was already not finite"):
        leaf([1.0]) + leaf([np.nan])


def test_detect_anomaly_is_quiet_when_all_is_finite():
    x = leaf([1.0, 2.0])
    with mr.detect_anomaly():
        (x.exp() + mr.tensor([1, 2])).sum().backward()
    assert not current().anomaly


# ── bad input ──


def test_backward_without_a_graph():
    with pytest.raises(RuntimeError, match=r"backward: the tensor does not require grad.*no_grad"):
        mr.tensor(1.0).backward()
    with mr.no_grad():
        y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="does not require grad"):
        y.backward()


def test_backward_of_a_non_scalar_needs_a_gradient():
    with pytest.raises(ValueError, match=r"backward: got a tensor of shape \(2, 3\) and no gradient.*same shape"):
        (leaf(np.ones((2, 3))) * 2).backward()
    x = leaf(np.ones((1, 1)))
    (x * 2).backward()  # a single value counts as a scalar
    assert x.grad.tolist() == [[2]]


@pytest.mark.parametrize("gradient", [np.ones(3), np.ones((1, 2)), np.ones(2, np.float32), np.ones(2, int)], ids=str)
def test_backward_with_a_gradient_that_does_not_fit(gradient):
    x = leaf([1.0, 2.0])
    message = rf"backward: got a {gradient.dtype} gradient of shape \({', '.join(map(str, gradient.shape))}"
    with pytest.raises(ValueError, match=message + r".* for a float64 tensor of shape \(2,\)"):
        (x * 2).backward(gradient)
    assert x.grad is None


@pytest.mark.parametrize("gradient", [[1, 2], [1.0, 2.0], mr.tensor(np.array([1.0, 2.0])), (1, 2)], ids=str)
def test_a_gradient_may_be_a_list_or_a_tensor(gradient):
    x = leaf([1.0, 2.0])
    (x * 2).backward(gradient)
    assert x.grad.tolist() == [2, 4]


@pytest.mark.parametrize("gradient", [3, 3.0, np.float64(3), np.int64(3)], ids=repr)
def test_the_gradient_of_a_scalar_may_be_a_number(gradient):
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    x.relu().sum().backward(gradient)
    assert x.grad.tolist() == [3, 3] and x.grad.dtype == np.float32


def test_only_floating_point_has_gradients():
    with pytest.raises(TypeError, match="got requires_grad=True for dtype int64; only floating point"):
        mr.tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="got requires_grad=True for dtype int64"):
        mr.tensor([1, 2]).requires_grad_()


def test_mixed_types_are_named_with_the_way_out():
    x, w = mr.ones(1, 3), mr.ones(2, 3, dtype=np.float64)
    with pytest.raises(TypeError, match=r"Linear: got inputs of float32 on cpu and float64 on cpu.*x\.to\(y\.dtype\)"):
        F.linear(x, w)


class Returns(mr.Op):
    """Passes both inputs' gradients through ``make(grad_output)``, which returns the pair."""

    def forward(self, a, b, make):
        self.make = make
        return a + b

    def backward(self, grad_output):
        return self.make(grad_output)


def test_a_gradient_that_nobody_else_holds_is_handed_over():
    addresses = []

    def make(g):
        pair = g * 2, g * 3
        addresses.extend(array.ctypes.data for array in pair)
        return pair

    a, b = (mr.ones(4, requires_grad=True) for _ in "ab")
    mr.apply(Returns, a, b, make=make).sum().backward()
    assert [t.grad.array.ctypes.data for t in (a, b)] == addresses
    assert a.grad.tolist() == [2] * 4 and b.grad.tolist() == [3] * 4


@pytest.mark.parametrize("make", [
    lambda g: (g, g),
    lambda g: [g * 2] * 2,
    lambda g: tuple(np.ones((2, 4), np.float32) * 2),  # two rows of one array
    lambda g: (twice := g * 2, twice[:]),
    lambda g: ((twice := g * 2)[::-1], twice.reshape(4)),
    lambda g: (np.broadcast_to(np.float32(2), 4), np.broadcast_to(np.float32(2), 4)),
])  # fmt: skip
def test_gradients_over_one_memory_are_parted(make):
    a, b = (mr.ones(4, requires_grad=True) for _ in "ab")
    mr.apply(Returns, a, b, make=make).backward(mr.tensor([2.0] * 4))
    before = b.grad.tolist()
    a.grad.array[...] = 7
    assert b.grad.tolist() == before != a.grad.tolist()


def test_a_gradient_that_an_op_or_its_caller_keeps_is_not_changed():
    kept = []

    def make(g):
        kept.append(g * 2)
        return kept[0], kept[0].reshape(2, 2).reshape(4)

    a, b = (mr.ones(4, requires_grad=True) for _ in "ab")
    seed = np.ones(4, np.float32)
    mr.apply(Returns, a, b, make=make).backward(mr.Tensor(seed))
    for t in (a, b):
        t.grad.array[...] = 7
    assert kept[0].tolist() == [2] * 4
    c = mr.ones(4, requires_grad=True)
    c.backward(mr.Tensor(seed))
    c.grad.array[...] = 7
    assert seed.tolist() == [1] * 4


def test_a_gradient_may_be_added_to_although_it_came_as_a_broadcast_view():
    p, q = (nn.Parameter(mr.ones(1, 5)) for _ in range(2))
    for _ in range(2):
        (p.mean(0).sum() + q.mean(0).sum()).backward()
    assert p.grad.tolist() == q.grad.tolist() == [[2.0] * 5]
    p.grad.mul_(2)
    assert p.grad.tolist() == [[4.0] * 5] and q.grad.tolist() == [[2.0] * 5]


def test_backward_refuses_an_input_that_needs_no_gradient():
    x, w = mr.ones(2), mr.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"backward: input 1 of shape \(2,\) does not require grad"):
        (w * x).sum().backward(inputs=[w, x])
    assert w.grad is None
