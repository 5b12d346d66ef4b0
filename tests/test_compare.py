"""The main job, end to end and small: ``python -m minires compare`` in a real process, its options within this one."""

import csv
import dataclasses
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

from minires import terminal
from minires.commands import cli, compare
from minires.commands.compare import output, running
from minires.experiments import pairs, watched

FILES = ["compare.csv", "compare.json", "explorer.html", "gradient-flow.png"]
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
    assert re.search(r"plain \d\.\d\d, residual \d\.\d\d", done.stderr) and "44/44" in done.stderr


def test_the_report_has_the_documented_fields(run):
    report = json.loads((run[1] / "compare.json").read_text())
    expected = {"version", "depth", "width", "data", "seed", "epochs", "seconds", "fork_sum_error", "networks"}
    assert expected <= report.keys()
    given = vars(cli._parser().parse_args(["compare", *SMALL, "--out", str(run[1])]))
    known = {name: value for name, value in given.items() if name != "command" and value not in (None, [])}
    assert known.items() <= report["settings"].items() and report["settings"].keys() == given.keys() - {"command"}
    assert report["settings"]["networks"] == ["plain", "residual"] and report["settings"]["shortcut"] == "A"
    assert 0 < report["fork_sum_error"] < 1e-4
    plain, residual = report["networks"]["plain"], report["networks"]["residual"]
    assert plain["parameters"] == residual["parameters"]
    for network in (plain, residual):
        assert {"parameters", "train_loss", "test_accuracy", "gradient_ratio", "runs"} == network.keys()
        assert network["runs"][0]["train_loss_steps"] == 4, "the last fifth of 22 steps, not all of them"
        steps = [row["step"] for row in network["gradient_ratio"]]
        assert steps[:10] == list(range(10)) and steps[-1] == 21
        assert all(row["first_over_last"] > 0 for row in network["gradient_ratio"])
        rows = network["runs"][0]["gradient_ratio"]
        assert all(row["free_of_scale"] > 0 and 0 < row["degrees_turned"] < 90 for row in rows)


def test_the_csv_agrees_with_the_report(run):
    report = json.loads((run[1] / "compare.json").read_text())
    with open(run[1] / "compare.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    norm = {(int(r["step"]), r["network"], r["layer"]): float(r["gradient_norm"]) for r in rows}
    assert {r["network"] for r in rows} == {"plain", "residual"}
    for name, network in report["networks"].items():
        for row, own in zip(network["gradient_ratio"], network["runs"][0]["gradient_ratio"]):
            ratio = norm[row["step"], name, "conv1"] / norm[row["step"], name, "layer3.0.conv2"]
            assert ratio == pytest.approx(row["first_over_last"], rel=1e-5)
            of_step = [r for r in rows if (int(r["step"]), r["network"]) == (row["step"], name)]
            kernels = {r["layer"]: r for r in of_step if "conv" in r["layer"]}
            first, last = (float(kernels[layer]["free_of_scale"]) for layer in ("conv1", "layer3.0.conv2"))
            assert first / last == pytest.approx(own["free_of_scale"], rel=1e-5)
            turns = [float(r["degrees_turned"]) for r in kernels.values()][1:10]
            assert np.median(turns) == pytest.approx(own["degrees_turned"], rel=1e-5)


def test_the_figure_is_a_picture_and_nothing_temporary_is_left(run):
    assert (run[1] / "gradient-flow.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in run[1].iterdir()) == FILES
    page = (run[1] / "explorer.html").read_text(encoding="utf-8")
    assert "plain-8 and residual-8, width 2, on digits" in page and "</html>" in page


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
        (["--seeds", "0"], r"seeds=0"),
        (["--processes", "0"], r"processes=0"),
        (["--lr", "nan"], r"lr=nan; .*finite, positive"),
        (["residual"], r"got 'residual'; expected two networks"),
        (["residual", "resnet"], r"got 'resnet'; expected two of plain, residual, "),
        (["preact", "preact"], r"got 'preact' twice"),
        (["residual", "preact", "--zero-init-residual"], r"which concern the twins.*zero-gamma"),
        (["residual", "conv-shortcut", "--shortcut", "B"], r"--shortcut B with conv-shortcut"),
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


def test_side_by_side_the_networks_come_out_the_same_to_the_last_bit(tmp_path):
    """These two draw random numbers in every step, which must not depend on who else draws."""
    networks = ["dropout-shortcut", "stochastic-depth"]
    for count in ("1", "2"):
        done = minires("compare", *networks, *SMALL, "--quiet", "--processes", count, "--out", tmp_path / count)
        assert done.returncode == 0 and done.stderr == "", done.stderr
    one, two = (json.loads((tmp_path / count / "compare.json").read_text()) for count in ("1", "2"))
    assert (one["processes"], two["processes"]) == (1, 2) and one["networks"] == two["networks"]
    assert (tmp_path / "1" / "compare.csv").read_bytes() == (tmp_path / "2" / "compare.csv").read_bytes()


def test_by_default_there_are_two_processes_where_a_step_is_too_small_for_threads(monkeypatch):
    monkeypatch.setattr(running, "available_cores", lambda: 2)
    monkeypatch.setattr(running, "get_num_threads", lambda: 2)

    def count(**options):
        settings = compare.Settings(**options)
        sets = tuple(watched.load_data("digits"))
        return running.processes(settings, running.tasks(settings, running.builder(settings), sets))

    assert count() == 2 and count(seeds=3) == 2
    assert count(width=64) == 1, "there threads help, and decide in which order numbers are added"
    assert count(depth=8, epochs=1) == 1, "it is over before a process has started"
    assert count(device="cuda-on-cpu") == 1 and count(processes=1) == 1 and count(processes=9, seeds=2) == 4


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_that_dies_is_reported_and_nothing_is_written(tmp_path):
    options = ["--depth", "14", "--epochs", "500", "--processes", "2", "--out", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "minires", "compare", *options], stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            shown = ""
            while not re.search(r" [3-9]\d/", shown):
                shown += run.stderr.read(1)
            os.kill(max(children(run.pid)), signal.SIGKILL)
            _, err = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 1 and "a process ended before its job was done" in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def children(parent):
    """The processes that compute for this one: the others only watch."""
    columns = ["-o", "pid=", "-o", "ppid=", "-o", "args="]
    listed = subprocess.run(["ps", "-A", "-ww", *columns], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == parent and "spawn_main" in row[2]]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(name, marks=() if name in ("exclusive-gate", "rezero") else pytest.mark.slow)
        for name in pairs.KINDS
        if name not in ("plain", "residual")
    ],
)
def test_any_network_can_be_compared_with_another(kind, tmp_path, monkeypatch):
    few = tuple(part.subset(64) for part in watched.load_data("digits"))
    monkeypatch.setattr(compare, "load_data", lambda *_, **__: few)
    options = ["--batch-size", "32", "--quiet", "--no-explorer", "--out", str(tmp_path)]
    assert cli.main(["compare", "plain" if kind == "fixup" else "residual", kind, *SMALL, *options]) == 0
    assert kind in json.loads((tmp_path / "compare.json").read_text())["networks"]


@pytest.mark.parametrize("width", [40, 60, 200])
def test_the_bar_and_the_sentences_fit_the_terminal(width, run, monkeypatch):
    settings = compare.Settings(networks=("relu-before-addition", "dropout-shortcut"), seeds=3)
    latest = {number: watched.Advance(12, 123.456, 0.5) for number in (0, 1)}
    assert len(running.describe(settings, latest, width)) <= max(width - 25, 40)
    assert len(running.describe(compare.Settings(), latest, 60)) <= 35
    text = "word " * 60
    monkeypatch.setattr(terminal, "columns", lambda: width)
    assert max(map(len, terminal.wrapped(text).splitlines())) <= min(width, 100)
    assert max(map(len, run[0].stdout.splitlines())) <= 80


def test_several_seeds_are_drawn_and_written(tmp_path):
    options = ["--quiet", "--seeds", "2", "--no-explorer", "--out", str(tmp_path)]
    assert cli.main(["compare", *SMALL, *options]) == 0
    report = json.loads((tmp_path / "compare.json").read_text())
    runs = {name: network["runs"] for name, network in report["networks"].items()}
    assert [[r["seed"] for r in of] for of in runs.values()] == [[0, 1], [0, 1]]
    assert runs["plain"][0]["train_loss"] != runs["plain"][1]["train_loss"]
    alone = tmp_path / "1"
    assert cli.main(["compare", *SMALL, "--quiet", "--seed", "1", "--no-explorer", "--out", str(alone)]) == 0
    other = json.loads((alone / "compare.json").read_text())["networks"]
    assert {name: network["runs"][0] for name, network in other.items()} == {name: of[1] for name, of in runs.items()}


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
    assert report["interrupted"] and report["steps"] >= 1
    assert (tmp_path / "gradient-flow.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--depth 8 --data cifar10 --root /my/own --epochs 1 --shortcut B --lr 0.02 --dtype float64",
        "--preact --zero-init-residual --batch-size 32 --seed 7 --width 4 --device cuda-on-cpu --out elsewhere --quiet",
        "residual preact --shortcut C --depth 20",
        "plain fixup",
    ],
)
def test_the_last_words_are_commands_for_the_same_networks_and_training(flags):
    def parsed(text):
        arguments = vars(cli._parser().parse_args(shlex.split(text)[1:]))
        return {name: arguments[name] for name in arguments if name not in ("command", "out", "quiet")}

    given = vars(cli._parser().parse_args(["compare", *flags.split()]))
    settings = compare.Settings(
        **{k: v for k, v in given.items() if k != "command"} | {"networks": tuple(given["networks"])}
    )
    measured = of(dict.fromkeys(settings.names, network({0: 1.0})))
    measured = dataclasses.replace(measured, settings=output.complete(settings))
    figures, seeds = (
        output.last_words(measured)[-1].partition("every figure: ")[2].split("; what depends on the seed: ")
    )
    again, asked = parsed(seeds), parsed(f"minires compare {flags}")
    assert again.pop("seeds") == 3 and asked.pop("seeds") == 1 and again == asked
    drawn = parsed(figures)
    assert {name: drawn[name] for name in output.FLOW} == {name: getattr(settings, name) for name in output.FLOW}
    assert drawn["model"] == (settings.names[1] if settings.networks else "twins")


def test_help_reads_well():
    text = minires("compare", "--help").stdout
    assert "examples:" in text and "--shortcut {A,B,C}" in text
    assert "compare" in minires("--help").stdout
    assert minires("--version").stdout.startswith("minires 0.")


def network(ratios, losses=(1.0,), accuracy=0.5, forks=(), seeds=1, end=1.0):
    """A network with the given first/last ratios {step: ratio}, or {step: (first, last)}."""
    ends = {step: ratio if isinstance(ratio, tuple) else (ratio, 1.0) for step, ratio in ratios.items()}
    runs = [compare.Run(seed, 5, list(losses), accuracy, ends, end, 1e-8 if forks else None) for seed in range(seeds)]
    return compare.Network(10, runs, list(forks))


def comparison(plain, residual, losses=(2.0, 1.0), accuracy=(0.3, 0.9), forks=(), names=("plain", "residual"), **rest):
    """A comparison of two networks with the given ratios."""
    pairs = zip(names, (plain, residual), losses, accuracy, ((), forks))
    networks = {name: network(r, [loss], a, f) for name, r, loss, a, f in pairs}
    return of(networks, **rest)


def of(networks, steps=5, shared=1.0):
    settings = dict(depth=8, width=4, data="digits", device="cpu", seed=0, epochs=1, out="out", seeds=1)
    return compare.Comparison(settings, networks, steps, 360, shared, processes=1, seconds=1.0, interrupted=False)


def test_the_sentences_follow_the_numbers():
    from minires.flow import Fork

    forks = [Fork("a", skip=1.0, branch=1.0, total=1.4, cosine=0.0, sum_error=0.0, shape=(1,))]
    one, two, three = compare.sentences(comparison({0: 1000.0, 9: 0.01}, {0: 1.1, 9: 2.0}, forks=forks))
    assert "gradient of the plain network is 1,000 times as large" in one and "explodes" in one
    assert "fallen 100,000-fold, to 0.01" in one and "about the same at both ends (ratio 1.10)" in one
    assert "that of the residual network has changed by a factor of 1.8, to 2" in one
    assert "the residual network has the lower training loss, 1.000 against 2.000" in two and "90.0% " in two
    assert "At the only fork of" in three and three.endswith("the branch returned 50% of ‖skip‖² + ‖branch‖².")
    swapped = dict(losses=(1.0, 2.0), accuracy=(0.8, 0.4))
    one, two, _ = compare.sentences(comparison({0: 1.0}, {0: 30.0}, **swapped, forks=forks))
    assert "that of the residual network is 30 times as large" in one
    assert "the plain network has the lower training loss, 1.000 against 2.000" in two and "80.0% " in two
    one, _, _ = compare.sentences(comparison({0: 0.02, 50: 0.5}, {0: 1.0, 50: 1.0}, forks=forks))
    assert "is 50 times smaller" in one and "vanishes" in one and "levelled out, from 0.02 to 0.5" in one
    one, _, _ = compare.sentences(comparison({0: 17.5, 50: 0.97}, {0: 1.0, 50: 1.0}, forks=forks))
    assert "the plain network has levelled out, from 18 to 0.97, that of the residual network is still 1" in one


def turning(begin, end, free, loss=2.0):
    """A network whose early kernels turn by so many degrees in a step, first and later."""
    turns, ends = {1: begin, 5: begin, 40: end, 50: end}, {0: (1000.0, 1.0), 50: (0.01, 1.0)}
    return compare.Network(10, [compare.Run(0, 51, [loss], 0.5, ends, 1.0, None, {0: 500.0, 50: free}, turns)])


def test_what_kernels_do_is_said_beside_the_raw_gradient():
    frozen = of({"plain": turning(14.0, 0.003, 1.1), "residual": turning(0.5, 0.4, 1.2, loss=0.01)})
    one, two, *_ = compare.sentences(frozen)
    assert "fallen 100,000-fold, to 0.01 (1.1 if each is multiplied by its weight's size" in one
    assert "by 14° and 0.003° in the plain network, by 0.5° and 0.4° in the residual network" in two
    assert "In the plain network early kernels are frozen" in two
    learned = of({"plain": turning(14.0, 0.003, 1.1, loss=0.01), "residual": turning(0.5, 0.4, 1.2)})
    assert "frozen" not in compare.sentences(learned)[1], "what has learned its images turns little, too"
    assert re.search(r"free of scale, step 0 +500 +500\n", compare.table(frozen))
    early = compare.Run(0, 51, [2.0], 0.5, {0: (1.0, 1.0)}, 1.0, None, {0: 1.0}, {0: 3.0})
    assert "early kernel" not in " ".join(
        compare.sentences(of({"a": compare.Network(1, [early]), "b": frozen.networks["plain"]}))
    )


def test_a_tie_is_called_a_tie():
    noisy, shifted = [1.0, 1.3, 0.9, 1.2], [1.1, 1.1, 1.1, 1.2]  # the mean difference is less than the noise in it
    tie = of({"plain": network({0: 1.0}, noisy, 0.950), "residual": network({0: 1.0}, shifted, 0.955)})
    sentence = compare.sentences(tie)[1]
    assert "the training losses are a tie, 1.100 and 1.125" in sentence
    assert "95.0% and 95.5% of the test images classified right are a tie too" in sentence
    lower = [loss - 0.2 for loss in noisy]  # by the same in every step
    clear = of({"plain": network({0: 1.0}, noisy, 0.5), "residual": network({0: 1.0}, lower, 0.9)})
    assert "the residual network has the lower training loss, 0.900 against 1.100" in compare.sentences(clear)[1]
    equal = of({"plain": network({0: 1.0}, [1e-9], 0.5), "residual": network({0: 1.0}, [1.04e-9], 0.9)})
    assert "a tie, 1.0e-09 and 1.0e-09" in compare.sentences(equal)[1]
    assert "of the test images the plain network classifies 50.0%" in compare.sentences(equal)[1]


def test_several_seeds_vote_and_the_table_has_medians_and_ranges():
    a = compare.Network(
        1, [compare.Run(s, 5, [loss], 0.5, {0: (2.0 * s, 1.0)}, 1.0) for s, loss in enumerate((1, 2, 3))]
    )
    b = compare.Network(1, [compare.Run(s, 5, [loss], 0.9, {0: (9.0, 1.0)}, 1.0) for s, loss in enumerate((2, 1, 1))])
    measured = of({"plain": a, "preact": b})
    assert (
        "preact has the lower training loss, 1.000 against 2.000 (in 2 of 3 seeds; medians)"
        in compare.sentences(measured)[1]
    )
    assert "2.000 (1.000–3.000)" in compare.table(measured) and "2 (0–4)" in compare.table(measured)
    two = of({"plain": network({0: 1.0}, seeds=2), "preact": compare.Network(1, b.runs[:2])})
    assert "are a tie" in compare.sentences(two)[1] and "of 2 seeds" in compare.sentences(two)[1]


def test_a_small_gradient_at_the_end_is_explained_by_the_loss():
    learned = network({0: 1.0}, [0.002], end=0.02)
    words = compare.sentences(of({"plain": network({0: 1.0}, [1.5], end=1.0), "residual": learned}))[2]
    assert (
        "gradient of the residual network is 50 times smaller" in words
        and "because its loss is near 0, 2.0e-03" in words
    )
    stuck = network({0: 1.0}, [2.3], end=0.02)
    words = compare.sentences(of({"plain": stuck, "residual": network({0: 1.0}, [0.8], end=1.0)}))[2]
    assert "plain network is 50 times smaller" in words and "because" not in words and "2.300 against 0.800" in words


def test_networks_that_do_not_start_from_the_same_weights_are_not_said_to():
    measured = of({"residual": network({0: 1.0}), "fixup": network({0: (0.0, 0.0)})}, shared=0.0)
    one, two, *_ = compare.sentences(measured)
    assert "that of fixup is 0 at both ends" in one and "from the same seed (0% of the weights equal)" in two
    assert "0/0" in compare.table(measured)


def test_a_diverged_training_is_said_to_have_diverged(tmp_path):
    done = minires("compare", *SMALL, "--lr", "1e30", "--quiet", "--out", tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert "The training of both networks diverged" in done.stdout and "nan" not in done.stdout
    assert "test accuracy" in done.stdout and "10.0%" not in done.stdout  # of outputs that are NaN
    json.loads((tmp_path / "compare.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in JSON"))


def test_a_finite_loss_that_is_far_too_high_has_diverged_too():
    _, two, three = compare.sentences(comparison({0: 1.0}, {0: 1.0}, losses=(1.5e9, 1.4e14)))
    assert two == "The training of both networks diverged; try a smaller --lr." and "means nothing" in three
    assert "1.5e+09" in compare.table(comparison({0: 1.0}, {0: 1.0}, losses=(1.5e9, 1.0)))


def test_ctrl_c_while_testing_costs_the_accuracy_alone(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(watched, "evaluate", interrupted)
    options = compare.Settings(depth=8, width=4, epochs=1, batch_size=256, quiet=True, out=str(tmp_path))
    measured = compare.compare(options)
    assert measured.interrupted and measured.steps > 0
    assert "not measured" in compare.table(measured) and "test images" not in compare.sentences(measured)[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_what_is_not_finite_is_said_not_hidden():
    bad = comparison({0: math.nan}, {0: 1.0}, losses=(math.nan, 1.0), accuracy=(0.1, 0.9))
    assert "not finite" in compare.table(bad)


def test_what_vanishes_is_not_rounded_to_0():
    from minires.flow import Fork

    forks = [
        Fork("a", skip=1.0, branch=b, total=1.0, cosine=0.0, sum_error=0.0, shape=(1,)) for b in (1e-20, 1e-3, 0.0)
    ]
    tiny = comparison({0: 1e-20, 9: 1e-30}, {0: 1e25, 9: 1.0}, losses=(1.0, 1e-7), forks=forks)
    one, two, three = compare.sentences(tiny)
    assert "1e+20 times smaller" in one and "fallen 1e+10-fold, to 1e-30" in one
    assert "1e+25 times as large" in one and "levelled out, from 1e+25 to 1" in one
    assert "1.0e-07 against 1.000" in two
    assert "between 0% and 1e-04% " in three and "1e-38% at the median fork" in three
    gone = comparison({0: 0.0, 9: 0.5}, {0: 0.5, 9: 0.0}, forks=forks)
    one, _, _ = compare.sentences(gone)
    assert "gradient of the plain network is 0 at the first convolution" in one
    assert "has grown from 0 to 0.5" in one and "has fallen from 0.5 to 0" in one
    assert "is still 0" in compare.sentences(comparison({0: 0.0, 1: 0.0}, {0: 1.0, 1: 1.0}, forks=forks))[0]
    assert "1e-20" in compare.table(tiny) and "1.0e-07" in compare.table(tiny)
