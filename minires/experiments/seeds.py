"""What every experiment shares: inputs of noise, and repetition over seeds."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..blas import one_blas_thread
from ..creation import randn
from ..tensor import Tensor

Numbers = dict[str, float]

BATCH = 64
WIDTH = 64  # of the fully connected networks; also their number of inputs


def noise(n: int, width: int = WIDTH, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Normal inputs (n, width) and their classes (n)."""
    return randn(n, width), Tensor(np.arange(n) % classes)


def over_seeds(
    measure: Callable[..., Numbers], *args: Any, seeds: Iterable[int] = range(5), **options: Any
) -> dict[str, np.ndarray]:
    """{what: its numbers, one for each seed}. The matrices here are too small to share between BLAS threads."""
    runs = one_blas_thread(lambda: [measure(seed, *args, **options) for seed in seeds])
    return {what: np.array([run[what] for run in runs]) for what in runs[0]}
