"""The main job, end to end and small: ``python -m minires compare`` in a real process, its options within this one."""

import csv
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from minires.commands import cli, compare

SMALL = ["--depth", "8", "--width", "2", "--epochs", "1"]
INTERRUPTIBLE = """
import signal, sys
from minires.commands import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background inherits as ignored
"""


def minires(*arguments, **options):
    command = [sys.executable, "-m", "minires", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "new" / "folder"
    done = minires("compare", *SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    return done, out


def test_the_table_and_three_sentences_are_printed_and_a_progress_bar_is_shown(run):
    done, _ = run
    assert "plain-8" in done.stdout and "residual-8" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith("• ")]) == 3
    assert "residual loss" in done.stderr and "acc" in done.stderr and "22/22" in done.stderr


def test_the_report_has_the_documented_fields(run):
    report = json.loads((run[1] / "compare.json").read_text())
    expected = {"version", "depth", "width", "data", "seed", "epochs", "seconds", "fork_sum_error", "networks"}
    assert expected <= report.keys()
    assert 0 < report["fork_sum_error"] < 1e-4
    plain, residual = report["networks"]["plain"], report["networks"]["residual"]
    assert plain["parameters"] == residual["parameters"]
    for network in (plain, residual):
        assert {"parameters", "train_loss", "test_accuracy", "gradient_ratio"} == network.keys()
        steps = [row["step"] for row in network["gradient_ratio"]]
        assert steps[:10] == list(range(10)) and steps[-1] == 21
        assert all(row["first_over_last"] > 0 for row in network["gradient_ratio"])


def test_the_csv_agrees_with_the_report(run):
    report = json.loads((run[1] / "compare.json").read_text())
    with open(run[1] / "compare.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    norm = {(int(r["step"]), r["network"], r["layer"]): float(r["gradient_norm"]) for r in rows}
    assert {r["network"] for r in rows} == {"plain", "residual"}
    for name, network in report["networks"].items():
        for row in network["gradient_ratio"]:
            ratio = norm[row["step"], name, "conv1"] / norm[row["step"], name, "layer3.0.conv2"]
            assert ratio == pytest.approx(row["first_over_last"], rel=1e-5)


def test_the_figure_is_a_picture_and_nothing_temporary_is_left(run):
    assert (run[1] / "gradient-flow.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in run[1].iterdir()) == ["compare.csv", "compare.json", "gradient-flow.png"]


def test_the_same_seed_gives_the_same_numbers_and_quiet_shows_no_progress_bar(run, tmp_path):
    done = minires("compare", *SMALL, "--quiet", "--out", tmp_path)
    assert done.returncode == 0 and done.stderr == "" and "test accuracy" in done.stdout
    first, second = (json.loads((folder / "compare.json").read_text()) for folder in (run[1], tmp_path))
    assert first["networks"] == second["networks"]


@pytest.mark.parametrize(
    "options", [["--preact", "--shortcut", "B"], ["--zero-init-residual", "--dtype", "float64"], ["--shortcut", "C"]]
)
def test_options(options, tmp_path):
    assert cli.main(["compare", *SMALL, *options, "--quiet", "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depth", "10"], r"depth 10; .*6n\+2.*8 and 14"),
        (["--data", "cifar10", "--root", "/nowhere/at/all"], r"no folder /nowhere/at/all.*download"),
        (["--out", "/proc/nowhere"], r"cannot write to the folder /proc/nowhere"),
        (["--epochs", "0"], r"epochs=0"),
        (["--width", "0"], r"width 0"),
        (["--seed", "-1"], r"-1"),
    ],
)
def test_bad_settings_are_reported_in_one_line_before_any_training(options, message, tmp_path, capfd):
    assert cli.main(["compare", "--out", str(tmp_path), *options]) == 1
    out, err = capfd.readouterr()
    assert err.startswith("minires: ") and err.count("\n") == 1 and out == "" and re.search(message, err), err


def test_unknown_data_is_bad_usage(tmp_path):
    done = minires("compare", "--data", "imagenet", "--out", tmp_path)
    assert done.returncode == 2 and "digits" in done.stderr


def test_cifar10_in_its_binary_layout(tmp_path):
    """A small CIFAR-10 would have the wrong size; a whole one of noise has the right one."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (10_000, 3073), np.uint8)
    table[:, 0] %= 10
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        table.tofile(folder / name)
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n")
    train, test = compare.load_data("cifar10", str(tmp_path))
    assert (len(train), len(test)) == (50_000, 10_000)
    assert train[:2][0].shape == (2, 3, 32, 32)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_what_was_measured_and_says_so(tmp_path):
    program = f"{INTERRUPTIBLE}sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "compare", "--depth", "14", "--epochs", "500", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            shown = ""
            while not re.search(r" [3-9]\d/", shown):  # the bar has passed step 30
                shown += process.stderr.read(1)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Interrupted after" in out
    report = json.loads((tmp_path / "compare.json").read_text())
    assert report["interrupted"] and report["steps"] >= 30
    assert (tmp_path / "gradient-flow.png").stat().st_size > 10_000


def test_help_reads_well():
    text = minires("compare", "--help").stdout
    assert "examples:" in text and "--shortcut {A,B,C}" in text
    assert "compare" in minires("--help").stdout
    assert minires("--version").stdout.startswith("minires 0.")


def comparison(plain, residual, losses=(2.0, 1.0), accuracy=(0.3, 0.9), forks=()):
    """A comparison with the given first/last ratios {step: ratio}."""
    networks = {
        name: compare.Network(parameters=10, train_loss=loss, test_accuracy=acc, ratios=ratios)
        for name, ratios, loss, acc in zip(("plain", "residual"), (plain, residual), losses, accuracy)
    }
    settings = dict(depth=8, width=4, data="digits", device="cpu", seed=0, epochs=1, steps=5)
    rest = dict(seconds=1.0, interrupted=False, fork_sum_error=1e-8, networks=networks, forks=list(forks))
    return compare.Comparison(**settings, **rest)


def test_the_sentences_follow_the_numbers():
    from minires.flow import Fork

    forks = [Fork("a", skip=1.0, branch=1.0, total=1.4, cosine=0.0, sum_error=0.0, shape=(1,))]
    one, two, three = compare.sentences(comparison({0: 1000.0, 9: 0.01}, {0: 1.1, 9: 2.0}, forks=forks))
    assert "plain network's gradient is 1,000 times as large" in one and "explodes" in one
    assert "collapsed 100,000-fold, to 0.01" in one and "about the same at both ends (ratio 1.10)" in one
    assert "that of the residual one has changed by a factor of 1.8, to 2" in one
    assert "the residual network has the lower training loss, 1.000 against 2.000" in two and "90.0% " in two
    assert "At each of the 1 forks" in three and "50%" in three
    swapped = dict(losses=(1.0, 2.0), accuracy=(0.8, 0.4))
    one, two, _ = compare.sentences(comparison({0: 1.0}, {0: 30.0}, **swapped, forks=forks))
    assert "the residual network's is 30 times as large" in one
    assert "the plain network has the lower training loss, 1.000 against 2.000" in two and "80.0% " in two
    one, _, _ = compare.sentences(comparison({0: 0.02, 50: 0.5}, {0: 1.0, 50: 1.0}, forks=forks))
    assert "is 50 times smaller" in one and "vanishes" in one and "grown 25-fold, to 0.5" in one


def test_a_diverged_training_is_said_to_have_diverged(tmp_path):
    done = minires("compare", *SMALL, "--lr", "1e30", "--quiet", "--out", tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert "The training of both networks diverged" in done.stdout and "nan" not in done.stdout
    json.loads((tmp_path / "compare.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in JSON"))


def test_a_finite_loss_that_is_far_too_high_has_diverged_too():
    _, two, three = compare.sentences(comparison({0: 1.0}, {0: 1.0}, losses=(1.5e9, 1.4e14)))
    assert two == "The training of both networks diverged; try a smaller --lr." and "means nothing" in three
    assert "1.5e+09" in compare.table(comparison({0: 1.0}, {0: 1.0}, losses=(1.5e9, 1.0)))


def test_ctrl_c_while_testing_costs_the_accuracy_alone(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "evaluate", interrupted)
    options = compare.Settings(depth=8, width=4, epochs=1, batch_size=256, quiet=True, out=str(tmp_path))
    measured = compare.compare(options)
    assert measured.interrupted and measured.steps > 0
    assert "not measured" in compare.table(measured) and "test images" not in compare.sentences(measured)[1]
    assert {path.name for path in tmp_path.iterdir()} == {"gradient-flow.png", "compare.json", "compare.csv"}


def test_what_is_not_finite_is_said_not_hidden():
    bad = comparison({0: None}, {0: 1.0}, losses=(None, 1.0), accuracy=(0.1, 0.9))
    assert "not finite" in compare.table(bad)


def test_what_vanishes_is_not_rounded_to_0():
    from minires.flow import Fork

    forks = [
        Fork("a", skip=1.0, branch=b, total=1.0, cosine=0.0, sum_error=0.0, shape=(1,)) for b in (1e-20, 1e-3, 0.0)
    ]
    tiny = comparison({0: 1e-20, 9: 1e-30}, {0: 1e25, 9: 1.0}, losses=(1.0, 1e-7), forks=forks)
    one, two, three = compare.sentences(tiny)
    assert "1e+20 times smaller" in one and "collapsed 1e+10-fold, to 1e-30" in one
    assert "1e+25 times as large" in one and "collapsed 1e+25-fold, to 1" in one
    assert "1.0e-07 against 1.000" in two
    assert "between 0% and 1e-04% " in three and "1e-38% at the median fork" in three
    gone = comparison({0: 0.0, 9: 0.5}, {0: 0.5, 9: 0.0}, forks=forks)
    one, _, _ = compare.sentences(gone)
    assert "plain network's gradient is 0 at the first convolution" in one
    assert "has grown from 0 to 0.5" in one and "has fallen from 0.5 to 0" in one
    assert "is still 0" in compare.sentences(comparison({0: 0.0}, {0: 1.0}, forks=forks))[0]
    assert "1e-20" in compare.table(tiny) and "1.0e-07" in compare.table(tiny)
