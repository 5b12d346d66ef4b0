"""What every worker does: time a training step after warm-up, and read its own peak memory."""

import json
import resource
import statistics
import time
from collections.abc import Callable

# name -> (depth, width, channels, image size, batch)
CASES = {
    "resnet20": (20, 16, 3, 32, 128),
    "resnet56": (56, 16, 3, 32, 128),
    "resnet110": (110, 16, 3, 32, 128),
    "digits56": (56, 8, 1, 8, 64),
}


def measure(step: Callable[[], object], warm_up: int, repeats: int) -> dict:
    """Milliseconds of one step (median) and the process's peak memory in MB."""
    for _ in range(warm_up):
        step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ms": 1e3 * statistics.median(times), "peak_mb": peak}


def report(**values) -> None:
    """Print the result as the last line of output."""
    print(json.dumps(values))
