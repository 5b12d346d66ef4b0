"""``python -m benchmarks.gpu``: the GPU kernels checked, then timed beside PyTorch/cuDNN and against their roofline.

Writes ``benchmarks/results/gpu.json`` and ``gpu.md``. Times are medians from CUDA events after warm-up. Kernels are
timed in CUDA graphs of 20 calls, so that launching them from Python does not count, for PyTorch too; what fits into the
card's L2 cache may then beat the roofline, which is that of its memory. A training step takes its batch from the
device's memory and reads loss and accuracy back, for PyTorch too, whose cuDNN may try all its algorithms first.
``--dry-run`` runs everything once at a small size, minires on cuda-on-cpu and PyTorch on the CPU, and writes nothing.
"""

import argparse
import sys
import time
from typing import Any

from minires.kernels.devices import why_no_gpu

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


def roofline(title: str, case: tuple[int, ...], peaks: tuple[float, ...] | None) -> float | None:
    """The fewest milliseconds a convolution can take: its arithmetic, or reading and writing each array once."""
    if peaks is None:
        return None
    N, C, H, O, k, stride = case
    out = (H // stride) ** 2
    work = 2 * N * O * out * C * k * k / (peaks["TF32" in title] * 1e12)
    moved = 4 * (N * C * H * H + N * O * out + O * C * k * k) / (peaks[2] * 1e12)
    return 1e3 * max(work, moved)


def table(ours: dict, theirs: dict, shapes: Any) -> str:
    """One Markdown table of everything measured; ``shapes`` is the module `workers/gpu_common.py`."""
    peaks, rows = PEAKS.get(ours["device"]), []
    for title, times in ours["convolutions"].items():
        floor = roofline(title, shapes.CONVOLUTIONS[title.removesuffix(", TF32")], peaks)
        for what, ms in times.items():
            rows.append(_row(f"{title}: {what}", ms, theirs.get("convolutions", {}).get(title, {}).get(what), floor))
    sizes: dict[str, dict] = {
        "elementwise": shapes.ELEMENTWISE,
        "heads": shapes.HEADS,
        "updates": {title: (times.pop("weights"),) for title, times in ours["updates"].items()},
        "augmentation": {"CIFAR-10, 128 images": (128,)},
    }
    for kind, cases in sizes.items():
        for title, times in ours[kind].items():
            for what, ms in times.items():
                floor = 4e3 * shapes.least_values(what, cases[title]) / (peaks[2] * 1e12) if peaks else None
                rows.append(_row(f"{title}: {what}", ms, theirs.get(kind, {}).get(title, {}).get(what), floor))
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
    """Check and time the kernels, or say in one sentence why that is impossible."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="everything once, in small, without a GPU")
    dry = parser.parse_args().dry_run
    if not dry and (reason := why_no_gpu()) is not None:
        sys.exit(f"benchmarks.gpu: {reason}; --dry-run rehearses the benchmark without a GPU")
    options = ("--dry-run",) if dry else ()
    start = time.perf_counter()
    ours = harness.run(harness.program("gpu_minires", *options))
    theirs = harness.run(harness.program("gpu_torch", *options, module="torch"))
    sys.path.insert(0, str(harness.HERE / "workers"))
    import gpu_common  # its sizes depend on --dry-run, as the workers' do

    text = table(ours, theirs, gpu_common)
    versions = "; ".join(r.get("version", r.get("absent", "")) for r in (ours, theirs))
    note = (
        f"{ours['device']}, {versions}. Medians from CUDA events after warm-up; every kernel was checked first. "
        f"{time.perf_counter() - start:.0f} s in all."
    )
    if ours["device"] not in PEAKS:
        note += " The card's peaks are not known here, so there is no roofline."
    if dry:
        print(f"{text}\n\nA rehearsal: none of these times means anything.")
    else:
        harness.save("gpu", harness.Plan(rounds=1), {"minires": ours, "PyTorch": theirs}, f"{text}\n\n{note}")


if __name__ == "__main__":
    main()
