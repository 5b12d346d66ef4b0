"""``python -m benchmarks``: measure minires beside PyTorch and write the tables in ``benchmarks/results``."""

import argparse

from . import harness
from .science import science

STEP_CASES = {
    "resnet20": "ResNet-20, CIFAR shapes, batch 128",
    "resnet56": "ResNet-56, CIFAR shapes, batch 128",
    "digits56": "ResNet-56 width 8, digits, batch 64",
}


def step(rounds: int) -> None:
    """Training step: time and peak memory, minires against PyTorch in both of its memory formats."""
    results, rows = {}, []
    for case, title in STEP_CASES.items():
        programs = {
            "minires": ["minires_step", case],
            "PyTorch": ["torch_step", case],
            "PyTorch channels_last": ["torch_step", case, "channels_last"],
        }
        results[case] = measured = harness.alternate(programs, rounds)
        ours = measured["minires"]
        for label, result in measured.items():
            if "absent" in result:
                rows.append([title, label, f"absent: {result['absent']}", "", "", ""])
                continue
            low, high = result["ms_range"]
            speed = "" if label == "minires" else f"{ours['ms'] / result['ms']:.2f} ×"
            memory = "" if label == "minires" else f"{ours['peak_mb'] / result['peak_mb']:.2f} ×"
            time = f"{result['ms']:.0f} ms ({low:.0f}–{high:.0f})"
            cells = [time, speed, f"{result['peak_mb']:.0f} MB", memory]
            rows.append([title, label, *cells])
    header = ["training step", "program", "median (range)", "minires / it", "peak memory", "minires / it"]
    versions = {r.get("version", "absent") for m in results.values() for r in m.values()}
    note = f"\n\n{_about(rounds)} {'; '.join(sorted(versions))}."
    harness.save("step", {"rounds": rounds, "cases": results}, harness.markdown(header, rows) + note)


def recording(rounds: int) -> None:
    """What recording the gradient on every edge costs on a ResNet-20 step."""
    modes = {"not recording": "plain", "norms": "norms", "norms and arrays": "arrays"}
    measured = harness.alternate({k: ["minires_step", "resnet20", mode] for k, mode in modes.items()}, rounds)
    rows = [[label, f"{r['ms']:.0f} ms", f"{r['peak_mb']:.0f} MB"] for label, r in measured.items()]
    table = harness.markdown(["ResNet-20 step, batch 128", "median", "peak memory"], rows)
    harness.save("recording", {"rounds": rounds, "modes": measured}, f"{table}\n\n{_about(rounds)}")


def depth(rounds: int) -> None:
    """Step time and peak memory against depth."""
    cases = ["resnet20", "resnet56", "resnet110"]
    measured = harness.alternate({case: ["minires_step", case] for case in cases}, rounds)
    rows = [[case, f"{r['ms']:.0f} ms", f"{r['peak_mb']:.0f} MB"] for case, r in measured.items()]
    table = harness.markdown(["training step, batch 128", "median", "peak memory"], rows)
    harness.save("depth", {"rounds": rounds, "cases": measured}, f"{table}\n\n{_about(rounds)}")


def engine(rounds: int) -> None:
    """The engine's own cost of an op."""
    measured = harness.alternate({"engine": ["engine_op"]}, rounds)["engine"]
    rows = [
        ["NumPy's own 2×2 addition", f"{measured['numpy_add_us']:.2f} µs"],
        ["engine, forward", f"{measured['forward_us']:.2f} µs"],
        ["engine, backward", f"{measured['backward_us']:.2f} µs"],
    ]
    table = harness.markdown(["cost of one op", "median"], rows)
    harness.save("engine", {"rounds": rounds, **measured}, f"{table}\n\n{_about(rounds)}")


def _about(rounds: int) -> str:
    m = harness.machine()
    return (
        f"Median of {rounds} rounds, each program in its own process, alternated; {m['processor']}, {m['cores']} "
        f"cores, float32, Python {m['python']}."
    )


BENCHMARKS = {function.__name__: function for function in (step, recording, depth, engine, science)}


def main() -> None:
    """Parse the command line and run what was named."""
    lines = "\n".join(f"  {name:<10} {function.__doc__}" for name, function in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\n\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="what to measure (default: everything)")
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    parser.add_argument("--quick", action="store_true", help="a single round")
    arguments = parser.parse_args()
    for name in arguments.names or BENCHMARKS:
        BENCHMARKS[name](1 if arguments.quick else arguments.rounds)


if __name__ == "__main__":
    main()
