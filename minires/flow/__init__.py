"""The gradient-flow instrument: what came back along every edge of the graph.

The figures are in `minires.flow.plots`, which is imported only when one is drawn, because it needs matplotlib.
"""

from .edge_history import EdgeHistory
from .explorer import Run, explore, explore_runs
from .forks import Fork
from .history import FlowHistory, is_due
from .jacobian import Jacobian, jacobian, jacobians
from .keeping import keeping
from .landscape import Landscape, landscape
from .lesion import Lesion, lesion, shortcut_alone
from .node import Node, Scaling, Source
from .paths import PathSpectrum, path_spectrum
from .probe import Probe, probe
from .recorder import record, recording
from .recording import Layer, Recording
from .responses import Responses, responses
from .scaled import scaled
from .shattering import Shattering, gradient_correlation, shattering
from .summands import Measured, measure_summands
from .variance import VarianceProfile, variance_profile

History = FlowHistory  # its name until there was also a history of training, train.History

__all__ = [
    "EdgeHistory",
    "FlowHistory",
    "Fork",
    "History",
    "Jacobian",
    "Landscape",
    "Layer",
    "Lesion",
    "Measured",
    "Node",
    "PathSpectrum",
    "Probe",
    "Recording",
    "Responses",
    "Run",
    "Scaling",
    "Shattering",
    "Source",
    "VarianceProfile",
    "explore",
    "explore_runs",
    "gradient_correlation",
    "is_due",
    "jacobian",
    "jacobians",
    "keeping",
    "landscape",
    "lesion",
    "measure_summands",
    "path_spectrum",
    "probe",
    "record",
    "recording",
    "responses",
    "scaled",
    "shattering",
    "shortcut_alone",
    "variance_profile",
]
