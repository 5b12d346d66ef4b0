"""Sweeps: jobs that are kept by what they depend on, tables and figures, failures, Ctrl-C and kill, bad input."""

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
import time
from concurrent.futures import Executor, Future

import matplotlib.image
import pytest
from processes import ENVIRONMENT

from minires import jobs, random
from minires.commands import cli
from minires.experiments import figure, sweep as sweeps, table, training
from minires.experiments.experiment import Cell
from minires.experiments.registry import EXPERIMENTS, LIST
from minires.experiments.sweep import Done, Result, Sweep

pytestmark = pytest.mark.usefixtures("collected")

DEGRADATION = EXPERIMENTS["degradation"]
SMALL = Sweep(DEGRADATION, range(2), ["plain", "residual"], [8], "digits", {"steps": 2})
FLAGS = ["--variants", "plain,residual", "--depths", "8", "--data", "digits", "--set", "steps=2", "--quiet"]


@pytest.fixture(scope="module")
def processes():
    with jobs.Processes(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def folder(tmp_path_factory, processes):
    """A folder with the files of a small sweep."""
    path = tmp_path_factory.mktemp("sweep")
    table.write(path, sweeps.run(SMALL, path, processes))
    return path


def stored(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "jobs").iterdir()}


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_done_is_never_done_again_and_a_larger_sweep_does_the_rest(folder, processes, tmp_path):
    before, heard = stored(folder), []
    again = sweeps.run(SMALL, folder, processes, progress=lambda result, count: heard.append((len(result.done), count)))
    assert stored(folder) == before and again.kept == 4 and heard == [(4, 4)]
    larger = dataclasses.replace(SMALL, seeds=range(3), variants=["plain", "zero-gamma"])
    assert sweeps.run(larger, folder, processes).kept == 2
    assert before.items() < stored(folder).items() and len(stored(folder)) == 4 + 4


def test_the_deepest_networks_come_first(tmp_path):
    class Notes(Executor):
        def submit(self, function, job):
            depths.append(job.cell.depth)
            future = Future()
            future.set_result("not done")
            return future

    depths = []
    result = sweeps.run(dataclasses.replace(SMALL, depths=[8, 56, 20]), tmp_path, Notes())
    assert depths == [56] * 4 + [20] * 4 + [8] * 4
    assert [job.cell.depth for job in result.jobs] == [8, 8, 56, 56, 20, 20] * 2, "the table keeps its order"


def test_numbers_are_those_of_a_direct_call_to_the_last_bit_and_nothing_else_changes(folder, processes):
    state = random.get_state()
    result = sweeps.run(SMALL, folder, processes)
    for job, done in result.done.items():
        assert done.numbers == DEGRADATION.run(job.seed, job.cell, "digits", steps=2)
    random.set_state(state)
    assert sweeps.work(SMALL.jobs()[0]).numbers == result.done[SMALL.jobs()[0]].numbers
    assert random.get_state() == state, "a job has random numbers of its own"


def test_a_damaged_result_is_done_again(folder, processes):
    job = SMALL.jobs()[0]
    path = folder / "jobs" / f"{job.key}.json"
    whole = json.loads(path.read_text())
    for text in ("", "{", "[]", "{}", json.dumps(whole | {"numbers": {"loss": "large"}})):
        path.write_text(text)
        assert sweeps.run(SMALL, folder, processes).kept == 3
        assert json.loads(path.read_text())["numbers"] == whole["numbers"]


def test_the_key_depends_on_all_that_a_number_depends_on(monkeypatch):
    job = SMALL.jobs()[0]
    others = [
        *(job._replace(seed=1), job._replace(cell=Cell("residual", 8)), job._replace(cell=Cell("plain", 20))),
        *(job._replace(data="c8"), job._replace(options=(("lr", 0.1), ("steps", 3))), job._replace(sources="others")),
        job._replace(experiment="lesion"),
    ]
    keys = {other.key for other in others}
    assert len(keys) == len(others) and job.key not in keys and job.key == SMALL.jobs()[0].key
    defaults = dataclasses.replace(SMALL, options={"steps": 2, "lr": 0.1})
    assert defaults.jobs() == SMALL.jobs(), "a default that is written out is the same setting"
    monkeypatch.setattr(sweeps, "__version__", "0.0")
    assert job.key not in keys


def test_the_sources_are_those_of_the_engine_and_of_the_experiment_alone():
    digests = {e.name: sweeps.sources(e.measure.__module__) for e in LIST}
    assert digests["lesion"] == digests["degradation"] != digests["explosion"]
    modules = sweeps._imported("minires.experiments.trained", set())
    assert {"minires.experiments.training", "minires.experiments.experiment"} < modules
    assert not {"minires.experiments.paths", "minires.experiments.registry"} & modules
    refused = sweeps.work(SMALL.jobs()[0]._replace(sources="others"))
    assert "are not those of the program that asks; install the same there" in refused


def test_what_was_kept_just_before_ctrl_c_is_counted(tmp_path, monkeypatch):
    class Here(Executor):
        def submit(self, function, job):
            future = Future()
            future.set_result(function(job))
            return future

    def interrupted(*what, keep=sweeps._keep):
        keep(*what)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "_keep", interrupted)
    result = sweeps.run(SMALL, tmp_path, Here())
    assert result.ended == "interrupted" and len(result.done) == len(stored(tmp_path)) == 1


def test_the_smallest_numbers_that_an_experiment_takes_give_numbers():
    tried = 0
    for experiment in LIST:
        names = [name for name, value in experiment.options.items() if isinstance(value, int)]
        own = Sweep(experiment, range(1), experiment.variants[:1], experiment.depths[:1])
        own = dataclasses.replace(own, data="digits" if experiment.data else None)
        for name in names:
            with pytest.raises(ValueError, match=f"{experiment.name}: got {name} -1; expected at least [012]"):
                dataclasses.replace(own, options={name: -1}).check()
        smallest = {name: experiment.least.get(name, 1) for name in names}
        if depth := experiment.least.get("depth"):
            with pytest.raises(ValueError, match=f"got depth {depth - 1}; expected at least {depth}"):
                dataclasses.replace(own, depths=[depth - 1]).check()
            own = dataclasses.replace(own, depths=[depth])
        smallest = {name: n for name, n in smallest.items() if name not in ("depth", "width")}  # networks check those
        (job,) = dataclasses.replace(own, options=smallest).jobs()
        done = sweeps.work(job)
        assert isinstance(done, Done), (experiment.name, done)
        assert not any(map(math.isnan, done.numbers.values())), (experiment.name, done.numbers)
        tried += len(names)
    assert tried > 20


def test_a_setting_that_is_written_out_is_still_the_experiments_own():
    own = Sweep(DEGRADATION, range(1), ["plain"], [8], "c8", {"lr": 0.1})
    assert own.as_declared and own.second() is None, "one job was asked for"
    page = table.page(Result(own, own.jobs(), {job: Done({"loss": 1.0}, 1.0, {}) for job in own.jobs()}))
    assert "not for these" not in page and DEGRADATION.remark in page
    assert not dataclasses.replace(own, options={"lr": 0.2}).as_declared


def test_numbers_that_are_none_are_kept_as_they_are(tmp_path):
    job, done = SMALL.jobs()[0], Done({"a": math.inf, "b": -math.inf, "c": 0.1 + 0.2, "d": math.nan}, 1.0, {})
    sweeps._keep(tmp_path, job, done)
    json.loads((tmp_path / f"{job.key}.json").read_text(), parse_constant=pytest.fail)
    kept = sweeps._load(tmp_path, job).numbers
    assert math.isnan(kept.pop("d")) and kept == {"a": math.inf, "b": -math.inf, "c": 0.1 + 0.2}


# ── tables and figure ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_three_tables_agree(folder):
    whole = json.loads((folder / "sweep.json").read_text())
    rows = list(csv.DictReader((folder / "sweep.csv").read_text().splitlines()))
    assert [(r["variant"], int(r["depth"]), int(r["seed"])) for r in rows] == [
        (j["variant"], j["depth"], j["seed"]) for j in whole["jobs"]
    ]
    assert [float(r["loss"]) for r in rows] == [j["numbers"]["loss"] for j in whole["jobs"]]
    plain = [float(r["loss"]) for r in rows if r["variant"] == "plain"]
    assert whole["over_seeds"]["loss, plain-8"] == plain and len(plain) == 2
    page = (folder / "sweep.md").read_text()
    assert f"| loss, plain-8 | {sum(plain) / 2:.3g} | {min(plain):.3g} … {max(plain):.3g} | 2 |" in page
    command = whole["settings"]["command"]
    assert f"`{command}`" in page and "Criteria for numbers that were not measured here: plain-56 − plain-8" in page
    assert shlex.split(command)[1:] == ["experiments", "degradation", "--seeds", "2", *FLAGS[:-1]]


def results(experiment, seeds, **cells):
    """A result with made-up numbers."""
    sweep = Sweep(experiment, range(seeds), **cells)
    own = sweep.jobs()
    named = {
        "gradient-profile": [f"first/last, step {s}" for s in (0, 3, 10)],
        "depth-scaling": ["loss, lr 0.1", "loss, lr 0.2"],
        "turning": [name.rpartition(", ")[0] for name in EXPERIMENTS["turning"].bounds][::2],
    }
    names = named.get(experiment.name, ["loss", "median"])
    where = {"host": "a", "python": "3.14", "numpy": "2.5"}
    numbers = {job: {n: 1.0 + i + job.seed + (job.cell.depth or 0) for i, n in enumerate(names)} for job in own}
    return Result(sweep, own, {job: Done(numbers[job], 1.0, where) for job in own})


def test_what_trains_is_tried_at_its_second_setting_too_and_table_and_figure_say_what_holds(processes, tmp_path):
    own = Sweep(EXPERIMENTS["relative-error"], range(1), ["plain"])
    result = sweeps.run(own, tmp_path, processes)
    (job,) = result.second.jobs
    assert dict(job.options)["lr"] == 0.01 and len(result.jobs) == 1 and len(result.done) == result.count == 2
    slope = result.done[job].numbers["slope"]
    assert result.also() == {"slope, plain": (slope, True)} and result.found()["slope, plain"] != [slope]
    assert f"| holds also: {table.number(slope)} |" in table.page(result)
    assert figure.second(result) == "holds also at lr 0.01"
    result.done[job].numbers["slope"] = 0.9
    assert "| **does not hold**: 0.9 |" in table.page(result)
    assert figure.second(result) == "not at lr 0.01: slope, plain"
    assert dataclasses.replace(own, options={"lr": 0.02}).second() is None, "it was not asked for"
    assert Sweep(DEGRADATION).second() and Sweep(DEGRADATION, data="c8").second()
    assert not Sweep(DEGRADATION, data="digits").second() and not Sweep(EXPERIMENTS["chaos"]).second()


@pytest.mark.parametrize(
    "name, seeds",
    [("degradation", 1), ("gradient-profile", 3), ("lesion", 3), ("explosion", 1), ("skip-init", 2), ("turning", 2)],
)
def test_every_kind_of_figure_is_drawn(name, seeds, tmp_path):
    figure.draw(tmp_path / "a.png", results(EXPERIMENTS[name], seeds))
    assert matplotlib.image.imread(tmp_path / "a.png").shape[1] >= 6.4 * 120


def test_a_figure_has_a_line_for_each_variant_over_depth_or_step_and_seeds_that_lack_a_point():
    result = results(DEGRADATION, 3)
    points = figure.points(result)
    assert set(points) == {"loss", "median"} and set(points["loss"]) == {"plain", "residual", "zero-gamma"}
    assert points["loss"]["plain"] == {float(d): [1.0 + d, 2.0 + d, 3.0 + d] for d in (8, 20, 56)}
    del result.done[result.jobs[0]]
    assert len(figure.points(result)["loss"]["plain"][8.0]) == 2 and len(result.found()["plain-56 − plain-8"]) == 2
    points = figure.points(results(EXPERIMENTS["gradient-profile"], 2))
    assert points["first/last"]["plain"] == {0.0: [57, 58], 3.0: [58, 59], 10.0: [59, 60]}
    assert figure.points(results(EXPERIMENTS["explosion"], 2)) == {"": {"loss": {0.0: [1, 2]}, "median": {0.0: [2, 3]}}}


def test_lines_of_several_variants_and_depths_have_a_panel_for_each_variant(tmp_path):
    result = results(EXPERIMENTS["depth-scaling"], 1)
    panels = figure.by_variant(result, "loss", figure.points(result)["loss"])
    assert set(panels) == {"loss: 1/√L", "loss: unscaled"}
    assert panels["loss: unscaled"] == {f"depth {d}": {0.1: [1 + d], 0.2: [2 + d]} for d in (8, 16, 32, 128)}
    figure.draw(tmp_path / "a.png", result)
    for other in (DEGRADATION, EXPERIMENTS["gradient-profile"]):
        result = results(other, 1)
        assert all(list(figure.by_variant(result, *one)) == [one[0]] for one in figure.points(result).items())


@pytest.mark.parametrize(
    "name, shown", [("explosion", {"": ["median"]}), ("lesion", {"median": ["plain", "residual"]})]
)
def test_a_figure_shows_what_it_is_to_show(name, shown):
    result = results(dataclasses.replace(EXPERIMENTS[name], shows=("median",)), 1)
    assert {what: list(lines) for what, lines in figure.shown(result).items()} == shown


def test_rows_of_a_figure_know_their_criterion():
    result = results(EXPERIMENTS["lesion"], 2)
    wanted = figure.wanted(result, "median", figure.points(result)["median"])
    assert wanted == {"plain": (0.18, math.inf), "residual": (-math.inf, 0.08)}


def test_what_compares_networks_has_the_colour_of_none(tmp_path, monkeypatch):
    drawn = {}
    dots, lines = figure._dots, figure._lines
    monkeypatch.setattr(figure, "_dots", lambda ax, *rest: (dots(ax, *rest), drawn.update({ax.get_title(): ax})))
    monkeypatch.setattr(figure, "_lines", lambda ax, *rest: (lines(ax, *rest), drawn.update({ax.get_title(): ax})))
    figure.draw(tmp_path / "a.png", results(DEGRADATION, 2))
    colours = {title: {line.get_color() for line in ax.lines} for title, ax in drawn.items()}
    assert len(colours["loss"]) == 3 and colours["loss"] == colours["median"]
    assert len(colours["compared"]) == 1 and not colours["compared"] & colours["loss"]


def test_the_title_counts_the_seeds_that_the_figure_shows():
    result = sweeps.Result(Sweep(DEGRADATION), (own := Sweep(DEGRADATION, range(3)).jobs()), {})
    other = Sweep(DEGRADATION, range(3), options={"lr": 0.02}).jobs()
    result.done = {job: Done({"loss": 1.0}, 1.0, {}) for job in [own[0], *other]}
    assert figure.subtitle(result).endswith("1 seed")


def test_of_a_sweep_without_results_everything_is_written(tmp_path):
    result = Result(SMALL, SMALL.jobs(), {}, ended="interrupted")
    table.write(tmp_path, result)
    assert "No job is done." in (tmp_path / "sweep.md").read_text()
    assert json.loads((tmp_path / "sweep.json").read_text())["ended"] == "interrupted"


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_has_statement_paper_and_criterion_of_all(capsys):
    assert cli.main(["experiments"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    for experiment in LIST:
        for text in (f"{experiment.statement}.", f"{experiment.source}.", *experiment.bounds):
            assert " ".join(text.split()) in listed
    assert (
        "Holds also at lr 0.02." in listed
        and "Holds also at lr 0.01, but for error, ε 0.01, plain / residual." in listed
    )
    assert "--variants plain,residual,zero-gamma --depths 8,20,56 --data c8|digits --set steps=400 lr=0.1" in listed


def test_a_job_that_fails_is_told_with_its_command_and_stops_nobody(tmp_path, capsys):
    flags = ["--variants", "plain", "--depths", "8,9", "--seeds", "2", *FLAGS[4:], "--workers", "1", "--out"]
    assert cli.main(["experiments", "degradation", *flags, str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "2 of 4 jobs are done" in out and "2 of 4 jobs failed" in err
    (first,) = {line for line in err.splitlines() if "--seed 0 " in line and "failed:" in line}
    command = first.partition("failed: ")[2]
    assert "ValueError" in err and "--depths 9" in command
    failed = json.loads((tmp_path / "sweep.json").read_text())["failed"]
    assert [job["seed"] for job in failed] == [0, 1] and failed[0]["command"] == command
    arguments = vars(cli._parser().parse_args(shlex.split(command)[1:]))
    assert (arguments["seed"], arguments["seeds"], arguments["depths"]) == (0, 1, (9,))
    assert dict(arguments["options"]) == {"lr": "0.1", "steps": "2"}


@pytest.mark.parametrize(
    "flags, said",
    [
        (["nothing"], "got 'nothing'; expected one of conservation"),
        (["explosion", "--depths", "8"], "explosion: got depths; it has a depth of its own"),
        (["explosion", "--variants", "plain"], "got variants plain; expected none, as it has none"),
        (["degradation", "--variants", "plain,odd"], "got variants odd; expected some of plain, residual, zero-gamma"),
        (["degradation", "--depths", "8,8"], "got depths 8, 8, one of them twice"),
        (["degradation", "--data", "mnist"], "got data mnist; expected some of c8, digits"),
        (["degradation", "--set", "epochs=3"], "got settings epochs; expected some of steps, lr"),
        (["degradation", "--set", "steps=few"], "got --set steps=few; expected a value such as 400"),
        (["degradation", "--seeds", "0"], "got seeds=0 from seed=0; expected at least 1"),
        (["branch-cost", "--set", "samples=0"], "branch-cost: got samples 0; expected at least 1"),
        (["agreement", "--data", "digits", "--set", "count=1"], "agreement: got count 1; expected at least 2"),
        (["edge-of-chaos", "--depths", "24,1"], "edge-of-chaos: got depth 1; expected at least 2"),
        (["explosion", "--workers", "0"], "got 0 workers; expected at least 1"),
        (["explosion", "--executor", "threads"], "got 'threads'; expected one of processes, mpi, dask://HOST:PORT"),
        (["explosion", "--executor", "slurm:fast"], "got 'slurm:fast'; expected slurm:NAME=VALUE"),
        (["explosion", "--executor", "mpi", "--workers", "2"], "got 2 workers for 'mpi', which decides that itself"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_begins(flags, said, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["experiments", *flags, "--quiet", "--out", str(out)]) == 1
    assert said in capsys.readouterr().err and not (out / "jobs").exists()


@pytest.mark.parametrize("flags", [["--depths", "8,deep"], ["--depths=-8"], ["--set", "steps"], ["--seeds", "x"]])
def test_flags_that_cannot_be_read_end_in_a_usage_error(flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["experiments", "degradation", *flags])
    assert f"argument {flags[0].partition('=')[0]}" in capsys.readouterr().err


def test_missing_data_are_told_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIRES_CACHE", str(tmp_path / "cache"))
    training.dataset.cache_clear()
    assert cli.main(["experiments", "lesion", "--quiet", "--out", str(tmp_path / "out")]) == 1
    assert "cifar" in capsys.readouterr().err.lower() and not (tmp_path / "out").exists()


def test_a_folder_of_another_sweep_is_told(folder, tmp_path, capsys):
    flags = ["--quiet", "--workers", "1", "--seeds", "1", "--out"]
    assert cli.main(["experiments", "explosion", *flags, str(folder)]) == 1
    assert "holds the results of 'degradation', not of 'explosion'; choose another folder" in capsys.readouterr().err
    (tmp_path / "sweep.json").write_text("[]")
    assert cli.main(["experiments", "explosion", *flags, str(tmp_path)]) == 1
    assert "is not the table of a sweep" in capsys.readouterr().err
    before = stored(folder)
    smaller = dataclasses.replace(SMALL, seeds=range(1))
    assert table.check_folder(folder, SMALL) == "" and "--seeds 2" in table.check_folder(folder, smaller)
    assert stored(folder) == before


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_stopped_goes_on_where_it_was(number, tmp_path):
    long = ["--variants", "plain", "--depths", "20", "--data", "digits", "--seeds", "5", "--set", "steps=60"]
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += "from minires.commands import cli\n"
    program += f"if __name__ == '__main__': raise SystemExit(cli.main({['experiments', 'degradation', *long]!r}"
    program += f" + ['--workers', '1', '--out', {str(tmp_path)!r}]))"
    script = tmp_path / "program.py"
    script.write_text(program)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        until = time.monotonic() + 120
        while time.monotonic() < until and not list(tmp_path.glob("jobs/[!.]*.json")):
            time.sleep(0.05)
        first.send_signal(number)
        out, err = first.communicate(timeout=60)
    kept = stored(tmp_path)
    assert 1 <= len(kept) < 5
    if number == signal.SIGINT:
        assert first.returncode == 130 and "interrupted; the same command goes on from here" in err
        (done,) = re.findall("([0-5]) of 5 jobs are done", out)
        assert int(done) == len(kept) and "Failed" not in out
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=True)
    assert f"5 of 5 jobs are done, {len(kept)} of them kept from before" in done.stdout and "5/5" in done.stderr
    assert kept.items() <= stored(tmp_path).items() and len(stored(tmp_path)) == 5
    assert not list(tmp_path.glob("**/.*")), "nothing half-written is left"
