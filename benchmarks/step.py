"""The pages ``step``, ``inference``, ``memory`` and ``peers``: whole networks, minires next to its peers."""

from typing import Any

from . import bars, figures
from .harness import Plan, Program, about, alternate, markdown, number, program, save, save_figure, spread
from .workers.common import CASES

PYTORCH, CHANNELS_LAST = "PyTorch", "PyTorch channels_last"
STEPS = ("resnet20", "resnet56", "resnet18", "digits56")
NUMPY_PEERS = ("chainer", "dezero", "mygrad", "autograd", "tinygrad")
FAR_BEHIND = 1.1  # times as slow as the fastest NumPy peer: not measured again


def title(case: str, batch: int | None = None) -> str:
    """``ResNet-56, 3×32×32, batch 128``."""
    c = CASES[case]
    return f"{c.title}, {c.channels}×{c.size}×{c.size}, batch {batch or c.batch}"


def beside_pytorch(*arguments: Any) -> dict[str, Program]:
    """minires and PyTorch in both of its memory formats."""
    return {
        "minires": program("minires_net", *arguments),
        PYTORCH: program("torch_net", *arguments, module="torch"),
        CHANNELS_LAST: program("torch_net", *arguments, "--channels-last", module="torch"),
    }


def rows(title: str, measured: dict[str, dict], held: dict[str, bars.Bar]) -> list[list[str]]:
    """A row for each program; ``held`` has the bars of those that there are bars for."""
    ours, found = measured["minires"], []
    for label, result in measured.items():
        cells = [title, label, spread(result)]
        if "absent" in result:
            cells += ["", "", ""]
        else:
            ratio, memory = ours["ms"] / result["ms"], ours["peak_mb"] / result["peak_mb"]
            told = held[label].verdict(ratio) if label in held else f"{ratio:.2f} ×"
            kept = bars.MEMORY.verdict(memory) if label == PYTORCH else f"{memory:.2f} ×"
            cells += [
                "" if label == "minires" else told,
                f"{result['peak_mb']:.0f} MB",
                "" if label == "minires" else kept,
            ]
        found.append(cells)
    return found


HEADER = ["program", "median (range)", "minires / it", "peak memory", "minires / it"]


def step(plan: Plan) -> None:
    """Training step: time, peak memory, fraction of the sgemm rate; minires and PyTorch."""
    results, table = {}, []
    for case in ("resnet56", "digits56") if plan.quick else STEPS:
        programs = beside_pytorch(case, "step")
        if case == "resnet56":  # in the same rounds, so that a slow hour is slow for both
            programs["roofline"] = program("roofline")
        results[case] = alternate(programs, plan)
        if case == "resnet56":
            roofline = results[case].pop("roofline")
        held = {PYTORCH: bars.STEP[case]}
        held |= {CHANNELS_LAST: bars.CHANNELS_LAST[case]} if case in bars.CHANNELS_LAST else {}
        table += rows(title(case), results[case], held)
    rate, fraction, of_median = sgemm_fraction(results["resnet56"]["minires"], roofline)
    verdict = "aim met" if fraction >= bars.SGEMM_AIM else "must met" if fraction >= bars.SGEMM_MUST else "missed"
    best, median = roofline["sgemm_gflops"], roofline["sgemm_median_gflops"]
    reached = (
        f"The ResNet-56 step is {results['resnet56']['minires']['gflop']:.1f} GFLOP, all convolutions counted as "
        f"direct ones. {rate:.0f} GFLOP/s are **{fraction:.0%}** of the {best:.0f} GFLOP/s of a 2048³ float32 product "
        f"in NumPy on {roofline['threads']} threads, the best of ten ({verdict}: ≥ {bars.SGEMM_MUST:.0%}, aim ≥ "
        f"{bars.SGEMM_AIM:.0%}), and {of_median:.0%} of the {median:.0f} GFLOP/s of the median one. "
        "Peak memory is that of the whole process, its libraries included (`benchmarks memory` takes it apart)."
    )
    save_figure("step", plan, figures.programs({title(case): measured for case, measured in results.items()}))
    everything = [r for m in results.values() for r in m.values()]
    text = f"{markdown(['training step', *HEADER], table)}\n\n{reached}\n\n{about(plan, everything)}"
    save("step", plan, {"cases": results, "roofline": roofline}, text)


def sgemm_fraction(ours: dict, roofline: dict) -> tuple[float, float, float]:
    """GFLOP/s of a step, and its fractions of the best and of the median product's rate."""
    rate = 1e3 * ours["gflop"] / ours["ms"]
    return rate, rate / roofline["sgemm_gflops"], rate / roofline["sgemm_median_gflops"]


def inference(plan: Plan) -> None:
    """Inference of ResNet-56 at batch 1 and 128; minires and PyTorch."""
    results, table = {}, []
    for batch in (1, 128):
        results[str(batch)] = alternate(beside_pytorch("resnet56", "inference", "--batch", batch), plan)
        table += rows(title("resnet56", batch), results[str(batch)], {PYTORCH: bars.INFERENCE[batch]})
    everything = [r for m in results.values() for r in m.values()]
    text = f"{markdown(['inference', *HEADER], table)}\n\n{about(plan, everything)}"
    save("inference", plan, {"batches": results}, text)


def peers(plan: Plan) -> None:
    """Training step in every NumPy framework that is installed, and in minires."""
    cases = ("digits56",) if plan.quick else ("resnet20", "resnet56", "digits56", "resnet18")
    results, table, verdicts = {}, [], []
    for case in cases:
        programs = {"minires": program("minires_net", case, "step")}
        programs |= {name: program(f"{name}_net", case, "step", module=name) for name in NUMPY_PEERS}
        first = alternate(programs, Plan(1, plan.quick))
        times = {name: r["ms"] for name, r in first.items() if name != "minires" and "absent" not in r}
        near = {name for name, ms in times.items() if ms < FAR_BEHIND * min(times.values())}
        again = alternate({name: what for name, what in programs.items() if name in near | {"minires"}}, plan)
        results[case] = measured = first | again
        ours = measured["minires"]
        for name, r in measured.items():
            absent = "absent" in r
            slower = "" if absent or name == "minires" else f"{r['ms'] / ours['ms']:.1f} ×"
            memory = "" if absent else f"{r['peak_mb']:.0f} MB"
            time = spread(r) if absent or name in again else f"{number(r['ms'])} ms, once"
            table.append([title(case), r.get("version", name).split(",")[0], time, slower, memory])
        if times:
            best = min(near, key=lambda name: measured[name]["ms"])
            verdict = bars.NUMPY_PEERS[case].verdict(ours["ms"] / measured[best]["ms"])
            verdicts.append(f"- {title(case)}: the fastest of them is {best}; minires takes {verdict}")
    header = ["training step", "program", "median (range)", "times minires", "peak memory"]
    everything = [r for m in results.values() for r in m.values()]
    save_figure("peers", plan, figures.programs({title(case): m for case, m in results.items()}, log=True))
    once = f"Peers more than {FAR_BEHIND - 1:.0%} behind the fastest in a first round were measured in that alone."
    text = "\n\n".join([markdown(header, table), "\n".join(verdicts), f"{once} {about(plan, everything)}"])
    save("peers", plan, {"cases": results}, text)


def memory(plan: Plan) -> None:
    """Peak memory of training steps and inference, and how much less it is with recomputing."""
    cases = {
        "resnet20": ("step", 3),
        "resnet56": ("step", 5),
        "resnet110": ("step", 7),
        "resnet18": ("step", 3),
        "digits56": ("step", 5),
    }
    if plan.quick:
        cases = {"digits56": cases["digits56"]}
    once = Plan(1, plan.quick)  # memory does not vary, and two steps reach the peak
    results, table = {}, []
    for case, (mode, every) in cases.items():
        programs = beside_pytorch(case, mode, "--quick")
        again = program("minires_net", case, mode, "--quick", "--recompute-every", every)
        programs[f"minires, recompute_every={every}"] = again
        results[case] = measured = alternate(programs, once)
        for label, r in measured.items():
            if "absent" in r:
                table.append([title(case), label, f"absent: {r['absent']}", "", "", ""])
                continue
            own = r["peak_mb"] - r["base_mb"]
            whole, part = measured["minires"]["peak_mb"] / r["peak_mb"], None
            if label == PYTORCH:
                whole_cell = bars.MEMORY.verdict(whole)
                part = (measured["minires"]["peak_mb"] - measured["minires"]["base_mb"]) / own
            else:
                whole_cell = "" if label.startswith("minires") else f"{whole:.2f} ×"
            cells = [f"{r['peak_mb']:.0f} MB", whole_cell, f"{r['base_mb']:.0f} MB", f"{own:.0f} MB"]
            table.append([title(case), label, *cells, f"{part:.2f} ×" if part else ""])
    header = [
        "training step",
        "program",
        "peak of the process",
        "minires / it",
        "before the first step",
        "the steps' own",
        "minires / it",
    ]
    text = (
        f"{markdown(header, table)}\n\n"
        "Before the first step: the interpreter, the libraries, weights, momentum (minires makes it in the first step) "
        f"and the batch.\n\n{about(once, [r for m in results.values() for r in m.values()])}"
    )
    save("memory", once, {"cases": results}, text)


def depth1202(plan: Plan) -> None:
    """ResNet-1202 (CIFAR, batch 128): the time and peak memory of one training step with recomputing."""
    once = Plan(1)
    case = program("minires_net", "resnet1202", "step", "--recompute-every", 10, "--quick")
    measured = alternate({"ResNet-1202": case}, once)["ResNet-1202"]
    row = [f"{measured['ms'] / 1e3:.1f} s", f"{measured['peak_mb'] / 1024:.2f} GB"]
    row.append("met" if measured["peak_mb"] < 8 * 1024 else "missed")
    table = markdown(["ResNet-1202, batch 128, recompute_every=10", "peak memory", "under 8 GB"], [row])
    save("depth1202", once, {"measured": measured}, f"{table}\n\n{about(once, [measured])}")


def engine(plan: Plan) -> None:
    """What an op costs in the engine itself."""
    measured = alternate({"engine": program("engine_op")}, plan)["engine"]
    labels = {
        "numpy_add_us": "NumPy's own 2×2 addition",
        "forward_us": "engine, forward",
        "backward_us": "engine, backward",
    }
    table = [[label, f"{number(measured[key])} µs"] for key, label in labels.items()]
    save("engine", plan, measured, f"{markdown(['cost of one op', 'median'], table)}\n\n{about(plan, [measured])}")
