"""The optimisers' update of all parameters, in CUDA C. (On the CPU, `minires.optim` computes its formulas itself.)"""

from . import gpu

__all__ = ["gpu"]
