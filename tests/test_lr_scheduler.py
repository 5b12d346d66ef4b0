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


def test_a_second_schedule_starts_from_the_original_rate():
    optimizer = sgd(1.0)
    optim.LinearLR(optimizer, 0.1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    assert optim.StepLR(optimizer, 5).base_lrs == [1.0]


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
        (lambda o: optim.LinearLR(o, 0.1, 2.0), ValueError, "LinearLR: got start_factor=0.1, end_factor=2.0"),
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
