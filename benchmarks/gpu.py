"""``python -m benchmarks.gpu FILE``: the results of ``device.sh`` as a table, beside PyTorch/cuDNN and the roofline.

Times are medians from CUDA events after warm-up. Kernels are timed in CUDA graphs of 20 calls, so that launching them
from Python does not count, for PyTorch too; what fits into the card's L2 cache may then beat the roofline, which is
that of its memory. A training step takes its batch from the device's memory and reads loss and accuracy back, for
PyTorch too, whose cuDNN may try all its algorithms first. ``--save`` writes ``benchmarks/results/gpu.json`` and
``gpu.md``.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import harness

# float32 and dense TF32 peak in TFLOP/s, memory bandwidth in TB/s, by the name the driver gives the card. From NVIDIA's
# data sheets of the H200, H100 and A100 Tensor Core GPUs; where they state TF32 with sparsity only, half of it.
PEAKS = {
    "NVIDIA H200": (67, 495, 4.8),
    "NVIDIA H100 80GB HBM3": (67, 495, 3.35),
    "NVIDIA H100 PCIe": (51, 378, 2.0),
    "NVIDIA A100-SXM4-80GB": (19.5, 156, 2.039),
    "NVIDIA A100-SXM4-40GB": (19.5, 156, 1.555),
}


Result = dict[str, Any]


def read(path: Path) -> list[Result]:
    """The results in a file; a run that was cut off may have ended in the middle of a line."""
    found = []
    for line in filter(None, path.read_text(encoding="utf-8").splitlines()):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            found.append({"kind": "cut", "failed": line})
    return found


def page(results: Sequence[Result]) -> str:
    """What was measured, on what, what failed, and which part was cut off, in Markdown."""
    versions = [result for result in results if result["kind"] == "versions"]
    device = next((v["device"] for v in versions if v["by"] == "minires"), "an unknown device")
    peaks = PEAKS.get(device)
    parts = [device + ". " + ". ".join(map(_versions, versions)) + "."] if versions else []
    parts.append(
        "Medians from CUDA events after warm-up; every kernel was checked first."
        + ("" if peaks else " The card's peaks are not known here, so there is no roofline.")
    )
    parts.append(table(results, peaks))
    parts += [f"Beside the CPU's training steps: {text}." if (text := ", ".join(_compared(results))) else ""]
    compiled = [result["ms"] for result in results if result["kind"] == "compile" and "ms" in result]
    if compiled:
        parts.append(f"{len(compiled)} kernels compiled, in {sum(compiled) / 1e3:.0f} s of all processes together.")
    notes = [f"- {r.get('work', r['kind'])}: {r['failed']}" for r in results if "failed" in r]
    notes += [f"- {r['part']}: {r['ended']} ({r['seconds']} s)" for r in results if r["kind"] == "part"]
    return "\n\n".join([part for part in parts if part] + (["\n".join(notes)] if notes else []))


def table(results: Sequence[Result], peaks: tuple[float, ...] | None) -> str:
    """A row for each thing that was timed, in the order in which minires's or PyTorch's time was written."""
    times: dict[tuple[str, str], dict[str, Result]] = {}
    for result in results:
        if "ms" in result and result["kind"] != "compile":
            times.setdefault((result["work"], result["what"]), {})[result["by"]] = result
    rows = []
    for (work, what), by in times.items():
        ours, theirs = (by.get(name, {}).get("ms") for name in ("minires", "PyTorch"))
        floor = roofline(by.get("minires", {}), peaks)
        ratio = f"{ours / theirs:.2f} ×" if ours and theirs else ""
        share = f"{100 * floor / ours:.0f} %" if floor and ours else ""
        rows.append([f"{work}: {what}", *("" if ms is None else f"{ms:.3f} ms" for ms in (ours, theirs)), ratio, share])
    return harness.markdown(["work", "minires", "PyTorch", "minires / PyTorch", "of the roofline"], rows)


def roofline(result: Result, peaks: tuple[float, ...] | None) -> float | None:
    """The fewest milliseconds it can take: its arithmetic, or reading and writing each array of float32 once."""
    if peaks is None or "values" not in result:
        return None
    arithmetic = result.get("operations", 0) / (peaks[result.get("tf32", False)] * 1e12)
    return 1e3 * max(arithmetic, 4 * result["values"] / (peaks[2] * 1e12))


def _versions(found: Result) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items() if name not in ("kind", "by", "device"))


def _compared(results: Sequence[Result]) -> list[str]:
    return [f"{r['work']} {r['what']} off by {r['off']:.1e}" for r in results if r.get("off")]


def main() -> None:
    """Print the table of a file of results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="results.jsonl, which benchmarks/device.sh writes")
    parser.add_argument("--save", action="store_true", help="keep them in benchmarks/results")
    arguments = parser.parse_args()
    results = read(arguments.file)
    if arguments.save:
        harness.save("gpu", harness.Plan(rounds=1), {"results": results}, page(results))
    else:
        print(page(results))


if __name__ == "__main__":
    main()
