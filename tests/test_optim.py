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
    "AMSGrad": lambda ps: optim.Adam(ps, 0.1, amsgrad=True),
    "AdamW": lambda ps: optim.AdamW(ps, 0.1),
    "Adamax": lambda ps: optim.Adamax(ps, 0.1, weight_decay=1e-2),
    "NAdam": lambda ps: optim.NAdam(ps, 0.1),
    "RAdam": lambda ps: optim.RAdam(ps, 0.1, weight_decay=1e-2, decoupled_weight_decay=True),
    "RMSprop": lambda ps: optim.RMSprop(ps, 0.01, weight_decay=1e-2, momentum=0.5),
    "RMSprop, centred": lambda ps: optim.RMSprop(ps, 0.02, centered=True),
    "Adagrad": lambda ps: optim.Adagrad(ps, 0.5, lr_decay=1e-3, initial_accumulator_value=0.1),
    "Adadelta": lambda ps: optim.Adadelta(ps, 1.0, eps=1e-2, weight_decay=1e-2),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def trajectory(make, start, gradients):
    """The values of one parameter after each step."""
    p = nn.Parameter(np.array(start, dtype=np.float64))
    optimizer, path = make([p]), []
    for g in gradients:
        p.grad = np.array(g)
        optimizer.step()
        path.append(p.array.copy())
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


# Each as in the docstring of its class, for one parameter: θ after a step from θ, the gradient, t and what ``s`` holds.


def adamax(theta, g, t, s, lr, beta1, beta2, eps, decay):
    g += decay * theta
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["u"] = max(beta2 * s.get("u", 0), abs(g) + eps)
    return theta - lr / (1 - beta1**t) * s["m"] / s["u"]


def nadam(theta, g, t, s, lr, beta1, beta2, eps, decay, psi=4e-3):
    g += decay * theta
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    mu = [beta1 * (1 - 0.96 ** (k * psi) / 2) for k in range(1, t + 2)]
    step = mu[t] * s["m"] / (1 - math.prod(mu)) + (1 - mu[t - 1]) * g / (1 - math.prod(mu[:-1]))
    return theta - lr * step / (math.sqrt(s["v"] / (1 - beta2**t)) + eps)


def radam(theta, g, t, s, lr, beta1, beta2, eps, decay):
    g += decay * theta
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    most = 2 / (1 - beta2) - 1
    rho = most - 2 * t * beta2**t / (1 - beta2**t)
    mean = s["m"] / (1 - beta1**t)
    if rho <= 5:
        return theta - lr * mean
    rectified = math.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return theta - lr * mean * rectified * math.sqrt(1 - beta2**t) / (math.sqrt(s["v"]) + eps)


def amsgrad(theta, g, t, s, lr, beta1, beta2, eps, decay):
    g += decay * theta
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    s["largest"] = max(s.get("largest", 0), s["v"])
    return theta - lr * s["m"] / (1 - beta1**t) / (math.sqrt(s["largest"] / (1 - beta2**t)) + eps)


def rmsprop(theta, g, t, s, lr, alpha, momentum, eps, decay):
    g += decay * theta
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["b"] = momentum * s.get("b", 0) + g / (math.sqrt(s["v"]) + eps)
    return theta - lr * s["b"]


def centered(theta, g, t, s, lr, alpha, momentum, eps, decay):
    g += decay * theta
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["a"] = alpha * s.get("a", 0) + (1 - alpha) * g
    return theta - lr * g / (math.sqrt(s["v"] - s["a"] ** 2) + eps)


def adagrad(theta, g, t, s, lr, lr_decay, start, eps, decay):
    g += decay * theta
    s["sum"] = s.get("sum", start) + g * g
    return theta - lr / (1 + (t - 1) * lr_decay) * g / (math.sqrt(s["sum"]) + eps)


def adadelta(theta, g, t, s, lr, rho, _, eps, decay):
    g += decay * theta
    s["v"] = rho * s.get("v", 0) + (1 - rho) * g * g
    d = math.sqrt(s.get("u", 0) + eps) / math.sqrt(s["v"] + eps) * g
    s["u"] = rho * s.get("u", 0) + (1 - rho) * d * d
    return theta - lr * d


FORMULAS = {  # the formula, and the optimiser from rate, two shares, ε and weight decay
    "Adamax": (adamax, lambda ps, lr, a, b, eps, wd, **o: optim.Adamax(ps, lr, (a, b), eps, wd, **o)),
    "NAdam": (nadam, lambda ps, lr, a, b, eps, wd, **o: optim.NAdam(ps, lr, (a, b), eps, wd, **o)),
    "RAdam": (radam, lambda ps, lr, a, b, eps, wd, **o: optim.RAdam(ps, lr, (a, b), eps, wd, **o)),
    "AMSGrad": (amsgrad, lambda ps, lr, a, b, eps, wd, **o: optim.Adam(ps, lr, (a, b), eps, wd, amsgrad=True, **o)),
    "RMSprop": (rmsprop, lambda ps, lr, a, b, eps, wd, **o: optim.RMSprop(ps, lr, a, eps, wd, momentum=b, **o)),
    "centred": (centered, lambda ps, lr, a, b, eps, wd, **o: optim.RMSprop(ps, lr, a, eps, wd, centered=True, **o)),
    "Adagrad": (adagrad, lambda ps, lr, a, b, eps, wd, **o: optim.Adagrad(ps, lr, a, wd, b, eps, **o)),
    "Adadelta": (adadelta, lambda ps, lr, a, b, eps, wd, **o: optim.Adadelta(ps, lr, a, eps, wd, **o)),
}


@pytest.mark.parametrize("formula, make", FORMULAS.values(), ids=FORMULAS)
@given(rates, st.floats(0.1, 0.95), st.floats(0.1, 0.999), st.sampled_from([1e-6, 1e-3]), decays)
def test_the_others_follow_their_formulas(formula, make, lr, a, b, eps, weight_decay):
    gradients = random_gradients(12)
    up = trajectory(lambda ps: make(ps, lr, a, b, eps, weight_decay, maximize=True), [1.0, -2.0, 3.0], -gradients)
    got = trajectory(lambda ps: make(ps, lr, a, b, eps, weight_decay), [1.0, -2.0, 3.0], gradients)
    assert (up == got).all()
    for k, theta in enumerate([1.0, -2.0, 3.0]):
        state = {}
        for t, g in enumerate(gradients[:, k], start=1):
            theta = formula(theta, g, t, state, lr, a, b, eps, weight_decay)
            assert got[t - 1, k] == pytest.approx(theta, rel=1e-8, abs=1e-9)


def test_the_root_of_a_variance_that_rounding_made_negative():
    p = nn.Parameter(np.zeros(3, np.float32))
    optimizer = optim.RMSprop([p], centered=True, alpha=0.5)
    for _ in range(200):
        p.grad = np.array([0.1, 0.7, 1.3], np.float32)  # constant: its variance goes to 0
        optimizer.step()
    assert np.isfinite(p.array).all()


@pytest.mark.parametrize("make", [
    lambda ps, **o: optim.SGD(ps, 0.1, momentum=0.9, weight_decay=0.1, **o),
    lambda ps, **o: optim.Adam(ps, 0.1, weight_decay=0.1, **o), lambda ps, **o: optim.AdamW(ps, 0.1, **o),
])  # fmt: skip
def test_to_maximise_is_to_follow_the_gradient_up(make):
    gradients = random_gradients()
    up = trajectory(lambda ps: make(ps, maximize=True), [1.0, -2.0], -gradients[:, :2])
    assert (up == trajectory(make, [1.0, -2.0], gradients[:, :2])).all()


def test_defaults_are_those_of_pytorch():
    p, ways = [nn.Parameter(np.zeros(2))], dict(maximize=False, foreach=None, differentiable=False)
    sgd = dict(lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, fused=None, **ways)
    adam = dict(
        lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, fused=None, capturable=False, **ways
    )
    assert optim.SGD(p).defaults == sgd
    assert optim.Adam(p).defaults == dict(adam, decoupled_weight_decay=False)
    assert optim.AdamW(p).defaults == dict(adam, decoupled_weight_decay=True, weight_decay=1e-2)


@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_optimiser_descends_a_bowl_and_keeps_the_dtype(make, dtype):
    p = nn.Parameter(np.array([[3.0, -2.0]], dtype))
    data, optimizer = p.array, make([p])
    for _ in range(200):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
    assert p.array is data  # in place
    assert p.dtype == dtype
    assert np.abs(p.array).max() < 0.1


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
    assert rows[0].array.size < RUN < whole.array.size and not fortran.array.flags.c_contiguous
    optimizer = make([whole, fortran, transposed, *rows])
    for g in gradients:
        whole.grad, fortran.grad, transposed.grad = g, np.asfortranarray(g), np.asfortranarray(g)
        for row, row_grad in zip(rows, g):
            row.grad = row_grad
        optimizer.step()
    expected = whole.array.tobytes()
    assert not fortran.array.flags.c_contiguous
    for other in (fortran.array, transposed.array, np.stack([row.array for row in rows])):
        assert np.ascontiguousarray(other).tobytes() == expected


@every_kind
def test_scalars_zero_size_and_missing_gradients(make):
    scalar, empty, idle = nn.Parameter(np.array(2.0)), nn.Parameter(np.zeros((0, 3))), nn.Parameter(np.ones(2))
    optimizer = make([scalar, empty, idle])
    for _ in range(3):
        scalar.grad, empty.grad = np.array(1.0), np.zeros((0, 3))
        optimizer.step()
    assert scalar.array.shape == () and scalar.array < 2
    assert (idle.array == 1).all() and idle not in optimizer.state


def test_zero_grad_forgets_gradients_or_fills_them_with_zeros():
    p, idle = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    p.grad = kept = mr.tensor(np.ones(2))
    optimizer = optim.SGD([p, idle])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is kept and (kept == 0).all() and idle.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_a_closure_computes_the_gradients_first():
    p = nn.Parameter(np.array([1.0, 2.0]))
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with mr.no_grad():  # as in PyTorch, the closure has a graph all the same
        assert optimizer.step(closure).item() == 5
    assert p.array == pytest.approx([0.5, 1.0])
    assert optimizer.step() is None


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
    assert a.array == pytest.approx(0.9) and b.array == pytest.approx(0.0)
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    assert a.array == pytest.approx(0.4)


def test_keys_of_ones_own_in_a_group():
    a, b = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    optimizer = optim.SGD([{"params": a, "layer": "stem", "lr_scale": 0.5}, {"params": []}], lr=0.1)
    optimizer.add_param_group({"params": [b], "layer": "head"})
    assert [g.get("layer") for g in optimizer.param_groups] == ["stem", None, "head"]
    other = optim.SGD([{"params": [nn.Parameter(np.ones(2))], "own": 1}, {"params": []}, {"params": b}], lr=0.2)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["layer"] == "stem" and other.param_groups[0]["own"] == 1
    with pytest.raises(ValueError, match=r"got 'weigth_decay' in a group; is 'weight_decay' meant\?"):
        optimizer.add_param_group({"params": [nn.Parameter(np.ones(2))], "weigth_decay": 0.1})


def test_leaf_tensors_can_be_learned_too():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=0.25)
    (x * x).sum().backward()
    optimizer.step()
    assert x.array == pytest.approx([0.5, 1.0])


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
        return p.array.copy()

    p = nn.Parameter(np.array(np.ones((4, 3)), order=order))
    optimizer = make([p])
    run(optimizer, p, slice(4))
    middle, state = p.array.copy(), optimizer.state_dict()
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
    assert repr(other).startswith("SGD (\nParameter Group 0\n    dampening: 0\n") and "    lr: 0.01\n" in repr(other)


def test_a_state_saved_before_there_were_such_settings():
    p = nn.Parameter(np.ones(3))
    optimizer = optim.AdamW([p], maximize=True)
    state = optimizer.state_dict()
    for name in ("maximize", "amsgrad", "decoupled_weight_decay", "foreach", "capturable", "fused", "differentiable"):
        del state["param_groups"][0][name]
    other = optim.AdamW([p], lr=0.1)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 1e-3 and other.param_groups[0]["decoupled_weight_decay"]
    adam = optim.Adam([p]).state_dict()
    other.load_state_dict(adam)
    assert other.param_groups[0]["decoupled_weight_decay"]  # an AdamW it stays


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


@pytest.mark.parametrize("where", [("state",), ("state", 0), ("param_groups",), ("param_groups", 0)], ids=repr)
@pytest.mark.parametrize("odd", [None, 1.5, "x", [1], {"zz": 1}], ids=repr)
def test_what_is_no_state_is_named_as_such_and_changes_nothing(where, odd):
    p = nn.Parameter(np.ones(3))
    optimizer = optim.Adam([p])
    p.grad = np.ones(3)
    optimizer.step()
    before, state = optimizer.state_dict(), optimizer.state_dict()
    place = state
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = odd
    with pytest.raises(ValueError, match=r"Adam\.load_state_dict: got"):
        optimizer.load_state_dict(state)
    assert same(optimizer.state_dict(), before)


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
        (lambda: optim.SGD([{"params": [P], "momentun": 0.9}]), ValueError, "is 'momentum' meant"),
        (lambda: optim.SGD([{"params": iter([])}]), ValueError, "a generator is empty once it has been read"),
        (lambda: optim.SGD([P], lr=mr.tensor(0.1)), TypeError, r"expected a number: pass its item\(\)"),
        (lambda: optim.SGD([("w", P)]), TypeError, r"got a tuple among the parameters.*leave out the names"),
        (lambda: optim.SGD([P], amsgrad=True), TypeError, "SGD: got an unexpected keyword argument 'amsgrad'"),
        (lambda: optim.Adam([P], differentiable=True), NotImplementedError, "first-order gradients only"),
        (lambda: optim.RMSprop([P], alpha=-1), ValueError, "RMSprop: got alpha=-1"),
        (lambda: optim.Adagrad([P], lr_decay=-1), ValueError, "Adagrad: got lr_decay=-1"),
        (lambda: optim.Adadelta([P], rho=1.1), ValueError, r"Adadelta: got rho=1\.1"),
        (lambda: optim.NAdam([P], momentum_decay=-1), ValueError, "NAdam: got momentum_decay=-1"),
        (lambda: optim.LBFGS([P]), NotImplementedError, "PyTorch's LBFGS is not offered: .*use SGD with momentum"),
        (lambda: optim.Muon, AttributeError, "PyTorch's Muon is not offered"),
        (lambda: optim.Sgd, AttributeError, "has no attribute 'Sgd'"),
        (lambda: optim.SGD([{"params": [P], "lr": -1}]), ValueError, "SGD: got lr=-1"),
        (lambda: optim.SGD([{"lr": 0.1}]), ValueError, 'expected a dict with "params"'),
        (lambda: optim.SGD([{"params": [P]}, P]), ValueError, 'expected a dict with "params"'),
        (lambda: optim.SGD([np.ones(3)]), TypeError, "got an ndarray among the parameters; expected nn.Parameter"),
        (lambda: optim.SGD([mr.ones(3)]), TypeError, "wrap it: nn.Parameter"),
        (lambda: optim.SGD([P * 2]), ValueError, "only a leaf can be learned"),
        (lambda: optim.SGD(P), TypeError, r"a list: \[p\]"),
        (lambda: optim.SGD(nn.Linear(2, 2)), TypeError, r"pass model\.parameters\(\)"),
        (lambda: optim.SGD(3), TypeError, "SGD: got an int"),
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
        p.grad = np.ones_like(p.array)
    optimizer.step()
    layer.double()
    for p in layer.parameters():
        p.grad = np.ones(p.shape)
    if not any(optimizer.state.values()):
        optimizer.step()  # there is nothing in float32 left
        return
    with pytest.raises(ValueError, match=r"optimizer\.step: got a parameter float64 \(2, 2\)"):
        optimizer.step()


def test_a_gradient_of_another_shape_is_not_broadcast():
    p = nn.Parameter(np.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"grad: got a float64 tensor of shape \(3,\) on cpu for one that is float64, \(2, 3\)"
    ):
        p.grad = np.ones(3)
    assert p.grad is None


def test_optimisers_of_one_model_agree_on_its_order():
    model = mr.models.resnet_cifar(8, width=2)
    optimizer = optim.SGD(model.parameters())
    assert all(a is b for a, b in itertools.zip_longest(optimizer.param_groups[0]["params"], model.parameters()))
