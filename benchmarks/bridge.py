"""The page ``bridge``: what recording costs on a PyTorch network, and whether it finds the forks that are there."""

import os
from typing import Any

from . import bars
from .harness import Plan, about, alternate, markdown, program, run, save, spread
from .step import title
from .workers.common import cores

SAID = {  # a part of a note -> the same in a few words
    "used 2 times": "weights used twice",
    "passes, kept apart": "two passes",
    "one summand carries no gradient": "a summand without gradient",
    "saved_tensors_hooks were in force (": "PyTorch misses in-place writes there",
    "running statistics move twice": "batch norm's statistics move twice",
    "use_reentrant=True hides": "what is inside is hidden",
}
MODES = {"not recorded": (), "recorded": ("--recording", "norms"), "recorded, with arrays": ("--recording", "arrays")}


def bridge(plan: Plan) -> None:
    """minires's instrument on PyTorch: its cost on a ResNet-20 step, and its forks beside those found by hand."""
    programs = {
        (mode, threads): program("torch_net", "resnet20", "step", *options, *threads, module="torch")
        for threads in ((), ("--threads", 1))
        for mode, options in MODES.items()
    }
    measured = alternate({f"{mode}{' '.join(map(str, t))}": what for (mode, t), what in programs.items()}, plan)
    steps, alone = ({mode: measured[mode + end] for mode in MODES} for end in ("", "--threads 1"))
    load = os.getloadavg()[2] if hasattr(os, "getloadavg") else 0.0  # of the last fifteen minutes
    forks = run(program("bridge_forks", module="torch"))
    if "absent" in forks or "absent" in steps["recorded"]:
        print(f"bridge: {forks.get('absent') or steps['recorded']['absent']}")
        return
    parts = [
        cost(steps, alone, load),
        about(plan, measured.values()),
        table_of_forks(forks["rows"]),
        forks["version"] + ".",
    ]
    results = {"load": load, "steps": steps, "one thread": alone, "forks": forks["rows"]}
    save("bridge", plan, results, "\n\n".join(parts))


def cost(steps: dict[str, dict], alone: dict[str, dict], load: float) -> str:
    """A table of the steps, and what follows from the processor times on a machine that others use too."""
    bare, one = steps["not recorded"], alone["not recorded"]
    rows = [
        [
            mode,
            spread(r),
            f"{r['ms'] / bare['ms']:.2f} ×",
            f"{r['peak_mb']:.0f} MB",
            spread(alone[mode], "cpu_ms"),
            f"{alone[mode]['cpu_ms'] / one['cpu_ms']:.2f} ×",
        ]
        for mode, r in steps.items()
    ]
    header = [title("resnet20") + ", PyTorch", "all cores: median (range)", "times bare", "peak memory"]
    header += ["one thread: processor time", "times bare"]
    most = at_most(one["cpu_ms"], alone["recorded"]["cpu_ms"], bare["threads"])
    verdict = "met" if most <= bars.BRIDGE else "missed"
    busy = (
        f"\n\nThe machine had a load of {load:.0f}, so the times on all cores say little." if load > cores() + 1 else ""
    )
    return (
        f"{markdown(header, rows)}{busy}\n\nThe recorder computes in one thread, and the bare step is at most "
        f"{bare['threads']} times as fast in {bare['threads']}; so by the processor times a recorded step takes at "
        f"most {most:.2f} times as long as a bare one, however busy the machine is ({verdict}: ≤ {bars.BRIDGE})."
    )


def at_most(bare: float, recorded: float, threads: int) -> float:
    """The ratio of the steps' times if the bare one gains all it can from threads, and what is added nothing."""
    return 1 + threads * (recorded - bare) / bare


def table_of_forks(rows: list[dict[str, Any]]) -> str:
    """Each network's forks: how many each way of looking finds, and the largest relative difference."""

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.0e}"

    cells = [
        [
            r["case"],
            "" if r["minires"] is None else str(r["minires"]),
            str(r["bridge"]),
            str(r["hand"]),
            cell(r["to_minires"]),
            cell(r["to_hand"]),
            "; ".join(words for part, words in SAID.items() if any(part in note for note in r["notes"])),
        ]
        for r in rows
    ]
    header = ["forks, float64", "minires", "bridge", "by hand", "bridge − minires", "bridge − by hand", "it notes"]
    return (
        f"{markdown(header, cells)}\n\nDifferences are the largest of all forks' ‖skip‖, ‖branch‖, ‖total‖ (relative) "
        "and cosines. minires has the same weights. By hand: two views of the block's input, which retain their "
        "gradients, without any hook of the bridge."
    )
