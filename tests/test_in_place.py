"""In-place operators: who sees what they write, what they refuse, and that backward never uses what was overwritten."""

import gc
import operator

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import broadcastable, seeds

import minires as mr
from minires import nn, writes
from minires.nn import functional as F

PAIRS = [
    (operator.iadd, operator.add), (operator.isub, operator.sub), (operator.imul, operator.mul),
    (operator.itruediv, operator.truediv), (operator.ipow, operator.pow),
]  # fmt: skip
each = pytest.mark.parametrize("in_place, plain", PAIRS, ids=lambda f: f.__name__)
DTYPES = [np.bool_, np.uint8, np.int16, np.int64, np.float32, np.float64]


def leaf(*values, dtype=np.float64):
    return mr.tensor(np.array(values, dtype), requires_grad=True)


# ── what is written, and who sees it ──


@each
@given(shapes=broadcastable(), seed=seeds)
def test_a_constant_is_written_in_place(in_place, plain, shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(0.5, 2, shape) for shape in shapes)
    x = mr.tensor(a)
    array, view = x.array, x.detach()
    expected = plain(a, b)
    if expected.shape != a.shape:
        with pytest.raises(ValueError, match=r"in-place: got a result of shape .* cannot grow"):
            in_place(x, b)
        np.testing.assert_array_equal(x.array, a)
        return
    for other in (b, mr.tensor(b)):
        array[...] = a
        assert in_place(x, other) is x and x.array is array
        np.testing.assert_array_equal(view.array, expected)


@each
def test_a_parameter_is_written_under_no_grad_and_only_there(in_place, plain):
    p = leaf(2.0, 3.0)
    array = p.array
    with pytest.raises(RuntimeError, match=r"in-place: got a leaf of shape \(2,\) that requires grad.*no_grad\(\)"):
        in_place(p, 0.5)
    assert array.tolist() == [2, 3]
    with mr.no_grad():
        assert in_place(p, 0.5) is p
    assert p.array is array and p.requires_grad and p.is_leaf
    np.testing.assert_array_equal(array, plain(np.array([2.0, 3.0]), 0.5))


def test_the_training_loop_of_every_tutorial_trains():
    mr.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    x = mr.randn(32, 3)
    y = x[:, :1] * x[:, 1:2]
    losses = []
    for _ in range(200):
        loss = F.mse_loss(model(x), y)
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        with mr.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
    assert losses[-1] < losses[0] / 2


def test_it_is_the_step_of_plain_gradient_descent_bit_for_bit():
    mr.manual_seed(1)
    ours = nn.Linear(4, 2)
    mr.manual_seed(1)
    theirs = nn.Linear(4, 2)
    optimizer = mr.optim.SGD(theirs.parameters(), lr=0.125)
    x = mr.randn(5, 4)
    for _ in range(3):
        for model in (ours, theirs):
            (model(x) ** 2).sum().backward()
        with mr.no_grad():
            for p in ours.parameters():
                p -= 0.125 * p.grad
        optimizer.step()
        ours.zero_grad()
        theirs.zero_grad()
    np.testing.assert_array_equal(ours.weight.array, theirs.weight.array)


def test_a_loop_over_tensors_changes_them():
    tensors = [mr.ones(2), mr.full((3,), 2.0)]
    for a in tensors:
        a *= 0.5
    assert [a.array.tolist() for a in tensors] == [[0.5, 0.5], [1, 1, 1]]


def test_a_view_writes_to_its_tensor():
    x = mr.tensor(np.arange(6.0).reshape(2, 3))
    row, turned = x[1], x.T
    row += 10
    turned *= 2
    assert x.array.tolist() == [[0, 2, 4], [26, 28, 30]]


def test_a_module_keeps_its_parameter():
    layer = nn.Linear(2, 1, bias=False)
    weight = layer.weight
    with mr.no_grad():
        layer.weight *= 0
        layer.weight += 3
    assert layer.weight is weight and weight.array.tolist() == [[3, 3]]


def test_what_an_op_made_becomes_a_new_tensor():
    x = leaf(1.0, 2.0)
    out = before = x * 2
    out += x
    assert out is not before and before.array.tolist() == [2, 4]
    with mr.no_grad():
        out -= 1
    assert out.array.tolist() == [2, 5] and not out.requires_grad


def test_a_constant_that_meets_a_gradient_becomes_a_new_tensor():
    x, total = leaf(1.0, 2.0), mr.zeros(2, dtype=np.float64)
    start = total
    for _ in range(3):
        total += x
    total.backward(np.ones(2))
    assert x.grad.tolist() == [3, 3] and start.array.tolist() == [0, 0]


# ── types and memory ──


@pytest.mark.parametrize("own", DTYPES)
@pytest.mark.parametrize("other", DTYPES)
def test_only_what_the_type_can_hold_is_written(own, other):
    """bool < whole < floating point, as in PyTorch; two floating-point types do not mix here."""
    rank = {"b": 0, "u": 1, "i": 1, "f": 2}
    x, y = mr.tensor(np.array([1, 0], own)), mr.tensor(np.array([1, 1], other))
    ranks = rank[x.dtype.kind], rank[y.dtype.kind]
    if ranks[1] > ranks[0] or (ranks == (2, 2) and own is not other):
        with pytest.raises(TypeError):
            x += y
        assert x.array.tolist() == [1, 0]
    else:
        x += y
        assert x.dtype == own and x.array.tolist() == np.array([2, 1]).astype(own).tolist()


def test_a_fraction_does_not_fit_into_whole_numbers():
    n = mr.tensor([4, 6])
    with pytest.raises(TypeError, match=r"in-place: got a float32 result for a int64 tensor.*x = x \+ y"):
        n /= 2
    with pytest.raises(TypeError, match="float32 result"):
        n *= 0.5
    n **= 2
    assert n.array.tolist() == [16, 36]


def test_memory_that_cannot_be_written_is_named():
    stretched = mr.ones(1, 3).expand(2, 3)
    with pytest.raises(RuntimeError, match=r"in-place: got a tensor of shape \(2, 3\) whose memory cannot be written"):
        stretched += 1
    fixed = np.zeros(3)
    fixed.flags.writeable = False
    x = mr.Tensor(fixed)
    with pytest.raises(RuntimeError, match="read-only"):
        x += 1
    y = x + 1
    y += 1
    assert y.array.tolist() == [2, 2, 2]


def test_other_things_are_refused():
    x = mr.ones(2)
    for other in ("a", None, [1.0, 2.0]):
        with pytest.raises(TypeError):
            x += other
    with pytest.raises(ValueError, match="add: got shapes"):
        x += mr.ones(3)
    assert x.array.tolist() == [1, 1]


# ── backward never uses what was overwritten ──


def write_with_operator(p):
    with mr.no_grad():
        p *= 2


def write_a_view(p):
    rows = p.detach()[:1]
    rows += 1


def step(p):
    p.grad = np.ones_like(p.array)
    mr.optim.SGD([p], lr=0.1).step()


def load(p):
    layer = nn.Linear(p.shape[1], p.shape[0], bias=False)
    layer.weight = p
    layer.load_state_dict({"weight": np.ones(p.shape)})


WAYS = [write_with_operator, write_a_view, step, load, nn.init.zeros_, nn.init.kaiming_normal_]
each_way = pytest.mark.parametrize("write", WAYS, ids=lambda f: f.__name__)


def parameter(*shape):
    return nn.Parameter(np.random.default_rng(len(shape)).standard_normal(shape))


@each_way
def test_backward_refuses_a_saved_array_that_was_written(write):
    p, x = parameter(3, 2), leaf([1.0, 2.0])
    y = F.linear(x, p).sum()
    write(p)
    with pytest.raises(RuntimeError, match=r"backward: an array of shape \(3, 2\) that <Linear.* saved .*in place"):
        y.backward()
    assert x.grad is None


@each_way
def test_what_no_op_saved_may_be_written(write):
    """x + p needs neither for its gradient, and W·x with a constant x not W."""
    p, x = parameter(3, 2), mr.tensor(np.array([[1.0, 2.0]]))
    loss = (p + 1).sum() + F.linear(x, p).sum() + (p / 2).sum()
    write(p)
    p.grad = None
    loss.backward()
    assert p.grad.tolist() == [[2.5, 3.5]] * 3


@each_way
def test_a_graph_made_after_the_write_is_fine(write):
    p, x = parameter(3, 2), leaf([1.0, 2.0])
    for _ in range(2):
        write(p)
        p.grad = x.grad = None
        F.linear(x, p).sum().backward()
        np.testing.assert_allclose(x.grad[0], p.array.sum(0))


def test_the_input_of_a_block_that_adds_in_place_is_not_changed_under_backward():
    """`out = x; out += y` writes x if it is a constant: ops that saved it must not use the new values."""
    x, w = mr.tensor(np.array([1.0, 2.0])), leaf(3.0, 4.0)
    branch = x * w
    out = x
    out += mr.tensor(np.array([10.0, 10.0]))
    with pytest.raises(RuntimeError, match=r"<Mul, output \(2,\)> saved has been written in place"):
        branch.sum().backward()


def test_an_index_that_changes_is_noticed_too():
    x, index = leaf(1.0, 2.0, 3.0), mr.tensor([0, 1])
    y = x[index, None]
    index += 1
    with pytest.raises(RuntimeError, match="written in place"):
        y.sum().backward()


def test_a_detached_result_shares_memory_with_what_its_op_saved():
    x = leaf(1.0, 2.0)
    y = x.exp()
    seen = y.detach()
    seen += 1
    with pytest.raises(RuntimeError, match="<Exp"):
        y.sum().backward()


def test_checkpointed_ops_are_checked_as_well():
    p, x = parameter(3, 2), leaf([1.0, 2.0])
    y = mr.checkpoint(lambda x: F.linear(x, p), x).sum()
    write_with_operator(p)
    with pytest.raises(RuntimeError, match="in place since"):
        y.backward()


def test_the_statistics_of_an_evaluation_may_move_on_before_its_backward():
    mr.manual_seed(0)
    norm, x = nn.BatchNorm1d(3).double().eval(), mr.randn(4, 3, dtype=np.float64).requires_grad_()
    expected, *_ = mr.grad((norm(x) ** 2).sum(), x)
    loss = (norm(x) ** 2).sum()
    norm.train()(mr.randn(8, 3, dtype=np.float64))
    loss.backward()
    np.testing.assert_array_equal(x.grad, expected)


@given(st.lists(st.sampled_from(["op", "write", "forget"]), max_size=30), seeds)
def test_exactly_the_ops_older_than_a_write_are_refused(steps, seed):
    """Arrays come and go, and new ones take the memory of old ones: nothing is refused for a neighbour's sake."""
    rng, arrays, graphs = np.random.default_rng(seed), [mr.ones(4) for _ in range(3)], []
    for do in steps:
        i = int(rng.integers(3))
        if do == "op":
            w = leaf(*rng.standard_normal(4), dtype=np.float32)
            graphs.append([(arrays[i] * w).sum(), w, arrays[i], arrays[i].array.copy(), False])
        elif do == "write":
            arrays[i] += 1
            for graph in graphs:
                graph[4] = graph[4] or graph[2] is arrays[i]
        else:
            arrays[i] = mr.ones(4)
    for y, w, _, values, written in graphs:
        if written:
            with pytest.raises(RuntimeError, match="written in place"):
                y.backward()
        else:
            y.backward()
            np.testing.assert_array_equal(w.grad, values)


def test_nothing_is_remembered_of_memory_that_is_gone():
    gc.collect()
    before = len(writes._owners)
    x = mr.ones(5)
    x += 1
    assert len(writes._owners) == before + 1
    del x
    assert len(writes._owners) == before


def test_memory_of_another_library_can_be_written():
    """`np.asarray` of something that has memory, such as PyTorch's tensor, is an array whose base is that."""

    class Owner:
        dtype = np.dtype("float64")

        def __init__(self, array):
            self.array = array
            self.__array_interface__ = array.__array_interface__

    parameter = nn.Parameter(np.asarray(Owner(np.ones(3))))
    assert isinstance(parameter.array.base, Owner)
    with mr.no_grad():
        parameter *= 2
    assert parameter.array.tolist() == [2, 2, 2]


# ── methods, and x[key] = y, which write or raise ──

METHODS = [
    (lambda x, y: x.add_(y), lambda a, b: a + b), (lambda x, y: x.add_(y, alpha=-0.5), lambda a, b: a - 0.5 * b),
    (lambda x, y: x.sub_(y), lambda a, b: a - b), (lambda x, y: x.mul_(y), lambda a, b: a * b),
    (lambda x, y: x.div_(y), lambda a, b: a / b), (lambda x, y: x.copy_(y), lambda a, b: b + 0 * a),
    (lambda x, y: x.fill_(3), lambda a, b: 0 * a + 3), (lambda x, y: x.zero_(), lambda a, b: 0 * a),
]  # fmt: skip


@pytest.mark.parametrize("method, plain", METHODS, ids=range(len(METHODS)))
def test_a_method_writes_and_returns_the_tensor(rng, method, plain):
    a, b = rng.uniform(0.5, 2, (2, 3)), rng.uniform(0.5, 2, 3)
    x, y = mr.tensor(a), mr.tensor(b)
    array = x.array
    assert method(x, y) is x and x.array is array
    np.testing.assert_allclose(array, plain(a, b))


@pytest.mark.parametrize("method, plain", METHODS, ids=range(len(METHODS)))
def test_a_method_refuses_a_graph_and_leaves_the_values(method, plain):
    p, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    for x in (p, p * 1):
        with pytest.raises(RuntimeError, match=r"_: got a tensor of shape \(2,\).*write under no_grad"):
            method(x, mr.tensor(np.ones(2)))
        assert x.array.tolist() == [1, 2]
        with mr.no_grad():
            method(x, w)
        assert x.array.tolist() == plain(np.array([1.0, 2]), np.array([3.0, 4])).tolist()
        p.array = np.array([1.0, 2.0])


def test_an_entry_can_be_assigned():
    x = mr.tensor(np.zeros((3, 3)))
    x[0] = 1
    x[1, 1:] = mr.tensor(np.array([2.0, 3.0]))
    x[x == 0] = -1
    x[mr.tensor([0, 2]), mr.tensor([0, 2])] = [7, 8]
    x[2, 0] += 5
    assert x.tolist() == [[7, 1, 1], [-1, 2, 3], [4, -1, 8]]
    x[0, 1] = mr.tensor([6.0])  # axes of size 1 in front do not count
    x[x < 0] = mr.tensor([[9.0, 10.0]])
    assert x.tolist() == [[7, 6, 1], [9, 2, 3], [4, 10, 8]]


def test_an_entry_of_a_leaf_is_assigned_under_no_grad_only():
    p = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"setitem: got a tensor of shape .* no_grad"):
        p[0] = 5
    with pytest.raises(RuntimeError, match="setitem"):
        p[0] -= 5  # and nothing has been written
    assert p.tolist() == [1, 2]
    with mr.no_grad():
        p[0] -= 5
    assert p.tolist() == [-4, 2]
    x = mr.tensor(np.zeros(2))
    with pytest.raises(RuntimeError, match="setitem"):
        x[0] = p[0]
    with pytest.raises(ValueError, match=r"setitem: got values that do not fit into a float64 tensor of shape \(2,\)"):
        x[:] = np.ones(3)
    for wrong in ("a", None, [None]):
        with pytest.raises(TypeError, match=r"setitem: got .*; expected numbers"):
            x[0] = wrong
    with pytest.raises(OverflowError, match=r"fill_: got values that do not fit into a uint8 tensor"):
        mr.tensor(np.zeros(2, np.uint8)).fill_(300)
    assert x.tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="cannot be written"):
        x.unsqueeze(1).expand(2, 2)[0] = 1


@pytest.mark.parametrize(
    "write", [lambda p: p.fill_(1), lambda p: p.add_(1), lambda p: p.__setitem__(0, 1), lambda p: p.normal_()]
)
def test_backward_notices_what_a_method_wrote(write):
    p, x = parameter(3, 2), leaf([1.0, 2.0])
    y = F.linear(x, p).sum()
    with mr.no_grad():
        write(p)
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


def test_values_are_cast_to_the_type_of_the_tensor_but_sums_are_not():
    n = mr.tensor([1, 2])
    assert n.fill_(1.5).tolist() == [1, 1] and n.copy_(mr.tensor([2.5, 3.5])).tolist() == [2, 3]
    with pytest.raises(TypeError, match="in-place: got a float32 result for a int64 tensor"):
        n.add_(0.5)


def test_random_values_in_place():
    mr.manual_seed(0)
    x = mr.zeros(10000)
    assert abs(x.normal_(3, 2).mean().item() - 3) < 0.1 and abs(x.std().item() - 2) < 0.1
    assert -1 <= x.uniform_(-1, 3).min().item() and 2.9 < x.max().item() < 3 and abs(x.mean().item() - 1) < 0.1
    with pytest.raises(TypeError, match="normal_: got a tensor of dtype int64"):
        mr.tensor([1]).normal_()
