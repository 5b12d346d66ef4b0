"""The gradient-flow instrument: what came back along every edge of the graph.

The figures are in `minires.flow.plots`, which is imported only when a figure is drawn, as it needs matplotlib.
"""

from .history import History, is_due
from .keeping import keeping
from .paths import PathSpectrum, path_spectrum
from .record import Fork, Layer, Node, Recording, record, recording

__all__ = [
    "Fork",
    "History",
    "Layer",
    "Node",
    "PathSpectrum",
    "Recording",
    "is_due",
    "keeping",
    "path_spectrum",
    "record",
    "recording",
]
