"""What a recording measures of arrays on a device, in CUDA C. (On the CPU, `minires.norms` computes it.)"""

from . import gpu

__all__ = ["gpu"]
