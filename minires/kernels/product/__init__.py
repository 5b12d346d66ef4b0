"""Matrix products and the linear layer: the definitions, and the fast versions in NumPy and CUDA C."""

from . import cpu, definition, gpu

__all__ = ["cpu", "definition", "gpu"]
