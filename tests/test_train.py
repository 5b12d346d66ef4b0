"""Training: it learns, it is reproducible, and a run that was killed continues as if nothing had happened."""

import json
import math
import os
import random as python_random
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from test_saving import frozen

import minires as mr
from minires import nn, optim, random, train
from minires.data import Dataset, batches, digits, random_crop_flip
from minires.nn import functional as F
from minires.train import evaluate, fit, train_step
from minires.train.checkpoint import Checkpoint, CheckpointError
from minires.train.history import History, Position, Result, Tally

TRAIN, TEST = digits()
AUGMENT = partial(random_crop_flip, padding=1, flip=False)


class Small(nn.Module):
    """Batch norm and dropout: all the state a network can have, in a few hundred weights."""

    def __init__(self, dtype=np.float32):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.drop, self.fc = nn.Dropout(0.3), nn.Linear(4 * 16, 10)
        self.to(np.dtype(dtype))

    def forward(self, x):
        x = F.max_pool2d(self.bn(self.conv(x)).relu(), 2)
        return self.fc(self.drop(x.flatten(1)))


def make_run(optimizer="SGD", dtype=np.float32, seed=0):
    """A fresh model, optimiser and schedule, as the same script would build them again."""
    mr.manual_seed(seed)
    model = Small(dtype)
    if optimizer == "SGD":
        made = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3, nesterov=True)
        return model, made, optim.OneCycleLR(made, 0.2, 12)
    made = optim.AdamW(model.parameters(), 0.01)
    return (
        model,
        made,
        optim.SequentialLR(made, [optim.LinearLR(made, 0.1, total_iters=3), optim.CosineAnnealingLR(made, 9)], [3]),
    )


def go(model, optimizer, schedule, epochs=3, **options):
    """Three epochs of four batches, the last batch smaller."""
    options = {"test_data": TEST.subset(40), "augment": AUGMENT, "seed": 5, "progress": False, **options}
    return fit(model, TRAIN.subset(90), optimizer, epochs=epochs, batch_size=25, schedule=schedule, **options)


# ── learning ──


def test_a_small_residual_network_learns_the_digits():
    mr.manual_seed(0)
    model = mr.models.resnet_cifar(8, width=8, in_channels=1)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    schedule = optim.OneCycleLR(optimizer, 0.2, epochs=5, steps_per_epoch=23)
    history = fit(model, TRAIN, optimizer, epochs=5, batch_size=64, test_data=TEST, schedule=schedule, progress=False)
    assert history.test_accuracy[-1] > 0.93
    assert history.train_loss[-1] < 0.3 < 1 < history.train_loss[0]
    assert evaluate(model, TEST) == pytest.approx((history.test_loss[-1], history.test_accuracy[-1]), rel=1e-5)


def test_one_step_descends_and_reports_what_was_before_it():
    model, optimizer, _ = make_run()
    model.eval()  # the step leaves the mode alone, so dropout is off
    x, y = TRAIN[:32]
    before = F.cross_entropy(model(mr.Tensor(x)), mr.Tensor(y)).item()
    result = train_step(model, optimizer, x, y)
    assert result.loss == before and 0 <= result.accuracy <= 1
    assert not model.training
    assert train_step(model, optimizer, mr.Tensor(x), mr.Tensor(y)).loss < before


def test_batches_take_the_dtype_of_the_model():
    model, optimizer, schedule = make_run(dtype=np.float64)
    history = go(model, optimizer, schedule, epochs=1)
    assert model.fc.weight.dtype == np.float64
    assert all(map(math.isfinite, history.step_loss))
    assert evaluate(model, TEST.subset(20)).accuracy >= 0


def test_another_loss_without_class_indices_has_no_accuracy():
    class Smooth(nn.Module):
        def forward(self, outputs, target):
            return F.mse_loss(outputs, F.one_hot(target, 10).to(outputs.dtype))

    model, optimizer, _ = make_run()
    history = go(model, optimizer, None, loss=Smooth(), epochs=1)
    assert 0 <= history.train_accuracy[0] <= 1
    x, y = TRAIN[:8]
    result = train_step(model, optimizer, x, np.eye(10)[y], loss=F.mse_loss)
    assert math.isfinite(result.loss) and math.isnan(result.accuracy)


def test_fit_is_the_loop_one_would_write_by_hand():
    model, optimizer, schedule = make_run()
    state, losses = random.get_state(), []
    for epoch in range(3):
        for x, y in batches(TRAIN.subset(90), 25, seed=5, epoch=epoch, augment=AUGMENT):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(mr.Tensor(x)), mr.Tensor(y))
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    run = make_run()
    random.set_state(state)
    assert go(*run).step_loss == losses
    assert frozen(*run) == frozen(model, optimizer, schedule)


# ── evaluation ──


def test_evaluate_is_the_mean_over_all_examples_whatever_the_batches():
    model = make_run(dtype=np.float64)[0]
    logits = model.eval()(mr.Tensor(TEST.images).double())
    expected = F.cross_entropy(logits, mr.Tensor(TEST.labels)).item()
    right = (logits.array.argmax(1) == TEST.labels).mean()
    for batch_size in (1, 7, 360, 1000):
        assert evaluate(model, TEST, batch_size=batch_size) == pytest.approx((expected, right), rel=1e-12)


def test_evaluate_restores_modes_and_changes_nothing():
    model = make_run()[0]
    model.train()
    model.bn.eval()  # a frozen batch norm in a network that trains
    before, state = frozen(model), random.get_state()
    evaluate(model, TEST)
    assert (model.training, model.bn.training, model.drop.training) == (True, False, True)
    assert frozen(model) == before and random.get_state() == state
    assert all(p.grad is None for p in model.parameters())


def test_evaluate_restores_modes_after_an_error():
    model = make_run()[0]
    with pytest.raises(ValueError, match="conv2d"):
        evaluate(model, Dataset(np.zeros((4, 2, 8, 8), np.float32), np.zeros(4, np.int64), ("a",)))
    assert model.training and model.drop.training
    mr.Tensor(np.ones(1), requires_grad=True).sum().backward()  # the graph is switched on again


# ── reproducibility ──


def test_the_same_seed_gives_the_same_bits():
    first, second, other = make_run(), make_run(), make_run(seed=1)
    state = random.get_state()  # dropout draws from here
    histories = []
    for run in (first, second):
        random.set_state(state)
        histories.append(go(*run))
    assert histories[0] == histories[1]
    assert frozen(*first) == frozen(*second)
    assert go(*other) != histories[0]


def same_but_for_seconds(a: History, b: History) -> bool:
    return a == b and len(a.seconds) == len(b.seconds)


class Stop(Exception):
    """Whatever may interrupt a training run."""


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 11), max_size=3),
    st.sampled_from([None, 1, 2, 3, 4]),
    st.sampled_from(["SGD", "AdamW"]),
    st.sampled_from(["step", "epoch"]),
)
def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path_factory, stops, every, optimizer, schedule_every):
    path = tmp_path_factory.getbasetemp() / "interrupted.npz"
    path.unlink(missing_ok=True)
    options = {"schedule_every": schedule_every}
    whole = make_run(optimizer)
    expected = go(*whole, **options)
    expected_random = random.get_state()

    for stop in stops:

        def interrupt(step, stop=stop):
            if step.step == stop:
                raise Stop

        run = make_run(optimizer)
        try:
            go(*run, checkpoint=path, checkpoint_every=every, on_step=interrupt, **options)
        except Stop:
            pass
    run = make_run(optimizer)
    history = go(*run, checkpoint=path, checkpoint_every=every, **options)
    assert same_but_for_seconds(history, expected)
    assert frozen(*run) == frozen(*whole)
    assert random.get_state() == expected_random


def test_the_same_objects_go_on_after_a_stop_in_the_middle(tmp_path):
    whole = make_run()
    expected = go(*whole)

    def interrupt(step):
        if step.step == 6:
            raise KeyboardInterrupt

    run = make_run()
    with pytest.raises(KeyboardInterrupt) as stopped:
        go(*run, checkpoint=tmp_path / "run.npz", checkpoint_every=4, on_step=interrupt)
    assert "stopped in epoch 2, step 3. The same call goes on from" in stopped.value.__notes__[0]
    assert run[0].training
    assert same_but_for_seconds(go(*run, checkpoint=tmp_path / "run.npz", checkpoint_every=4), expected)
    assert frozen(*run) == frozen(*whole)


def test_more_epochs_go_on_from_a_complete_run(tmp_path):
    def steps_of(epochs, run, **options):
        model, optimizer, _ = run
        return go(model, optimizer, optim.StepLR(optimizer, 5), epochs=epochs, **options)

    whole, run = make_run(), make_run()
    expected = steps_of(4, whole)
    run = make_run()
    steps_of(2, run, checkpoint=tmp_path / "run.npz")
    run = make_run()
    assert same_but_for_seconds(steps_of(4, run, checkpoint=tmp_path / "run.npz"), expected)
    assert frozen(*run[:2]) == frozen(*whole[:2])
    weights = frozen(run[0])
    again = make_run()
    assert same_but_for_seconds(steps_of(4, again, checkpoint=tmp_path / "run.npz"), expected)  # nothing left to do
    assert frozen(again[0]) == weights
    with pytest.raises(CheckpointError, match="beyond epochs=3; ask for more epochs"):
        steps_of(3, make_run(), checkpoint=tmp_path / "run.npz")


def test_resume_false_starts_anew(tmp_path):
    expected = go(*make_run(), checkpoint=tmp_path / "run.npz")
    run = make_run()
    assert same_but_for_seconds(go(*run, checkpoint=tmp_path / "run.npz", resume=False), expected)


# ── a real process, really killed ──

SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background may have inherited as ignored
sys.path.insert(0, sys.argv[1])
from test_train import go, make_run
run = make_run(sys.argv[3])
print("start", flush=True)
go(*run, checkpoint=sys.argv[2], checkpoint_every=2, on_step=lambda step: print(step.step, flush=True))
print("done", flush=True)
"""


def start(path, optimizer):
    here = os.path.dirname(os.path.abspath(__file__))
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, here, str(path), optimizer], stdout=subprocess.PIPE, text=True
    )


def kill_repeatedly(path, optimizer, kills, rng):
    """Train in processes that are killed after a random number of steps and a little later, then in one to the end."""
    killed = 0
    for _ in range(kills):
        with start(path, optimizer) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(1, 5)):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.01))
            process.kill()  # SIGKILL: no handler, no clean-up
        killed += process.returncode != 0
    assert killed >= kills // 2  # the others had ended before
    with start(path, optimizer) as process:
        assert process.communicate()[0].endswith("done\n")
    assert process.returncode == 0


def contents(path):
    """The whole file but for the seconds."""
    checkpoint = Checkpoint.load(path)
    assert len(checkpoint.extra["history"].pop("seconds")) == 3
    return frozen(checkpoint.model, checkpoint.optimizer, checkpoint.schedule, checkpoint.random, checkpoint.extra)


def test_a_killed_process_goes_on_bit_for_bit(tmp_path):
    run = make_run("SGD")
    expected = go(*run, checkpoint=tmp_path / "whole.npz")
    kill_repeatedly(tmp_path / "killed.npz", "SGD", 4, python_random.Random(1))
    assert contents(tmp_path / "killed.npz") == contents(tmp_path / "whole.npz")
    assert len(expected.step_loss) == 12


def test_the_next_start_removes_what_a_killed_write_left(tmp_path):
    go(*make_run(), checkpoint=tmp_path / "run.npz")
    (tmp_path / ".run.1234567-0a1b2c3d.npz").write_bytes(b"half a file")
    go(*make_run(), checkpoint=tmp_path / "run.npz")  # the run is complete: nothing is written
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_checkpoint_on_another_disk(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run.npz").symlink_to(tmp_path / "disk" / "run.npz")
    expected = go(*make_run(), checkpoint=tmp_path / "whole.npz")
    go(*make_run(), checkpoint=tmp_path / "run.npz", epochs=2)
    assert same_but_for_seconds(go(*make_run(), checkpoint=tmp_path / "run.npz"), expected)
    assert (tmp_path / "run.npz").is_symlink() and (tmp_path / "disk" / "run.npz").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_many_killed_processes_go_on_bit_for_bit(tmp_path, seed):
    optimizer = ["SGD", "AdamW"][seed % 2]
    go(*make_run(optimizer), checkpoint=tmp_path / "whole.npz")
    kill_repeatedly(tmp_path / "killed.npz", optimizer, 8, python_random.Random(seed))
    assert contents(tmp_path / "killed.npz") == contents(tmp_path / "whole.npz")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_ends_a_process_and_says_how_to_go_on(tmp_path):
    with start(tmp_path / "run.npz", "SGD") as process:
        assert process.stdout is not None
        while process.stdout.readline() != "3\n":
            pass
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode != 0
    assert Checkpoint.load(tmp_path / "run.npz").extra["position"]["epoch"] <= 2
    go(*make_run("SGD"), checkpoint=tmp_path / "whole.npz")
    kill_repeatedly(tmp_path / "run.npz", "SGD", 0, python_random.Random(0))
    assert contents(tmp_path / "run.npz") == contents(tmp_path / "whole.npz")


# ── checkpoints of other runs ──


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 6}, "seed was 5, here 6"),
        ({"test_data": None}, "number of test examples was 40, here None"),
        ({"drop_last": True}, "drop_last was False, here True"),
        ({"schedule": None}, "schedule_every was step, here None"),
        ({"batch_size": 30}, "batch_size was 25, here 30"),
        ({"train_data": TRAIN.subset(80)}, "number of training examples was 90, here 80"),
        ({"train_data": TEST.subset(90)}, "checksum of the training examples"),
        ({"optimizer": lambda ps: optim.SGD(ps, 0.1, momentum=0.9, nesterov=True)}, "settings of the optimizer"),
        ({"optimizer": lambda ps: optim.Adam(ps, 0.1)}, "optimizer was SGD, here Adam"),
        ({"total": 13}, "total_steps"),
    ],
)
def test_a_checkpoint_of_another_run_changes_nothing(tmp_path, change, message):
    path = tmp_path / "run.npz"
    go(*make_run(), checkpoint=path)
    model, optimizer, schedule = make_run()
    if make := change.pop("optimizer", None):
        optimizer = make(model.parameters())
        schedule = optim.OneCycleLR(optimizer, 0.2, 12)
    if total := change.pop("total", None):
        schedule = optim.OneCycleLR(optimizer, 0.2, total)
    before, state, file = frozen(model, optimizer, schedule), random.get_state(), path.read_bytes()
    options = {
        "train_data": TRAIN.subset(90), "batch_size": 25, "test_data": TEST.subset(40), "schedule": schedule,
        "augment": AUGMENT, "seed": 5, "epochs": 3, **change,
    }  # fmt: skip
    with pytest.raises(CheckpointError, match=message):
        fit(model, optimizer=optimizer, progress=False, checkpoint=path, **options)
    assert frozen(model, optimizer, schedule) == before and random.get_state() == state
    assert path.read_bytes() == file


def test_a_damaged_checkpoint_and_one_not_of_fit(tmp_path):
    path, run = tmp_path / "run.npz", make_run()
    path.write_bytes(b"PK half a file")
    with pytest.raises(CheckpointError, match=r"run\.npz: damaged.* \(or pass resume=False\) to start anew"):
        go(*run, checkpoint=path)
    Checkpoint.take(*run).save(path)
    with pytest.raises(CheckpointError, match="not written by fit"):
        go(*run, checkpoint=path)


# ── the recipe ──


@pytest.mark.parametrize(
    ("steps", "options", "warm_up", "drops"),
    [
        (400, {}, 20, [280]),
        (8, {}, 2, [5]),  # of few steps a quarter
        (1, {}, 1, [2]),  # too few for a drop
        (200, {"warm_up": 10, "drops": (1 / 2, 3 / 4)}, 10, [100, 150]),
    ],
)
def test_the_recipe_rises_and_drops_where_it_says(steps, options, warm_up, drops):
    optimizer, schedule = train.recipe(nn.Linear(2, 2), steps, 0.4, **options)
    assert {n: optimizer.defaults[n] for n in ("momentum", "weight_decay")} == {"momentum": 0.9, "weight_decay": 1e-4}
    for t in range(steps):
        rise = (1 + (warm_up - 1) * min(t / warm_up, 1)) / warm_up
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4 * rise * 0.1 ** sum(t >= drop for drop in drops))
        schedule.step()


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 9, "warm_up": 0}, {"steps": 9, "drops": (1.0,)}], ids=str)
def test_the_recipe_names_what_makes_no_schedule(options):
    with pytest.raises(ValueError, match=r"^recipe: got "):
        train.recipe(nn.Linear(2, 2), **options)


# ── what fit reports ──


def test_on_step_and_history_tell_the_same(tmp_path):
    seen = []
    model, optimizer, schedule = make_run()
    history = go(model, optimizer, schedule, on_step=seen.append)
    assert [(s.epoch, s.batch, s.step) for s in seen] == [(k // 4, k % 4, k) for k in range(12)]
    assert [s.loss for s in seen] == history.step_loss
    assert [s.lr for s in seen] == [schedule.values(t, 0)["lr"] for t in range(12)]
    assert history.lr == [seen[k].lr for k in (3, 7, 11)]
    sizes = [25, 25, 25, 15]
    for epoch in range(3):
        part = seen[4 * epoch : 4 * epoch + 4]
        assert history.train_loss[epoch] == pytest.approx(sum(s.loss * n for s, n in zip(part, sizes)) / 90)
        assert history.train_accuracy[epoch] == pytest.approx(sum(s.accuracy * n for s, n in zip(part, sizes)) / 90)


def test_a_schedule_may_be_stepped_by_epochs():
    model, _, _ = make_run()
    optimizer = optim.SGD(model.parameters(), 0.1)  # a new one: on the old one, OneCycleLR has left another rate
    history = go(model, optimizer, optim.StepLR(optimizer, 1, 0.5), schedule_every="epoch")
    assert history.lr == [0.1, 0.05, 0.025]


def test_history_is_json_and_a_table():
    history = go(*make_run())
    text = history.to_json()
    assert json.loads(text)["train_loss"] == history.train_loss
    assert History.from_json(text) == history and History.from_json(text).seconds == history.seconds
    lines = str(history).splitlines()
    assert lines[0].split() == "epoch train loss train acc test loss test acc lr seconds".split()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert len({len(line) for line in lines}) == 1
    assert "test" not in str(go(*make_run(), test_data=None))


def test_numbers_that_are_not_finite_are_null_in_json():
    history = History(step_loss=[1.5, math.nan, math.inf])
    assert json.loads(history.to_json())["step_loss"] == [1.5, None, None]
    assert math.isnan(History.from_json(history.to_json()).step_loss[1])
    at = Position()
    at.tally.add(Result(1.0, math.nan), 3)
    assert History().brief(at) == "loss 1.000, lr nan"


def test_the_progress_bar_shows_where_training_stands(capsys, tmp_path):
    go(*make_run(), progress=True, checkpoint=tmp_path / "run.npz")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "epoch 3/3: 100%" in shown.err and "12/12" in shown.err
    for word in ("loss ", "accuracy ", "test ", "lr "):
        assert word in shown.err
    go(*make_run(), progress=True, checkpoint=tmp_path / "run.npz")
    assert "run.npz is complete" in capsys.readouterr().err
    go(*make_run())
    assert capsys.readouterr().err == ""


# ── bad input ──


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"epochs": 0}, ValueError, "fit: got epochs=0; expected a whole number of at least 1"),
        ({"epochs": 1.5}, ValueError, "fit: got epochs=1.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"test_data": TEST[:40]}, TypeError, "batches: got a tuple; expected a Dataset"),
        ({"checkpoint_every": 3}, ValueError, "checkpoint_every without checkpoint"),
        ({"schedule_every": "batch"}, ValueError, 'expected "step" or "epoch"'),
        ({"loss": "ce"}, TypeError, "got loss='ce'; expected a function"),
        ({"epochs": 4}, ValueError, "OneCycleLR: got step 16 of 12"),
    ],
)
def test_bad_arguments(change, error, message):
    run = make_run()
    before = frozen(*run)
    with pytest.raises(error, match=message):
        go(*run, **change)
    assert frozen(*run) == before


def test_an_optimiser_or_schedule_of_something_else():
    _, optimizer, schedule = make_run()
    other, other_optimizer, _ = make_run()
    with pytest.raises(ValueError, match="5 parameters that are not the model's"):
        go(other, optimizer, schedule)
    with pytest.raises(ValueError, match="drives another optimiser"):
        go(other, other_optimizer, schedule)
    with pytest.raises(TypeError, match="got schedule='cosine'; build one"):
        go(other, other_optimizer, "cosine")
    with pytest.raises(TypeError, match=r"got optimizer=<class .*SGD'>; build one"):
        go(other, type(other_optimizer), None)


def test_a_checkpoint_that_cannot_be_written_is_known_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    steps = []
    with pytest.raises(OSError, match="fit: checkpoint: cannot write to the folder"):
        go(*make_run(), checkpoint=tmp_path / "file" / "run.npz", on_step=steps.append)
    assert steps == []
    go(*make_run(), epochs=1, checkpoint=tmp_path / "new" / "folder" / "run.npz")
    assert (tmp_path / "new" / "folder" / "run.npz").exists()


def test_the_accuracy_of_several_targets_in_each_example_is_not_rounded():
    tally = Tally()
    for share in (0.25, 0.5):
        tally.add(Result(1.0, share), 3)
    assert tally.mean().accuracy == 0.375


def test_a_checkpoint_copies_what_it_is_given():
    model, *_ = make_run()
    told = [1]
    taken = Checkpoint.take(model, told=told)
    told.append(2)
    assert taken.extra == {"told": [1]}
