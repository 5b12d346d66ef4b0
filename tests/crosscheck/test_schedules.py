"""Schedules against PyTorch's: the rates over 120 epochs, alone, compounded, changed by hand, and after a restart."""

import json
import warnings

import numpy as np
import pytest

from minires import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")

EPOCHS = 120
# PyTorch computes a rate from the last one, and drifts; where a rate comes near 0, relative to the first rate, 0.1.
TOLERANCE = dict(rtol=1e-10, atol=1e-13)

SCHEDULES = {
    "step": ("StepLR", dict(step_size=7, gamma=0.7)),
    "multi": ("MultiStepLR", dict(milestones=[0, 3, 9, 9, 40, 100], gamma=0.3)),
    "constant": ("ConstantLR", dict(factor=0.25, total_iters=11)),
    "linear": ("LinearLR", dict(start_factor=0.1, total_iters=30)),
    "linear to 0": ("LinearLR", dict(start_factor=1.0, end_factor=0.0, total_iters=60)),
    "exponential": ("ExponentialLR", dict(gamma=0.95)),
    "polynomial": ("PolynomialLR", dict(total_iters=90, power=1.7)),
    "cosine": ("CosineAnnealingLR", dict(T_max=25)),
    "cosine, eta_min": ("CosineAnnealingLR", dict(T_max=13, eta_min=0.004)),
    "lambda": ("LambdaLR", dict(lr_lambda=lambda t: 0.97**t)),
    "lambdas": ("LambdaLR", dict(lr_lambda=[lambda t: 0.97**t, lambda t: 1 / (1 + t)])),
    "multiplicative": ("MultiplicativeLR", dict(lr_lambda=lambda t: 0.9 + 0.001 * t)),
    "restarts": ("CosineAnnealingWarmRestarts", dict(T_0=10, eta_min=0.001)),
    "longer restarts": ("CosineAnnealingWarmRestarts", dict(T_0=5, T_mult=3)),
    "one cycle": ("OneCycleLR", dict(max_lr=[0.3, 0.5], total_steps=EPOCHS)),
    "zigzag": ("CyclicLR", dict(base_lr=0.01, max_lr=0.2, step_size_up=7, step_size_down=4)),
    "zigzag 2": ("CyclicLR", dict(base_lr=[0.01, 0.02], max_lr=0.2, step_size_up=10, mode="triangular2")),
    "zigzag, exp": ("CyclicLR", dict(base_lr=0.01, max_lr=0.2, step_size_up=9, mode="exp_range", gamma=0.98)),
    "zigzag of one's own": (
        "CyclicLR",
        dict(base_lr=0.01, max_lr=0.2, step_size_up=9, scale_fn=lambda n: 1 / n, cycle_momentum=False),
    ),
}
ALONE = {name: [case] for name, case in SCHEDULES.items()}
TOGETHER = {
    " and ".join(names): [SCHEDULES[name] for name in names]
    for names in (
        ("linear", "multi"), ("linear", "cosine"), ("exponential", "cosine, eta_min"), ("constant", "exponential"),
        ("step", "linear to 0"), ("polynomial", "multi"), ("multiplicative", "step"), ("linear", "lambda"),
        ("lambda", "exponential"), ("constant", "linear", "multi", "exponential"), ("cosine", "cosine, eta_min"),
        ("linear", "one cycle"), ("zigzag", "step"), ("restarts", "exponential"),
    )
}  # fmt: skip
GROUPABLE = ["step", "multi", "constant", "linear", "linear to 0", "exponential", "polynomial"]


class Side:
    """An optimiser of one of the libraries, two groups, and its schedules."""

    def __init__(self, module, cases=(), lrs=(0.1, 0.03), optimizer="SGD", **options):
        ours = module is optim
        self.module, self.found_in = module, optim.lr_scheduler if ours else torch.optim.lr_scheduler
        self.new = lambda: nn.Parameter([1.0]) if ours else torch.nn.Parameter(torch.ones(1))
        groups = [{"params": [self.new()], "lr": lr} for lr in lrs]
        self.optimizer = getattr(module, optimizer)(groups, **({"momentum": 0.9} if optimizer == "SGD" else {}))
        self.rows, self.schedules = [], [self.make(*case, **options) for case in cases]

    def make(self, name, options, **more):
        return getattr(self.found_in, name)(self.optimizer, **options, **more)

    def row(self):
        """The rates and momenta of all groups now."""
        groups = self.optimizer.param_groups
        self.rows.append([g["lr"] for g in groups] + [g.get("momentum", g.get("betas", [0])) for g in groups])

    def run(self, epochs, step=lambda schedule, t: schedule.step(), before=lambda side, t: None):
        for t in range(epochs):
            before(self, t)
            self.row()
            for schedule in self.schedules:
                self.optimizer.step()
                with warnings.catch_warnings():  # PyTorch's SequentialLR calls its own deprecated step(epoch)
                    warnings.filterwarnings("ignore", "The epoch parameter in", UserWarning)
                    step(schedule, t)
        self.row()
        for schedule in self.schedules[-1:]:
            np.testing.assert_allclose(schedule.get_last_lr(), [g["lr"] for g in self.optimizer.param_groups])
        return self


def agree(do, rtol=TOLERANCE["rtol"], atol=TOLERANCE["atol"]):
    """``do(module)`` returns a `Side`, which has seen the same rates with both libraries."""
    ours, theirs = ([np.hstack(row) for row in do(module).rows] for module in (optim, torch.optim))
    assert len(ours) == len(theirs) > 0
    for t, (a, b) in enumerate(zip(ours, theirs)):
        np.testing.assert_allclose(a, b, rtol, atol, err_msg=f"t = {t}")


@pytest.mark.parametrize("cases", (ALONE | TOGETHER).values(), ids=ALONE | TOGETHER)
def test_the_rates_of_all_epochs(cases):
    agree(lambda module: Side(module, cases).run(EPOCHS - 1))


@pytest.mark.parametrize("cases", (ALONE | TOGETHER).values(), ids=ALONE | TOGETHER)
def test_rates_set_by_hand(cases):
    def by_hand(side, t):
        if t in (4, 17, 26, 70, 110):
            for i, group in enumerate(side.optimizer.param_groups):
                group["lr"] = 0.05 + 0.01 * i + 0.001 * t

    agree(lambda module: Side(module, cases).run(EPOCHS - 1, before=by_hand))


@pytest.mark.parametrize("case", [SCHEDULES[name] for name in GROUPABLE], ids=GROUPABLE)
@pytest.mark.parametrize("at", [0, 5, 50])
def test_a_group_added_after_the_schedule(case, at):
    def add(side, t):
        if t == at:
            side.optimizer.add_param_group({"params": [side.new()], "lr": 0.7, "name": "late"})

    agree(lambda module: Side(module, [case]).run(EPOCHS, before=add))


@pytest.mark.parametrize("name", ["cosine, eta_min", "lambda", "one cycle", "zigzag", "restarts", "multiplicative"])
def test_where_a_late_group_is_refused(name):
    """PyTorch refuses it in words about zip. (For the cosine it does so only at the bottom; ours goes on.)"""

    def late(module):
        side = Side(module, [SCHEDULES[name]])
        side.optimizer.add_param_group({"params": [side.new()]})
        return side.run(40)

    with pytest.raises((ValueError, KeyError)):
        late(torch.optim)
    if name == "cosine, eta_min":
        assert late(optim).rows
    else:
        with pytest.raises(
            ValueError, match="got 3 parameter groups, but it was made for 2; call add_param_group before"
        ):
            late(optim)


@pytest.mark.parametrize("case", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("steps", [0, 1, 6, 14, 61])
def test_saved_and_restored(case, steps):
    """In a new process: optimiser and schedule are made anew, and both states are loaded."""

    def restored(module):
        first = Side(module, [case]).run(steps)
        second = Side(module, [case])
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        state = first.schedules[0].state_dict()
        second.schedules[0].load_state_dict(json.loads(json.dumps(state)) if module is optim else state)
        return second.run(EPOCHS - 1 - steps)

    agree(restored)
    whole = Side(optim, [case]).run(EPOCHS - 1)
    assert restored(optim).rows == whole.rows[steps:]  # ours bit for bit


@pytest.mark.parametrize("case", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("last", [0, 3, 6, 9, 10])
def test_last_epoch(case, last):
    name, options = case
    if options.get("T_mult", 1) > 1 and last > options["T_0"]:
        pytest.skip("PyTorch takes it for a step of the first period")

    def going_on(module):
        first, side = Side(module, [case] if name in ("OneCycleLR", "CyclicLR") else []), Side(module)
        for group, before in zip(side.optimizer.param_groups, first.optimizer.param_groups):
            left = {key: value for key, value in before.items() if key != "params"}
            group.update({"initial_lr": 2 * group["lr"], **left})
        side.schedules = [side.make(*case, last_epoch=last)]
        return side.run(40)

    agree(going_on)


@pytest.mark.parametrize("last", [0, 3])
def test_last_epoch_needs_the_initial_rate(last):
    with pytest.raises(KeyError):
        Side(torch.optim, [SCHEDULES["step"]], last_epoch=last)
    with pytest.raises(ValueError, match=f"got last_epoch={last}, but group 0 has no initial_lr"):
        Side(optim, [SCHEDULES["step"]], last_epoch=last)


SEQUENCES = {
    "warm-up, cosine": (["linear", "cosine"], [20]),
    "warm-up, drops": (["linear", "multi"], [10]),
    "three": (["constant", "exponential", "polynomial"], [15, 40]),
    "constant, lambda": (["constant", "lambda"], [7]),
    "multiplicative": (["linear", "multiplicative"], [12]),
    "step, restarts": (["step", "restarts"], [30]),
    "step, zigzag": (["step", "zigzag"], [30]),
    "warm-up, one cycle": (["linear", "one cycle"], [5]),
}


@pytest.mark.parametrize("names, milestones", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("beside", [(), ("exponential",), ("step", "constant")])
@pytest.mark.parametrize("by_hand", [False, True])
def test_sequences_alone_and_beside_others(names, milestones, beside, by_hand):
    def build(module):
        side = Side(module, [SCHEDULES[name] for name in beside])
        parts = [side.make(*SCHEDULES[name]) for name in names]
        side.schedules.append(side.found_in.SequentialLR(side.optimizer, parts, milestones))
        return side

    def change(side, t):
        if by_hand and t in (3, 33, 55):
            side.optimizer.param_groups[0]["lr"] = 0.06

    agree(lambda module: build(module).run(EPOCHS - 1, before=change))

    def restored(module):
        first, second = build(module).run(35, before=change), build(module)
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        for a, b in zip(first.schedules, second.schedules):
            b.load_state_dict(a.state_dict())
        return second.run(60)

    agree(restored)


@pytest.mark.parametrize("names", [("linear", "multi"), ("exponential", "cosine", "constant"), ("one cycle", "step")])
def test_chained(names):
    def build(module):
        side = Side(module)
        parts = [side.make(*SCHEDULES[name]) for name in names]
        side.schedules = [side.found_in.ChainedScheduler(parts)]
        return side

    agree(lambda module: build(module).run(EPOCHS - 1))

    def restored(module):
        first, second = build(module).run(35), build(module)
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        second.schedules[0].load_state_dict(first.schedules[0].state_dict())
        return second.run(60)

    agree(restored)


@pytest.mark.parametrize("optimizer", ["Adam", "NAdam"])
@pytest.mark.parametrize("name", ["one cycle", "zigzag"])
def test_the_first_beta_is_cycled(optimizer, name):
    agree(lambda module: Side(module, [SCHEDULES[name]], optimizer=optimizer).run(EPOCHS - 1))


@pytest.mark.parametrize("name", ["step", "linear", "exponential", "cosine", "polynomial", "lambda", "restarts"])
def test_step_to_an_epoch(name):
    """PyTorch deprecates it for all but the warm restarts, where the epoch may be a fraction."""
    epochs = [0.25, 3.5, 4.0, 19.75, 20.5] if name == "restarts" else [1, 3, 3, 20, 7]

    def go(module):
        side = Side(module, [SCHEDULES[name]]).run(5, step=lambda schedule, t: schedule.step(epochs[t]))
        return side.run(10)

    agree(go)


PLATEAUS = {
    "default": {},
    "patience": dict(factor=0.5, patience=2),
    "abs, max": dict(mode="max", threshold_mode="abs", threshold=0.05, patience=1, factor=0.7),
    "rel, max": dict(mode="max", patience=0, cooldown=3, factor=0.7),
    "abs": dict(threshold_mode="abs", threshold=0.1, patience=3, cooldown=2),
    "floor": dict(patience=0, min_lr=[1e-3, 1e-2], factor=0.5),
    "eps": dict(patience=0, eps=1e-2, factor=0.5),
}


@pytest.mark.parametrize("options", PLATEAUS.values(), ids=PLATEAUS)
def test_plateaus(options):
    metrics = np.random.default_rng(0).standard_normal(EPOCHS).cumsum() * 0.1 + 1
    metrics[30] = np.nan

    def build(module):
        side = Side(module)
        side.schedules = [side.make("ReduceLROnPlateau", options)]
        return side

    agree(lambda module: build(module).run(EPOCHS, step=lambda schedule, t: schedule.step(metrics[t])))

    def restored(module):
        first, second = build(module).run(40, step=lambda schedule, t: schedule.step(metrics[t])), build(module)
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        second.schedules[0].load_state_dict(first.schedules[0].state_dict())
        return second.run(60, step=lambda schedule, t: schedule.step(metrics[40 + t]))

    agree(restored)


def test_a_schedule_in_pytorchs_way():
    """Other people's code: a subclass that defines get_lr."""

    def go(module):
        base = optim.lr_scheduler._LRScheduler if module is optim else torch.optim.lr_scheduler._LRScheduler

        class Warm(base):
            def __init__(self, optimizer, steps, last_epoch=-1):
                self.steps = steps
                super().__init__(optimizer, last_epoch)

            def get_lr(self):
                if self.last_epoch < self.steps:
                    return [base * (self.last_epoch + 1) / self.steps for base in self.base_lrs]
                return [group["lr"] * 0.99 for group in self.optimizer.param_groups]

        side = Side(module)
        side.schedules = [Warm(side.optimizer, 10)]
        return side.run(EPOCHS)

    agree(go)


def test_every_schedule_is_compared():
    compared = {case[0] for case in SCHEDULES.values()} | {
        "SequentialLR",
        "ChainedScheduler",
        "ReduceLROnPlateau",
        "LRScheduler",
    }
    assert compared == set(torch.optim.lr_scheduler.__all__) == set(optim.lr_scheduler.__all__)
