"""Figures of gradient flow. Every panel draws on matplotlib axes it is given, and returns them."""

from .axes import colour_bar, colour_scale, log_scale, say, takeaways
from .figures import comparison, recording
from .graph import graph, graph_limits, graph_scale, graphs
from .jacobian import jacobian
from .landscape import contour_levels, landscape, landscape_2d
from .panels import fork_strip, heatmap, profile, strip_axes, training
from .probes import input_gradient, lesion, responses, shattering, variance
from .runs import runs
from .spectrum import path_spectrum

__all__ = [
    "colour_bar",
    "colour_scale",
    "comparison",
    "contour_levels",
    "fork_strip",
    "graph",
    "graph_limits",
    "graph_scale",
    "graphs",
    "heatmap",
    "input_gradient",
    "jacobian",
    "landscape",
    "landscape_2d",
    "lesion",
    "log_scale",
    "path_spectrum",
    "profile",
    "recording",
    "responses",
    "runs",
    "say",
    "shattering",
    "strip_axes",
    "takeaways",
    "training",
    "variance",
]
