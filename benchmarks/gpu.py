"""``python -m benchmarks.gpu``: the GPU kernels checked, then timed beside PyTorch/cuDNN and against their roofline.

Writes ``benchmarks/results/gpu.json`` and ``gpu.md``. Times are medians from CUDA events after warm-up. A training step
takes its batch from the device's memory and reads loss and accuracy back, in PyTorch too, whose cuDNN may try all its
algorithms first. ``--dry-run`` runs all of it once in small, minires on cuda-on-cpu and PyTorch on the CPU, and writes
nothing.
"""

import argparse
import sys

from minires.kernels.gpu.devices import why_no_gpu

from . import harness

# float32 peak in TFLOP/s, dense TF32 peak, memory bandwidth in TB/s: NVIDIA's data sheets of the SXM cards
PEAKS = {"H200": (67, 495, 4.8), "H100": (67, 495, 3.35), "A100": (19.5, 156, 2.0)}
PASSES = {"copy": 2, "batch norm": 3, "batch norm backward": 5, "ReLU": 2, "ReLU backward": 3}  # arrays moved, at least


def roofline(title: str, case: tuple[int, ...], peaks: tuple[float, ...] | None) -> float | None:
    """The least milliseconds a convolution can take: its arithmetic, or reading and writing each array once."""
    if peaks is None:
        return None
    N, C, H, O, k, stride = case
    out = (H // stride) ** 2
    work = 2 * N * O * out * C * k * k / (peaks["TF32" in title] * 1e12)
    moved = 4 * (N * C * H * H + N * O * out + O * C * k * k) / (peaks[2] * 1e12)
    return 1e3 * max(work, moved)


def table(ours: dict, theirs: dict, cases: tuple[dict, dict]) -> str:
    """One Markdown table of everything measured."""
    peaks = next((value for name, value in PEAKS.items() if name in ours["device"]), None)
    rows = []
    for title, times in ours["convolutions"].items():
        floor = roofline(title, cases[0][title.removesuffix(", TF32")], peaks)
        for what, time in times.items():
            rows.append(_row(f"{title}: {what}", time, theirs.get("convolutions", {}).get(title, {}).get(what), floor))
    for title, times in ours["others"].items():
        N, C, H = cases[1][title]
        for what, time in times.items():
            floor = 4e3 * PASSES[what] * N * C * H * H / (peaks[2] * 1e12) if peaks else None
            rows.append(_row(f"{title}: {what}", time, theirs.get("others", {}).get(title, {}).get(what), floor))
    for title, times in ours["steps"].items():
        peer = theirs.get("steps", {}).get(title, {})
        for way in {**times, **peer}:
            rows.append(_row(f"{title} step, {way}", times.get(way), peer.get(way), None))
    return harness.markdown(["work", "minires", "PyTorch", "minires / PyTorch", "of the roofline"], rows)


def _row(what: str, ours: float | None, theirs: float | None, floor: float | None) -> list[str]:
    def ms(value):
        return "" if value is None else f"{value:.3f} ms"

    ratio = f"{ours / theirs:.2f} ×" if ours and theirs else ""
    return [what, ms(ours), ms(theirs), ratio, f"{100 * floor / ours:.0f} %" if floor and ours else ""]


def main() -> None:
    """Check and time, or say in one sentence why not."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="everything once, in small, without a GPU")
    dry = parser.parse_args().dry_run
    if not dry and (reason := why_no_gpu()) is not None:
        sys.exit(f"benchmarks.gpu: {reason}; --dry-run rehearses the benchmark without a GPU")
    options = ("--dry-run",) if dry else ()
    ours = harness.run(harness.program("gpu_minires", *options))
    theirs = harness.run(harness.program("gpu_torch", *options, module="torch"))
    sys.path.insert(0, str(harness.HERE / "workers"))
    from gpu_common import CONVOLUTIONS, ELEMENTWISE  # its sizes depend on --dry-run, as the workers' do

    text = table(ours, theirs, (CONVOLUTIONS, ELEMENTWISE))
    versions = "; ".join(r.get("version", r.get("absent", "")) for r in (ours, theirs))
    note = f"{ours['device']}, {versions}. Medians from CUDA events after warm-up; every kernel was checked first."
    if dry:
        print(f"{text}\n\nA rehearsal: none of these times means anything.")
    else:
        harness.save("gpu", harness.Plan(rounds=1), {"minires": ours, "PyTorch": theirs}, f"{text}\n\n{note}")


if __name__ == "__main__":
    main()
