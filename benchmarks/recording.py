"""The pages ``recording`` and ``calls``: what a recorded step costs, beside a bare one and beside PyTorch's hooks."""

from . import bars
from .harness import Plan, about, alternate, markdown, number, program, run, save, spread
from .step import PYTORCH, title

CASES = ("resnet20", "digits56", "resnet56")
HOOKS = ("resnet20", "digits56")


def recording(plan: Plan) -> None:
    """What recording the gradient on every edge costs, against bare steps and against PyTorch's own hooks."""
    results, table = {}, []
    for case in ("digits56",) if plan.quick else CASES:
        programs = {
            "minires, bare": program("minires_net", case, "step"),
            "minires, recorded": program("minires_net", case, "step", "--recording", "norms"),
            "minires, recorded with arrays": program("minires_net", case, "step", "--recording", "arrays"),
        }
        if case in HOOKS:
            for name, options in ((PYTORCH, ()), (f"{PYTORCH} channels_last", ("--channels-last",))):
                programs[f"{name}, bare"] = program("torch_net", case, "step", *options, module="torch")
                hooks = program("torch_net", case, "step", *options, "--recording", "hooks", module="torch")
                programs[f"{name}, recorded by hooks"] = hooks
        results[case] = measured = alternate(programs, plan)
        table += rows(case, measured)
    header = ["training step", "program", "median (range)", "recorded / bare", "minires recorded / it", "peak memory"]
    text = (
        f"{markdown(header, table)}\n\nPyTorch's hooks (`benchmarks/workers/torch_hooks.py`) find the same numbers: "
        "norms on all edges, inner products and errors where edges meet, mean, deviation and zeros of all outputs.\n\n"
        f"{about(plan, [r for m in results.values() for r in m.values()])}"
    )
    save("recording", plan, {"cases": results}, text)


def rows(case: str, measured: dict[str, dict]) -> list[list[str]]:
    """A row for each program; only what the bars are for gets a verdict."""
    ours, found = measured["minires, recorded"], []
    for label, result in measured.items():
        bare = measured[label.partition(",")[0] + ", bare"]
        cells = [title(case), label, spread(result), "", "", ""]
        if "absent" not in result:
            if bare is not result:
                ratio = result["ms"] / bare["ms"]
                cells[3] = bars.RECORDING[case].verdict(ratio) if result is ours else f"{ratio:.2f} ×"
            if label.endswith("hooks"):
                ratio = ours["ms"] / result["ms"]
                default = label.startswith(f"{PYTORCH},")
                cells[4] = bars.HOOKS.verdict(ratio) if default else f"{ratio:.2f} ×"
            cells[5] = f"{result['peak_mb']:.0f} MB"
        found.append(cells)
    return found


def calls(plan: Plan) -> None:
    """Where the time of a step on small images goes: calls of C functions, and time, for each kind of op."""
    measured = run(program("minires_calls", "digits56", "step"), plan.quick)
    table = []
    for name, (count, ms, calls) in sorted(measured["rows"].items(), key=lambda row: -row[1][1]):
        one = [f"{number(1e3 * ms / count)} µs", f"{calls / count:.0f}"] if count else ["", f"{calls} in all"]
        if ms > 0.01:
            table.append([name, f"{count:.0f}" if count else "", f"{number(ms)} ms", *one])
    header = [f"{title('digits56')}: {number(measured['ms'])} ms", "ops", "all of them", "one", "calls in one"]
    text = (
        f"{markdown(header, table)}\n\nCalls of functions written in C, NumPy's and Python's own, without operators "
        f"such as `a + b`; counted in a step of their own.\n\n{about(Plan(1, plan.quick), [measured])}"
    )
    save("calls", Plan(1, plan.quick), measured, text)
