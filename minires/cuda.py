"""Whether there is a GPU to compute on, asked for in PyTorch's way."""

from typing import Any

from .kernels.devices import why_no_gpu
from .missing import not_offered


def is_available() -> bool:
    """Whether the device "gpu" (or "cuda", which is the same) can be used; `minires doctor` says what is missing."""
    return why_no_gpu() is None


def __getattr__(name: str) -> Any:
    raise not_offered("minires.cuda", name)
