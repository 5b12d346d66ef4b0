"""The page ``before``: the main job and the path spectrum, in this checkout and in an earlier one."""

import os
from pathlib import Path

from . import bars
from .harness import BEFORE, Plan, about, alternate, markdown, program, save, spread

WORK = {
    "compare": "`minires compare` with its defaults, the whole process",
    "spectrum": "path spectrum of 27 blocks (ResNet-56, width 8, 64 digits)",
}


def before(plan: Plan) -> None:
    """`minires compare` and the path spectrum, against the checkout named by --before."""
    earlier = os.environ.get(BEFORE)
    if not earlier or not (Path(earlier) / "minires").is_dir():
        raise SystemExit(f"benchmarks before: got {earlier!r}; name an earlier checkout: --before FOLDER")
    results, table = {}, []
    for what, title in WORK.items():
        programs = {
            "earlier": program("minires_before", what, PYTHONPATH=str(Path(earlier).resolve())),
            "now": program("minires_before", what),
        }
        results[what] = measured = alternate(programs, plan)
        ratio = measured["now"]["ms"] / measured["earlier"]["ms"]
        table += [[title, "earlier", spread(measured["earlier"]), ""]]
        table += [[title, "now", spread(measured["now"]), bars.BEFORE[what].verdict(ratio)]]
    everything = [r for m in results.values() for r in m.values()]
    text = f"{markdown(['work', 'checkout', 'median (range)', 'now / earlier'], table)}\n\n{about(plan, everything)}"
    save("before", plan, results, text)
