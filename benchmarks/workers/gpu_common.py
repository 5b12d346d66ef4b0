"""What both GPU workers share: the cases, and how each is timed. CUDA events on a GPU, the clock in a dry run."""

import itertools
import statistics
import sys
import time
from collections.abc import Callable

DRY = "--dry-run" in sys.argv
WARM_UP, REPEATS = (1, 1) if DRY else (10, 30)

# title -> N, C, H, O, kernel, stride: the body convolutions of ResNet-20/56 (batch 128) and of ResNet-50 (batch 64)
CONVOLUTIONS = {
    "ResNet-20/56 3×3, 16 channels, 32×32": (128, 16, 32, 16, 3, 1),
    "ResNet-20/56 3×3, 32 channels, 16×16": (128, 32, 16, 32, 3, 1),
    "ResNet-20/56 3×3, 64 channels, 8×8": (128, 64, 8, 64, 3, 1),
    "ResNet-50 1×1, 64 to 256 channels, 56×56": (64, 64, 56, 256, 1, 1),
    "ResNet-50 3×3, 128 channels, 28×28": (64, 128, 28, 128, 3, 1),
    "ResNet-50 3×3, 512 channels, 7×7": (64, 512, 7, 512, 3, 1),
}
ELEMENTWISE = {"ResNet-20/56, 16 channels, 32×32": (128, 16, 32), "ResNet-50, 256 channels, 56×56": (64, 256, 56)}
STEPS = {"ResNet-20": (20, 128), "ResNet-56": (56, 128), "ResNet-110": (110, 128), "ResNet-50": (50, 64)}
if DRY:  # everything runs once, in small
    CONVOLUTIONS = {title: (2, min(C, 8), 4, min(O, 8), k, s) for title, (_, C, _, O, k, s) in CONVOLUTIONS.items()}
    ELEMENTWISE = {title: (2, 4, 4) for title in ELEMENTWISE}
    STEPS = {"ResNet-20": (8, 2)}


def milliseconds(run: Callable[[], object], event: Callable, synchronize: Callable[[], None]) -> float:
    """Median time of one call after warm-up. `event()` records a CUDA event and returns it, or None in a dry run.

    All calls are queued before any event is read, so what is measured of a kernel is the GPU, or Python where Python is
    slower. A training step waits for its loss.
    """
    for _ in range(WARM_UP):
        run()
    synchronize()
    if DRY:
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)
    marks = [event()]
    for _ in range(REPEATS):
        run()
        marks.append(event())
    synchronize()
    return statistics.median(elapsed(a, b) for a, b in itertools.pairwise(marks))


def elapsed(start, end) -> float:
    """Milliseconds between two events of CuPy or PyTorch."""
    if hasattr(start, "elapsed_time"):
        return start.elapsed_time(end)
    import cupy

    return cupy.cuda.get_elapsed_time(start, end)
