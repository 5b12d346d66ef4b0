"""The optimisers' update of all parameters, in CUDA C. (On the CPU the formulas of `minires.optim` are the kernel.)"""

from . import gpu

__all__ = ["gpu"]
