"""What both GPU workers share: the cases, how each is timed, and how a result is written: a line of JSON, at once.

A run that is cut off has then written what it measured, and what fails does not hide what comes after it.
CUDA events time on a GPU, the clock in a rehearsal.
"""

import itertools
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager

REHEARSE = "--rehearse" in sys.argv
WARM_UP, REPEATS = (1, 1) if REHEARSE else (10, 30)
CALLS = 20  # of a kernel in one CUDA graph

# title -> N, C, H, O, kernel, stride: convolutions of ResNet-20/56 (batch 128) and of ResNet-50 (batch 64)
CONVOLUTIONS = {
    "ResNet-20/56 3×3, 16 channels, 32×32": (128, 16, 32, 16, 3, 1),
    "ResNet-20/56 3×3, 32 channels, 16×16": (128, 32, 16, 32, 3, 1),
    "ResNet-20/56 3×3, 64 channels, 8×8": (128, 64, 8, 64, 3, 1),
    "ResNet-20/56 3×3 stride 2, 16 to 32 channels, 32×32": (128, 16, 32, 32, 3, 2),
    "ResNet-50 7×7 stride 2, 3 to 64 channels, 224×224": (64, 3, 224, 64, 7, 2),
    "ResNet-50 1×1, 64 to 256 channels, 56×56": (64, 64, 56, 256, 1, 1),
    "ResNet-50 3×3, 128 channels, 28×28": (64, 128, 28, 128, 3, 1),
    "ResNet-50 3×3, 512 channels, 7×7": (64, 512, 7, 512, 3, 1),
}
# title -> N, C, H
ELEMENTWISE = {"ResNet-20/56, 16 channels, 32×32": (128, 16, 32), "ResNet-50, 256 channels, 56×56": (64, 256, 56)}
# title -> N, C, H of the last stage, classes, N, C, H of what the max pool gets (None: there is none)
HEADS = {"ResNet-20/56": (128, 64, 8, 10, None), "ResNet-50": (64, 2048, 7, 1000, (64, 64, 112))}
UPDATES = {"ResNet-20": 20, "ResNet-56": 56, "ResNet-50": 50}  # title -> depth
STEPS = {"ResNet-20": (20, 128), "ResNet-56": (56, 128), "ResNet-110": (110, 128)}  # title -> depth, batch
LARGE_STEPS = {"ResNet-50": (50, 64)}
if REHEARSE:  # everything runs once, in small
    CONVOLUTIONS = {title: (2, min(C, 8), 4, min(O, 8), k, s) for title, (_, C, _, O, k, s) in CONVOLUTIONS.items()}
    CONVOLUTIONS = {title: CONVOLUTIONS[title] for title in [*CONVOLUTIONS][2:5]}
    ELEMENTWISE = {title: (2, 4, 4) for title in ELEMENTWISE}
    HEADS = {title: (2, 4, 3, 10, large and (2, 4, 6)) for title, (*_, large) in HEADS.items()}
    UPDATES, STEPS, LARGE_STEPS = {"ResNet-20": 20}, {"ResNet-20": (8, 2)}, {}

_failed: list[str] = []


def result(**values: object) -> None:
    """Write one result: kind, work, what and ms of a time; or what a part has to say instead."""
    print(json.dumps(values, ensure_ascii=False), flush=True)


@contextmanager
def case(kind: str, work: str):
    """What fails inside is a result too, and the next case follows."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        _failed.append(work)
        result(kind=kind, work=work, failed=f"{type(error).__name__}: {error}")


def run(parts: dict[str, Callable[[], None]]) -> None:
    """Run the part that the command line names. The exit status is 1 if anything in it failed."""
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    if len(names) != 1 or names[0] not in parts:
        sys.exit(f"{sys.argv[0]}: got {names}; expected one of {', '.join(parts)}, and --rehearse or nothing")
    parts[names[0]]()
    if _failed:
        sys.exit(f"{names[0]}: {len(_failed)} of its cases failed, the first: {_failed[0]}")


def least_values(what: str, sizes: tuple) -> int:
    """How many float32 values a memory-bound kernel reads and writes, each array once; sizes as in the tables above."""
    if what.startswith("SGD"):
        return 5 * sizes[0]  # weight, gradient and velocity; weight and velocity again
    if what in ("pad-crop-flip", "bytes to images"):
        return sizes[0] * 3 * 32 * 32 * 2 if what == "pad-crop-flip" else sizes[0] * 3 * 32 * 32 * 5 // 4
    if len(sizes) == 3:
        N, C, H = sizes
        passes = {"batch norm": 3, "batch norm backward": 5, "ReLU backward": 3, "addition": 3}
        passes["batch norm, addition and ReLU"] = 4  # x twice
        return passes.get(what, 2) * N * C * H * H
    N, C, H, K, large = sizes
    if what.startswith("max pool"):  # large image, small image, and a byte for each of its pixels
        n = large[0] * large[1] * large[2] ** 2
        return n + n // 4 + n // 16
    return {
        "average pool": N * C * (H * H + 1),
        "average pool backward": N * C * (H * H + 1),
        "linear": N * C + C * K + N * K,
        "linear backward": 2 * (N * C + C * K) + N * K,
        "cross-entropy": 3 * N * K,
        "cross-entropy backward": 3 * N * K,
    }[what]


def least_work(sizes: tuple[int, ...]) -> tuple[int, int]:
    """(floating-point operations, float32 values) of a convolution: its products, and each array once."""
    N, C, H, O, k, stride = sizes
    out = (H // stride) ** 2
    return 2 * N * O * out * C * k * k, N * C * H * H + N * O * out + O * C * k * k


def milliseconds(run: Callable[[], object], event: Callable, synchronize: Callable[[], None]) -> float:
    """Median time of one call after warm-up. `event()` records a CUDA event and returns it, or None in a rehearsal.

    All calls are queued before any event is read. A training step waits for its loss.
    """
    for _ in range(WARM_UP):
        run()
    synchronize()
    if REHEARSE:
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)
    marks = [event()]
    for _ in range(REPEATS):
        run()
        marks.append(event())
    synchronize()
    return statistics.median(elapsed(a, b) for a, b in itertools.pairwise(marks))


def kernel_milliseconds(run: Callable, capture: Callable, event: Callable, synchronize: Callable) -> float:
    """Median time of one call among `CALLS` in a CUDA graph; `capture(run)` returns what replays a graph of `run`."""
    if REHEARSE:
        return milliseconds(run, event, synchronize)

    def calls():
        for _ in range(CALLS):
            run()

    return milliseconds(capture(calls), event, synchronize) / CALLS


def elapsed(start, end) -> float:
    """Milliseconds between two events of CuPy or PyTorch."""
    if hasattr(start, "elapsed_time"):
        return start.elapsed_time(end)
    import cupy

    return cupy.cuda.get_elapsed_time(start, end)
