"""Figures of gradient flow. Every panel draws on matplotlib axes it is given, and returns them."""

from .figures import comparison, recording
from .graph import graph, graph_limits, graph_scale
from .jacobian import jacobian
from .landscape import contour_levels, landscape, landscape_2d
from .panels import fork_strip, heatmap, profile, strip_axes, training
from .probes import input_gradient, lesion, responses, shattering, variance
from .runs import runs
from .spectrum import path_spectrum
from .style import colour_scale

__all__ = [
    "colour_scale",
    "comparison",
    "contour_levels",
    "fork_strip",
    "graph",
    "graph_limits",
    "graph_scale",
    "heatmap",
    "input_gradient",
    "jacobian",
    "landscape",
    "landscape_2d",
    "lesion",
    "path_spectrum",
    "profile",
    "recording",
    "responses",
    "runs",
    "shattering",
    "strip_axes",
    "training",
    "variance",
]
