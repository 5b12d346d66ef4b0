"""Optimisers: the update rules against formulas written out by hand, and what they do with bad input."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minires as mr
from minires import nn, optim
from minires.optim.optimizers import RUN

rates = st.floats(1e-4, 1.0)
decays = st.sampled_from([0.0, 1e-4, 0.1])
shares = st.floats(0.0, 0.99)
KINDS = {
    "SGD": lambda ps: optim.SGD(ps, 0.1),
    "momentum": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, weight_decay=1e-2),
    "dampening": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, dampening=0.5),
    "Nesterov": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "Adam": lambda ps: optim.Adam(ps, 0.1, weight_decay=1e-2),
    "AdamW": lambda ps: optim.AdamW(ps, 0.1),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def trajectory(make, start, gradients):
    """The values of one parameter after each step."""
    p = nn.Parameter(np.array(start, dtype=np.float64))
    optimizer, path = make([p]), []
    for g in gradients:
        p.grad = np.array(g)
        optimizer.step()
        path.append(p.data.copy())
    return np.array(path)


def random_gradients(steps=6, shape=(3,), seed=0):
    return np.random.default_rng(seed).standard_normal((steps, *shape))


# ── update rules ──


@given(rates, shares, st.floats(0, 1), decays)
def test_sgd_follows_its_formula(lr, momentum, dampening, weight_decay):
    gradients = random_gradients()
    got = trajectory(lambda ps: optim.SGD(ps, lr, momentum, dampening, weight_decay), [1.0, -2.0, 3.0], gradients)
    for k, theta in enumerate([1.0, -2.0, 3.0]):
        v = None
        for t, g in enumerate(gradients[:, k]):
            d = g + weight_decay * theta
            v = d if v is None else momentum * v + (1 - dampening) * d  # the first velocity is the raw gradient
            theta -= lr * (v if momentum else d)
            assert got[t, k] == pytest.approx(theta, rel=1e-12, abs=1e-12)


@given(rates, st.floats(0.01, 0.99), decays)
def test_nesterov_follows_its_formula(lr, momentum, weight_decay):
    gradients = random_gradients()
    make = lambda ps: optim.SGD(ps, lr, momentum, weight_decay=weight_decay, nesterov=True)  # noqa: E731
    got = trajectory(make, [1.0, -2.0, 3.0], gradients)
    for k, theta in enumerate([1.0, -2.0, 3.0]):
        v = 0.0
        for t, g in enumerate(gradients[:, k]):
            d = g + weight_decay * theta
            v = momentum * v + d
            theta -= lr * (d + momentum * v)
            assert got[t, k] == pytest.approx(theta, rel=1e-12, abs=1e-12)


@given(rates, shares, st.floats(0.0, 0.999), st.sampled_from([1e-8, 1e-3]), decays, st.booleans())
def test_adam_and_adamw_follow_their_formulas(lr, beta1, beta2, eps, weight_decay, decoupled):
    gradients = random_gradients()
    cls = optim.AdamW if decoupled else optim.Adam
    got = trajectory(lambda ps: cls(ps, lr, (beta1, beta2), eps, weight_decay), [1.0, -2.0, 3.0], gradients)
    for k, theta in enumerate([1.0, -2.0, 3.0]):
        m = v = 0.0
        for t, g in enumerate(gradients[:, k], start=1):
            if decoupled:
                theta -= lr * weight_decay * theta
            else:
                g += weight_decay * theta
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            theta -= lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
            assert got[t - 1, k] == pytest.approx(theta, rel=1e-9, abs=1e-10)


def test_defaults_are_those_of_pytorch():
    p = [nn.Parameter(np.zeros(2))]
    assert optim.SGD(p).defaults == dict(lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False)
    assert optim.Adam(p).defaults == dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    assert optim.AdamW(p).defaults == dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)


@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_optimiser_descends_a_bowl_and_keeps_the_dtype(make, dtype):
    p = nn.Parameter(np.array([[3.0, -2.0]], dtype))
    data, optimizer = p.data, make([p])
    for _ in range(200):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
    assert p.data is data  # in place
    assert p.dtype == dtype
    assert np.abs(p.data).max() < 0.1


@every_kind
def test_a_step_leaves_the_gradient_alone(make):
    p = nn.Parameter(np.ones(5))
    optimizer = make([p])
    for _ in range(3):
        p.grad = np.arange(5.0)
        optimizer.step()
        assert (p.grad == np.arange(5.0)).all()


@pytest.mark.parametrize("threads_used", [1, 2, 3])
@every_kind
def test_results_depend_neither_on_memory_order_nor_on_runs(make, threads_used, threads):
    threads(threads_used)
    shape = (7, RUN // 20, 9)  # about three runs
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(shape, np.float32), rng.standard_normal((3, *shape), np.float32)
    whole, fortran = nn.Parameter(start.copy()), nn.Parameter(np.asfortranarray(start))
    transposed = nn.Parameter(start.copy())  # a contiguous parameter whose gradient is not
    rows = [nn.Parameter(row.copy()) for row in start]  # each small enough to be one run
    assert rows[0].data.size < RUN < whole.data.size and not fortran.data.flags.c_contiguous
    optimizer = make([whole, fortran, transposed, *rows])
    for g in gradients:
        whole.grad, fortran.grad, transposed.grad = g, np.asfortranarray(g), np.asfortranarray(g)
        for row, row_grad in zip(rows, g):
            row.grad = row_grad
        optimizer.step()
    expected = whole.data.tobytes()
    assert not fortran.data.flags.c_contiguous
    for other in (fortran.data, transposed.data, np.stack([row.data for row in rows])):
        assert np.ascontiguousarray(other).tobytes() == expected


@every_kind
def test_scalars_zero_size_and_missing_gradients(make):
    scalar, empty, idle = nn.Parameter(np.array(2.0)), nn.Parameter(np.zeros((0, 3))), nn.Parameter(np.ones(2))
    optimizer = make([scalar, empty, idle])
    for _ in range(3):
        scalar.grad, empty.grad = np.array(1.0), np.zeros((0, 3))
        optimizer.step()
    assert scalar.data.shape == () and scalar.data < 2
    assert (idle.data == 1).all() and idle not in optimizer.state


def test_zero_grad_forgets_gradients():
    p = nn.Parameter(np.ones(2))
    p.grad = np.ones(2)
    optim.SGD([p]).zero_grad()
    assert p.grad is None


def test_numpy_settings_do_not_widen_float32():
    p = nn.Parameter(np.ones(3, np.float32))
    optimizer = optim.SGD([p], lr=np.float64(0.1), momentum=np.float64(0.9), weight_decay=np.float32(0.5))
    assert type(optimizer.param_groups[0]["lr"]) is float
    p.grad = np.ones(3, np.float32)
    optimizer.step()
    assert p.dtype == optimizer.state[p]["momentum_buffer"].dtype == np.float32


# ── groups ──


def test_groups_have_settings_of_their_own():
    a, b = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    optimizer = optim.SGD([{"params": [a]}, {"params": iter([b]), "lr": 1.0}], lr=0.1)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 1.0]
    a.grad, b.grad = np.ones(2), np.ones(2)
    optimizer.step()
    assert a.data == pytest.approx(0.9) and b.data == pytest.approx(0.0)
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    assert a.data == pytest.approx(0.4)


def test_leaf_tensors_can_be_learned_too():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=0.25)
    (x * x).sum().backward()
    optimizer.step()
    assert x.data == pytest.approx([0.5, 1.0])


# ── state ──


def same(a, b):
    """Equal, arrays bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


@every_kind
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_restored_state_goes_on_bit_for_bit(make, order):
    gradients = random_gradients(8, (4, 3))

    def run(optimizer, p, steps):
        for g in gradients[steps]:
            p.grad = g
            optimizer.step()
        return p.data.copy()

    p = nn.Parameter(np.array(np.ones((4, 3)), order=order))
    optimizer = make([p])
    run(optimizer, p, slice(4))
    middle, state = p.data.copy(), optimizer.state_dict()
    expected = run(optimizer, p, slice(4, 8))

    q = nn.Parameter(np.array(middle, order=order))
    other = make([q])
    other.load_state_dict(state)
    assert same(other.state_dict(), state)
    assert (run(other, q, slice(4, 8)) == expected).all()
    assert same(other.state_dict(), optimizer.state_dict())


def test_the_state_is_a_copy_and_carries_changed_settings():
    p = nn.Parameter(np.ones(3))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    p.grad = np.ones(3)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.01
    state = optimizer.state_dict()
    optimizer.step()
    assert (state["state"][0]["momentum_buffer"] == 1).all()
    other = optim.SGD([nn.Parameter(np.ones(3))], lr=0.1, momentum=0.9)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 0.01
    assert "lr=0.01" in repr(other)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: optim.Adam([nn.Parameter(np.ones(3))]), "saved by another optimiser"),
        (
            lambda: optim.SGD([nn.Parameter(np.ones(4))]),
            r"got momentum_buffer of shape \(3,\) for parameter 0, here \(4,\)",
        ),
        (lambda: optim.SGD([nn.Parameter(np.ones(3)), nn.Parameter(np.ones(3))]), r"groups of \[1\] parameters"),
        (
            lambda: optim.SGD([{"params": [nn.Parameter(np.ones(3))]}, {"params": [nn.Parameter(np.ones(3))]}]),
            "groups of",
        ),
    ],
    ids=["optimiser", "shape", "count", "groups"],
)
def test_a_state_that_does_not_fit_changes_nothing(make, message):
    p = nn.Parameter(np.ones(3))
    saved = optim.SGD([p], lr=0.5, momentum=0.9)
    p.grad = np.ones(3)
    saved.step()
    other = make()
    before = other.state_dict()
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(saved.state_dict())
    assert same(other.state_dict(), before)


# ── bad input ──

P = nn.Parameter(np.ones(2))


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: optim.SGD([P], lr=-0.1), ValueError, r"SGD: got lr=-0\.1; expected a finite number of at least 0"),
        (lambda: optim.SGD([P], lr=math.nan), ValueError, "SGD: got lr=nan"),
        (lambda: optim.SGD([P], lr="0.1"), TypeError, "SGD: got lr='0.1'; expected a number"),
        (lambda: optim.SGD([P], lr=True), TypeError, "SGD: got lr=True"),
        (lambda: optim.SGD([P], momentum=-1), ValueError, "SGD: got momentum=-1"),
        (lambda: optim.SGD([P], weight_decay=-1), ValueError, "SGD: got weight_decay=-1"),
        (lambda: optim.SGD([P], nesterov=True), ValueError, "Nesterov needs a momentum"),
        (lambda: optim.SGD([P], momentum=0.9, dampening=0.1, nesterov=True), ValueError, "and no dampening"),
        (
            lambda: optim.Adam([P], betas=(0.9, 1.0)),
            ValueError,
            r"Adam: got betas\[1\]=1\.0; expected 0 <= betas\[1\] < 1",
        ),
        (lambda: optim.Adam([P], betas=0.9), TypeError, "expected a pair"),
        (lambda: optim.AdamW([P], eps=-1e-8), ValueError, "AdamW: got eps"),
        (lambda: optim.SGD([]), ValueError, r"SGD: got no parameters to learn; pass model\.parameters\(\)"),
        (lambda: optim.SGD([P, P]), ValueError, r"shape \(2,\) twice"),
        (lambda: optim.SGD({P}), TypeError, r"SGD: got a set of parameters, whose order changes.*pass a list"),
        (lambda: optim.Adam([{"params": frozenset([P])}]), TypeError, "Adam: got a frozenset of parameters"),
        (lambda: optim.SGD([{"params": [P]}, {"params": [P]}]), ValueError, "twice .it is already in group 0"),
        (lambda: optim.SGD([{"params": [P], "momenta": 0.9}]), ValueError, "unknown setting 'momenta'"),
        (lambda: optim.SGD([{"params": [P], "lr": -1}]), ValueError, "SGD: got lr=-1"),
        (lambda: optim.SGD([{"lr": 0.1}]), ValueError, 'expected a dict with "params"'),
        (lambda: optim.SGD([{"params": [P]}, P]), ValueError, 'expected a dict with "params"'),
        (lambda: optim.SGD([np.ones(3)]), TypeError, "got a ndarray among the parameters; expected nn.Parameter"),
        (lambda: optim.SGD([mr.ones(3)]), TypeError, "wrap it: nn.Parameter"),
        (lambda: optim.SGD([P * 2]), ValueError, "only a leaf can be learned"),
        (lambda: optim.SGD(P), TypeError, r"a list: \[p\]"),
        (lambda: optim.SGD(nn.Linear(2, 2)), TypeError, r"pass model\.parameters\(\)"),
        (lambda: optim.SGD(3), TypeError, "SGD: got a int"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_exhausted_generator_is_named():
    parameters = nn.Linear(2, 2).parameters()
    optim.SGD(parameters)
    with pytest.raises(ValueError, match="a generator is empty once it has been read"):
        optim.SGD(parameters)


@every_kind
def test_a_converted_model_is_an_error_and_not_a_loss_of_precision(make):
    layer = nn.Linear(2, 2)
    optimizer = make(layer.parameters())
    for p in layer.parameters():
        p.grad = np.ones_like(p.data)
    optimizer.step()
    layer.double()
    for p in layer.parameters():
        p.grad = np.ones(p.shape, np.float32)
    with pytest.raises(ValueError, match=r"optimizer\.step: got a parameter float64 \(2, 2\)"):
        optimizer.step()


def test_a_gradient_of_another_shape_is_not_broadcast():
    p = nn.Parameter(np.ones((2, 3)))
    p.grad = np.ones(3)
    with pytest.raises(ValueError, match=r"\(2, 3\) with a gradient or state float64 \(3,\)"):
        optim.SGD([p]).step()
    assert (p.data == 1).all()


def test_optimisers_of_one_model_agree_on_its_order():
    model = mr.models.resnet_cifar(8, width=2)
    optimizer = optim.SGD(model.parameters())
    assert all(a is b for a, b in itertools.zip_longest(optimizer.param_groups[0]["params"], model.parameters()))
