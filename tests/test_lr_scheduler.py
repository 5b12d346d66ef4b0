"""Schedules against their closed formulas, chained, resumed, and with bad input."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minires import nn, optim

rates = st.floats(1e-5, 10)
factors = st.floats(0.01, 1.0)


def sgd(*lrs, **options):
    groups = [{"params": [nn.Parameter(np.zeros(2))], "lr": lr} for lr in lrs or (0.1,)]
    return optim.SGD(groups, **options)


def visited(schedule, steps, name="lr", group=0):
    """The setting at t = 0 … steps."""
    values = [schedule.optimizer.param_groups[group][name]]
    for _ in range(steps):
        schedule.step()
        values.append(schedule.optimizer.param_groups[group][name])
    return values


@given(rates, st.integers(1, 12), factors)
def test_step(lr, size, gamma):
    expected = [lr * gamma ** math.floor(t / size) for t in range(31)]
    assert visited(optim.StepLR(sgd(lr), size, gamma), 30) == pytest.approx(expected)


@given(rates, st.lists(st.integers(0, 30), max_size=5), factors)
def test_multi_step(lr, milestones, gamma):
    expected = [lr * gamma ** sum(m <= t for m in milestones) for t in range(31)]
    assert visited(optim.MultiStepLR(sgd(lr), milestones, gamma), 30) == pytest.approx(expected)


@given(rates, st.integers(1, 30), st.floats(0, 0.1))
def test_cosine(lr, t_max, eta_min):
    expected = [eta_min + (lr - eta_min) * (1 + math.cos(math.pi * t / t_max)) / 2 for t in range(41)]
    got = visited(optim.CosineAnnealingLR(sgd(lr), t_max, eta_min), 40)
    assert got == pytest.approx(expected)
    assert got[0] == pytest.approx(lr) and got[t_max] == pytest.approx(eta_min, abs=1e-12)


@given(rates, factors, factors, st.integers(1, 30))
def test_linear(lr, start, end, total):
    expected = [lr * (start + (end - start) * min(t, total) / total) for t in range(41)]
    assert visited(optim.LinearLR(sgd(lr), start, end, total), 40) == pytest.approx(expected)


@given(rates, factors, st.integers(1, 30))
def test_constant(lr, factor, total):
    expected = [lr * (factor if t < total else 1) for t in range(41)]
    assert visited(optim.ConstantLR(sgd(lr), factor, total), 40) == pytest.approx(expected)


@given(rates, st.floats(0.5, 1.1))
def test_exponential(lr, gamma):
    assert visited(optim.ExponentialLR(sgd(lr), gamma), 40) == pytest.approx([lr * gamma**t for t in range(41)])


@given(rates, st.integers(1, 30), st.floats(0.2, 3))
def test_polynomial(lr, total, power):
    expected = [lr * (1 - min(t, total) / total) ** power for t in range(41)]
    assert visited(optim.PolynomialLR(sgd(lr), total, power), 40) == pytest.approx(expected)


@given(rates, st.integers(1, 8), st.integers(1, 3), st.floats(0, 1e-5))
def test_warm_restarts(lr, first, mult, eta_min):
    schedule = optim.CosineAnnealingWarmRestarts(sgd(lr), first, mult, eta_min)
    periods = []  # (steps since the restart, length of the period)
    while len(periods) <= 40:
        periods += [(k, first) for k in range(first)]
        first *= mult
    expected = [eta_min + (lr - eta_min) * (1 + math.cos(math.pi * k / n)) / 2 for k, n in periods]
    got = visited(schedule, len(expected) - 1)
    assert got == pytest.approx(expected)


def test_warm_restarts_between_two_epochs():
    schedule = optim.CosineAnnealingWarmRestarts(sgd(1.0), 2, 2)
    found = []
    for epoch in (0.5, 1.0, 2.0, 4.0, 5.5, 6.0):
        schedule.step(epoch)
        found.append(schedule.get_last_lr()[0])
    cosines = [math.cos(math.pi * share) for share in (1 / 4, 1 / 2, 0, 1 / 2, 3.5 / 4, 0)]
    assert found == pytest.approx([(1 + c) / 2 for c in cosines])
    assert (schedule.last_epoch, schedule.T_cur, schedule.T_i) == (6, 0, 8)


def test_zigzag():
    schedule = optim.CyclicLR(sgd(momentum=0.9), 1.0, 3.0, 2, 4, mode="triangular2", base_momentum=0.5)
    lrs, momenta = [], []
    for _ in range(13):
        lrs.append(schedule.get_last_lr()[0])
        momenta.append(schedule.optimizer.param_groups[0]["momentum"])
        schedule.step()
    assert lrs == pytest.approx([1, 2, 3, 2.5, 2, 1.5, 1, 1.5, 2, 1.75, 1.5, 1.25, 1])
    assert momenta == pytest.approx([0.9 - 0.2 * (lr - 1) for lr in lrs])
    exp = optim.CyclicLR(sgd(momentum=0.9), 0.0, 1.0, 1, mode="exp_range", gamma=0.5, cycle_momentum=False)
    assert visited(exp, 3) == pytest.approx([0, 0.5, 0, 0.125]) and exp.optimizer.param_groups[0]["momentum"] == 0.9


def test_plateau():
    schedule = optim.ReduceLROnPlateau(
        sgd(1.0, 2.0), factor=0.5, patience=1, threshold=0.1, cooldown=1, min_lr=[0.3, 0]
    )
    lrs = []
    for loss in (1.0, 0.95, 0.95, 0.95, 0.95, 0.95, 0.8, math.nan, 0.8, 0.8, 0.8):  # 0.95 is not 10 % less than 1
        schedule.step(loss)
        lrs.append(schedule.get_last_lr())
    assert lrs == [[1.0, 2.0]] * 2 + [[0.5, 1.0]] * 3 + [[0.3, 0.5]] * 3 + [[0.3, 0.25]] * 3


def test_lambda():
    assert visited(optim.LambdaLR(sgd(0.5), lambda t: 1 / (1 + t)), 3) == pytest.approx([0.5, 0.25, 0.5 / 3, 0.125])


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@given(rates, st.integers(4, 60), st.sampled_from([0.3, 0.5]))
def test_one_cycle_in_two_phases(strategy, top, total, share):
    def between(a, b, x):
        return b + (a - b) * (1 + math.cos(math.pi * x)) / 2 if strategy == "cos" else a + (b - a) * x

    schedule = optim.OneCycleLR(sgd(momentum=0.9), top, total, pct_start=share, anneal_strategy=strategy)
    peak, last = share * total - 1, total - 1
    start, end = top / 25, top / 25 / 1e4
    momenta = [schedule.optimizer.param_groups[0]["momentum"]]
    lrs = [schedule.get_last_lr()[0]]
    for _ in range(last):
        schedule.step()
        lrs.append(schedule.get_last_lr()[0])
        momenta.append(schedule.optimizer.param_groups[0]["momentum"])
    for t, (lr, momentum) in enumerate(zip(lrs, momenta, strict=True)):
        if t <= peak:
            expected = between(start, top, t / peak), between(0.95, 0.85, t / peak)
        else:
            x = (t - peak) / (last - peak)
            expected = between(top, end, x), between(0.85, 0.95, x)
        assert (lr, momentum) == pytest.approx(expected)
    assert lrs[-1] == pytest.approx(end) and momenta[-1] == pytest.approx(0.95)


def test_one_cycle_in_three_phases():
    schedule = optim.OneCycleLR(
        sgd(momentum=0.9), 1.0, 101, pct_start=0.2, anneal_strategy="linear", three_phase=True, div_factor=10
    )
    got = visited(schedule, 100)
    up = 0.2 * 101 - 1
    assert got[0] == pytest.approx(0.1)
    assert max(got) == pytest.approx(1.0, rel=0.05) and got.index(max(got)) == 19
    assert got[math.ceil(2 * up)] == pytest.approx(0.1, rel=0.01)
    assert got[100] == pytest.approx(0.1 / 1e4)
    assert schedule.optimizer.param_groups[0]["momentum"] == 0.95


def test_one_cycle_turns_beta1_of_adam():
    optimizer = optim.Adam([nn.Parameter(np.zeros(2))], betas=(0.9, 0.99))
    schedule = optim.OneCycleLR(optimizer, 0.1, epochs=2, steps_per_epoch=5, pct_start=0.4)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.99)
    assert visited(schedule, 3, "betas")[3] == pytest.approx((0.85, 0.99))


def test_one_cycle_ends_and_says_so():
    schedule = optim.OneCycleLR(sgd(momentum=0.9), 1.0, 5)
    assert visited(schedule, 5)[5] == pytest.approx(1 / 25 / 1e4)  # one step past the last rate, after the last batch
    with pytest.raises(ValueError, match="got step 6 of 5; total_steps must cover the whole training"):
        schedule.step()
    assert schedule.last_epoch == 5


def test_every_group_keeps_its_proportion():
    schedule = optim.CosineAnnealingLR(sgd(0.1, 0.2), 10)
    for _ in range(10):
        small, large = schedule.get_last_lr()
        assert large == pytest.approx(2 * small)
        schedule.step()


@given(rates, st.integers(1, 10), st.integers(1, 20))
def test_warm_up_then_another(lr, warm, rest):
    optimizer = sgd(lr)
    parts = [optim.LinearLR(optimizer, 0.1, total_iters=warm), optim.CosineAnnealingLR(optimizer, rest)]
    got = visited(optim.SequentialLR(optimizer, parts, [warm]), warm + rest)
    ramp = [lr * (0.1 + 0.9 * t / warm) for t in range(warm)]
    fall = [lr * (1 + math.cos(math.pi * t / rest)) / 2 for t in range(rest + 1)]
    assert got == pytest.approx(ramp + fall, rel=1e-9, abs=1e-12)


def test_a_sequence_within_a_sequence():
    optimizer = sgd(1.0)
    inner = optim.SequentialLR(
        optimizer, [optim.LinearLR(optimizer, 0.5, total_iters=2), optim.StepLR(optimizer, 1, 0.1)], [2]
    )
    outer = optim.SequentialLR(optimizer, [optim.LambdaLR(optimizer, lambda t: 3.0), inner], [1])
    assert visited(outer, 5) == pytest.approx([3.0, 0.5, 0.75, 1.0, 0.1, 0.01])


# ── resuming ──

MAKES = {
    "step": lambda o: optim.StepLR(o, 3),
    "multi": lambda o: optim.MultiStepLR(o, (2, 5)),
    "cosine": lambda o: optim.CosineAnnealingLR(o, 12, 0.001),
    "linear": lambda o: optim.LinearLR(o, total_iters=7),
    "cycle": lambda o: optim.OneCycleLR(o, 0.3, 12),
    "lambda": lambda o: optim.LambdaLR(o, lambda t: 0.9**t),
    "sequence": lambda o: optim.SequentialLR(o, [optim.LinearLR(o, total_iters=4), optim.MultiStepLR(o, [3])], [4]),
    "constant": lambda o: optim.ConstantLR(o, 0.1, 6),
    "exponential": lambda o: optim.ExponentialLR(o, 0.9),
    "polynomial": lambda o: optim.PolynomialLR(o, 7, 0.7),
    "multiplicative": lambda o: optim.MultiplicativeLR(o, lambda t: 0.9 + 0.01 * t),
    "restarts": lambda o: optim.CosineAnnealingWarmRestarts(o, 3, 2, 1e-3),
    "zigzag": lambda o: optim.CyclicLR(o, 0.01, [0.3, 0.4], 3, 2, "triangular2"),
    "chained": lambda o: optim.ChainedScheduler(
        [optim.LinearLR(o, 0.1, total_iters=4), optim.CosineAnnealingLR(o, 4, 1e-3), optim.ExponentialLR(o, 0.9)]
    ),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
@pytest.mark.parametrize("t", [0, 1, 5])
def test_a_restored_schedule_goes_on_bit_for_bit(make, t):
    first = make(sgd(0.1, 0.2, momentum=0.9))
    for _ in range(t):
        first.step()
    second = make(sgd(0.1, 0.2, momentum=0.9))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for _ in range(12 - t):
        for a, b in zip(first.optimizer.param_groups, second.optimizer.param_groups):
            assert (a["lr"], a["momentum"]) == (b["lr"], b["momentum"])
        first.step()
        second.step()


@pytest.mark.parametrize(
    "other, message",
    [
        (lambda o: optim.StepLR(o, 4), "settings"),
        (lambda o: optim.CosineAnnealingLR(o, 3), "name = StepLR, this one has CosineAnnealingLR"),
    ],
)
def test_the_state_of_another_schedule_changes_nothing(other, message):
    saved = optim.StepLR(sgd(), 3)
    for _ in range(7):
        saved.step()
    schedule = other(sgd())
    with pytest.raises(ValueError, match=message):
        schedule.load_state_dict(saved.state_dict())
    assert schedule.last_epoch == 0 and schedule.get_last_lr() == [0.1]
    with pytest.raises(ValueError, match="base_lrs"):
        optim.StepLR(sgd(0.2), 3).load_state_dict(saved.state_dict())


def test_the_state_of_a_sequence_with_other_parts_is_refused():
    def make(gamma):
        o = sgd()
        return optim.SequentialLR(o, [optim.LinearLR(o), optim.StepLR(o, 3, gamma)], [5])

    with pytest.raises(ValueError, match="settings"):
        make(0.1).load_state_dict(make(0.2).state_dict())


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
@pytest.mark.parametrize("t", [0, 3, 6])
def test_rates_changed_by_hand_and_a_resumed_run(make, t):
    """Optimiser and schedule are restored; before and after, the rate is changed by hand."""

    def step(schedule, k):
        schedule.step()
        if k % 3 == 0:
            schedule.optimizer.param_groups[k % 2]["lr"] *= 0.7
        return [(group["lr"], group["momentum"]) for group in schedule.optimizer.param_groups]

    first, second = (make(sgd(0.1, 0.2, momentum=0.9)) for _ in range(2))
    for k in range(t):
        step(first, k)
    states = json.loads(json.dumps([first.optimizer.state_dict(), first.state_dict()]))
    second.optimizer.load_state_dict(states[0])
    second.load_state_dict(states[1])
    assert [step(second, k) for k in range(t, 12)] == [step(first, k) for k in range(t, 12)]


def test_a_resumed_run_with_a_plateau():
    metrics = [1.0, 0.9, 0.95, 0.99, 0.8, 0.81, 0.82, 0.83]
    first, second = (optim.ReduceLROnPlateau(sgd(0.1, 0.2), patience=1, factor=0.5, cooldown=1) for _ in range(2))
    for metric in metrics[:4]:
        first.step(metric)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for metric in metrics[4:]:
        assert (second.get_last_lr(), second.best) == (first.get_last_lr(), first.best)
        first.step(metric)
        second.step(metric)
    assert first.get_last_lr() == second.get_last_lr() == [0.025, 0.05]


def test_the_state_of_an_earlier_version_is_refused():
    schedule = optim.StepLR(sgd(), 3)
    state = schedule.state_dict()
    del state["anchors"]
    with pytest.raises(ValueError, match="got a state without anchors, as an earlier version of minires saved it"):
        schedule.load_state_dict(state)


# ── several at once ──


def test_a_second_schedule_starts_from_the_rate_in_force():
    optimizer = sgd(1.0)
    optim.LinearLR(optimizer, 0.1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    assert optim.StepLR(optimizer, 5).base_lrs == [1.0]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


CHAINABLE = ["step", "multi", "constant", "linear", "exponential", "polynomial", "cosine to 0"]
CHAINED = {**MAKES, "cosine to 0": lambda o: optim.CosineAnnealingLR(o, 15)}


@given(st.lists(st.sampled_from(CHAINABLE), min_size=2, max_size=4), rates)
def test_the_factors_of_schedules_multiply(names, lr):
    """Each rate is the first one times the factor that every schedule, alone, has at this step."""
    steps = 14
    alone = {name: visited(CHAINED[name](sgd(1.0)), steps) for name in names}
    expected = [lr * math.prod(alone[name][t] for name in names) for t in range(steps + 1)]
    optimizer = sgd(lr)
    together = [CHAINED[name](optimizer) for name in names]
    got = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        for schedule in together:
            schedule.step()
        got.append(optimizer.param_groups[0]["lr"])
    assert got == pytest.approx(expected)
    optimizer = sgd(lr)
    chain = optim.ChainedScheduler([CHAINED[name](optimizer) for name in names])
    assert visited(chain, steps) == got and chain.last_epoch == steps


def test_warm_up_and_drops_both_stepped():
    optimizer = sgd(1.0)
    warm_up, drops = optim.LinearLR(optimizer, 0.25, total_iters=3), optim.MultiStepLR(optimizer, [2, 5], 0.1)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(6):
        warm_up.step()
        drops.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.25, 0.5, 0.075, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("name", [*CHAINABLE, "cosine"])
def test_a_rate_set_by_hand_is_multiplied_on(name):
    schedule, untouched = (CHAINED[name](sgd(1.0)) for _ in range(2))
    floor = 0.001 if name == "cosine" else 0.0
    visited(schedule, 4), visited(untouched, 4)
    schedule.optimizer.param_groups[0]["lr"] = 5.0
    start, *_ = rates = visited(untouched, 5)
    factors = [(rate - floor) / (start - floor) for rate in rates]
    assert visited(schedule, 5) == pytest.approx([floor + (5.0 - floor) * factor for factor in factors])


def test_the_rate_after_a_zero():
    """Multiplied by 0, nothing is left of it: what is set by hand then stays, until the schedule has a rate again."""
    linear, constant = optim.LinearLR(sgd(), 1.0, 0.0, 2), optim.ConstantLR(sgd(), 0.0, 3)
    assert visited(linear, 3) == [0.1, 0.05, 0.0, 0.0] and visited(constant, 3) == [0.0, 0.0, 0.0, 0.1]
    linear.optimizer.param_groups[0]["lr"] = 0.3
    assert visited(linear, 2) == [0.3, 0.3, 0.3]


def test_a_rate_set_by_hand_where_the_factor_is_too_small_for_a_float():
    schedule = optim.ExponentialLR(sgd(), 0.1)
    for _ in range(400):
        schedule.step()
    assert schedule.get_last_lr() == [0.0]
    schedule.optimizer.param_groups[0]["lr"] = 0.1
    assert visited(schedule, 2) == pytest.approx([0.1, 0.01, 0.001])


def test_a_group_that_comes_later_is_driven_from_then_on():
    optimizer = sgd(1.0)
    schedule = optim.ExponentialLR(optimizer, 0.5)
    schedule.step()
    optimizer.add_param_group({"params": [nn.Parameter(np.zeros(2))], "lr": 3.0})
    assert len(schedule.state_dict()["base_lrs"]) == 2
    assert visited(schedule, 2, group=1) == [3.0, 1.5, 0.75] and schedule.get_last_lr() == [0.125, 0.75]
    resumed = optim.ExponentialLR(sgd(1.0, 3.0), 0.5)
    resumed.load_state_dict(schedule.state_dict())
    resumed.step()
    assert resumed.get_last_lr() == [0.0625, 0.375]


@pytest.mark.parametrize("name", ["lambda", "multiplicative", "cycle", "zigzag", "restarts"])
def test_where_each_group_has_its_own_a_later_one_is_refused(name):
    schedule = MAKES[name](sgd(0.1, 0.2, momentum=0.9))
    schedule.optimizer.add_param_group({"params": [nn.Parameter(np.zeros(2))]})
    with pytest.raises(ValueError, match="it was made for 2; call add_param_group before making the schedule"):
        schedule.step()
    assert schedule.last_epoch == 0


@pytest.mark.parametrize("name", [*CHAINABLE, "lambda"])
def test_last_epoch_goes_on_with_the_saved_groups(name):
    whole = CHAINED[name](sgd())
    visited(whole, 4)
    rates = [{"initial_lr": 0.1, "lr": r} for r in (whole.get_last_lr()[0], *visited(whole, 1)[1:])]
    optimizer = sgd()  # jumps are made on construction, and what changes little by little is left; as in PyTorch
    optimizer.param_groups[0].update(rates[0 if name in ("step", "multi", "constant", "lambda") else 1])
    kinds = {
        "step": lambda: optim.StepLR(optimizer, 3, last_epoch=4),
        "multi": lambda: optim.MultiStepLR(optimizer, (2, 5), last_epoch=4),
        "constant": lambda: optim.ConstantLR(optimizer, 0.1, 6, last_epoch=4),
        "linear": lambda: optim.LinearLR(optimizer, total_iters=7, last_epoch=4),
        "exponential": lambda: optim.ExponentialLR(optimizer, 0.9, last_epoch=4),
        "polynomial": lambda: optim.PolynomialLR(optimizer, 7, 0.7, last_epoch=4),
        "cosine to 0": lambda: optim.CosineAnnealingLR(optimizer, 15, last_epoch=4),
        "lambda": lambda: optim.LambdaLR(optimizer, lambda t: 0.9**t, last_epoch=4),
    }
    resumed = kinds[name]()
    assert resumed.last_epoch == 5
    assert visited(resumed, 6) == pytest.approx(visited(whole, 6))


# ── bad input ──


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda o: optim.StepLR(0.1, 3), TypeError, "StepLR: got a float; the first argument is the optimiser"),
        (lambda o: optim.StepLR(o, 0), ValueError, "StepLR: got step_size=0; expected a whole number of at least 1"),
        (lambda o: optim.StepLR(o, 2.5), TypeError, "StepLR: got step_size=2.5; expected a whole number"),
        (lambda o: optim.StepLR(o, 2, "x"), TypeError, "StepLR: got gamma='x'; expected a number"),
        (lambda o: optim.StepLR(o, 2, math.nan), ValueError, "expected a finite number"),
        (lambda o: optim.MultiStepLR(o, [1, -2]), ValueError, "MultiStepLR: got milestones=-2"),
        (lambda o: optim.CosineAnnealingLR(o, 0), ValueError, "CosineAnnealingLR: got T_max=0"),
        (lambda o: optim.LinearLR(o, 0.0), ValueError, "a start above 0"),
        (lambda o: optim.LinearLR(o, 0.1, 2.0), ValueError, "LinearLR: got end_factor=2.0; expected a factor"),
        (lambda o: optim.ConstantLR(o, -0.1), ValueError, "ConstantLR: got factor=-0.1; expected a factor"),
        (lambda o: optim.PolynomialLR(o, 5, 0), ValueError, "PolynomialLR: got power=0; expected a positive number"),
        (lambda o: optim.StepLR(o, 2, last_epoch=-2), ValueError, "StepLR: got last_epoch=-2"),
        (lambda o: optim.StepLR(o, 2, last_epoch=5), ValueError, "group 0 has no initial_lr to start from; load"),
        (lambda o: optim.LambdaLR(o, [abs, abs]), ValueError, "LambdaLR: got 2 functions for 1 parameter groups"),
        (lambda o: optim.CosineAnnealingWarmRestarts(o, 5, 0), ValueError, "got T_mult=0"),
        (lambda o: optim.CosineAnnealingWarmRestarts(o, 5).step(-1), ValueError, "got epoch=-1; expected 0 or more"),
        (lambda o: optim.CyclicLR(o, 0.1, 1.0, mode="square"), ValueError, "CyclicLR: got mode='square'"),
        (lambda o: optim.CyclicLR(o, 0.1, 1.0, scale_mode="x"), ValueError, "CyclicLR: got scale_mode='x'"),
        (lambda o: optim.CyclicLR(optim.Adagrad(o.param_groups[0]["params"]), 0.1, 1.0), ValueError, "no momentum"),
        (lambda o: optim.ReduceLROnPlateau(o, "least"), ValueError, "ReduceLROnPlateau: got mode='least'"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), ValueError, "got factor=1.0; expected a factor below 1"),
        (lambda o: optim.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "got threshold_mode='x'"),
        (lambda o: optim.ReduceLROnPlateau(o, min_lr=[0, 0]), ValueError, "2 values of min_lr for 1 parameter"),
        (lambda o: optim.ReduceLROnPlateau(o).values(3, 0), ValueError, "in a loop of your own"),
        (lambda o: optim.ChainedScheduler([]), ValueError, "expected a list of schedules"),
        (lambda o: optim.ChainedScheduler([optim.StepLR(o, 1)], sgd()), ValueError, "scheduler 0 drives another"),
        (lambda o: optim.ChainedScheduler([optim.StepLR(o, 1)]).step(3), ValueError, "compound only step by step"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1), 3], [3]), TypeError, "got an int as scheduler 1"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [], 3), ValueError, "SequentialLR: got last_epoch=3"),
        (
            lambda o: optim.SequentialLR(o, [optim.ReduceLROnPlateau(o)], []),
            ValueError,
            "got ReduceLROnPlateau as scheduler 0, whose step needs a metric",
        ),
        (
            lambda o: optim.SequentialLR(o, [optim.ChainedScheduler([optim.StepLR(o, 1)])], []),
            ValueError,
            "chain the sequences instead",
        ),
        (lambda o: optim.LRScheduler(o), TypeError, r"a schedule must define lr\(self, t, base_lr\), or get_lr"),
        (lambda o: optim.LambdaLR(o, 0.5), TypeError, "expected a function of t"),
        (lambda o: optim.OneCycleLR(o, 0.1), ValueError, "got no length; give total_steps"),
        (lambda o: optim.OneCycleLR(o, 0.1, 10, pct_start=2), ValueError, "from 0 to 1"),
        (lambda o: optim.OneCycleLR(o, 0.1, 10, anneal_strategy="cosine"), ValueError, 'expected "cos" or "linear"'),
        (lambda o: optim.OneCycleLR(o, [0.1, 0.2], 10), ValueError, "2 values of max_lr for 1 parameter groups"),
        (lambda o: optim.OneCycleLR(o, 0.1, 10, div_factor=0), ValueError, "got div_factor=0; expected a positive"),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]),
            ValueError,
            "one growing milestone for each change",
        ),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)] * 3, [3, 2]), ValueError, "growing milestone"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(sgd(), 1)], []), ValueError, "scheduler 0 drives another"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make(sgd())


def test_schedules_can_be_read():
    assert repr(optim.StepLR(sgd(), 3)) == "StepLR(step_size=3, gamma=0.1)"


class Milestones(optim.LRScheduler):
    """A schedule of a user's, whose settings have a tuple."""

    def __init__(self, optimizer, at):
        super().__init__(optimizer, at=at)

    def lr(self, t, lr):
        return lr / 10 if t in self.settings["at"] else lr


def test_settings_with_tuples_come_back_from_json():
    def build():
        return Milestones(optim.SGD([nn.Parameter(np.ones(1))], lr=1.0), (2, 3))

    schedule, again = build(), build()
    schedule.optimizer.step()
    schedule.step()
    state = json.loads(json.dumps(schedule.state_dict()))
    again.load_state_dict(state)
    assert again.last_epoch == 1


def test_values_ask_and_do_not_move_a_schedule_between_two_steps():
    schedule = optim.CosineAnnealingWarmRestarts(optim.SGD([nn.Parameter(np.ones(1))], lr=1.0), T_0=10)
    schedule.step(1.5)
    assert schedule.values(3, 0)["lr"] == pytest.approx((1 + np.cos(np.pi * 0.3)) / 2)
    assert schedule.T_cur == 1.5 and schedule.get_last_lr() == [pytest.approx((1 + np.cos(np.pi * 0.15)) / 2)]
