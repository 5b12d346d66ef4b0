"""The benchmarks: what they count and conclude, and that README reports what was measured."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import bars, bridge, claims, gpu, harness, kernels as kernels_page, readme, scaling, science
from benchmarks.workers import common, lesson_of_other_seeds
from minires import cuda_on_cpu, data, kernels, models, random
from minires.commands.lessons import read_lessons
from minires.creation import randn


def test_readme_shows_the_results():
    if readme.BEGIN not in readme.README.read_text():
        pytest.skip("README has no region for the results yet")
    assert readme.region() == readme.section(), "run: python -m benchmarks readme"


@pytest.mark.parametrize("case", ["resnet20", "resnet18", "digits56"])
def test_flops_are_those_of_the_convolutions_that_run(case):
    case = common.CASES[case]._replace(batch=1, size=32)
    shortcut = "A" if case.stem == "cifar" else "B"
    options = dict(stem=case.stem, in_channels=case.channels, num_classes=case.classes, shortcut=shortcut)
    model = models.ResNet(models.ResidualBlock, case.blocks, case.widths, **options).eval()
    x = randn(1, case.channels, 32, 32)
    conv2d, counted = kernels.of(x.array).conv2d, [2 * model.fc.weight.array.size]

    def counting(x, weight, *arguments):
        y = conv2d(x, weight, *arguments)
        counted.append(2 * y.size * weight[0].size)
        return y

    with kernels.use(conv2d=counting):
        model(x)
    assert sum(counted) == common.flops(case, "inference")


def test_a_worker_runs_the_kernels_that_its_libraries_choose(tmp_path, monkeypatch):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "tell.py").write_text("import json, os; print(json.dumps(dict(os.environ)))")
    monkeypatch.setattr(harness, "HERE", tmp_path)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    told = harness.run(harness.program("tell", OMP_NUM_THREADS="1"))
    assert "OPENBLAS_CORETYPE" not in told and told["OMP_NUM_THREADS"] == "1" and told["PATH"] == os.environ["PATH"]


@pytest.mark.slow
def test_the_science_page_has_every_number_its_criterion_and_what_failed(tmp_path, monkeypatch):
    kept = [experiment for experiment in science.LIST if experiment.name in ("path-count", "variance-growth")]
    monkeypatch.setattr(science, "LIST", kept)
    monkeypatch.setenv("MINIRES_CACHE", str(tmp_path))
    results = science.measure(1)
    (job,) = results[1].jobs
    page = science.table(results, 1)
    assert "0.454 (0.454 … 0.454)" in page and "| 0.44 … 0.46<br>97.9 … 98.1" in page and "yes, 1/1" in page
    assert "- path-count. Veit et al. give 95 %" in page and "Failed" not in page
    assert science.measure(1)[0].kept == 1
    results[1].done.clear()
    results[1].failed[job] = "ValueError: no"
    assert f"- `{job.command}`: ValueError: no" in science.table(results, 1)


def test_the_claims_page_has_what_is_claimed_of_training_with_all_seeds_and_at_a_second_setting():
    made = ["it learns (measured: 0.9)", "it is exact", "does not hold at rate 0.02: it learns (measured: 0.1)"]
    shifted = {"1": [["it learns", "0.7", True], ["it is exact", "", True]], "2": [["it learns", "0.4", False]]}
    page = claims.section(read_lessons()[4], made, {"shifted": shifted})
    assert "| it learns | 0.9 | 1 of 2<br>not with 0.4 | does not hold at rate 0.02: 0.1 |" in page
    assert "exact" not in page


def test_shifted_seeds_draw_other_numbers_everywhere_and_the_same_again(monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", np.random.default_rng)  # goes back to it afterwards
    digits, _ = data.digits()

    def drawn():
        random.manual_seed(3)
        batch = next(data.batches(digits, 8, seed=3, epoch=0))[1]
        return [float(randn(1).numpy()[0]), np.random.default_rng(3).random(), batch.tolist()]

    mine, shift = drawn(), lesson_of_other_seeds.shift
    of = np.random.default_rng
    others = []
    for by in (1, 1, 2):
        np.random.default_rng = of
        shift(by)
        others.append(drawn())
    assert others[0] == others[1] and all(len({str(one[i]) for one in (mine, *others)}) == 3 for i in range(3))


def test_a_straight_line_is_found_and_a_bend_is_seen():
    x = np.array([1, 4, 16, 64])
    line = scaling.straight_line(x, 3 + 2 * x)
    assert line == pytest.approx({"start": 3, "slope": 2, "distance": 0}, abs=1e-9)
    assert scaling.straight_line(x, (3 + 2 * x) * [1, 1.5, 1, 1])["distance"] > bars.STRAIGHT


def test_a_recorded_step_is_judged_as_if_only_the_bare_one_gained_from_threads():
    assert bridge.at_most(bare=100, recorded=130, threads=2) == pytest.approx(1.6)  # 50 ms and 80 ms
    step = {"ms": 50.0, "ms_range": [40, 60], "cpu_ms": 100.0, "cpu_ms_range": [90, 110], "peak_mb": 9.0, "threads": 2}
    recorded = step | {"ms": 80.0, "cpu_ms": 130.0}
    steps = {"not recorded": step, "recorded": recorded, "recorded, with arrays": recorded | {"cpu_ms": 300.0}}
    text = bridge.cost(steps, steps, load=1)
    assert "a load of 40" in bridge.cost(steps, steps, load=40) and "a load of" not in text
    assert "| recorded | 80 ms (40–60) | 1.60 × |" in text and "at most 1.60 times" in text and "(met: ≤ 1.8)" in text
    rows = [
        {
            "case": "a",
            "minires": None,
            "bridge": 2,
            "hand": 2,
            "to_minires": None,
            "to_hand": 2e-16,
            "notes": ["w: used 2 times"],
        }
    ]
    assert "| a |  | 2 | 2 |  | 2e-16 | weights used twice |" in bridge.table_of_forks(rows)


def test_verdicts():
    bar = bars.Bar(1.35, 1.0)
    assert [bar.verdict(r).split(" · ")[1] for r in (0.9, 1.2, 1.4)] == [
        "aim met (≤ 1)",
        "must met (≤ 1.35)",
        "missed (≤ 1.35)",
    ]


def test_a_worker_runs_in_its_own_process_and_an_absent_peer_is_named():
    plan = harness.Plan(2, True)
    programs = {
        "minires": harness.program("minires_net", "digits56", "step", "--batch", 2, "--width", 1),
        "nobody": harness.program("minires_net", "digits56", "step", module="a_module_that_nobody_has"),
    }
    measured = harness.alternate(programs, plan)
    low, high = measured["minires"]["ms_range"]
    assert 0 < low <= measured["minires"]["ms"] <= high and measured["minires"]["peak_mb"] > 1
    assert measured["nobody"] == {"absent": "a_module_that_nobody_has is not installed"}
    assert "absent" in harness.spread(measured["nobody"])


def test_every_kernel_of_a_step_is_described_and_timed():
    """Whatever its arguments are, even a dtype."""
    found = harness.run(harness.program("minires_ops", "digits56", "step", "--batch", 2, "--width", 1), quick=True)
    names = {call["kernel"] for call in found["calls"]}
    assert {"conv2d", "conv2d_backward", "batch_norm", "relu", "add", "one_hot"} <= names
    assert len(found["ms"]) == len(found["calls"]) and min(found["ms"]) > 0


def test_a_net_of_the_same_shapes_is_counted_anew():
    def call(name, count):
        return {"kernel": name, "arguments": [{"shape": [2, 3]}], "keywords": {}, "count": count}

    measured = {
        "minires": {"calls": [call("relu", 1), call("add", 2)], "ms": [10.0, 20.0]},
        "roofline": {"copy_gbs": 9.0},
    }
    found = kernels_page.recounted(measured, [call("add", 7), call("relu", 8)])
    assert found["minires"] == {"calls": [call("add", 7), call("relu", 8)], "ms": [20.0, 10.0]}
    assert found["roofline"] == measured["roofline"] and measured["minires"]["ms"] == [10.0, 20.0]


DEVICE = harness.HERE / "device.sh"


@pytest.mark.slow
@pytest.mark.skipif(not cuda_on_cpu.available(), reason="needs g++")
def test_the_first_day_on_a_gpu_rehearses(tmp_path):
    """All of it runs once without a GPU, its checks included."""
    environment = {**os.environ, "OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    done = subprocess.run([DEVICE, "--rehearse"], env=environment, capture_output=True, text=True, check=False)
    results = gpu.read(tmp_path / "out" / "results.jsonl")
    assert [r for r in results if "failed" in r] == [] and done.returncode == 0, done.stdout + done.stderr
    parts = [r for r in results if r["kind"] == "part"]
    assert {"versions", "compile", "compare", "tests", "steps", "kernels"} <= {part["part"] for part in parts}
    assert {part["ended"] for part in parts} == {"done"}
    kinds = {"doctor", "compile", "compare", "elementwise", "convolutions", "heads", "updates", "augmentation"}
    assert kinds <= {result["kind"] for result in results}
    page = (tmp_path / "out" / "gpu.md").read_text()
    fused = [r["by"] for r in results if r.get("what") == "batch norm, addition and ReLU"]
    assert "minires" in fused
    assert all(f"| ResNet-20 step: {way} |" in page for way in ("eager", "graphed", "recorded"))
    assert "skipped" in (tmp_path / "out" / "tests.txt").read_text()  # there is no GPU to run them on


def test_a_run_that_is_cut_off_leaves_what_it_had(tmp_path):
    """Its worker stands for all: a line is written before the next thing is measured, and the limit ends it."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(harness.HERE / 'workers')!r})\n"
        "from gpu_common import result\n"
        "result(kind='heads', by='minires', work='a', what='b', ms=1.5)\n"
        "print('{\"kind\": \"hea', end='', flush=True)\n"
        "time.sleep(60)\n"
    )
    text = DEVICE.read_text()
    part = text[text.index("part() {") : text.index("ours() {")]
    script = f"OUT={tmp_path} patience=1 failures=0\n{part}part first 2 {sys.executable} {worker}\nexit $failures"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    results = gpu.read(tmp_path / "results.jsonl")
    assert done.returncode == 1 and [r["kind"] for r in results] == ["heads", "cut", "part"]
    assert results[-1]["ended"] == "cut off" and "| a: b | 1.500 ms |" in gpu.page(results)


def test_the_parts_of_a_run_on_a_gpu_take_eight_minutes_at_most():
    limits = re.findall(r"^(?:ours|theirs|part) \w+ (\d+)", DEVICE.read_text(), re.MULTILINE)
    assert len(limits) == 11 and sum(map(int, limits)) <= 8 * 60 - 5


def test_a_result_is_measured_against_its_arithmetic_or_its_memory():
    peaks = 60.0, 400.0, 4.0
    moved = {"ms": 1.0, "values": 10**9, "kind": "heads", "by": "minires", "work": "a", "what": "b"}
    assert gpu.roofline(moved, peaks) == pytest.approx(1.0) and gpu.roofline(moved, None) is None
    assert gpu.roofline(moved | {"operations": 120 * 10**9}, peaks) == pytest.approx(2.0)
    assert gpu.roofline(moved | {"operations": 120 * 10**9, "tf32": True}, peaks) == pytest.approx(1.0)
    assert "| a: b | 1.000 ms |  |  | 100 % |" in gpu.table([moved], peaks)
    assert "2.00 ×" in gpu.table([moved, moved | {"by": "PyTorch", "ms": 0.5}], peaks)


def test_memory_bound_kernels_are_measured_against_what_they_move(monkeypatch):
    monkeypatch.syspath_prepend(harness.HERE / "workers")
    import gpu_common as shapes

    moved = shapes.least_values
    assert moved("batch norm, addition and ReLU", (2, 3, 4)) == 4 * 96
    assert moved("ReLU", (2, 3, 4)) == 2 * 96 and moved("batch norm backward", (2, 3, 4)) == 5 * 96
    assert moved("SGD with momentum", (7,)) == 35
    assert moved("linear", (2, 3, 4, 5, None)) == 2 * 3 + 3 * 5 + 2 * 5
    assert moved("max pool", (2, 3, 4, 5, (1, 1, 8))) == 64 + 16 + 4


def test_the_cifar_run_says_what_is_missing(tmp_path):
    command = [sys.executable, "-m", "benchmarks.cifar", "--device", "cpu", "--root", str(tmp_path)]
    done = subprocess.run(command, cwd=harness.HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "benchmarks.cifar: cifar10: no folder" in done.stderr
